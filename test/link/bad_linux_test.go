//go:build netns

package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

const patience = time.Minute

// site is a broker whose clients are behind a link.
type site struct {
	*link
	*broker.Broker
	t    *testing.T
	port string
}

func newSite(t *testing.T, mtu int) *site {
	t.Helper()
	s := &site{link: newLink(t, mtu), t: t}
	b, err := broker.New(broker.Options{Store: mem.New()})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(s.near, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s.Broker = b
	_, s.port, _ = net.SplitHostPort(ln.Addr().String())
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		b.Close(ctx) // clients that cannot be reached are cut off
		if err := <-ended; !errors.Is(err, broker.ErrClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// far is a client behind the link, near one on the broker's side of it.
func (s *site) far(o client.Options) *client.Client {
	o.DialConn = func(ctx context.Context) (net.Conn, error) { return s.dial(ctx, s.port) }
	return s.client(o)
}

func (s *site) nearby(o client.Options) *client.Client {
	o.Address = net.JoinHostPort(s.near, s.port)
	return s.client(o)
}

func (s *site) client(o client.Options) *client.Client {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Dial(ctx, o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Abort)
	return c
}

// inbox collects messages.
type inbox struct {
	mu  sync.Mutex
	got []string
	in  chan struct{}
}

func newInbox() *inbox { return &inbox{in: make(chan struct{}, 1)} }

func (i *inbox) add(p *mqtt.Publish) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.got = append(i.got, string(p.Payload))
	select {
	case i.in <- struct{}{}:
	default:
	}
	return nil
}

// await waits until n messages are there.
func (i *inbox) await(t *testing.T, n int) []string {
	t.Helper()
	deadline := time.After(patience)
	for {
		i.mu.Lock()
		got := slices.Clone(i.got)
		i.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-i.in:
		case <-deadline:
			t.Fatalf("%d of %d messages came", len(got), n)
		}
	}
}

func (s *site) subscribe(c *client.Client, filter string, qos mqtt.QoS) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.Subscribe(ctx, mqtt.Subscribe{Filters: []mqtt.Subscription{{Filter: []byte(filter), Options: mqtt.SubOptions(qos)}}}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) publish(c *client.Client, topic, payload string, qos mqtt.QoS) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.Publish(ctx, &mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}); err != nil {
		s.t.Fatal(err)
	}
}

// until polls the broker's figures.
func (s *site) until(what string, ok func(broker.Stats) bool) {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		if st, open := s.Stats(); open && ok(st) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not reached: %s", what)
		}
	}
}

// TestLossDelayReorder: 1 % loss, 500 ms there and back, reordering and a small MTU: everything comes, once and in order, and
// clients elsewhere notice nothing (F253).
func TestLossDelayReorder(t *testing.T) {
	s := newSite(t, 1200)
	s.set(weather{delay: 250 * time.Millisecond, loss: 0.01, reorder: 0.02})
	in := newInbox()
	sub := s.far(client.Options{ClientID: "sub", OnMessage: in.add})
	s.subscribe(sub, "t/#", 2)
	pub := s.far(client.Options{ClientID: "pub", MaxInflight: 100})
	const n = 300
	var sent sync.WaitGroup
	gates := make(chan struct{}, 100)
	began := time.Now()
	for i := range n {
		gates <- struct{}{}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		payload := fmt.Appendf(nil, "%04d %0*d", i, i*7, 0) // up to 2 KiB: over the MTU
		d, err := pub.Start(ctx, &mqtt.Publish{Topic: []byte("t/x"), Payload: payload, QoS: mqtt.QoS(1 + i%2)})
		if err != nil {
			t.Fatal(err)
		}
		sent.Go(func() {
			defer cancel()
			if _, err := d.Wait(ctx); err != nil {
				t.Errorf("message %d: %v", i, err)
			}
			<-gates
		})
		if i%50 == 0 { // meanwhile, on a good link
			quick := s.nearby(client.Options{ClientID: "near"})
			before := time.Now()
			s.publish(quick, "elsewhere", "x", 1)
			if took := time.Since(before); took > 10*time.Second { // all that waits behind the bad link takes longer
				t.Errorf("a client on a good link waits %v", took)
			}
			quick.Abort()
		}
	}
	sent.Wait()
	got := in.await(t, n)
	took := time.Since(began)
	for i, payload := range got {
		if payload[:4] != fmt.Sprintf("%04d", i) {
			t.Fatalf("message %d is %s", i, payload[:4])
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == 0 {
		t.Error("no packet was lost: this was a good link")
	}
	if took > 2*patience { // 100 in flight at half a second each way back make 200/s
		t.Errorf("%d messages took %v", n, took)
	}
	t.Logf("%d messages in %v; %d packets, %d lost", n, took.Round(time.Millisecond), s.carried, s.lost)
}

// portOf is the client's port of a connection behind the link.
func portOf(c net.Conn) uint16 { return uint16(c.LocalAddr().(*net.TCPAddr).Port) }

// TestRebinding: a NAT forgets a client; it comes back from another port while its old connection seems to live. It takes over at
// once, with what was on its way (F254).
func TestRebinding(t *testing.T) {
	s := newSite(t, 1500)
	var first atomic.Uint32
	in := newInbox()
	dial := func(ctx context.Context) (net.Conn, error) {
		c, err := s.dial(ctx, s.port)
		if err == nil {
			first.CompareAndSwap(0, uint32(portOf(c)))
		}
		return c, err
	}
	device := s.client(client.Options{DialConn: dial, ClientID: "device", SessionExpiry: 3600, KeepAlive: 600})
	s.subscribe(device, "to/device", 1)
	gone := func(port uint16) bool { return port == uint16(first.Load()) }
	s.set(weather{delay: 20 * time.Millisecond, up: gone, down: gone})
	pub := s.nearby(client.Options{ClientID: "pub"})
	s.publish(pub, "to/device", "on its way", 1)

	began := time.Now()
	back := s.far(client.Options{ClientID: "device", SessionExpiry: 3600, OnMessage: in.add})
	took := time.Since(began)
	if k := back.Connack(); !k.SessionPresent {
		t.Error("the session was lost")
	}
	if took > patience { // its keep-alive would take a quarter of an hour
		t.Errorf("the takeover took %v", took)
	}
	s.publish(pub, "to/device", "after", 1)
	if got := in.await(t, 2); !slices.Equal(got, []string{"on its way", "after"}) {
		t.Errorf("got %q", got)
	}
	s.until("one takeover, two clients", func(st broker.Stats) bool { return st.Takeovers == 1 && st.Connected == 2 })
}

// TestOneWay: the broker reaches the client but hears nothing of it: keep-alive ends the connection, and the will comes once (F256).
func TestOneWay(t *testing.T) {
	s := newSite(t, 1500)
	in := newInbox()
	watch := s.nearby(client.Options{ClientID: "watch", OnMessage: in.add})
	s.subscribe(watch, "wills/#", 1)
	device := s.far(client.Options{ClientID: "device", KeepAlive: 2, Will: &mqtt.Will{Topic: []byte("wills/device"), Payload: []byte("gone"), QoS: 1}})
	s.subscribe(device, "to/device", 0)
	s.set(weather{up: func(uint16) bool { return true }})
	s.publish(watch, "to/device", "you do not answer", 1)
	began := time.Now()
	in.await(t, 1)
	if took := time.Since(began); took > 14*time.Second { // TCP takes longer to find out
		t.Errorf("the will came after %v; the keep-alive is 2 s", took)
	}
	s.until("the connection is closed", func(st broker.Stats) bool { return st.Connected == 1 && st.Wills == 1 })
	s.set(weather{})
	s.publish(watch, "wills/mark", "mark", 1)
	if got := in.await(t, 2); !slices.Equal(got, []string{"gone", "mark"}) {
		t.Errorf("got %q", got)
	}
}

// TestReset: 70 % of the connections are reset at the same moment: their wills come once each, the others notice nothing, and nothing
// stays behind (F252).
func TestReset(t *testing.T) {
	const all, cut = 300, 210
	s := newSite(t, 1500)
	in := newInbox()
	watch := s.nearby(client.Options{ClientID: "watch", OnMessage: in.add})
	s.subscribe(watch, "wills/#", 1)
	conns := make([]net.Conn, all)
	clients := make([]*client.Client, all)
	got := newInbox()
	for i := range all {
		clients[i] = s.client(client.Options{
			ClientID: fmt.Sprintf("c%d", i), Will: &mqtt.Will{Topic: []byte("wills/x"), Payload: fmt.Appendf(nil, "c%d", i), QoS: 1},
			DialConn: func(ctx context.Context) (net.Conn, error) {
				c, err := s.dial(ctx, s.port)
				conns[i] = c
				return c, err
			},
			OnMessage: got.add,
		})
		s.subscribe(clients[i], "all", 1)
	}
	for _, c := range conns[:cut] {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	s.until("the reset ones are gone", func(st broker.Stats) bool { return st.Connected == all-cut+1 && st.Sockets == all-cut+1 })
	wills := in.await(t, cut)
	slices.Sort(wills)
	if len(slices.Compact(wills)) != cut {
		t.Errorf("%d wills came for %d clients", len(wills), cut)
	}
	s.publish(watch, "all", "still here", 1)
	if n := len(got.await(t, all-cut)); n != all-cut {
		t.Errorf("%d of %d got the message", n, all-cut)
	}
	s.until("what they had is gone", func(st broker.Stats) bool {
		return st.Sessions == all-cut+1 && st.Subscriptions == all-cut+1 && st.Wills == cut
	})
}

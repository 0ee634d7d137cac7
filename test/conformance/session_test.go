package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// A conversation byte by byte is answered as one in a single segment is (F012) [MQTT5 MQTT-4.2.0-1] [MQTT311 MQTT-4.2.0-1].
func TestSegments(t *testing.T) {
	t.Parallel()
	b := serve(t, broker.Options{})
	talk := func(v mqtt.Version) []string {
		lines := []string{
			"CONNECT id=c clean", "SUBSCRIBE id=1 t qos=2", `PUBLISH topic=t "0"`, `PUBLISH qos=1 id=2 topic=t "1"`,
			`PUBLISH qos=2 id=3 topic=t "2"`, "PUBREL id=3", "PUBACK id=1", "PUBREC id=2", "PUBCOMP id=2", "UNSUBSCRIBE id=4 t",
		}
		for i := range 40 {
			lines = append(lines, fmt.Sprintf("PUBLISH qos=1 id=%d topic=none", 10+i))
		}
		return append(lines, "PINGREQ", "DISCONNECT")
	}
	answers := func(v mqtt.Version, size int) (got []string) {
		c := dial(t, b.addr, "c", v)
		c.mu.Lock()
		c.pings = append(c.pings, false)
		c.mu.Unlock()
		all := wire(t, v, talk(v)...)
		for len(all) > 0 {
			n := min(size, len(all))
			c.write(all[:n])
			all = all[n:]
		}
		for {
			a, err := c.next()
			if err != nil {
				c.drop()
				return got
			}
			got = append(got, a.line)
		}
	}
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		want := strings.Join(answers(v, 1<<20), "\n")
		if n := strings.Count(want, "\n"); n != 50 {
			t.Errorf("%v: %d answers:\n%s", v, n+1, want)
		}
		for _, size := range []int{1, 3, 7} {
			// What the client gets of its own messages may come before or after their acknowledgements.
			if got := answers(v, size); len(got) != strings.Count(want, "\n")+1 || !sameLines(strings.Join(got, "\n"), want) {
				t.Errorf("%v in pieces of %d:\n%s\nwant\n%s", v, size, strings.Join(got, "\n"), want)
			}
		}
	}
}

func sameLines(a, b string) bool {
	count := map[string]int{}
	for _, line := range strings.Split(a, "\n") {
		count[line]++
	}
	for _, line := range strings.Split(b, "\n") {
		count[line]--
		if count[line] == 0 {
			delete(count, line)
		}
	}
	return len(count) == 0
}

// 100 connections with one client id at the same instant: one survives, and works (F042) [MQTT5 MQTT-3.1.4-3].
func TestManyTakeovers(t *testing.T) {
	t.Parallel()
	b := serve(t, broker.Options{})
	clients := make([]*client, 100)
	for i := range clients {
		clients[i] = dial(t, b.addr, fmt.Sprint("c", i), mqtt.V5)
	}
	var connected sync.WaitGroup
	for i, c := range clients {
		connected.Go(func() {
			c.send(fmt.Sprintf("CONNECT id=same expiry=%d", 300*(i%2)), fmt.Sprintf("SUBSCRIBE id=1 t/%d qos=1", i%7))
		})
	}
	connected.Wait()
	b.until("all have had their turn", func(s broker.Stats) bool { return s.Takeovers == 99 && s.Sockets == 1 && s.Connected == 1 })
	survivors := func() (n int) {
		for _, c := range clients {
			if c.open() {
				n++
			}
		}
		return n
	}
	eventually(t, "one connection is left", func() bool { return survivors() == 1 })
	for _, c := range clients {
		if c.open() {
			c.barrier()
		}
		// Who was taken over before its CONNACK could go gets none with success [MQTT5 MQTT-3.14.0-1].
		first, err := c.next()
		if err != nil || !strings.HasPrefix(first.line, "CONNACK 0x00") && first.line != "CONNACK 0x88" {
			t.Errorf("%s got %s, %v", c.name, first.line, err)
		}
	}
	if s := b.stats(); s.Sessions != 1 || s.Subscriptions == 0 || s.Subscriptions > 7 {
		t.Errorf("%d sessions, %d subscriptions", s.Sessions, s.Subscriptions)
	}
}

// Two devices with one client id fight: each time the old one is told, and nothing piles up (F041) [MQTT5 MQTT-3.1.4-3].
func TestFight(t *testing.T) {
	t.Parallel()
	b := serve(t, broker.Options{})
	by := newBystander(t, b)
	var old *client
	for range 100 {
		c := dial(t, b.addr, "c", mqtt.V5)
		c.exchange("CONNECT id=twin expiry=300", "CONNACK 0x00"+map[bool]string{true: " present"}[old != nil])
		c.exchange("SUBSCRIBE id=1 t qos=1", "SUBACK id=1 0x01")
		if old != nil {
			old.expect("DISCONNECT 0x8E")
			old.expectClosed()
			old.drop()
		}
		old = c
	}
	b.until("one is left", func(s broker.Stats) bool {
		return s.Sockets == 2 && s.Sessions == 2 && s.Subscriptions == 2 && s.Takeovers == 99
	})
	by.unaffected()
}

// A subscription lowered to QoS 0 while a QoS 1 delivery is unacknowledged gives the quota back, each time (F081).
func TestLoweredSubscription(t *testing.T) {
	t.Parallel()
	b := serve(t, broker.Options{})
	c := dial(t, b.addr, "c", mqtt.V5)
	c.exchange("CONNECT id=c expiry=300 receive-max=2", "CONNACK 0x00")
	for range 1000 {
		c.send("SUBSCRIBE id=1 t qos=1", `PUBLISH topic=none`, `PUBLISH qos=1 id=2 topic=t "1"`, "SUBSCRIBE id=3 t qos=0")
		id := ""
		for range 4 { // in any order
			a, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(a.line, "PUBLISH qos=1") {
				id = words(a.line)[2]
			}
		}
		c.send("PUBACK " + id)
	}
	b.until("nothing is in flight", func(s broker.Stats) bool { return s.QueuedBytes == 0 })
}

// The same filter subscribed and unsubscribed over and over leaves nothing behind (F100), also in shared groups (F102).
func TestSubscribeChurn(t *testing.T) {
	t.Parallel()
	b := serve(t, broker.Options{})
	c := dial(t, b.addr, "c", mqtt.V5)
	c.exchange("CONNECT id=c clean", "CONNACK 0x00")
	churn := func(filter string) {
		for range 50 {
			var lines []string
			for range 100 {
				lines = append(lines, "SUBSCRIBE id=1 "+filter+" qos=1", "UNSUBSCRIBE id=2 "+filter)
			}
			c.send(lines...)
			for range 100 {
				c.expect("SUBACK id=1 0x01")
				c.expect("UNSUBACK id=2 0x00")
			}
		}
	}
	churn("a/+/c/#")
	churn("$share/g/a/+")
	c.exchange("PUBLISH qos=1 id=1 topic=a/b", "PUBACK id=1 0x10")
	if s := b.stats(); s.Subscriptions != 0 || s.Shared != 0 {
		t.Errorf("%d subscriptions, %d shared are left", s.Subscriptions, s.Shared)
	}
	var members []*client
	for i := range 300 {
		m := dial(t, b.addr, "member", mqtt.V5)
		m.exchange(fmt.Sprintf("CONNECT id=m%d clean", i), "CONNACK 0x00")
		m.exchange("SUBSCRIBE id=1 $share/g/t qos=1", "SUBACK id=1 0x01")
		members = append(members, m)
	}
	b.until("all are members", func(s broker.Stats) bool { return s.Shared == 300 && s.Subscriptions == 300 })
	for _, m := range members {
		m.conn.Close()
	}
	b.until("none is", func(s broker.Stats) bool { return s.Shared == 0 && s.Subscriptions == 0 && s.Sessions == 1 })
	c.exchange("PUBLISH qos=1 id=1 topic=t", "PUBACK id=1 0x10")
}

// Close tells clients of version 5 why, publishes nothing of theirs as lost, and keeps what is to be kept.
func TestClose(t *testing.T) {
	t.Parallel()
	s := mem.New()
	b := serve(t, broker.Options{Store: s})
	five := dial(t, b.addr, "five", mqtt.V5)
	five.exchange("CONNECT id=five expiry=300", "CONNACK 0x00")
	five.exchange("SUBSCRIBE id=1 t qos=1", "SUBACK id=1 0x01")
	four := dial(t, b.addr, "four", mqtt.V311)
	four.exchange("CONNECT id=four", "CONNACK 0x00")
	half := dial(t, b.addr, "half", mqtt.V5)
	half.send("RAW 10 20")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
	five.expect("DISCONNECT 0x8B")
	five.expectClosed()
	four.expectClosed()
	half.expectClosed()
	if _, err := net.Dial("tcp", b.addr); err == nil {
		t.Error("the port is still open")
	}
	again := serve(t, broker.Options{Store: s})
	five = dial(t, again.addr, "five", mqtt.V5)
	five.exchange("CONNECT id=five expiry=300", "CONNACK 0x00 present")
}

// gateStore is a store whose batches wait while it is shut, and fail while it is broken.
type gateStore struct {
	store.Store
	mu      sync.Mutex
	shut    bool
	broken  error
	waiting []*store.Batch
	most    int // records that waited at a time
}

func (g *gateStore) Commit(b *store.Batch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		g.waiting = append(g.waiting, b)
		n := 0
		for _, w := range g.waiting {
			n += len(w.Records)
		}
		g.most = max(g.most, n)
		return
	}
	g.commit(b)
}

func (g *gateStore) commit(b *store.Batch) {
	if err := g.broken; err != nil {
		b.Done(err)
		return
	}
	g.Store.Commit(b)
}

func (g *gateStore) set(shut bool, broken error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.broken = shut, broken
	if !shut {
		for _, b := range g.waiting {
			g.commit(b)
		}
		g.waiting = nil
	}
}

// Nothing is acknowledged before it is kept; when it cannot be kept, a client of version 5 is told and
// an older one loses the connection [MQTT311 MQTT-4.8.0-2] [MQTT5 MQTT-4.3.2-4] [MQTT311 MQTT-4.3.2-2].
func TestStoreBeforeAck(t *testing.T) {
	t.Parallel()
	g := &gateStore{Store: mem.New()}
	b := serve(t, broker.Options{Store: g, Shards: 1})
	sub := dial(t, b.addr, "sub", mqtt.V5)
	sub.exchange("CONNECT id=sub expiry=300", "CONNACK 0x00")
	sub.exchange("SUBSCRIBE id=1 t qos=2", "SUBACK id=1 0x02")
	five := dial(t, b.addr, "five", mqtt.V5)
	five.exchange("CONNECT id=five clean", "CONNACK 0x00")
	four := dial(t, b.addr, "four", mqtt.V311)
	four.exchange("CONNECT id=four clean", "CONNACK 0x00")

	g.set(true, nil)
	five.send(`PUBLISH qos=1 id=1 topic=t "1"`, `PUBLISH qos=2 id=2 topic=t "2"`)
	four.send(`PUBLISH qos=1 id=1 topic=t "3"`)
	eventually(t, "the store has them", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.most >= 3 })
	for _, c := range []*client{five, four, sub} {
		c.mu.Lock()
		if len(c.got) > 0 {
			t.Errorf("%s got %s before it was kept", c.name, c.got[0].line)
		}
		c.mu.Unlock()
	}
	g.set(false, nil)
	five.expect("PUBACK id=1")
	five.expect("PUBREC id=2")
	four.expect("PUBACK id=1")
	for _, want := range []string{`"1"`, `"2"`, `"3"`} {
		if a, err := sub.next(); err != nil || !strings.HasSuffix(a.line, want) {
			t.Errorf("got %s, %v, want %s", a.line, err, want)
		}
	}
	g.set(false, errors.New("no space left on device"))
	five.exchange(`PUBLISH qos=1 id=3 topic=t "lost"`, "PUBACK id=3 0x83")
	five.exchange(`PUBLISH qos=2 id=4 topic=t "lost"`, "PUBREC id=4 0x83")
	four.send(`PUBLISH qos=1 id=2 topic=t "lost"`)
	four.expectClosed()
	g.set(false, nil)
	five.exchange(`PUBLISH qos=2 id=4 topic=t "4"`, "PUBREC id=4 0x00")
	sub.expect(`PUBLISH qos=2 topic=t "4"`)
}

// A publisher faster than the store is slowed: what waits for the store stays bounded, also from clients that
// know no Receive Maximum (F128).
func TestFasterThanTheStore(t *testing.T) {
	t.Parallel()
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		g := &gateStore{Store: mem.New()}
		b := serve(t, broker.Options{Store: g, Shards: 1})
		by := newBystander(t, b)
		sub := dial(t, b.addr, "sub", v)
		sub.exchange("CONNECT id=sub expiry=300", "CONNACK 0x00")
		sub.exchange("SUBSCRIBE id=1 t qos=1", "SUBACK id=1 0x01")
		sub.drop()
		b.until("the subscriber is away", func(s broker.Stats) bool { return s.Connected == 1 })
		c := dial(t, b.addr, "publisher", v)
		c.exchange("CONNECT id=publisher clean", "CONNACK 0x00")
		g.set(true, nil)
		const n = 25000
		var lines []string
		for i := range n {
			lines = append(lines, fmt.Sprintf(`PUBLISH qos=1 id=%d topic=t "x"`, i+1))
			if v == mqtt.V5 && i == 1000 { // its Receive Maximum is 1,024
				break
			}
		}
		var sent atomic.Bool
		go func() {
			c.conn.Write(wire(t, v, lines...))
			sent.Store(true)
		}()
		last := uint64(0)
		eventually(t, "the broker reads no more", func() bool {
			by.unaffected()
			now := b.stats().PublishReceived
			still := now > 1000 && now == last+1 // the bystander's own
			last = now
			return still || sent.Load() && v == mqtt.V5
		})
		g.mu.Lock()
		if g.most > 17000 {
			t.Errorf("%v: %d records waited for the store", v, g.most)
		}
		g.mu.Unlock()
		g.set(false, nil)
		for i := range lines {
			c.expect(fmt.Sprintf("PUBACK id=%d", i+1))
		}
	}
}

// exhausted is a listener whose accept says that the process has no descriptors left.
type exhausted struct {
	net.Listener
	calls atomic.Int64
	left  atomic.Int64
}

func (e *exhausted) Accept() (net.Conn, error) {
	e.calls.Add(1)
	if e.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return e.Listener.Accept()
}

// When accept fails for want of descriptors the broker waits before it tries again, says so at most once a
// second, serves those it has, and accepts again afterwards (F121, F120).
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	log := &logbook{}
	b := serve(t, broker.Options{Logger: log.logger()})
	by := newBystander(t, b)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &exhausted{Listener: ln}
	e.left.Store(6)
	began := time.Now()
	go b.Serve(e)
	c := dial(t, ln.Addr().String(), "c", mqtt.V5)
	c.exchange("CONNECT id=c clean", "CONNACK 0x00")
	if took := time.Since(began); took < 100*time.Millisecond || e.calls.Load() < 7 {
		t.Errorf("%d calls of accept in %v", e.calls.Load(), took)
	}
	if n := strings.Count(log.String(), "accepting a connection failed"); n == 0 || n > 2+int(time.Since(began).Seconds()) {
		t.Errorf("%d lines in the log:\n%s", n, log)
	}
	by.unaffected()
}

// A peer that vanished without a word is found by TCP, whatever its keep-alive: probes are on (F124).
func TestZombie(t *testing.T) {
	t.Parallel()
	b := serve(t, broker.Options{})
	c := dial(t, b.addr, "c", mqtt.V5)
	c.exchange("CONNECT id=c clean keepalive=0", "CONNACK 0x00")
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Skip("there is no /proc")
	}
	local := c.conn.RemoteAddr().(*net.TCPAddr).Port
	remote := c.conn.LocalAddr().(*net.TCPAddr).Port
	for _, line := range strings.Split(string(table), "\n") {
		f := strings.Fields(line)
		if len(f) > 5 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", local)) && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", remote)) {
			if !strings.HasPrefix(f[5], "02:") { // tr: the keep-alive timer runs
				t.Errorf("the broker's socket has timer %s", f[5])
			}
			return
		}
	}
	t.Error("the broker's socket is not in /proc/net/tcp")
}

package broker_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// TestMain lets more tests run at once than there are processors: most of them wait for the clock.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// patience bounds every wait; a test that passes never waits it out.
const patience = time.Minute

// served is a broker on a port of its own.
type served struct {
	*broker.Broker
	t    testing.TB
	addr string
	end  chan error
}

// serve runs a broker until the test ends.
func serve(t testing.TB, o broker.Options) *served {
	t.Helper()
	return serveAt(t, o, broker.Listener{Name: "test", Authn: o.Authn})
}

// serveAt is serve with a door of its own.
func serveAt(t testing.TB, o broker.Options, door broker.Listener) *served {
	t.Helper()
	if o.Store == nil {
		o.Store = mem.New()
	}
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{Broker: b, t: t, addr: ln.Addr().String(), end: make(chan error, 1)}
	go func() { s.end <- b.ServeDoor(ln, broker.NewDoor(door)) }()
	t.Cleanup(func() {
		if st, ok := s.Stats(); ok && st.Panics == 0 { // what a panic leaves undone is missing
			defer s.audit()
		}
		bad, _, err := s.View().Unbalanced(context.Background(), 10)
		if len(bad) > 0 || err != nil && !errors.Is(err, broker.ErrClosed) {
			t.Errorf("the books of clients do not balance: %v, %v", bad, err)
		}
		if err := s.close(); err != nil && !errors.Is(err, broker.ErrClosed) {
			t.Errorf("close the broker: %v", err)
		}
		if err := <-s.end; !errors.Is(err, broker.ErrClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// audit checks that the books of a broker that is closed balance, whatever the test did to it.
func (s *served) audit() {
	books, err := s.View().Books(context.Background())
	if err != nil {
		s.t.Errorf("books: %v", err)
	}
	for i := range books.Shards {
		if l := &books.Shards[i]; l.Difference() != 0 || l.Messages() != 0 {
			s.t.Errorf("the books of shard %d do not balance by %d messages and %d copies: %+v", i, l.Messages(), l.Difference(), *l)
		}
	}
}

func (s *served) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.Close(ctx)
}

func (s *served) stats() broker.Stats {
	s.t.Helper()
	st, ok := s.Stats()
	if !ok {
		s.t.Fatal("the broker is closed")
	}
	return st
}

// until waits until the broker's figures are as they should be.
func (s *served) until(what string, ok func(broker.Stats) bool) {
	s.t.Helper()
	var st broker.Stats
	if !reached(func() bool { st = s.stats(); return ok(st) }) {
		st.Counters.Refused, st.Counters.Violations = [256]uint64{}, [256]uint64{}
		s.t.Fatalf("not reached: %s; %s", what, strings.ReplaceAll(fmt.Sprintf("%+v", st), strings.Repeat(" 0", 255), ""))
	}
}

// reached polls until ok or out of patience.
func reached(ok func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// with returns options with changed limits and delivery.
func with(change func(*broker.Limits, *broker.Delivery)) broker.Options {
	l, d := broker.DefaultLimits(), broker.DefaultDelivery()
	change(&l, &d)
	return broker.Options{Limits: &l, Delivery: &d}
}

// peer is one connection. A goroutine reads; the test takes packets out one by one, as lines.
type peer struct {
	t    testing.TB
	v    mqtt.Version
	conn net.Conn

	mu     sync.Mutex
	change *sync.Cond
	got    []string
	err    error
}

// dial connects; nothing is sent yet.
func (s *served) dial(v mqtt.Version) *peer {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	p := &peer{t: s.t, v: v, conn: conn}
	p.change = sync.NewCond(&p.mu)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.read()
		conn.Close() // as a client does: the broker lingers for one that does not
	}()
	s.t.Cleanup(func() { conn.Close(); <-ended })
	return p
}

// join connects with the words of a CONNECT and takes CONNACK, which it returns.
func (s *served) join(words string) (*peer, string) {
	s.t.Helper()
	v := mqtt.V5
	if strings.Contains(words, "v3.1.1") {
		v = mqtt.V311
	}
	p := s.dial(v)
	p.send("CONNECT " + words)
	ack := p.next()
	if !strings.HasPrefix(ack, "CONNACK 0x00") {
		s.t.Fatalf("CONNECT %s: %s", words, ack)
	}
	return p, ack
}

// client is join without the CONNACK.
func (s *served) client(words string) *peer {
	s.t.Helper()
	p, _ := s.join(words)
	return p
}

func (p *peer) read() {
	r := bufio.NewReader(p.conn)
	for {
		packet, err := readPacket(r, p.v)
		p.mu.Lock()
		if err != nil {
			p.err = err
		} else {
			p.got = append(p.got, packettext.Format(packet))
		}
		p.change.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// readPacket reads one packet into memory of its own.
func readPacket(r *bufio.Reader, v mqtt.Version) (*mqtt.Packet, error) {
	for size := 2; ; size++ {
		head, err := r.Peek(size)
		if err != nil {
			return nil, err
		}
		h, n, err := mqtt.ParseHeader(head)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		whole := make([]byte, n+h.Length)
		if _, err := io.ReadFull(r, whole); err != nil {
			return nil, err
		}
		p := &mqtt.Packet{}
		if err := p.Decode(v, h, whole[n:], mqtt.Limits{}); err != nil {
			return nil, fmt.Errorf("the broker sent %x: %w", whole, err)
		}
		return p, nil
	}
}

// send sends packets, given as lines, in one write.
func (p *peer) send(lines ...string) {
	p.t.Helper()
	var out []byte
	for _, line := range lines {
		var err error
		if out, err = packettext.Encode(out, p.v, line); err != nil {
			p.t.Fatal(err)
		}
	}
	p.write(out)
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := p.conn.Write(b) // a connection that the broker has closed swallows it
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Fatal("the broker does not read")
	}
}

// wait waits, with mu held, until ok or out of patience.
func (p *peer) wait(ok func() bool) bool {
	timer := time.AfterFunc(patience, func() { p.mu.Lock(); defer p.mu.Unlock(); p.change.Broadcast() })
	defer timer.Stop()
	for deadline := time.Now().Add(patience); !ok() && time.Now().Before(deadline); {
		p.change.Wait()
	}
	return ok()
}

// next takes out the next packet; "closed" when the connection ended, "nothing" when nothing came.
func (p *peer) next() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wait(func() bool { return len(p.got) > 0 || p.err != nil })
	switch {
	case len(p.got) > 0:
		line := p.got[0]
		p.got = p.got[1:]
		return line
	case p.err != nil:
		return "closed"
	}
	return "nothing"
}

// expect takes the next packets out: each has all the words of its line.
func (p *peer) expect(lines ...string) {
	p.t.Helper()
	for _, want := range lines {
		if got := p.next(); !alike(got, want) {
			p.t.Fatalf("got %s; want %s", got, want)
		}
	}
}

func alike(got, want string) bool {
	have := strings.Fields(got)
	for i, w := range strings.Fields(want) {
		if i == 0 && have[0] != w || !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// idle fails if something came that the broker sent before it answers a PINGREQ sent now.
func (p *peer) idle() {
	p.t.Helper()
	p.send("PINGREQ")
	p.expect("PINGRESP")
}

// subscribe subscribes, "filter qos=1" and so on, and takes SUBACK.
func (p *peer) subscribe(filters string) {
	p.t.Helper()
	p.send("SUBSCRIBE id=60000 " + filters)
	if got := p.next(); !strings.HasPrefix(got, "SUBACK") || strings.Contains(got, "0x8") || strings.Contains(got, "0x9") {
		p.t.Fatalf("SUBSCRIBE %s: %s", filters, got)
	}
}

// gone waits until the connection has ended, whatever came before.
func (p *peer) gone() {
	p.t.Helper()
	for {
		switch p.next() {
		case "closed":
			return
		case "nothing":
			p.t.Fatal("the connection stays open")
		}
	}
}

// leave ends the connection without DISCONNECT and waits until the broker has seen it.
func (p *peer) leave(s *served, connected int64) {
	p.t.Helper()
	p.conn.Close()
	s.until("the client is gone", func(st broker.Stats) bool { return st.Connected == connected })
}

// dialRefused waits until nobody listens any more.
func (s *served) dialRefused() {
	s.t.Helper()
	if !reached(func() bool {
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}) {
		s.t.Fatal("somebody listens")
	}
}

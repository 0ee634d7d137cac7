package broker_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// stressFor is how long TestStress runs; SAPWOOD_STRESS says otherwise, as "10s".
const stressFor = 2 * time.Second

// TestStress lets clients do at random what clients do, many with the same few ids, and then looks whether the
// broker's books balance and nothing is left.
func TestStress(t *testing.T) {
	for _, overlap := range []broker.Overlap{broker.OverlapEach, broker.OverlapMerge} {
		t.Run(string(overlap), func(t *testing.T) { stress(t, overlap) })
	}
}

func stress(t *testing.T, overlap broker.Overlap) {
	lasts := stressFor / 2
	if text := os.Getenv("SAPWOOD_STRESS"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		lasts = d / 2
	}
	var missed atomic.Int64 // by the observer
	st := mem.New()
	o := with(func(l *broker.Limits, d *broker.Delivery) {
		d.Overlapping, l.MaxQueuedMessages, l.MaxOutgoingBytes = overlap, 50, 64<<10
		d.Overflow = []broker.Overflow{broker.OverflowRefuse, broker.OverflowDropOldest, broker.OverflowDisconnect}[rand.IntN(3)]
		d.Shared = []broker.Strategy{broker.LeastLoaded, broker.RoundRobin, broker.StickyTopic, broker.StickyPublisher}[rand.IntN(4)]
	})
	o.Store, o.Shards = st, 4
	o.Sums.Longest = time.Second
	o.Events = func(e broker.Event) {
		if x, ok := e.(broker.Dropped); ok && x.ClientID == "observer" {
			missed.Add(int64(x.Count))
		}
	}
	s := serve(t, o)
	observer := s.client("id=observer")
	observer.subscribe("# qos=0 rh=2")
	goroutines, files := runtime.NumGoroutine(), openFiles()
	end := time.Now().Add(lasts)
	var all sync.WaitGroup
	for n := range 24 {
		seed := rand.Uint64()
		all.Go(func() {
			for r := rand.New(rand.NewPCG(seed, uint64(n))); time.Now().Before(end); {
				newRogue(t, s.addr, r).live(r)
			}
		})
	}
	all.Wait()
	s.plain("id=barrier clean").Close() // behind all that still wait to be accepted, closed long since
	s.until("only the observer is left", func(st broker.Stats) bool { return st.Connected == 1 && st.Sockets == 1 })
	for i := range rogueIDs {
		s.Control().EndSession(t.Context(), fmt.Sprint("rogue", i), "the end") // if there is one
	}
	s.until("nothing is left of them", func(got broker.Stats) bool {
		kept := st.Stats()
		return got.Sessions == 1 && got.QueuedBytes == 0 && got.Subscriptions == 1 && got.Shared == 0 && kept.Sessions == 0 && kept.Messages == 0 && kept.Subscriptions == 0
	})
	got := s.stats()
	seen := int64(0)
	if !reached(func() bool {
		observer.mu.Lock()
		defer observer.mu.Unlock()
		seen = int64(len(observer.got))
		return seen+missed.Load() == int64(got.PublishReceived+got.Wills)
	}) {
		t.Errorf("%d published and %d wills; the observer saw %d and missed %d", got.PublishReceived, got.Wills, seen, missed.Load())
	}
	if got.Panics != 0 || got.StoreErrors != 0 || got.Connects != got.Disconnects+1 {
		t.Errorf("%d panics, %d store errors, %d connects, %d disconnects", got.Panics, got.StoreErrors, got.Connects, got.Disconnects)
	}
	if !reached(func() bool { return runtime.NumGoroutine() <= goroutines && openFiles() <= files }) {
		t.Errorf("%d goroutines and %d files, before %d and %d", runtime.NumGoroutine(), openFiles(), goroutines, files)
	}
	t.Logf("%s %s %s: %d connects, %d takeovers, %d published, %d sent, %d wills, dropped %v", overlap, o.Delivery.Overflow, o.Delivery.Shared,
		got.Connects, got.Takeovers, got.PublishReceived, got.PublishSent, got.Wills, got.Dropped[1:])
}

// openFiles is the number of file descriptors, 0 where nobody tells.
func openFiles() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

const rogueIDs = 40

// rogue is a client without manners: it forgets acknowledgements, reads late, and leaves as it likes.
type rogue struct {
	net.Conn
	v  mqtt.Version
	mu sync.Mutex // guards id and writing
	id uint16
}

func newRogue(t *testing.T, addr string, r *rand.Rand) *rogue {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return nil
	}
	conn.SetDeadline(time.Now().Add(patience))
	return &rogue{Conn: conn, v: []mqtt.Version{mqtt.V311, mqtt.V5}[r.IntN(2)]}
}

func (g *rogue) tell(b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.Write(b) // the broker may have closed
}

func (g *rogue) live(r *rand.Rand) {
	if g == nil {
		return
	}
	defer g.Close()
	c := mqtt.Connect{Version: g.v, ClientID: fmt.Appendf(nil, "rogue%d", r.IntN(rogueIDs)), CleanStart: r.IntN(3) == 0, KeepAlive: 60}
	if r.IntN(2) == 0 {
		c.Props.Has = c.Props.Has.With(mqtt.PropSessionExpiry).With(mqtt.PropReceiveMaximum)
		c.Props.SessionExpiry, c.Props.ReceiveMaximum = uint32(1+r.IntN(50)), uint16(1+r.IntN(5))
	}
	if r.IntN(3) == 0 {
		c.Will = &mqtt.Will{Topic: topicOf(r), Payload: []byte("will"), QoS: mqtt.QoS(r.IntN(3))}
	}
	g.tell(c.AppendTo(nil))
	reader, seed := make(chan struct{}), r.Uint64()
	go func() { defer close(reader); g.read(rand.New(rand.NewPCG(seed, 1))) }()
	var out []byte
	for range r.IntN(40) {
		out = g.act(r, out[:0])
		g.tell(out)
		if r.IntN(4) == 0 {
			runtime.Gosched()
		}
	}
	if r.IntN(2) == 0 {
		g.tell((&mqtt.Disconnect{Reason: mqtt.ReasonCode(4 * r.IntN(2))}).AppendTo(nil, g.v, 0))
	}
	if r.IntN(2) == 0 {
		g.Conn.(*net.TCPConn).SetLinger(0)
	}
	g.Close()
	<-reader
}

func topicOf(r *rand.Rand) []byte { return fmt.Appendf(nil, "s/%d/%d", r.IntN(3), r.IntN(5)) }

// act is the next thing it does.
func (g *rogue) act(r *rand.Rand, out []byte) []byte {
	g.mu.Lock()
	g.id = g.id%1000 + 1
	id := g.id
	g.mu.Unlock()
	filter := []string{"s/#", "s/+/1", "s/0/2", "$share/a/s/#", "$share/b/s/1/+", "$share/a/s/2/2"}[r.IntN(6)]
	switch r.IntN(10) {
	case 0, 1:
		p := mqtt.Subscribe{ID: id, Filters: []mqtt.Subscription{{Filter: []byte(filter), Options: mqtt.SubOptions(r.IntN(3))}}}
		if r.IntN(2) == 0 && g.v == mqtt.V5 {
			p.Props.Has = p.Props.Has.With(mqtt.PropSubscriptionID)
			p.Props.SubscriptionID = uint32(1 + r.IntN(1000))
		}
		return p.AppendTo(out, g.v)
	case 2:
		return (&mqtt.Unsubscribe{ID: id, Filters: [][]byte{[]byte(filter)}}).AppendTo(out, g.v)
	default:
		p := mqtt.Publish{Topic: topicOf(r), Payload: make([]byte, r.IntN(3000)), QoS: mqtt.QoS(r.IntN(3)), Retain: r.IntN(10) == 0}
		if p.QoS > 0 {
			p.ID = id
		}
		if g.v == mqtt.V5 && r.IntN(5) == 0 {
			p.Props.HasExpiry, p.Props.Expiry = true, uint32(r.IntN(3))
		}
		return p.AppendTo(out, g.v)
	}
}

func (g *rogue) read(r *rand.Rand) {
	in := bufio.NewReader(g.Conn)
	for {
		p, err := readPacket(in, g.v)
		if err != nil {
			return
		}
		answer, id := mqtt.Type(0), p.Ack.ID
		switch {
		case r.IntN(20) == 0: // forgotten
		case p.Type == mqtt.PUBLISH && p.Publish.QoS > 0:
			answer, id = mqtt.PUBACK+mqtt.Type(p.Publish.QoS-1), p.Publish.ID
		case p.Type == mqtt.PUBREC && !p.Ack.Reason.Failed():
			answer = mqtt.PUBREL
		case p.Type == mqtt.PUBREL:
			answer = mqtt.PUBCOMP
		}
		if answer != 0 {
			g.tell((&mqtt.Ack{ID: id}).AppendTo(nil, answer, g.v, 0))
		}
	}
}

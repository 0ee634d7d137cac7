package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// paced is a store that notes how many changes of a kind stand in one batch at most.
type paced struct {
	store.Store
	op   store.Op
	most atomic.Int64
}

func (p *paced) Commit(b *store.Batch) {
	n := int64(0)
	for i := range b.Records {
		if b.Records[i].Op == p.op {
			n++
		}
	}
	for most := p.most.Load(); n > most && !p.most.CompareAndSwap(most, n); most = p.most.Load() {
	}
	p.Store.Commit(b)
}

// crowd returns a store with n offline sessions, made by f, and one that is subscribed to will.
func crowd(t *testing.T, n int, f func(*store.Session)) *mem.Store {
	t.Helper()
	st := mem.New()
	b := store.Batch{}
	for id := store.SessionID(1); id <= store.SessionID(n); id++ {
		meta := &store.Session{ID: id, ClientID: fmt.Sprint("c", id), Version: mqtt.V5, Expiry: 1000, Disconnected: time.Now().UnixMilli(), Unsent: 1}
		f(meta)
		b.Records = append(b.Records,
			store.Record{Op: store.PutSession, Session: id, Meta: meta},
			store.Record{Op: store.Subscribe, Session: id, Subscription: store.Subscription{Filter: fmt.Sprint("to/c", id), Options: 1}},
			store.Record{Op: store.Enqueue, Message: (&mqtt.Message{Topic: fmt.Append(nil, "to/c", id), Payload: []byte("m"), QoS: 1}).Keep(), Targets: []store.Target{{Session: id, Delivery: store.Delivery{QoS: 1}}}})
	}
	b.Done = func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	st.Commit(&b)
	return st.Reopen()
}

// pings sends PINGREQ after PINGREQ until done, and returns how many were answered and the longest wait.
func (p *peer) pings(done func() bool) (n int, longest time.Duration) {
	p.t.Helper()
	for ; !done(); n++ {
		at := time.Now()
		p.idle()
		longest = max(longest, time.Since(at))
	}
	return n, longest
}

// TestSessionsExpireAtOnce: sessions that expire in the same second are deleted some at a time, and others are served
// meanwhile (F242; 20,000 of the 100,000).
func TestSessionsExpireAtOnce(t *testing.T) {
	t.Parallel()
	const n = 20_000
	st := crowd(t, n, func(m *store.Session) { m.Disconnected -= 999_000 })
	p := &paced{Store: st, op: store.EndSession}
	s := serve(t, broker.Options{Store: p, Shards: 1})
	c := s.client("id=c")
	reached(func() bool { return st.Stats().Sessions < n })
	pongs, longest := c.pings(func() bool { return st.Stats().Sessions == 0 })
	if got := s.stats(); got.SessionsExpired != n || got.Subscriptions != 0 || got.QueuedBytes != 0 {
		t.Errorf("%d expired, %d subscriptions, %d bytes queued", got.SessionsExpired, got.Subscriptions, got.QueuedBytes)
	}
	if most := p.most.Load(); most > 2000 || most == 0 || pongs == 0 {
		t.Errorf("%d ended in one batch, %d pings answered meanwhile", most, pongs)
	}
	t.Logf("%d pings answered meanwhile, the slowest after %v", pongs, longest)
}

// TestWillsAtOnce: wills that are due at the same moment are published some at a time, all of them, and others are
// served meanwhile (F241; 20,000 of the 100,000).
func TestWillsAtOnce(t *testing.T) {
	t.Parallel()
	const n = 20_000
	st := crowd(t, n, func(m *store.Session) {
		m.Disconnected -= 9_000
		m.Will = &store.Will{Message: (&mqtt.Message{Topic: []byte("w/" + m.ClientID), Payload: []byte("gone"), QoS: 1, Retain: true}).Keep(), Delay: 10}
	})
	p := &paced{Store: st, op: store.Retain}
	s := serve(t, broker.Options{Store: p, Shards: 1})
	c := s.client("id=c")
	reached(func() bool { return st.Stats().Retained > 0 })
	pongs, longest := c.pings(func() bool { return st.Stats().Retained == n })
	if got := s.stats(); got.Wills != n || got.Retained != n || got.Sessions != n+1 {
		t.Errorf("%d wills, %d retained, %d sessions", got.Wills, got.Retained, got.Sessions)
	}
	if most := p.most.Load(); most > 2000 || most == 0 || pongs == 0 {
		t.Errorf("%d published in one batch, %d pings answered meanwhile", most, pongs)
	}
	t.Logf("%d pings answered meanwhile, the slowest after %v", pongs, longest)
}

// TestHerd: after a restart all devices come back at once; each has its session and what waited for it (F240; 1,000 of
// the 50,000).
func TestHerd(t *testing.T) {
	t.Parallel()
	const n = 1000
	s := serve(t, broker.Options{Store: crowd(t, n, func(*store.Session) {}), Shards: 2})
	took := make([]time.Duration, n)
	var all sync.WaitGroup
	begin := time.Now()
	for i := range n {
		all.Go(func() {
			at := time.Now()
			p := s.dial(mqtt.V5)
			p.send(fmt.Sprintf("CONNECT id=c%d expiry=1000", i+1))
			if ack := p.next(); !strings.Contains(ack, "CONNACK 0x00 present") {
				t.Errorf("c%d: %s", i+1, ack)
				return
			}
			took[i] = time.Since(at)
			if got := p.next(); got != fmt.Sprintf(`PUBLISH qos=1 id=1 topic=to/c%d "m"`, i+1) {
				t.Errorf("c%d got %s", i+1, got)
			}
			p.send("PUBACK id=1")
		})
	}
	all.Wait()
	s.until("everybody is served", func(st broker.Stats) bool { return st.Connected == n && st.QueuedBytes == 0 })
	slices.Sort(took)
	t.Logf("all back after %v; CONNACK after %v at the median, %v at the 99th percentile", time.Since(begin), took[n/2], took[n*99/100])
}

// TestRetainedAtOnce: who subscribes to everything right after a restart gets every retained message, as later (F244).
func TestRetainedAtOnce(t *testing.T) {
	t.Parallel()
	const n = 20_000
	st := mem.New()
	b := store.Batch{}
	for i := range n {
		b.Records = append(b.Records, store.Record{Op: store.Retain, Message: (&mqtt.Message{Topic: fmt.Appendf(nil, "r/%d/%d", i%100, i), Payload: []byte("r"), Retain: true}).Keep()})
	}
	st.Commit(&b)
	s := serve(t, broker.Options{Store: st.Reopen()})
	for range 2 {
		c := s.client("id=c")
		c.subscribe("# qos=0")
		for i := range n {
			if got := c.next(); !strings.HasPrefix(got, "PUBLISH") {
				t.Fatalf("%d retained messages, then %s", i, got)
			}
		}
		c.idle()
		c.leave(s, 0)
	}
}

// panicking is a store whose figures, and queues, cannot be had a few times.
type panicking struct {
	store.Store
	stats, reads atomic.Int64
}

func (p *panicking) Stats() store.Stats {
	if p.stats.Add(1) <= 2 {
		panic("no figures")
	}
	return p.Store.Stats()
}

func (p *panicking) Read(id store.SessionID, from, to uint64, dst []store.Queued, maxBytes int) ([]store.Queued, uint64, error) {
	if p.reads.Add(1) <= 1 {
		panic("no queue")
	}
	return p.Store.Read(id, from, to, dst, maxBytes)
}

// TestTaskPanics: a panic in the broker's own business ends neither the broker nor that business (F238).
func TestTaskPanics(t *testing.T) {
	t.Parallel()
	st := mem.New()
	s := serve(t, broker.Options{Store: st})
	c := s.client("id=c expiry=100")
	c.subscribe("t qos=1")
	c.leave(s, 0)
	pub := s.client("id=pub")
	pub.send(`PUBLISH qos=1 id=1 topic=t "t"`)
	pub.expect("PUBACK id=1")
	s = serve(t, broker.Options{Store: &panicking{Store: st.Reopen()}, SysEvery: 10 * time.Millisecond})
	c, _ = s.join("id=c expiry=100")
	c.expect("DISCONNECT 0x80", "closed") // its queue could not be read, this time
	c, _ = s.join("id=c expiry=100")
	c.expect(`PUBLISH topic=t "t"`)
	watch := s.client("id=watch")
	watch.subscribe("$SYS/broker/store/messages/count qos=0")
	watch.expect("PUBLISH topic=$SYS/broker/store/messages/count")
	if got := s.stats(); got.Panics != 3 {
		t.Errorf("%d panics", got.Panics)
	}
}

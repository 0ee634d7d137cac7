package broker_test

import (
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// loaded is a broker whose memory is what the test says, in percent.
type loaded struct {
	*served
	percent atomic.Int64
	mu      sync.Mutex
	levels  []overload.Level
}

func overloaded(t testing.TB, shards int, change func(*broker.Limits)) *loaded {
	l := &loaded{}
	c := overload.Defaults()
	c.Calm, c.LagConnects, c.LagQoS0 = 0, 0, 0
	o := broker.Options{
		Shards: shards, Overload: &c,
		Memory: func() (int64, int64) { return l.percent.Load() << 20, 100 << 20 },
		Events: func(e broker.Event) {
			if s, ok := e.(broker.OverloadChanged); ok {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.levels = append(l.levels, s.Level)
			}
		},
	}
	limits := broker.DefaultLimits()
	change(&limits)
	o.Limits = &limits
	l.served = serve(t, o)
	return l
}

// at waits until the broker has noticed that so much memory is in use.
func (l *loaded) at(percent int64, want overload.Level) {
	l.t.Helper()
	l.percent.Store(percent)
	if !reached(func() bool { return l.Overload().Level == want }) {
		l.t.Fatalf("at %d %%: %+v", percent, l.Overload())
	}
}

// TestShedding: as memory fills up, first new connections are refused, then QoS 0 of the heaviest is dropped, then QoS 1 and 2
// are refused; what is acknowledged and the keep-alives of those connected go on all the time; and all comes back (F141).
func TestShedding(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 4} {
		l := overloaded(t, shards, func(*broker.Limits) {})
		sub := l.client("id=sub")
		sub.subscribe("t qos=2")
		light, heavy, old := l.client("id=light"), l.client("id=heavy"), l.client("v3.1.1 clean id=old keepalive=3")
		awake := pinging([]*peer{old})
		all := func() {
			t.Helper()
			light.send(`PUBLISH qos=1 id=1 topic=t "1"`, `PUBLISH qos=2 id=2 topic=t "2"`)
			light.expect("PUBACK id=1", "PUBREC id=2")
			light.send("PUBREL id=2", `PUBLISH topic=t "0"`)
			light.expect("PUBCOMP id=2")
			sub.expect(`PUBLISH "1"`, `PUBLISH "2"`, `PUBLISH "0"`)
		}
		all()
		if err := l.Ready(); err != nil {
			t.Error(err)
		}
		l.at(86, overload.Connects)
		if got := l.refused("id=new"); !alike(got, "CONNACK 0x89") {
			t.Error(got)
		}
		if got := l.refused("v3.1.1 clean id=new"); !alike(got, "CONNACK 0x88") { // 0x03 on the wire
			t.Error(got)
		}
		if err := l.Ready(); err == nil || !strings.Contains(err.Error(), "86 MiB of 100 MiB") {
			t.Error(err)
		}
		all()
		l.at(91, overload.QoS0)
		light.send(`PUBLISH topic=t "light"`)
		sub.expect(`PUBLISH "light"`)
		var flood []string
		for range 200 {
			flood = append(flood, `PUBLISH topic=other "`+strings.Repeat("x", 1000)+`"`)
		}
		heavy.send(flood...)
		heavy.send(`PUBLISH qos=1 id=1 topic=t "kept"`)
		heavy.expect("PUBACK id=1")
		sub.expect(`PUBLISH "kept"`)
		if n := l.stats().Dropped[session.Overloaded]; n < 150 || n > 198 {
			t.Errorf("%d of 200 dropped", n)
		}
		awake() // what is looked at is its keep-alive from here on
		old.send("UNSUBSCRIBE id=1 nothing")
		for got := old.next(); !alike(got, "UNSUBACK id=1"); got = old.next() {
			if got != "PINGRESP" {
				t.Fatal(got)
			}
		}
		l.at(96, overload.Publish)
		light.send(`PUBLISH qos=1 id=1 topic=t "no"`, `PUBLISH qos=2 id=2 topic=t "no"`)
		light.expect(`PUBACK id=1 0x97 reason="the`, "PUBREC id=2 0x97")
		old.send(`PUBLISH qos=1 id=1 topic=t "later"`) // it cannot be told: it is not read
		for _, p := range []*peer{sub, light, heavy} {
			p.idle()
		}
		witness := time.Now()
		l.until("longer than its keep-alive", func(st broker.Stats) bool {
			return time.Since(witness) > 4800*time.Millisecond && st.Connected == 4
		})
		st := l.stats()
		if st.Shed[overload.Connects] != 2 || st.Shed[overload.QoS0] < 150 || st.Shed[overload.Publish] != 3 { // each once, however often it was offered
			t.Errorf("shed: %v", st.Shed)
		}
		l.at(20, overload.Normal)
		old.expect("PUBACK id=1")
		sub.expect(`PUBLISH "later"`)
		all()
		l.client("id=new")
		if err := l.Ready(); err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		if want := []overload.Level{1, 2, 3, 2, 1, 0}; !slices.Equal(l.levels, want) {
			t.Errorf("told %v", l.levels)
		}
		l.mu.Unlock()
	}
}

// TestSheddingSlow: QoS 0 for a client that does not read is dropped earlier than usual.
func TestSheddingSlow(t *testing.T) {
	t.Parallel()
	l := overloaded(t, 1, func(*broker.Limits) {})
	deaf, err := net.Dial("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	deaf.(*net.TCPConn).SetReadBuffer(4 << 10)
	hello := (&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("deaf")}).AppendTo(nil)
	sub := mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: []byte("t")}}}
	if _, err := deaf.Write(sub.AppendTo(hello, mqtt.V311)); err != nil {
		t.Fatal(err)
	}
	l.until("it has subscribed", func(st broker.Stats) bool { return st.Subscriptions == 1 })
	l.at(91, overload.QoS0)
	// New connections are refused: the messages come from the broker itself.
	m := mqtt.Message{Topic: []byte("t"), Payload: make([]byte, 16<<10)}
	if !reached(func() bool {
		if _, err := l.Control().Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		return l.stats().Dropped[session.Overloaded] > 0
	}) {
		t.Error("nothing was dropped")
	}
	if st := l.stats(); st.Dropped[session.SlowConsumer] != 0 {
		t.Errorf("%d dropped as slow", st.Dropped[session.SlowConsumer])
	}
}

// TestSetOverload: watermarks change while the broker runs, and scarce descriptors close connections without a word (F120).
func TestSetOverload(t *testing.T) {
	l := overloaded(t, 1, func(*broker.Limits) {})
	c := l.client("id=c")
	if err := l.SetOverload(overload.Config{Descriptors: 101}); err == nil {
		t.Error("101 percent")
	}
	l.percent.Store(99)
	if err := l.SetOverload(overload.Config{MemoryConnects: 0, Descriptors: 1}); err != nil {
		t.Fatal(err)
	}
	if overload.Descriptors() > 6400 { // 64 are counted beside connections
		if err := l.SetOverload(overload.Config{MemoryConnects: 99}); err != nil {
			t.Fatal(err)
		}
		l.at(99, overload.Connects)
		return
	}
	if !reached(func() bool { return l.Overload().Descriptors }) {
		t.Fatalf("%+v", l.Overload())
	}
	if !l.shut() {
		t.Error("a new connection may come in")
	}
	c.idle()
}

// step is what was shed when the level changed.
type step struct {
	level overload.Level
	shed  [overload.Publish + 1]uint64
}

// ramped is a broker for which the bytes of all queues stand for memory, against 8 MiB: a thousandth of a usual machine.
type ramped struct {
	*served
	broker atomic.Pointer[broker.Broker]
	mu     sync.Mutex
	steps  []step
	most   atomic.Int64 // bytes
}

const rampLimit = 8 << 20

func (r *ramped) memory() (used, limit int64) {
	if b := r.broker.Load(); b != nil {
		st, _ := b.Stats()
		used = st.QueuedBytes
		r.most.Store(max(r.most.Load(), used))
	}
	return used, rampLimit
}

func (r *ramped) told(e broker.Event) {
	s, ok := e.(broker.OverloadChanged)
	if !ok {
		return
	}
	st, _ := r.broker.Load().Stats()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, step{s.Level, st.Shed})
}

func newRamp(t *testing.T) *ramped {
	r := &ramped{}
	c := overload.Defaults()
	c.MemoryConnects, c.MemoryQoS0, c.MemoryPublish, c.Calm = 50, 65, 80, 300*time.Millisecond
	c.LagConnects, c.LagQoS0 = 0, 0 // of a busy test machine
	rates := limit.DefaultRates()
	rates.Classes = []limit.Class{{Name: "ramp", Clients: []string{"pub*"}, Together: limit.Rate{PublishBytes: 4 << 20}}}
	rates.Burst = 50 * time.Millisecond // so that no step is missed
	r.served = serve(t, broker.Options{Shards: 2, Overload: &c, Rates: &rates, Memory: r.memory, Events: r.told})
	r.broker.Store(r.Broker)
	return r
}

// pinging sends PINGREQ for clients every half of their keep-alive until the function it returns is called.
func pinging(clients []*peer) (stop func()) {
	end := make(chan struct{})
	var all sync.WaitGroup
	for _, p := range clients {
		all.Go(func() {
			tick := time.NewTicker(500 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-end:
					return
				case <-tick.C:
					p.send("PINGREQ")
				}
			}
		})
	}
	return func() { close(end); all.Wait() }
}

// flood publishes to sessions that are away until each publisher has been refused so often, and QoS 0 to nobody meanwhile.
func (r *ramped) flood(publishers, refusals int) {
	var all, zero sync.WaitGroup
	end := make(chan struct{})
	for i := range publishers {
		p := r.client(fmt.Sprint("id=pub", i))
		all.Go(func() {
			for refused := 0; refused < refusals; {
				p.send(fmt.Sprintf(`PUBLISH qos=1 id=1 topic=flood/%d "%s"`, i, strings.Repeat("x", 4000)))
				switch got := p.next(); {
				case alike(got, "PUBACK id=1 0x97"):
					refused++
				case !alike(got, "PUBACK id=1"):
					r.t.Errorf("the publisher got %s", got)
					return
				}
			}
		})
	}
	heavy := r.client("id=heavy")
	zero.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				heavy.send(publishes(200, "")...)
			}
		}
	})
	all.Wait()
	close(end)
	zero.Wait()
}

// TestRamp drives a broker beyond what it can bear and back: publishers fill the queues of sessions that are away until they
// are refused. On the way it sheds in its order, those connected keep their keep-alive, and memory stays bounded; when the load goes it
// recovers without a restart (F141).
func TestRamp(t *testing.T) {
	t.Parallel()
	const sessions, quiets, publishers, refusals = 4, 20, 4, 200
	r := newRamp(t)
	for i := range sessions {
		away := r.client(fmt.Sprintf("id=away%d expiry=100", i))
		away.subscribe(fmt.Sprintf("flood/%d qos=1", i))
		away.leave(r.served, 0)
	}
	var quiet []*peer
	for i := range quiets {
		p := r.client(fmt.Sprintf("id=quiet%d keepalive=5", i))
		p.subscribe("news qos=1")
		quiet = append(quiet, p)
	}
	stop := pinging(quiet)
	r.flood(publishers, refusals)
	if got := r.refused("id=late"); !alike(got, "CONNACK 0x89") {
		t.Errorf("a new connection: %s", got)
	}
	if r.Ready() == nil {
		t.Error("it is ready")
	}
	if st := r.stats(); st.Connected != quiets+publishers+1 {
		t.Errorf("%d connected", st.Connected)
	}
	for i := range sessions { // the load goes
		if err := r.Control().EndSession(t.Context(), fmt.Sprint("away", i), "the load goes"); err != nil {
			t.Fatal(err)
		}
	}
	if !reached(func() bool { return r.Ready() == nil }) {
		t.Fatalf("it does not recover: %+v", r.Overload())
	}
	late := r.client("id=late")
	late.send(`PUBLISH qos=1 id=1 topic=news "after"`)
	late.expect("PUBACK id=1")
	stop()
	for _, p := range quiet {
		got := p.next()
		for ; got == "PINGRESP"; got = p.next() {
		}
		if !alike(got, `PUBLISH topic=news "after"`) {
			t.Fatalf("a quiet client got %s", got)
		}
	}
	r.check(refusals * publishers)
}

// check looks at the order of what was shed.
func (r *ramped) check(refused int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var levels []int
	for _, s := range r.steps {
		levels = append(levels, int(s.level))
		for l := s.level; l <= overload.Publish && len(levels) <= int(s.level); l++ { // on the way up
			if s.shed[l] != 0 {
				r.t.Errorf("level %d: shed %v before", s.level, s.shed)
			}
		}
	}
	if want := []int{1, 2, 3, 2, 1, 0}; !slices.Equal(levels, want) {
		r.t.Errorf("levels %v, want %v", levels, want)
	}
	st := r.stats()
	if st.Shed[overload.Connects] == 0 || st.Shed[overload.QoS0] == 0 || st.Shed[overload.Publish] < uint64(refused) {
		r.t.Errorf("shed %v", st.Shed)
	}
	if most := r.most.Load(); most > rampLimit {
		r.t.Errorf("%d KiB were queued", most>>10)
	}
	r.t.Logf("at most %d KiB queued; shed %v", r.most.Load()>>10, st.Shed)
}

// TestRampMemory is the ramp with what the process really holds, against 48 MiB more than it holds now: publishers fill queues until they
// are refused, the process stays below its limit, and recovers when the queues go. No other test runs meanwhile.
func TestRampMemory(t *testing.T) {
	if raced {
		t.Log("the race detector holds memory of its own")
		return
	}
	debug.FreeOSMemory() // what other tests have left
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	most := int64(before.Sys-before.HeapReleased) + 48<<20
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(most))
	c := overload.Defaults()
	c.Calm = 250 * time.Millisecond
	o := with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxQueuedMessages, l.MaxQueuedBytes = 1_000_000, 1<<40 })
	o.Shards, o.Overload = 2, &c
	s := serve(t, o)
	away := s.client("id=away expiry=100")
	away.subscribe("flood qos=1")
	away.leave(s, 0)
	by, pub := s.client("id=by"), s.client("id=pub")
	payload := strings.Repeat("x", 8000)
	sent, refused := 0, 0
	for refused < 50 && sent < 50_000 {
		pub.send(`PUBLISH qos=1 id=1 topic=flood "` + payload + `"`)
		switch got := pub.next(); {
		case alike(got, "PUBACK 0x97"):
			refused++
		case alike(got, "PUBACK"):
			sent++
		default:
			t.Fatal(got)
		}
		if sent%500 == 0 {
			by.idle()
		}
	}
	by.idle()
	st := s.Overload()
	if refused < 50 || st.Level != overload.Publish || s.stats().QueuedBytes > most {
		t.Errorf("%d KiB were queued before %+v; %d refused", s.stats().QueuedBytes>>10, st, refused)
	}
	t.Logf("%d KiB were queued: %s", s.stats().QueuedBytes>>10, st.Why)
	if err := s.Control().EndSession(t.Context(), "away", "the load goes"); err != nil {
		t.Fatal(err)
	}
	if !reached(func() bool { runtime.GC(); return s.Ready() == nil }) {
		t.Fatalf("it does not recover: %+v", s.Overload())
	}
	pub.send(`PUBLISH qos=1 id=1 topic=flood "x"`)
	pub.expect("PUBACK 0x10")
	s.client("id=new")
}

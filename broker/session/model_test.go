package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestModel lets a faithful client, a lossy network, a store that now and then fails and a broker that
// crashes play at random, and then come to rest. Both ways: QoS 2 exactly once, QoS 1 at least once, first deliveries in the order of
// each publisher. F104, F105, F106. [MQTT5 MQTT-4.3.3-10] [MQTT5 MQTT-4.6.0-5] [MQTT5 MQTT-4.6.0-6] [MQTT311 MQTT-4.6.0-6]
func TestModel(t *testing.T) {
	seeds := 600
	if testing.Short() {
		seeds = 60
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		m := newModel(mqtt.Version(4+seed%2), r.IntN)
		m.world.rules.Inflight = uint16(1 + seed%7)
		if err := m.play(400); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, m.last(40))
		}
	}
}

// model is a session's world and a client that keeps all of MQTT's rules.
type model struct {
	*world
	pick    func(int) int
	log     []string
	version mqtt.Version
	down    []Effect      // on the wire to the client
	up      []mqtt.Packet // on the wire to the session
	mail    [2][]letter   // from the shards of two publishers, each in order
	sent    int           // messages enqueued
	from    []int         // by message: its publisher's shard
	got     []int         // as the client took them over, first times only
	times   map[int]int   // how often, by number
	removed map[int]bool  // by the operator
	holds   map[uint16]bool
	quiet   bool // no more mishaps

	// The client's own messages.
	published int
	flight    []flight
	quota     int
	routed    map[int]int // by number, only what is stored
	told      map[int]mqtt.ReasonCode
	qos       map[int]mqtt.QoS
}

type letter struct {
	m   *mqtt.Message
	d   mqtt.Delivery
	seq uint64
}

type flight struct {
	id      uint16
	n       int
	qos     mqtt.QoS
	release bool
}

func newModel(v mqtt.Version, pick func(int) int) *model {
	return &model{
		world: newWorld(), pick: pick, version: v, times: make(map[int]int), removed: make(map[int]bool), holds: make(map[uint16]bool),
		routed: make(map[int]int), told: make(map[int]mqtt.ReasonCode), qos: make(map[int]mqtt.QoS),
	}
}

func (m *model) note(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

func (m *model) last(n int) string {
	out := ""
	for _, l := range m.log[max(0, len(m.log)-n):] {
		out += l + "\n"
	}
	return out
}

func (m *model) play(steps int) error {
	if err := m.connect(); err != nil {
		return err
	}
	if err := m.effects(m.outcome(true)); err != nil { // a session that is not stored may be forgotten
		return err
	}
	for range steps {
		if err := m.step(); err != nil {
			return err
		}
		if err := m.check(); err != nil {
			return err
		}
	}
	m.quiet = true
	for i := 0; !m.atRest(); i++ {
		if i > 20000 {
			n, _ := m.s.Queued()
			return fmt.Errorf("does not come to rest: %d queued, %d in flight, wires %d and %d", n, len(m.flight), len(m.down), len(m.up))
		}
		if err := m.step(); err != nil {
			return err
		}
	}
	return m.verify()
}

func (m *model) atRest() bool {
	n, _ := m.s.Queued()
	return n == 0 && len(m.flight) == 0 && len(m.down) == 0 && len(m.up) == 0 && len(m.mail[0])+len(m.mail[1]) == 0 && m.s.Greeted()
}

func (m *model) verify() error {
	for n := range m.sent {
		if got := m.times[n]; got == 0 && !m.removed[n] || got > 1 && n%2 == 0 {
			return fmt.Errorf("message %d was delivered %d times", n, got)
		}
	}
	for shard := range m.mail {
		got := slices.DeleteFunc(slices.Clone(m.got), func(n int) bool { return m.from[n] != shard })
		if !slices.IsSorted(got) {
			return fmt.Errorf("first deliveries of a publisher out of order: %v", got)
		}
	}
	for n := range m.published {
		got, failed := m.routed[n], m.told[n].Failed()
		if m.qos[n] == 2 && got > 1 || got == 0 && !failed || failed && m.qos[n] == 2 && got != 0 {
			return fmt.Errorf("published message %d (QoS %d, answered %s) was routed %d times", n, m.qos[n], m.told[n], got)
		}
	}
	if _, bytes := m.s.Queued(); bytes != 0 {
		return fmt.Errorf("%d bytes left over", bytes)
	}
	return nil
}

// step does one thing, more often useful than not.
func (m *model) step() error {
	switch k := m.pick(40); {
	case k < 12:
		return m.receive()
	case k < 20:
		return m.serve()
	case k < 24:
		return m.effects(m.outcome(m.quiet || m.pick(30) > 0))
	case k < 28 && len(m.fetch) > 0:
		m.note("fetched")
		return m.effects(m.read(1 + m.pick(5)))
	case k < 30:
		return m.effects(m.did(m.s.Continue(m.turn, nil)))
	case k == 30:
		return m.effects(m.did(m.s.Drained(m.turn, nil)))
	case k < 33:
		return m.post(m.pick(2))
	case m.quiet && !m.s.Connected():
		return m.connect()
	case m.quiet:
	case k < 35:
		return m.enqueueOne()
	case k < 37:
		return m.publish()
	case k == 37 && m.pick(3) == 0:
		return m.removeOne()
	case k == 37:
		m.s.Blocked()
	case k == 38 && m.pick(3) == 0:
		return m.breakOff()
	case k == 39 && m.pick(12) == 0:
		m.note("crash")
		m.down, m.up, m.mail = nil, nil, [2][]letter{}
		m.restart()
	default:
		if !m.s.Connected() {
			return m.connect()
		}
	}
	return nil
}

func (m *model) connect() error {
	p := Params{Version: m.version, Expiry: Never}
	if m.version == mqtt.V5 {
		p.ReceiveMaximum = uint16(1 + m.pick(6))
	}
	m.down, m.up = nil, nil
	m.note("connect, Receive Maximum %d", p.ReceiveMaximum)
	return m.effects(m.attach(p, false))
}

func (m *model) breakOff() error {
	m.note("the connection breaks")
	m.down, m.up = nil, nil
	return m.effects(m.did(m.s.Closed(m.turn, nil)))
}

// enqueueOne has the store take a message, and mail sent to the session. Even numbers are QoS 2.
func (m *model) enqueueOne() error {
	n := m.sent
	m.sent++
	msg := &mqtt.Message{Topic: []byte("a"), Payload: []byte(strconv.Itoa(n)), QoS: 2}
	d := mqtt.Delivery{QoS: mqtt.QoS(2 - n%2)}
	shard := m.pick(2)
	m.from = append(m.from, shard)
	seq := m.enqueue(msg, &d)
	m.mail[shard] = append(m.mail[shard], letter{msg, d, seq})
	m.note("enqueue %d at %d", n, seq)
	return nil
}

// removeOne takes any message of the queue out of it, if it may be.
func (m *model) removeOne() error {
	if len(m.store.queue) == 0 {
		return nil
	}
	h := m.held(m.store.queue[m.pick(len(m.store.queue))].seq)
	if h.Seq == 0 || !m.s.Queue().Removable(&h) {
		return nil
	}
	n, _ := strconv.Atoi(string(h.Msg.Payload))
	m.note("remove %d at %d", n, h.Seq)
	m.removed[n] = true
	return m.effects(m.did(m.s.Continue(m.turn, m.s.Queue().Remove(&h, nil))))
}

func (m *model) post(shard int) error {
	if len(m.mail[shard]) == 0 {
		return nil
	}
	l := m.mail[shard][0]
	m.mail[shard] = m.mail[shard][1:]
	m.note("deliver %d", l.seq)
	return m.effects(m.did(m.s.Deliver(m.turn, l.m, &l.d, l.seq, nil)))
}

func (m *model) effects(do []Effect) error {
	for i := range do {
		e := do[i]
		switch e.Kind {
		case SendConnack, Send, SendPublish:
			if e.Kind != SendConnack && m.greet == 0 {
				return fmt.Errorf("%v before CONNACK", e.Type)
			}
			if m.shut {
				return fmt.Errorf("%v after Close", e.Type)
			}
			m.note("  down %v", short(&e))
			m.down = append(m.down, e)
		case Close:
			m.note("  close %v %s", e.Reason, e.Text)
			if e.Reason != mqtt.ImplementationSpecificError {
				return fmt.Errorf("closed with %s: %s", e.Reason, e.Text)
			}
			return m.breakOff()
		case Drop:
			if e.Why == Removed {
				break
			}
			return fmt.Errorf("dropped: %s", e.Why)
		}
	}
	return nil
}

func short(e *Effect) string {
	switch e.Kind {
	case SendConnack:
		return "CONNACK"
	case SendPublish:
		return fmt.Sprintf("PUBLISH %d %q qos %d dup %t", e.ID, e.Msg.Payload, e.QoS, e.Dup)
	}
	return fmt.Sprintf("%v %d %v", e.Type, e.ID, e.Reason)
}

func (m *model) answer(t mqtt.Type, id uint16) {
	m.up = append(m.up, mqtt.Packet{Type: t, Ack: mqtt.Ack{ID: id}})
}

// receive lets the client take a packet from the wire.
func (m *model) receive() error {
	if len(m.down) == 0 {
		return nil
	}
	e := m.down[0]
	m.down = m.down[1:]
	switch {
	case e.Kind == SendConnack:
		m.greeted()
	case e.Kind == SendPublish:
		n, _ := strconv.Atoi(string(e.Msg.Payload))
		if e.QoS == 2 {
			if !m.holds[e.ID] {
				m.take(n)
			}
			m.holds[e.ID] = true
			m.answer(mqtt.PUBREC, e.ID)
			break
		}
		m.take(n)
		m.answer(mqtt.PUBACK, e.ID)
	case e.Type == mqtt.PUBREL:
		delete(m.holds, e.ID)
		m.answer(mqtt.PUBCOMP, e.ID)
	default:
		m.acknowledged(&e)
	}
	return nil
}

func (m *model) take(n int) {
	if m.times[n]++; m.times[n] == 1 {
		m.got = append(m.got, n)
	}
}

// greeted has the client send again what is not acknowledged.
func (m *model) greeted() {
	m.quota = int(m.rules.ReceiveMaximum)
	for i := range m.flight {
		f := &m.flight[i]
		if f.release {
			m.answer(mqtt.PUBREL, f.id)
			continue
		}
		m.send(f, true)
	}
}

func (m *model) send(f *flight, dup bool) {
	m.quota--
	p := mqtt.Publish{Topic: []byte("t"), Payload: []byte(strconv.Itoa(f.n)), ID: f.id, QoS: f.qos, Dup: dup}
	m.up = append(m.up, mqtt.Packet{Type: mqtt.PUBLISH, Publish: p})
}

func (m *model) publish() error {
	if !m.s.Greeted() || m.quota <= 0 || len(m.down) > 0 && m.down[0].Kind == SendConnack {
		return nil
	}
	f := flight{n: m.published, qos: mqtt.QoS(1 + m.pick(2))}
	for f.id = 1; slices.ContainsFunc(m.flight, func(g flight) bool { return g.id == f.id }); f.id++ {
	}
	m.published++
	m.qos[f.n] = f.qos
	m.flight = append(m.flight, f)
	m.send(&f, false)
	return nil
}

func (m *model) acknowledged(e *Effect) {
	i := slices.IndexFunc(m.flight, func(f flight) bool { return f.id == e.ID })
	if i < 0 {
		return
	}
	f := &m.flight[i]
	switch {
	case e.Type == mqtt.PUBREC && f.qos == 2 && !e.Reason.Failed():
		f.release = true
		m.answer(mqtt.PUBREL, e.ID)
	case e.Type == mqtt.PUBACK && f.qos == 1, e.Type == mqtt.PUBREC && f.qos == 2 && !f.release, e.Type == mqtt.PUBCOMP && f.release:
		m.quota = min(m.quota+1, int(m.rules.ReceiveMaximum))
		if m.told[f.n] = e.Reason; e.Type == mqtt.PUBCOMP {
			m.told[f.n] = 0
		}
		m.flight = slices.Delete(m.flight, i, i+1)
	}
}

// serve lets the session take a packet from the wire; a PUBLISH is routed into the store.
func (m *model) serve() error {
	if len(m.up) == 0 {
		return nil
	}
	p := m.up[0]
	m.up = m.up[1:]
	m.note("up %v %d %d", p.Type, p.Ack.ID, p.Publish.ID)
	do := m.did(m.s.Packet(m.turn, &p, nil))
	if len(do) > 0 && do[0].Kind == Route {
		n, _ := strconv.Atoi(string(p.Publish.Payload))
		m.later(func(*kept) { m.routed[n]++ })
		do = append(do, m.did(m.s.Routed(m.turn, &p.Publish, mqtt.Success, m.turn.Batch, nil))...)
	}
	return m.effects(do)
}

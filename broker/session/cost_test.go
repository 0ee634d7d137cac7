package session

import (
	"testing"
	"unsafe"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// connected is a session on a connection, with a client that takes anything.
func connected(r *Rules, expiry uint32) *Session {
	s := New(r)
	s.Attach(Turn{Batch: 1}, Params{Version: mqtt.V5, Expiry: expiry}, true, nil)
	s.Stored(1, nil)
	return s
}

// TestCostOfMessages: the path of a message through the session allocates nothing.
func TestCostOfMessages(t *testing.T) {
	r := newWorld().rules
	r.Inflight, r.TopicAliases = 1000, 10
	do := make([]Effect, 0, 16)
	turn := Turn{Now: 1, Batch: 2}
	m := &mqtt.Message{Topic: []byte("a/b"), Payload: make([]byte, 64)}
	publish := func(q mqtt.QoS) *mqtt.Packet {
		return &mqtt.Packet{Type: mqtt.PUBLISH, Publish: mqtt.Publish{Topic: m.Topic, Payload: m.Payload, ID: 1, QoS: q}}
	}
	s := connected(r, 60)
	never := func(name string, f func()) {
		t.Helper()
		f()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	p0, p1 := publish(0), publish(1)
	never("PUBLISH QoS 0", func() { s.Packet(turn, p0, do) })
	never("PUBLISH QoS 1", func() {
		do := s.Packet(turn, p1, do)
		s.Routed(turn, &p1.Publish, mqtt.Success, 0, do)
	})
	never("PUBLISH QoS 1, stored", func() {
		do := s.Packet(turn, p1, do)
		turn.Batch++
		do = s.Routed(turn, &p1.Publish, mqtt.Success, turn.Batch, do)
		s.Stored(turn.Batch, do)
	})
	alias := publish(0)
	alias.Publish.Props.TopicAlias = 1
	s.Packet(turn, alias, do)
	never("PUBLISH by alias", func() {
		alias.Publish.Topic = nil
		s.Packet(turn, alias, do)
	})
	d0 := &mqtt.Delivery{}
	never("Deliver QoS 0", func() { s.Deliver(turn, m, d0, 0, do) })
	d1, seq := &mqtt.Delivery{QoS: 1}, uint64(0)
	ack := &mqtt.Packet{Type: mqtt.PUBACK}
	never("Deliver QoS 1 and PUBACK", func() {
		seq++
		do := s.Deliver(turn, m, d1, seq, do)
		ack.Ack.ID = do[len(do)-1].ID
		s.Packet(turn, ack, do)
	})
	ping := &mqtt.Packet{Type: mqtt.PINGREQ}
	never("PINGREQ", func() { s.Packet(turn, ping, do) })
}

// TestCostOfIdle: what a session weighs while nothing happens, without filters and messages themselves.
func TestCostOfIdle(t *testing.T) {
	most := func(name string, got, limit uintptr) {
		t.Helper()
		t.Logf("%s: %d bytes", name, got)
		if got > limit {
			t.Errorf("%s: %d bytes, the limit is %d", name, got, limit)
		}
	}
	session := unsafe.Sizeof(Session{}) + unsafe.Sizeof(Subscription{})
	most("subscribed at QoS 0, with its subscription", session, 160)
	most("a subscriber that had QoS 1 messages one by one", session+unsafe.Sizeof(outbound{})+unsafe.Sizeof(slot{}), 400)
	most("a stored session's answers, once they are given", unsafe.Sizeof(inbound{})+4*unsafe.Sizeof(reply{}), 160)
	most("a QoS 1 message in flight", unsafe.Sizeof(slot{}), 24)
	most("an acknowledgement that waits for the store", unsafe.Sizeof(reply{}), 24)
	most("an effect", unsafe.Sizeof(Effect{}), 128)
}

// BenchmarkPublish is a PUBLISH through Packet and Routed.
func BenchmarkPublish(b *testing.B) {
	for _, c := range []struct {
		name   string
		qos    mqtt.QoS
		stored bool
	}{{"qos0", 0, false}, {"qos1", 1, false}, {"qos1-stored", 1, true}, {"qos2", 2, false}} {
		b.Run(c.name, func(b *testing.B) {
			s := connected(newWorld().rules, 0)
			p := &mqtt.Packet{Type: mqtt.PUBLISH, Publish: mqtt.Publish{Topic: []byte("a/b"), Payload: make([]byte, 64), ID: 1, QoS: c.qos}}
			rel := &mqtt.Packet{Type: mqtt.PUBREL, Ack: mqtt.Ack{ID: 1}}
			do := make([]Effect, 0, 16)
			turn := Turn{Now: 1, Batch: 1}
			b.ReportAllocs()
			for b.Loop() {
				do = s.Packet(turn, p, do[:0])
				batch := uint64(0)
				if c.stored {
					turn.Batch++
					batch = turn.Batch
				}
				do = s.Routed(turn, &p.Publish, mqtt.Success, batch, do)
				if c.stored {
					do = s.Stored(batch, do)
				}
				if c.qos == 2 {
					do = s.Packet(turn, rel, do)
				}
			}
		})
	}
}

// BenchmarkDeliver is a message through Deliver and, above QoS 0, its acknowledgement.
func BenchmarkDeliver(b *testing.B) {
	for _, c := range []struct {
		name   string
		qos    mqtt.QoS
		expiry uint32
		window int
	}{{"qos0", 0, 0, 0}, {"qos1", 1, 0, 1}, {"qos1-stored", 1, 60, 1}, {"qos1-window100", 1, 60, 100}} {
		b.Run(c.name, func(b *testing.B) {
			r := newWorld().rules
			r.Inflight, r.QueuedMessages = 1000, 1000
			s := connected(r, c.expiry)
			m := &mqtt.Message{Topic: []byte("a/b"), Payload: make([]byte, 64)}
			d := &mqtt.Delivery{QoS: c.qos}
			ack := &mqtt.Packet{Type: mqtt.PUBACK}
			do := make([]Effect, 0, 16)
			turn := Turn{Now: 1, Batch: 2}
			seq := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				seq++
				do = s.Deliver(turn, m, d, seq, do[:0])
				if c.qos == 1 && seq >= uint64(c.window) {
					ack.Ack.ID = packetID(seq + 1 - uint64(c.window))
					do = s.Packet(turn, ack, do)
				}
			}
		})
	}
}

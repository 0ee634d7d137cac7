package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/broker/store/storetest"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestNothingBeforeItIsKept: no answer of a session that lasts, and no delivery to one, leaves before its batch is
// kept.
func TestNothingBeforeItIsKept(t *testing.T) {
	for _, connect := range []string{"CONNECT id=c expiry=100", "CONNECT v3.1.1 id=c"} {
		for _, shards := range []int{1, 4} {
			h := storetest.NewHeld(mem.New())
			s := serve(t, broker.Options{Store: h, Shards: shards})
			h.Pass()
			sub := s.client("id=sub expiry=100")
			sub.subscribe("t/# qos=2")
			var witnesses []*peer // on every shard
			for i := range 8 * shards {
				witnesses = append(witnesses, s.client(fmt.Sprint("id=w", i)))
			}
			h.Hold()
			v := mqtt.V5
			if strings.Contains(connect, "v3") {
				v = mqtt.V311
			}
			c := s.dial(v)
			step := func(send, want string, delivered ...string) {
				t.Helper()
				c.send(send)
				h.Await(1)
				for _, w := range witnesses {
					w.idle()
				}
				sub.idle()
				if c.mu.Lock(); len(c.got) > 0 {
					t.Errorf("%s: answered with %s before it was kept", send, c.got[0])
				}
				c.mu.Unlock()
				h.Pass()
				c.expect(want)
				sub.expect(delivered...)
				h.Hold()
			}
			step(connect, "CONNACK 0x00")
			step("SUBSCRIBE id=1 x qos=1", "SUBACK id=1 0x01")
			step(`PUBLISH qos=1 id=2 topic=t/1 "1"`, "PUBACK id=2", `PUBLISH qos=1 topic=t/1 "1"`)
			step(`PUBLISH qos=2 id=3 topic=t/2 "2"`, "PUBREC id=3", `PUBLISH qos=2 topic=t/2 "2"`)
			step(`PUBREL id=3`, "PUBCOMP id=3")
			step(`PUBLISH qos=2 id=4 topic=nobody "2"`, "PUBREC id=4")
			step(`PUBREL id=4`, "PUBCOMP id=4")
			step(`UNSUBSCRIBE id=5 x`, "UNSUBACK id=5")
			step(`PUBLISH qos=1 id=6 retain topic=r "2"`, "PUBACK id=6")
			h.Pass()
		}
	}
}

// TestOrderBehindTheStore: a QoS 0 message does not overtake the same publisher's QoS 1 message that the store has
// not kept yet, to nobody; another publisher's does.
func TestOrderBehindTheStore(t *testing.T) {
	for _, shards := range []int{1, 4} {
		h := storetest.NewHeld(mem.New())
		s := serve(t, broker.Options{Store: h, Shards: shards})
		h.Pass()
		kept := s.client("id=kept expiry=100")
		kept.subscribe("t/# qos=2")
		live := s.client("id=live")
		live.subscribe("t/# qos=2")
		pub, other := s.client("id=pub"), s.client("id=other")
		h.Hold()
		pub.send(`PUBLISH qos=1 id=1 topic=t/1 "1"`, `PUBLISH topic=t/0 "2"`, `PUBLISH qos=1 id=2 topic=t/1 "3"`, `PUBLISH topic=t/0 "4"`)
		h.Await(1)
		other.send(`PUBLISH topic=t/o "other"`)
		for _, p := range []*peer{kept, live} {
			p.expect(`PUBLISH topic=t/o "other"`)
			p.idle()
		}
		pub.idle()
		h.Pass()
		for _, p := range []*peer{kept, live} {
			p.expect(`PUBLISH qos=1 topic=t/1 "1"`, `PUBLISH topic=t/0 "2"`, `PUBLISH qos=1 topic=t/1 "3"`, `PUBLISH topic=t/0 "4"`)
		}
		pub.expect("PUBACK id=1", "PUBACK id=2")
	}
}

// TestStoreFails: what the store cannot keep is acknowledged to nobody, what was acknowledged before is not lost,
// and everything goes on when the store does.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 4} {
		h := storetest.NewHeld(mem.New())
		dropped := make(chan session.Why, 100)
		s := serve(t, broker.Options{Store: h, Shards: shards, Sums: broker.Sums{Longest: time.Second}, Events: func(e broker.Event) {
			if x, ok := e.(broker.Dropped); ok {
				for range x.Count {
					dropped <- x.Why
				}
			}
		}})
		h.Pass()
		kept := s.client("id=kept expiry=100")
		kept.subscribe("t qos=2")
		a, b, old := s.client("id=a"), s.client("id=b"), s.client("v3.1.1 id=old clean")
		b.subscribe("free qos=1")
		a.send(`PUBLISH qos=1 id=1 topic=t "before"`)
		a.expect("PUBACK id=1")
		kept.expect(`PUBLISH qos=1 topic=t "before"`)

		full := fmt.Errorf("the disk is full: %w", store.ErrFull)
		h.Hold()
		a.send(`PUBLISH qos=1 id=2 topic=t "lost"`)
		h.Await(1)
		h.Fail(full)
		a.expect(`PUBACK id=2 0x97 reason="the`)
		a.send(`PUBLISH qos=2 id=3 topic=t "lost"`)
		h.Await(1)
		h.Fail(full)
		a.expect(`PUBREC id=3 0x97 reason="the`)
		old.send(`PUBLISH qos=1 id=1 topic=t "lost"`)
		h.Await(1)
		h.Fail(full)
		old.expect("closed")
		b.send(`PUBLISH qos=1 id=9 topic=free "on"`) // touches no store
		b.expect("PUBLISH topic=free", "PUBACK id=9")
		for range 3 {
			if why := <-dropped; why != session.StoreFailed {
				t.Errorf("dropped as %v", why)
			}
		}
		late := s.dial(mqtt.V5)
		late.send("CONNECT id=late expiry=100")
		h.Await(1)
		h.Fail(full)
		late.expect("CONNACK 0x88", "closed")

		h.Pass()
		a.send(`PUBLISH qos=1 id=2 topic=t "after"`, `PUBLISH qos=2 id=3 topic=t "after2"`)
		a.expect("PUBACK id=2", "PUBREC id=3")
		kept.expect(`PUBLISH qos=1 topic=t "after"`, `PUBLISH qos=2 topic=t "after2"`)
		if st := s.stats(); st.StoreErrors != 4 || st.Dropped[session.StoreFailed] != 3 {
			t.Errorf("%d store errors, %d dropped", st.StoreErrors, st.Dropped[session.StoreFailed])
		}
		if _, ack := s.join("id=late expiry=100"); strings.Contains(ack, "present") {
			t.Error("a session that was not kept is present")
		}
	}
}

// TestKeepAliveBehindTheStore: a client that is not read because it is ahead of the store is not taken for silent.
func TestKeepAliveBehindTheStore(t *testing.T) {
	t.Parallel()
	h := storetest.NewHeld(mem.New())
	s := serve(t, broker.Options{Store: h, Shards: 1})
	h.Pass()
	sub := s.client("id=sub expiry=100")
	sub.subscribe("t qos=1")
	sub.leave(s, 0)
	h.Hold()
	pub := s.client("v3.1.1 id=pub clean keepalive=1")
	const n = 40_000 // more than may be ahead
	var out []byte
	for i := range n {
		out = (&mqtt.Publish{Topic: []byte("t"), QoS: 1, ID: uint16(i + 1)}).AppendTo(out, mqtt.V311)
	}
	written := make(chan error, 1)
	go func() { _, err := pub.conn.Write(out); written <- err }()
	s.until("it is not read any more", func(st broker.Stats) bool { return st.PublishReceived > 16<<10 })
	witness := s.client("id=witness keepalive=1")
	witness.expect("DISCONNECT 0x8D", "closed")
	if st := s.stats(); st.Connected != 1 || st.PublishReceived == n {
		t.Fatalf("%d connected, %d read", st.Connected, st.PublishReceived)
	}
	h.Pass()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if got, want := pub.next(), fmt.Sprintf("PUBACK id=%d", i+1); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// restart ends the store's use by the old broker as a crash does, and starts another one with what it kept.
func restart(t *testing.T, st *mem.Store, o broker.Options) (*served, *mem.Store) {
	t.Helper()
	st = st.Reopen()
	o.Store = st
	return serve(t, o), st
}

// TestRestart: everything that was acknowledged is there after a crash, in order.
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 4} {
		t.Run(fmt.Sprint(shards), func(t *testing.T) { t.Parallel(); testRestart(t, shards) })
	}
}

func testRestart(t *testing.T, shards int) {
	st := mem.New()
	o := broker.Options{Store: st, Shards: shards}
	s := serve(t, o)
	pub := s.client("id=pub")
	ack := func(p *peer, qos, id int, topic, payload, more string) {
		t.Helper()
		p.send(fmt.Sprintf("PUBLISH qos=%d id=%d topic=%s %q %s", qos, id, topic, payload, more))
		if qos == 1 {
			p.expect(fmt.Sprintf("PUBACK id=%d", id))
			return
		}
		p.expect(fmt.Sprintf("PUBREC id=%d", id))
		p.send(fmt.Sprintf("PUBREL id=%d", id))
		p.expect(fmt.Sprintf("PUBCOMP id=%d", id))
	}
	// Away: a queue.
	away := s.client("id=away expiry=1000")
	away.subscribe("subid=7 q/+ qos=2, $share/g/sh qos=1")
	away.leave(s, 1)
	for i := range 6 {
		ack(pub, 1+i%2, i+1, fmt.Sprint("q/", i), fmt.Sprint(i), "")
	}
	ack(pub, 1, 20, "q/x", "old", "expiry=1")
	// In flight to a client: QoS 1 not acknowledged, QoS 2 received but not completed, one never sent.
	busy := s.client("id=busy expiry=1000 receive-max=2")
	busy.subscribe("f qos=2")
	for i := range 3 {
		ack(pub, 1+i%2, i+1, "f", fmt.Sprint(i), "")
	}
	busy.expect(`PUBLISH qos=1 id=1 "0"`, `PUBLISH qos=2 id=2 "1"`)
	busy.send("PUBREC id=2")
	busy.expect("PUBREL id=2")
	// In flight from a client.
	from := s.client("id=from expiry=1000")
	from.send(`PUBLISH qos=2 id=9 topic=q/once "once"`)
	from.expect("PUBREC id=9")
	ack(pub, 1, 30, "keep/me", "r", "retain")
	ack(pub, 1, 31, "keep/gone", "r", "retain")
	ack(pub, 1, 32, "keep/gone", "", "retain")
	ack(pub, 1, 33, "keep/short", "r", "retain expiry=1")
	willing := s.client(`id=willing expiry=1000 will=last will-delay=1 will-retain "words"`)
	short := s.client("id=short expiry=1")
	connected := s.stats().Connected
	willing.leave(s, connected-1)
	short.leave(s, connected-2)

	s, st = restart(t, st, o)
	if got := s.stats(); got.Sessions != 5 || got.Retained != 2 || got.QueuedBytes == 0 {
		t.Errorf("%d sessions, %d retained, %d bytes queued", got.Sessions, got.Retained, got.QueuedBytes)
	}
	s.until("will published, session and messages expired", func(st broker.Stats) bool {
		return st.Wills == 1 && st.Sessions == 4 && st.Retained == 2 && st.Dropped[session.Expired] == 1
	})
	resume := func(words string) *peer {
		t.Helper()
		p, ack := s.join(words)
		if !strings.Contains(ack, "present") {
			t.Errorf("%s: %s", words, ack)
		}
		return p
	}
	from = resume("id=from expiry=1000")
	from.send(`PUBLISH qos=2 id=9 dup topic=q/once "once"`)
	from.expect("PUBREC id=9")
	from.send("PUBREL id=9")
	from.expect("PUBCOMP id=9")
	away = resume("id=away expiry=1000")
	for i := range 6 {
		away.expect(fmt.Sprintf(`PUBLISH qos=%d id=%d topic=q/%d subid=7 "%d"`, 1+i%2, i+1, i, i))
	}
	away.expect(`PUBLISH qos=2 topic=q/once "once"`)
	away.idle()
	away.send("PUBLISH topic=sh")
	away.expect("PUBLISH topic=sh")
	busy = resume("id=busy expiry=1000 receive-max=2")
	busy.expect(`PUBLISH qos=1 id=1 dup "0"`, "PUBREL id=2")
	busy.send("PUBACK id=1", "PUBCOMP id=2")
	busy.expect(`PUBLISH qos=1 id=3 "2"`)
	away.subscribe("keep/# qos=0, last qos=0")
	away.expect(`PUBLISH topic=keep/me retain "r"`, `PUBLISH topic=last retain "words"`)
	away.idle()
	if _, ack := s.join("id=short expiry=1"); strings.Contains(ack, "present") {
		t.Error("an expired session is present")
	}
	if st.Stats().Retained != 2 {
		t.Errorf("%d retained in the store", st.Stats().Retained)
	}
}

// TestTwoSessionsOfOneClient: when a crash comes between the end of a session and its successor's beginning, the
// later one counts and the other leaves the store.
func TestTwoSessionsOfOneClient(t *testing.T) {
	st := mem.New()
	for id := range store.SessionID(2) {
		meta := &store.Session{ID: id + 1, ClientID: "a", Version: mqtt.V5, Expiry: 100}
		sub := store.Subscription{Filter: fmt.Sprint("t/", id), Options: 1}
		st.Commit(&store.Batch{Records: []store.Record{
			{Op: store.PutSession, Session: meta.ID, Meta: meta},
			{Op: store.Subscribe, Session: meta.ID, Subscription: sub},
		}})
	}
	s, st := restart(t, st, broker.Options{})
	s.until("one session is left", func(got broker.Stats) bool {
		return got.Sessions == 1 && got.Subscriptions == 1 && st.Stats().Sessions == 1
	})
	a := s.client("id=a expiry=100")
	a.send("PUBLISH topic=t/0", "PUBLISH topic=t/1")
	a.expect("PUBLISH topic=t/1")
}

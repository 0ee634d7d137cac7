package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/broker/store/storetest"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// errDevice is why a store is unwell for another reason than space.
var errDevice = errors.New("the disk does not answer")

// ailing runs a broker over a store that passes everything on, until it is told otherwise.
func ailing(t *testing.T, o broker.Options) (*served, *storetest.Held, *mem.Store) {
	t.Helper()
	st := mem.New()
	h := storetest.NewHeld(st)
	h.Pass()
	o.Store = h
	return serve(t, o), h, st
}

// TestUnwellV5: while the store takes nothing new a v5 client is told so, with the cause in fixed words, before anything happens;
// what needs no store goes on; and all goes on once the store is well.
func TestUnwellV5(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 4} {
		for _, why := range []struct {
			err           error
			code, connack string
			words         string
		}{
			{fmt.Errorf("%w: limit", store.ErrFull), "0x97", "0x97", "it is full"},
			{fmt.Errorf("%w: %w", store.ErrFull, &fs.PathError{Op: "write", Path: "/srv/7.seg", Err: syscall.ENOSPC}), "0x97", "0x97", "the disk is full"},
			{&fs.PathError{Op: "sync", Path: "/srv/7.seg", Err: syscall.EIO}, "0x83", "0x88", "the disk has errors"},
			{&fs.PathError{Op: "open", Path: "/srv/7.seg", Err: syscall.EROFS}, "0x83", "0x88", "the disk is read-only"},
			{errDevice, "0x83", "0x88", "it cannot be written"},
		} {
			s, h, _ := ailing(t, broker.Options{Shards: shards})
			kept, live := s.client("id=kept expiry=100"), s.client("id=live")
			kept.subscribe("t qos=2")
			live.subscribe("t qos=2, free qos=2, r/# qos=0")
			pub := s.client("id=pub expiry=100")
			plain := s.client("id=plain")
			words := `"the store takes nothing new: ` + why.words + `"` // nothing of our files, which the error may name

			h.SetHealth(why.err)
			plain.send(`PUBLISH qos=1 id=1 topic=t "no"`, `PUBLISH qos=2 id=2 topic=t "no"`, `PUBLISH qos=1 id=3 retain topic=r "no"`, `PUBLISH qos=2 id=4 retain topic=r "no"`)
			for _, want := range []string{"PUBACK id=1", "PUBREC id=2", "PUBACK id=3", "PUBREC id=4"} {
				plain.expect(want + " " + why.code + ` reason=` + words)
			}
			pub.send(`PUBLISH qos=2 id=1 topic=free "no"`) // its identifier would have to be kept
			pub.expect("PUBREC id=1 " + why.code)
			kept.idle()
			live.idle()
			// What needs no store.
			plain.send(`PUBLISH qos=1 id=5 topic=free "1"`, `PUBLISH qos=2 id=6 topic=free "2"`, `PUBLISH topic=t "3"`, `PUBLISH retain topic=r/0 "4"`)
			plain.expect("PUBACK id=5", "PUBREC id=6")
			live.expect(`PUBLISH qos=1 "1"`, `PUBLISH qos=2 "2"`, `PUBLISH topic=t "3"`, `PUBLISH topic=r/0 "4"`)
			kept.expect(`PUBLISH topic=t "3"`)
			plain.subscribe("plain qos=2")
			// Sessions.
			pub.send("SUBSCRIBE id=9 a qos=1, b qos=0")
			pub.expect("SUBACK id=9 " + why.code + "," + why.code)
			late := s.dial(mqtt.V5)
			late.send("CONNECT id=late expiry=100")
			late.expect("CONNACK "+why.connack+` reason=`+words, "closed")
			if err := s.Ready(); !errors.Is(err, why.err) {
				t.Errorf("ready: %v", err)
			}
			st := s.stats()
			if st.Retained != 0 || st.Dropped[session.StoreUnwell] != 1 || st.TotalDropped() != 1 || st.Sessions != 4 {
				t.Errorf("%d retained, %d and in all %d dropped, %d sessions", st.Retained, st.Dropped[session.StoreUnwell], st.TotalDropped(), st.Sessions)
			}
			if refused := st.NotStored[mqtt.QuotaExceeded] + st.NotStored[mqtt.ImplementationSpecificError] + st.NotStored[mqtt.ServerUnavailable]; refused != 8 {
				t.Errorf("%d refused", refused)
			}

			h.SetHealth(nil)
			plain.send(`PUBLISH qos=1 id=1 topic=t "yes"`, `PUBLISH qos=2 id=2 topic=t "yes2"`)
			plain.expect("PUBACK id=1", "PUBREC id=2")
			kept.expect(`PUBLISH qos=1 "yes"`, `PUBLISH qos=2 "yes2"`)
			pub.subscribe("a qos=1")
			s.client("id=late expiry=100")
			if err := s.Ready(); err != nil {
				t.Errorf("ready: %v", err)
			}
		}
	}
}

// TestUnwellV3: before MQTT 5 there is no saying no, so a client whose message the store does not take is not read:
// neither closed for its silence nor buffered, and its message is acknowledged once it is kept.
func TestUnwellV3(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 4} {
		for _, why := range []error{store.ErrFull, errDevice} {
			t.Run(fmt.Sprintf("%d/%v", shards, why), func(t *testing.T) {
				t.Parallel()
				s, h, _ := ailing(t, broker.Options{Shards: shards})
				kept, live := s.client("id=kept expiry=100"), s.client("id=live")
				kept.subscribe("t qos=2, r qos=0")
				live.subscribe("free qos=1, q qos=0")
				pubs := []*peer{s.client("v3.1.1 id=p1 clean keepalive=1"), s.client("v3.1.1 id=p2 clean keepalive=1"), s.client("v3.1.1 id=p3 clean keepalive=1"), s.client("v3.1.1 id=p4 keepalive=1")}
				qos0 := s.client("v3.1.1 id=qos0 clean")

				h.SetHealth(why)
				qos0.send(`PUBLISH topic=q "0"`, `PUBLISH qos=1 id=1 topic=free "1"`)
				qos0.expect("PUBACK id=1")
				live.expect(`PUBLISH topic=q "0"`, `PUBLISH qos=1 "1"`)
				pubs[0].send(`PUBLISH topic=q "before"`, `PUBLISH qos=1 id=1 topic=t "1"`, `PUBLISH topic=q "behind"`)
				live.expect(`PUBLISH topic=q "before"`)
				pubs[1].send(`PUBLISH qos=2 id=1 topic=t "2"`)
				pubs[2].send(`PUBLISH qos=1 id=1 retain topic=r "3"`)
				pubs[3].send(`PUBLISH qos=2 id=1 topic=nobody "4"`)
				s.until("all are held back", func(st broker.Stats) bool { return st.HeldBack == 4 })
				durable := s.dial(mqtt.V311)
				durable.send("CONNECT v3.1.1 id=durable")
				durable.expect("CONNACK 0x88", "closed") // 0x03 on the wire
				gone := s.client("v3.1.1 id=gone clean") // held back, and away before the store is well
				gone.send(`PUBLISH qos=1 id=1 topic=t "gone"`)
				s.until("it is held back", func(st broker.Stats) bool { return st.HeldBack == 5 })
				gone.leave(s, 7)
				// As much as its keep-alive allows, and more: a witness that is as silent is closed.
				witness := s.client("id=witness keepalive=1")
				witness.expect("DISCONNECT 0x8D", "closed")
				if st := s.stats(); st.Connected != 7 || st.HeldBack != 5 || st.Retained != 0 {
					t.Errorf("%d connected, held back %d times, %d retained", st.Connected, st.HeldBack, st.Retained)
				}
				live.idle()
				kept.idle()

				h.SetHealth(nil)
				pubs[0].expect("PUBACK id=1")
				pubs[1].expect("PUBREC id=1")
				pubs[2].expect("PUBACK id=1")
				pubs[3].expect("PUBREC id=1")
				live.expect(`PUBLISH topic=q "behind"`)
				got := map[string]bool{}
				for range 3 {
					got[kept.next()] = true
				}
				if len(got) != 3 {
					t.Errorf("got %v", got)
				}
				kept.idle()
				if st := s.stats(); st.Retained != 1 {
					t.Errorf("%d retained", st.Retained)
				}
			})
		}
	}
}

// TestUnwellV3Subscribe: a session that lasts gets 0x80 for what cannot be kept.
func TestUnwellV3Subscribe(t *testing.T) {
	s, h, _ := ailing(t, broker.Options{})
	c, clean := s.client("v3.1.1 id=c"), s.client("v3.1.1 id=clean clean")
	h.SetHealth(store.ErrFull)
	c.send("SUBSCRIBE id=1 a qos=1")
	c.expect("SUBACK id=1 0x80")
	clean.send("SUBSCRIBE id=1 a qos=1")
	clean.expect("SUBACK id=1 0x01")
	h.SetHealth(nil)
	c.send("SUBSCRIBE id=2 a qos=1")
	c.expect("SUBACK id=2 0x01")
}

// TestFullFrees: a full store still takes what gives back room: a session comes back and goes, acknowledges,
// unsubscribes, ends; retained messages go.
func TestFullFrees(t *testing.T) {
	s, h, st := ailing(t, broker.Options{})
	kept := s.client("id=kept expiry=100")
	kept.subscribe("t qos=2, u qos=1")
	other := s.client("id=other expiry=100")
	other.subscribe("t qos=1")
	pub := s.client("id=pub")
	pub.send(`PUBLISH qos=1 id=1 topic=t "1"`, `PUBLISH qos=2 id=2 topic=t "2"`, `PUBLISH qos=1 id=3 retain topic=r "r"`)
	pub.expect("PUBACK id=1", "PUBREC id=2", "PUBACK id=3")
	from := s.client("id=from expiry=100")
	from.send(`PUBLISH qos=2 id=7 topic=x "x"`)
	from.expect("PUBREC id=7")
	kept.leave(s, 3)

	h.SetHealth(store.ErrFull)
	kept, ack := s.join("id=kept expiry=100")
	if !strings.Contains(ack, "present") {
		t.Error(ack)
	}
	kept.expect(`PUBLISH dup "1"`, `PUBLISH dup "2"`)
	kept.send("PUBACK id=1", "PUBREC id=2")
	kept.expect("PUBREL id=2")
	kept.send("PUBCOMP id=2", "SUBSCRIBE id=8 u qos=1") // as clients do whenever they come back
	kept.expect("SUBACK id=8 0x01")
	kept.send("UNSUBSCRIBE id=9 u")
	kept.expect("UNSUBACK id=9 0x00")
	from.send("PUBREL id=7")
	from.expect("PUBCOMP id=7")
	pub.send(`PUBLISH retain topic=r`)
	pub.idle()
	if err := s.Control().EndSession(t.Context(), "other", "by order"); err != nil {
		t.Fatal(err)
	}
	s.until("room is given back", func(got broker.Stats) bool {
		in := st.Stats()
		return in.Sessions == 2 && in.Subscriptions == 1 && in.Messages == 0 && in.Retained == 0 && got.StoreErrors == 0
	})
	if st := s.stats(); st.StoreErrors != 0 {
		t.Errorf("%d batches failed", st.StoreErrors)
	}
}

// TestUnwellWill: a will that the store does not take is not lost: it is published when the store is well, and if the
// broker crashes before, by the next one.
func TestUnwellWill(t *testing.T) {
	t.Parallel()
	for _, crash := range []bool{false, true} {
		s, h, st := ailing(t, broker.Options{})
		kept, live := s.client("id=kept expiry=100"), s.client("id=live")
		kept.subscribe("w/# qos=1")
		live.subscribe("w/# qos=0")
		wills := []*peer{
			s.client(`id=a expiry=100 will=w/a will-qos=1 "a"`),
			s.client(`id=b expiry=100 will=w/b will-retain "b"`),
			s.client(`id=c expiry=100 will=w/c "c"`),
		}
		h.SetHealth(store.ErrFull)
		for _, p := range wills {
			p.conn.Close()
		}
		got := map[string]bool{live.next(): true, live.next(): true} // at QoS 0, live: at once
		if !got[`PUBLISH topic=w/b "b"`] || !got[`PUBLISH topic=w/c "c"`] {
			t.Errorf("live got %v", got)
		}
		kept.expect("PUBLISH", "PUBLISH")
		s.until("they are gone", func(got broker.Stats) bool { return got.Connected == 2 && got.Wills == 3 })
		if got := s.stats(); got.Retained != 0 {
			t.Errorf("%d retained", got.Retained)
		}
		if crash {
			s, st = restart(t, st, broker.Options{})
			live = s.client("id=live")
			live.subscribe("w/# qos=0")
			s.until("the wills are published", func(got broker.Stats) bool { return got.Wills >= 2 && got.Retained == 1 })
		} else {
			h.SetHealth(nil)
			live.expect(`PUBLISH topic=w/a "a"`)
			live.idle()
			kept.expect(`PUBLISH qos=1 topic=w/a "a"`)
			s.until("the will is retained", func(got broker.Stats) bool { return got.Retained == 1 && got.Wills == 3 })
		}
		if !reached(func() bool { return st.Stats().Retained == 1 }) {
			t.Errorf("%d retained in the store", st.Stats().Retained)
		}
	}
}

// TestWillBatchFails: nor is a will lost whose batch fails.
func TestWillBatchFails(t *testing.T) {
	s, h, _ := ailing(t, broker.Options{})
	kept := s.client("id=kept expiry=100")
	kept.subscribe("w qos=1")
	a := s.client(`id=a expiry=100 will=w will-qos=1 will-retain "a"`)
	h.Hold()
	a.leave(s, 1)
	h.Await(1)
	h.Fail(errDevice)
	h.Pass()
	kept.expect(`PUBLISH qos=1 topic=w "a"`)
	kept.idle()
	s.until("retained", func(got broker.Stats) bool { return got.Retained == 1 && got.Dropped[session.StoreFailed] == 0 })
}

// TestFreedAgain: what a failed batch was to give back is given back later: nothing leaks, and nothing comes back at
// a restart that a client was rid of.
func TestFreedAgain(t *testing.T) {
	t.Parallel()
	s, h, st := ailing(t, broker.Options{Shards: 1})
	c, pub := s.client("id=c expiry=100"), s.client("id=pub")
	ended := s.client("id=ended expiry=100")
	ended.subscribe("t qos=1")
	c.subscribe("t qos=2, u qos=1, v qos=1")
	pub.send(`PUBLISH qos=1 id=1 topic=t "1"`, `PUBLISH qos=1 id=2 topic=v "2"`)
	pub.expect("PUBACK id=1", "PUBACK id=2")
	c.send(`PUBLISH qos=2 id=5 topic=x "x"`, `PUBLISH qos=2 id=6 topic=x "x"`)
	c.expect("PUBLISH", "PUBLISH", "PUBREC id=5", "PUBREC id=6")

	h.Hold()
	c.send("PUBACK id=1", "UNSUBSCRIBE id=9 u, v", "PUBREL id=5", "PUBREL id=6")
	s.Control().EndSession(hasty(t), "ended", "by order")
	h.Await(1)
	h.SetHealth(errDevice)
	for h.Waiting() > 0 {
		h.Fail(errDevice)
	}
	c.gone() // the changes were not kept
	h.Pass()
	c = s.dial(mqtt.V5)
	c.send("CONNECT id=c expiry=100")
	c.gone() // nothing is kept, not even that it is back
	h.SetHealth(nil)
	c, ack := s.join("id=c expiry=100")
	if !strings.Contains(ack, "present") {
		t.Error(ack)
	}
	c.expect(`PUBLISH dup "2"`)
	c.subscribe("v qos=1") // again, before the removal is handed in or after it
	c.send(`PUBLISH qos=2 id=6 topic=x "y"`)
	c.expect("PUBREC id=6")
	s.until("all is given back", func(broker.Stats) bool {
		in := st.Stats()
		return in.Sessions == 1 && in.Subscriptions == 2 && in.Messages == 1
	})
	s, _ = restart(t, st, broker.Options{})
	c, _ = s.join("id=c expiry=100")
	c.expect(`PUBLISH dup "2"`)
	c.idle()
	c.send(`PUBLISH qos=2 id=6 dup topic=v "y"`) // taken over before
	c.expect("PUBREC id=6")
	c.send(`PUBLISH qos=2 id=5 topic=v "z"`)
	c.expect("PUBLISH", "PUBREC id=5")
	pub = s.client("id=pub")
	pub.send("PUBLISH topic=u", "PUBLISH topic=v")
	c.expect("PUBLISH topic=v")
	c.idle()
}

// TestReleaseFails: a message whose PUBREC came is acknowledged once in the books, also when the store did not keep that and the client, which is back
// before it does, gets the message again, in whichever way that ends.
func TestReleaseFails(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"acknowledges", "refuses", "takes less", "ends"} {
		s, h, st := ailing(t, broker.Options{Shards: 1})
		c, pub := s.client("id=c expiry=100"), s.client("id=pub")
		c.subscribe("t qos=2")
		pub.send(`PUBLISH qos=2 id=1 topic=t "` + strings.Repeat("x", 100) + `"`)
		pub.expect("PUBREC id=1")
		c.expect("PUBLISH qos=2 id=1")
		h.Hold()
		c.send("PUBREC id=1")
		h.Await(1)
		h.SetHealth(errDevice)
		h.Fail(errDevice)
		c.gone()
		h.Pass() // and what is handed in again at once fails
		s.until("it is gone", func(st broker.Stats) bool { return st.Connected == 1 })
		h.SetHealth(nil)
		again := "id=c expiry=100"
		if way == "takes less" {
			again += " max-packet=40"
		}
		c, _ = s.join(again)
		// What was not kept is handed in again by a clock, before or after the queue is read. So either packet may come.
		switch {
		case way == "ends":
			s.Control().EndSession(t.Context(), "c", "by order")
		case way != "takes less" && strings.HasPrefix(c.next(), "PUBLISH"):
			if way == "refuses" {
				c.send("PUBREC id=1 0x80")
				break
			}
			c.send("PUBREC id=1")
			c.expect("PUBREL id=1")
			c.send("PUBCOMP id=1")
		default:
			c.send("PUBCOMP id=1")
		}
		pub.send("PUBREL id=1")
		pub.expect("PUBCOMP id=1")
		s.books(map[string]int{"received": 1, "routed": 1, "copies": 1, "acked": 1})
		if !reached(func() bool { return st.Stats().Messages == 0 }) {
			t.Errorf("%s: in the store: %+v", way, st.Stats())
		}
	}
}

// TestUnsubscribeAgain: an UNSUBSCRIBE whose batch failed is not acknowledged the second time before it is kept.
func TestUnsubscribeAgain(t *testing.T) {
	s, h, st := ailing(t, broker.Options{Shards: 1})
	c := s.client("id=c expiry=100")
	c.subscribe("u qos=1")
	h.Hold()
	c.send("UNSUBSCRIBE id=1 u")
	h.Await(1)
	h.SetHealth(errDevice)
	h.Fail(errDevice)
	c.gone()
	h.Pass()
	h.SetHealth(store.ErrFull) // takes what frees
	c = s.client("id=c expiry=100")
	c.send("UNSUBSCRIBE id=2 u")
	c.expect("UNSUBACK id=2 0x11")
	if n := st.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions", n)
	}
}

// TestMoveFails: a message of a shared subscription whose move to another member fails is moved again; it is neither
// lost nor stuck, nor doubled.
func TestMoveFails(t *testing.T) {
	t.Parallel()
	for _, ends := range []bool{false, true} {
		s, h, st := ailing(t, broker.Options{Shards: 1})
		one := s.client("id=one expiry=100 receive-max=1")
		one.subscribe("$share/g/t qos=1")
		pub := s.client("id=pub")
		const n = 20
		for i := range n {
			pub.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=t "%d"`, i+1, i))
			pub.expect("PUBACK")
		}
		one.expect(`PUBLISH "0"`)
		two := s.client("id=two expiry=100")
		two.subscribe("$share/g/t qos=1")
		h.Hold()
		if ends {
			s.Control().EndSession(hasty(t), "one", "by order")
		} else {
			one.leave(s, 2)
		}
		for range 3 { // PutSession or nothing, then the move, and what it brings about
			h.Await(1)
			h.Fail(errDevice)
			if s.stats().StoreErrors >= 3 {
				break
			}
		}
		two.idle()
		h.Pass()
		got := map[string]int{}
		want := n - 1
		if ends {
			want = n
		}
		for range want {
			line := two.next()
			got[line[strings.Index(line, `"`):]]++
		}
		two.idle()
		if len(got) != want {
			t.Errorf("got %v", got)
		}
		sessions, messages := 2, n // one has the first still
		if ends {
			sessions = 1
		}
		if !reached(func() bool { in := st.Stats(); return in.Sessions == sessions && in.Messages == messages }) {
			t.Errorf("in the store: %+v", st.Stats())
		}
	}
}

// TestHealthLog: the log says once why the store takes nothing, and once that it does again.
func TestHealthLog(t *testing.T) {
	var log bytes.Buffer
	s, h, _ := ailing(t, broker.Options{Shards: 4, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	pubs := make([]*peer, 8)
	for i := range pubs {
		pubs[i] = s.client(fmt.Sprint("id=", i))
	}
	h.SetHealth(store.ErrFull)
	for _, p := range pubs {
		p.send("PUBLISH qos=1 id=1 retain topic=r \"x\"")
		p.expect("PUBACK 0x97")
	}
	h.SetHealth(nil)
	for _, p := range pubs {
		p.conn.Close()
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); strings.Count(got, "takes nothing new") != 1 {
		t.Error(got)
	}
}

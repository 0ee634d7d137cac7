package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestQueueLimit: what waits for a session is limited, connected or not, by each policy.
func TestQueueLimit(t *testing.T) {
	for _, shards := range []int{1, 4} {
		for _, expiry := range []string{"expiry=100", "receive-max=1"} { // in the store and not
			for _, policy := range []broker.Overflow{broker.OverflowRefuse, broker.OverflowDropOldest, broker.OverflowDisconnect} {
				t.Run(fmt.Sprint(shards, expiry, policy), func(t *testing.T) {
					queueLimit(t, shards, expiry, policy)
				})
			}
		}
	}
}

func queueLimit(t *testing.T, shards int, words string, policy broker.Overflow) {
	durable := strings.HasPrefix(words, "expiry")
	o := with(func(l *broker.Limits, d *broker.Delivery) {
		if l.MaxQueuedMessages, d.Overflow = 3, policy; !durable {
			l.MaxQueuedMessages = 2 // and one is in flight
		}
	})
	o.Shards = shards
	s := serve(t, o)
	sub := s.client("id=sub " + words)
	sub.subscribe("t qos=1")
	pub := s.client("id=pub")
	if durable {
		sub.leave(s, 1)
	}
	for i := range 5 {
		pub.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=t "%d"`, i+1, i))
		code := "0x00"
		if i >= 3 && (policy == broker.OverflowRefuse || policy == broker.OverflowDisconnect && durable) {
			code = "0x97"
		}
		if i == 4 && policy == broker.OverflowDisconnect && !durable {
			code = "0x10" // the client is gone
		}
		pub.expect(fmt.Sprintf("PUBACK id=%d %s", i+1, strings.TrimPrefix(code, "0x00")))
		s.until("it is delivered", func(st broker.Stats) bool {
			waits := st.QueuedBytes / 130
			return waits+int64(st.Dropped[session.QueueFull]) >= int64(i+1) || st.Sessions == 1
		})
	}
	st := s.stats()
	if policy == broker.OverflowDisconnect && !durable {
		sub.expect(`PUBLISH qos=1 topic=t "0"`, "DISCONNECT 0x97", "closed")
		if st.QueuedBytes != 0 {
			t.Errorf("%d bytes queued for nobody", st.QueuedBytes)
		}
		return
	}
	if n := st.Dropped[session.QueueFull]; n != 2 {
		t.Errorf("%d dropped as queue_full, want 2", n)
	}
	first := 0
	if policy == broker.OverflowDropOldest {
		first = 2
	}
	if durable {
		sub = s.client("id=sub " + words)
	} else {
		sub.expect(`PUBLISH qos=1 id=1 topic=t "0"`)
		sub.send("PUBACK id=1")
		if first++; policy != broker.OverflowDropOldest {
			first = 1
		}
	}
	for i := first; i < 5 && (i < 3 || policy == broker.OverflowDropOldest); i++ {
		sub.expect(fmt.Sprintf(`PUBLISH qos=1 topic=t "%d"`, i))
		sub.send(fmt.Sprintf("PUBACK id=%d", i+1))
	}
	sub.idle()
	s.until("nothing is queued", func(st broker.Stats) bool { return st.QueuedBytes == 0 })
}

// TestSubscriptionIDsOfQueued: what waits keeps the subscription identifiers it came with.
func TestSubscriptionIDsOfQueued(t *testing.T) {
	for _, shards := range []int{1, 4} {
		s := serve(t, broker.Options{Shards: shards})
		sub := s.client("id=sub receive-max=1")
		for i := range 5 {
			sub.subscribe(fmt.Sprintf("subid=%d t/%d qos=1", i+1, i))
		}
		pub := s.client("id=pub")
		for i := range 5 {
			pub.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=t/%d "x"`, i+1, i))
			pub.expect(fmt.Sprintf("PUBACK id=%d", i+1))
		}
		for i := range 5 {
			sub.expect(fmt.Sprintf("PUBLISH topic=t/%d subid=%d", i, i+1))
			sub.send(fmt.Sprintf("PUBACK id=%d", i+1))
		}
	}
}

// TestTotalQueued: beyond the limit of all queues together nothing more is queued for anybody.
func TestTotalQueued(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		o := with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxTotalQueued = 10_000 })
		o.Shards = shards
		s := serve(t, o)
		for i := range 4 {
			p := s.client(fmt.Sprint("id=s", i, " expiry=100"))
			p.subscribe(fmt.Sprint("t/", i, " qos=1"))
			p.leave(s, 0)
		}
		pub := s.client("id=pub")
		refused := 0
		for i := range 40 {
			pub.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=t/%d %q`, i+1, i%4, strings.Repeat("x", 400)))
			if ack := pub.next(); alike(ack, "PUBACK 0x97") {
				refused++
			} else if ack != fmt.Sprintf("PUBACK id=%d", i+1) {
				t.Fatal(ack)
			}
			s.until("it is delivered", func(st broker.Stats) bool { return st.QueuedBytes >= int64(i+1-refused)*531 })
		}
		st := s.stats()
		if st.QueuedBytes > 10_000 || st.QueuedBytes < 9_000 || refused == 0 || st.Dropped[session.ServerFull] != uint64(refused) {
			t.Errorf("%d bytes queued, %d refused, %d counted", st.QueuedBytes, refused, st.Dropped[session.ServerFull])
		}
		for i := range 4 {
			if err := s.Control().EndSession(t.Context(), fmt.Sprint("s", i), "test"); err != nil {
				t.Fatal(err)
			}
		}
		s.until("what waited is dropped with its session", func(st broker.Stats) bool {
			return st.QueuedBytes == 0 && st.Dropped[session.SessionEnded] == uint64(40-refused)
		})
	})
}

// TestRetainedLimits: beyond the limits a message is delivered, not retained, and its publisher told; what is there
// may be replaced, and removed.
func TestRetainedLimits(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		o := with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxRetained, l.MaxRetainedBytes = 3, 1000 })
		o.Shards = shards
		s := serve(t, o)
		sub, pub := s.client("id=sub"), s.client("id=pub")
		sub.subscribe("# qos=0")
		id := 0
		put := func(topic, payload, answer string) {
			t.Helper()
			id++
			pub.send(fmt.Sprintf(`PUBLISH qos=1 id=%d retain topic=%s %q`, id, topic, payload))
			pub.expect(fmt.Sprintf("PUBACK id=%d %s", id, answer))
			sub.expect("PUBLISH topic=" + topic)
		}
		for _, name := range []string{"a", "b", "c"} {
			put(name, "1", "")
		}
		put("d", "1", "0x97")
		put("c", "2", "")
		put("c", strings.Repeat("x", 500), "")
		put("b", strings.Repeat("x", 500), "0x97")
		put("a", "", "")
		put("d", "1", "")
		st := s.stats()
		if st.Retained != 3 || st.RetainedBytes > 1000 || st.Dropped[session.RetainedFull] != 2 {
			t.Errorf("%d retained with %d bytes, %d refused", st.Retained, st.RetainedBytes, st.Dropped[session.RetainedFull])
		}
		for _, name := range []string{"b", "c", "d"} {
			put(name, "", "")
		}
		if st := s.stats(); st.Retained != 0 || st.RetainedBytes != 0 {
			t.Errorf("%d retained with %d bytes", st.Retained, st.RetainedBytes)
		}
	})
}

// TestRetainedOwn: what the server publishes of itself takes no room of its clients, and is told apart.
func TestRetainedOwn(t *testing.T) {
	o := with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxRetained = 2 })
	o.SysEvery = time.Hour
	s := serve(t, o)
	s.until("$SYS is there", func(got broker.Stats) bool {
		return got.RetainedOwn > 10 && got.Retained == 0 && got.RetainedBytes == 0
	})
	pub := s.client("id=pub")
	for i, answer := range []string{"0x10", "0x10", "0x97"} {
		pub.send(fmt.Sprintf(`PUBLISH qos=1 id=%d retain topic=t%d "x"`, i+1, i))
		pub.expect(fmt.Sprintf("PUBACK id=%d %s", i+1, answer))
	}
	if got := s.stats(); got.Retained != 2 || got.RetainedBytes == 0 || got.RetainedBytes > 300 {
		t.Errorf("%d retained with %d bytes, and %d of its own", got.Retained, got.RetainedBytes, got.RetainedOwn)
	}
}

// TestRetainedExpiry: an expired retained message is not sent and leaves memory, also when its topic's expiry was
// moved on again and again, and a newer one stays.
func TestRetainedExpiry(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		t.Parallel()
		st := mem.New()
		s := serve(t, broker.Options{Shards: shards, Store: st})
		pub := s.client("id=pub")
		for i := range 3000 {
			pub.send(fmt.Sprintf(`PUBLISH retain topic=moved expiry=%d "x"`, 1000+i))
		}
		pub.send(`PUBLISH retain topic=moved expiry=1 "x"`, `PUBLISH retain topic=moved "stays"`,
			`PUBLISH retain topic=gone expiry=1 "x"`, `PUBLISH retain topic=renewed expiry=1 "x"`, `PUBLISH retain topic=renewed expiry=100 "x"`)
		for i := range 2000 {
			pub.send(fmt.Sprintf(`PUBLISH retain topic=many/%d expiry=1 "x"`, i))
		}
		pub.idle()
		s.until("what expires is gone", func(got broker.Stats) bool {
			return got.Retained == 2 && got.Dropped[session.Expired] == 2001 && st.Stats().Retained == 2
		})
		sub := s.client("id=sub")
		sub.subscribe("#")
		got := []string{sub.next(), sub.next()}
		slices.Sort(got)
		if !alike(got[0], `PUBLISH retain topic=moved "stays"`) || !strings.HasPrefix(got[1], "PUBLISH retain topic=renewed expiry=9") {
			t.Errorf("got %q", got)
		}
	})
}

// TestConnectionLimit: as many as are allowed, over all shards; a takeover is no one more.
func TestConnectionLimit(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		o := with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxConnections = 10 })
		o.Shards = shards
		s := serve(t, o)
		var peers []*peer
		var all sync.WaitGroup
		for i := range 50 {
			p := s.dial(mqtt.V5)
			peers = append(peers, p)
			all.Go(func() { p.send(fmt.Sprint("CONNECT expiry=100 id=c", i)) })
		}
		all.Wait()
		in := ""
		for i, p := range peers {
			switch ack := p.next(); {
			case ack == "CONNACK 0x00" || strings.HasPrefix(ack, "CONNACK 0x00 "):
				in = fmt.Sprint("c", i)
			case !alike(ack, "CONNACK 0x97"):
				t.Fatal(ack)
			}
		}
		st := s.stats()
		if st.Connected != 10 || st.MaxConnected != 10 || st.Refused[mqtt.QuotaExceeded] != 40 {
			t.Errorf("%d connected, at most %d, %d refused", st.Connected, st.MaxConnected, st.Refused[mqtt.QuotaExceeded])
		}
		s.client("expiry=100 id=" + in)
		old := s.dial(mqtt.V311)
		old.send("CONNECT v3.1.1 id=new clean")
		old.expect("CONNACK 0x88", "closed")
		for _, p := range peers {
			p.conn.Close()
		}
		s.until("one is left", func(st broker.Stats) bool { return st.Connected == 1 })
		s.client("id=new")
	})
}

// TestClampedConnect: a keep-alive and a session expiry above the limits are clamped, enforced, and told.
func TestClampedConnect(t *testing.T) {
	t.Parallel()
	s := serve(t, with(func(l *broker.Limits, _ *broker.Delivery) {
		l.MaxKeepAlive, l.MaxSessionExpiry = time.Second, time.Second
	}))
	for _, words := range []string{"id=a expiry=100 keepalive=60", "id=b expiry=4294967295"} {
		p, ack := s.join(words)
		if !alike(ack, "CONNACK expiry=1") || !strings.Contains(ack, "keepalive=1") {
			t.Errorf("%s: %s", words, ack)
		}
		p.send("DISCONNECT 0x00 expiry=1000")
	}
	if _, ack := s.join("id=c expiry=1 keepalive=1"); strings.Contains(ack, "expiry") || strings.Contains(ack, "keepalive") {
		t.Errorf("nothing is clamped: %s", ack)
	}
	s.client("v3.1.1 id=old").expect("closed")
	s.until("all have been silent and are forgotten", func(st broker.Stats) bool {
		return st.Connected == 0 && st.Sessions == 0 && st.Subscriptions == 0
	})
}

func TestBadLimits(t *testing.T) {
	for _, change := range []func(*broker.Limits, *broker.Delivery){
		func(l *broker.Limits, _ *broker.Delivery) { l.MaxSessionExpiry = time.Millisecond },
		func(l *broker.Limits, _ *broker.Delivery) { l.MaxKeepAlive = -1 },
		func(l *broker.Limits, _ *broker.Delivery) { l.MaxQueuedMessages = 0 },
		func(l *broker.Limits, _ *broker.Delivery) { l.MaxRetained = -1 },
		func(_ *broker.Limits, d *broker.Delivery) { d.Overflow = "" },
	} {
		o := with(change)
		o.Store = mem.New()
		if b, err := broker.New(o); err == nil {
			t.Error("accepted: ", *o.Limits, *o.Delivery)
			b.Close(t.Context())
		}
	}
}

package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// named lets everybody in as the user it claims to be; guests are in the group of guests.
type named struct{}

func (named) Authenticate(_ context.Context, a *auth.Attempt) (*auth.Identity, error) {
	id := &auth.Identity{Name: a.Username}
	if strings.HasPrefix(a.Username, "guest") {
		id.Groups = []string{"guests"}
	}
	return id, nil
}

// limited notes the limits that are told, and quarantines.
type limited struct {
	mu   sync.Mutex
	told []broker.Limited
}

func (l *limited) event(e broker.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch x := e.(type) {
	case broker.Limited:
		l.told = append(l.told, x)
	case broker.Quarantined:
		l.told = append(l.told, broker.Limited{Party: x.Party, What: "quarantine", Text: x.Ban.Text()})
	}
}

func (l *limited) whats() (w []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.told {
		w = append(w, x.What+" "+x.ClientID)
	}
	return w
}

// rated runs a broker with rates.
func rated(t testing.TB, shards int, change func(*limit.Rates)) (*served, *limited) {
	r := limit.DefaultRates()
	change(&r)
	l := &limited{}
	return serve(t, broker.Options{Shards: shards, Rates: &r, Authn: named{}, Events: l.event}), l
}

// publishes is so many messages to the topic t.
func publishes(n int, words string) (lines []string) {
	for i := range n {
		if strings.Contains(words, "qos=") {
			lines = append(lines, fmt.Sprintf(`PUBLISH id=%d topic=t %s "%d"`, i+1, words, i))
		} else {
			lines = append(lines, fmt.Sprintf(`PUBLISH topic=t %s "%d"`, words, i))
		}
	}
	return lines
}

// TestRateDelay: who publishes faster than it may is not read for a while; nothing is lost, and it is told of once.
func TestRateDelay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		s, told := rated(t, shards, func(r *limit.Rates) { r.Client.PublishMessages, r.Burst = 100, 100*time.Millisecond })
		sub := s.client("id=sub")
		sub.subscribe("t qos=1")
		for _, words := range []string{"", "qos=1"} {
			for _, version := range []string{"", "v3.1.1 clean "} {
				pub := s.client(version + "id=pub")
				begin := time.Now()
				pub.send(publishes(50, words)...)
				for i := range 50 {
					sub.expect(fmt.Sprintf(`PUBLISH topic=t "%d"`, i))
				}
				if took := time.Since(begin); took < 300*time.Millisecond { // 10 at once, 40 at 100 a second
					t.Errorf("50 messages took %v", took)
				}
				pub.conn.Close()
			}
		}
		st := s.stats()
		if st.Limited[limit.ClientMessages] < 4 || st.TotalDropped() != 0 {
			t.Errorf("limited %d times, %d dropped", st.Limited[limit.ClientMessages], st.TotalDropped())
		}
		if got := told.whats(); len(got) != 4 || got[0] != "client_publish_messages pub" { // one for each connection
			t.Errorf("told %q", got)
		}
	})
}

// TestRateKeepAlive: the keep-alive of a client that is not read stands still.
func TestRateKeepAlive(t *testing.T) {
	t.Parallel()
	s, _ := rated(t, 1, func(r *limit.Rates) { r.Client.PublishMessages, r.Burst = 1, 10*time.Millisecond })
	sub := s.client("id=sub")
	sub.subscribe("t qos=0")
	pub := s.client("id=pub keepalive=1")
	pub.send(publishes(4, "")...)
	for i := range 4 {
		sub.expect(fmt.Sprintf(`PUBLISH topic=t "%d"`, i))
	}
	pub.idle()
}

// TestRateRefuse: those who can be told are told, QoS 0 is dropped and counted, and a client before MQTT 5 is delayed where it
// waits for an answer.
func TestRateRefuse(t *testing.T) {
	t.Parallel()
	s, told := rated(t, 1, func(r *limit.Rates) {
		r.Client.PublishMessages, r.Burst, r.Answer = 10, 200*time.Millisecond, limit.Refuse
	})
	sub := s.client("id=sub")
	sub.subscribe("t qos=1")
	pub := s.client("id=pub")
	pub.send(append(publishes(4, "qos=1"), // at once, so that nothing is saved up meanwhile
		`PUBLISH qos=2 id=9 topic=t "x"`, `PUBLISH topic=t "y"`, `PUBLISH alias=1 topic=t "z"`, `PUBLISH alias=1 topic="" "z"`)...)
	pub.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3 0x97", `PUBACK id=4 0x97 reason="more`, "PUBREC id=9 0x97")
	pub.idle()
	sub.expect(`PUBLISH "0"`, `PUBLISH "1"`)
	sub.idle()
	st := s.stats()
	if st.Dropped[session.RateLimited] != 3 || st.Limited[limit.ClientMessages] != 6 || len(told.whats()) != 1 {
		t.Errorf("%d dropped, %d limited, told %q", st.Dropped[session.RateLimited], st.Limited[limit.ClientMessages], told.whats())
	}
	old := s.client("v3.1.1 clean id=old")
	begin := time.Now()
	old.send(publishes(6, "qos=1")...)
	for i := range 6 {
		old.expect(fmt.Sprintf("PUBACK id=%d", i+1))
	}
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("6 messages took %v", took)
	}
}

// TestRateDisconnect: 0x96, and bytes are counted.
func TestRateDisconnect(t *testing.T) {
	s, _ := rated(t, 1, func(r *limit.Rates) { r.Total.PublishBytes, r.Answer = 1000, limit.Disconnect })
	pub := s.client("id=pub")
	line := `PUBLISH qos=1 id=1 topic=t "` + strings.Repeat("x", 600) + `"`
	pub.send(line)
	pub.expect("PUBACK id=1")
	pub.send(line, line)
	pub.expect("DISCONNECT 0x96", "closed")
	if st := s.stats(); st.Limited[limit.TotalBytes] != 1 {
		t.Errorf("limited %d times", st.Limited[limit.TotalBytes])
	}
}

// TestRateDeliver: what a client may not get yet waits if it is QoS 1 or 2, in order, whether or not it is stored, and is dropped and
// counted if it is QoS 0.
func TestRateDeliver(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		for _, words := range []string{"", "expiry=100"} {
			s, told := rated(t, shards, func(r *limit.Rates) { r.Client.DeliverMessages, r.Burst = 100, 50*time.Millisecond })
			sub := s.client("id=sub " + words)
			sub.subscribe("t qos=1, retained/# qos=0")
			pub := s.client("id=pub")
			begin := time.Now()
			pub.send(publishes(40, "qos=1")...)
			for i := range 40 {
				sub.expect(fmt.Sprintf(`PUBLISH topic=t "%d"`, i))
				sub.send(fmt.Sprintf("PUBACK id=%d", i+1))
			}
			if took := time.Since(begin); took < 200*time.Millisecond {
				t.Errorf("40 messages took %v", took)
			}
			if got := told.whats(); !slices.Contains(got, "client_deliver_messages sub") {
				t.Errorf("told %q", got)
			}
			pub = s.client("id=pub0")
			pub.send(publishes(200, "")...)
			s.until("some are dropped", func(st broker.Stats) bool {
				n := st.Dropped[session.RateLimited]
				return n > 100 && st.TotalDropped() == n
			})
			if !reached(func() bool { pub.send(publishes(1, "")...); pub.idle(); return s.stats().PublishSent > 40 }) {
				t.Error("QoS 0 does not come any more")
			}
		}
	})
}

// TestRateRetained: retained messages for a new subscription come at the rate, and none is dropped.
func TestRateRetained(t *testing.T) {
	t.Parallel()
	s, _ := rated(t, 1, func(r *limit.Rates) {
		r.Burst = 50 * time.Millisecond
		r.Classes = []limit.Class{{Name: "slow", Clients: []string{"slow*"}, Client: limit.ClientRate{DeliverMessages: 100}}}
	})
	pub := s.client("id=pub")
	for i := range 30 {
		pub.send(fmt.Sprintf(`PUBLISH retain topic=r/%d "x"`, i))
	}
	pub.idle()
	sub := s.client("id=slow1")
	begin := time.Now()
	sub.subscribe("r/# qos=0")
	for range 30 {
		sub.expect("PUBLISH retain")
	}
	if took := time.Since(begin); took < 150*time.Millisecond {
		t.Errorf("30 messages took %v", took)
	}
	if st := s.stats(); st.TotalDropped() != 0 {
		t.Errorf("%d dropped", st.TotalDropped())
	}
}

// TestRateShared: the clients of a user share its rate, whatever shards they are on, and the narrowest counts.
func TestRateShared(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		s, _ := rated(t, shards, func(r *limit.Rates) {
			r.User.PublishMessages, r.Client.PublishMessages, r.Answer = 20, 15, limit.Refuse
		})
		refused, begin := 0, time.Now()
		for i := range 4 {
			p := s.client(fmt.Sprint("id=p", i, " username=ann"))
			p.send(publishes(10, "qos=1")...)
			for range 10 {
				if alike(p.next(), "PUBACK 0x97") {
					refused++
				}
			}
		}
		meanwhile := int(20*time.Since(begin).Seconds()) + 1
		other := s.client("id=other username=bob")
		other.send(`PUBLISH qos=1 id=1 topic=t`)
		other.expect("PUBACK id=1 0x10")
		if refused < 20-meanwhile || refused > 20 { // 20 at once, and what came in meanwhile
			t.Errorf("%d of 40 refused", refused)
		}
	})
}

// TestClasses: the first class that fits a client counts, for its rates and for the limits of its session.
func TestClasses(t *testing.T) {
	s, _ := rated(t, 1, func(r *limit.Rates) {
		r.Client.PublishMessages, r.Answer = 2, limit.Refuse
		r.Classes = []limit.Class{
			{Name: "guests", Groups: []string{"guests"}, MaxSubscriptions: 2, ReceiveMaximum: 7, MaxInflight: 1},
			{Name: "trusted", Users: []string{"root"}, Unlimited: true},
			{Name: "here", Listeners: []string{"nowhere"}, MaxSubscriptions: 1},
		}
	})
	guest, ack := s.join("id=g username=guest7")
	if !alike(ack, "CONNACK receive-max=7") {
		t.Error(ack)
	}
	guest.send("SUBSCRIBE id=1 a qos=1, b qos=0, c qos=0")
	guest.expect("SUBACK id=1 0x01,0x00,0x97")
	root := s.client("id=r username=root")
	root.subscribe("a, b, c, d")
	root.send(publishes(10, "qos=1")...)
	for range 10 {
		root.expect("PUBACK 0x10")
	}
	root.send(`PUBLISH qos=1 id=1 topic=a "1"`, `PUBLISH qos=1 id=2 topic=a "2"`)
	guest.expect(`PUBLISH id=1 "1"`)
	guest.idle() // one in flight
	guest.send("PUBACK id=1")
	guest.expect(`PUBLISH id=2 "2"`)
}

// TestUserConnects: a user that connects too often is told so.
func TestUserConnects(t *testing.T) {
	s, _ := rated(t, 4, func(r *limit.Rates) { r.User.Connects = 3 })
	for i := range 3 {
		s.client(fmt.Sprint("id=c", i, " username=ann"))
	}
	for words, want := range map[string]string{"id=x username=ann": "CONNACK 0x9F", "v3.1.1 clean id=x username=ann": "CONNACK 0x88"} {
		v := mqtt.V5
		if strings.HasPrefix(words, "v3.1.1") {
			v = mqtt.V311
		}
		for { // a third of a second later one more may connect
			p := s.dial(v)
			p.send("CONNECT " + words)
			if got := p.next(); !alike(got, "CONNACK 0x00") {
				if !alike(got, want) {
					t.Errorf("got %s, want %s", got, want)
				}
				p.expect("closed")
				break
			}
		}
	}
	s.client("id=y username=bob")
	if st := s.stats(); st.Limited[limit.UserConnects] != 2 || st.Refused[mqtt.ConnectionRateExceeded] != 2 {
		t.Errorf("limited %d", st.Limited[limit.UserConnects])
	}
}

// TestSetRates: rates change while clients are there, at once.
func TestSetRates(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		s := serve(t, broker.Options{Shards: shards})
		pub := s.client("id=pub")
		r := limit.DefaultRates()
		r.Client.PublishMessages, r.Burst = 1, 10*time.Millisecond
		if err := s.SetRates(r); err != nil {
			t.Fatal(err)
		}
		if err := s.SetRates(limit.Rates{}); err == nil {
			t.Error("rates without an answer")
		}
		pub.idle()
		pub.send(publishes(1000, "qos=1")...)
		pub.expect("PUBACK id=1")
		s.until("it is delayed", func(st broker.Stats) bool { return st.Limited[limit.ClientMessages] > 0 })
		if err := s.SetRates(limit.DefaultRates()); err != nil {
			t.Fatal(err)
		}
		for i := range 999 {
			pub.expect(fmt.Sprintf("PUBACK id=%d", i+2))
		}
	})
}

// TestSetLimits: what is asked for each packet holds at once, what belongs to a session when its client connects anew, or
// at once if it is away; and what cannot be changes nothing.
func TestSetLimits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		s := serve(t, broker.Options{Shards: shards})
		away := s.client("id=away expiry=100")
		away.subscribe("t qos=1")
		away.leave(s, 0)
		here := s.client("id=here")
		l, d := broker.DefaultLimits(), broker.DefaultDelivery()
		l.MaxSubscriptions, l.MaxPacketSize, l.MaxQueuedMessages, l.MaxRetained, l.ReceiveMaximum = 1, 1000, 2, 1, 5
		if err := s.SetLimits(l, d); err != nil {
			t.Fatal(err)
		}
		bad := l
		bad.MaxPacketSize = 1
		if err := s.SetLimits(bad, d); err == nil {
			t.Error("a packet size of 1")
		}
		s.until("the shards know", func(st broker.Stats) bool { return st.Sessions == 2 })
		here.subscribe("a, b") // as it was told
		here.send(`PUBLISH retain qos=1 id=1 topic=r/1 "x"`, `PUBLISH retain qos=1 id=2 topic=r/2 "x"`)
		here.expect("PUBACK id=1 0x10", "PUBACK id=2 0x97")
		for i := range 2 {
			here.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=t "x"`, i+3))
			here.expect(fmt.Sprintf("PUBACK id=%d", i+3))
		}
		if !reached(func() bool {
			here.send(`PUBLISH qos=1 id=9 topic=t "x"`)
			return alike(here.next(), "PUBACK id=9 0x97")
		}) {
			t.Error("the queue of a session that is away has its old limit")
		}
		again, ack := s.join("id=again")
		if !alike(ack, "CONNACK receive-max=5") {
			t.Error(ack)
		}
		again.send("SUBSCRIBE id=1 a, b")
		again.expect("SUBACK id=1 0x00,0x97")
		here.send(`PUBLISH topic=t "` + strings.Repeat("x", 1000) + `"`)
		here.expect("DISCONNECT 0x95", "closed")
	})
}

// TestFloods: a flood of messages without a payload is bounded by their number, one of the largest by their bytes, whoever
// else is there; to a slow link goes as much as is allowed, and what it does not get is bounded (F136). Scale: a flood of 20,000 messages, and of
// 32 of 64 KiB, against 2,000 messages and 256 KiB a second.
func TestFloods(t *testing.T) {
	t.Parallel()
	s, _ := rated(t, 2, func(r *limit.Rates) {
		r.Burst = 100 * time.Millisecond
		r.Classes = []limit.Class{
			{Name: "all", Clients: []string{"flood*"}, Client: limit.ClientRate{PublishMessages: 2000, PublishBytes: 256 << 10}},
			{Name: "link", Clients: []string{"slow*"}, Client: limit.ClientRate{DeliverBytes: 64 << 10}},
		}
	})
	by, slow := s.client("id=by"), s.client("id=slow")
	by.subscribe("news qos=1")
	slow.subscribe("large qos=0")
	empty, large := s.client("id=flood1"), s.client("id=flood2")
	begin := time.Now()
	var zero, big []byte
	for range 20_000 {
		zero = (&mqtt.Publish{Topic: []byte("t")}).AppendTo(zero, mqtt.V5)
	}
	for range 32 {
		big = (&mqtt.Publish{Topic: []byte("large"), Payload: make([]byte, 64<<10)}).AppendTo(big, mqtt.V5)
	}
	go empty.conn.Write(zero)
	go large.conn.Write(big)
	for i := range 50 {
		by.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=news "%d"`, i+1, i))
		for range 2 { // PUBACK and the message, in either order
			if got := by.next(); !alike(got, fmt.Sprintf("PUBACK id=%d", i+1)) && !alike(got, fmt.Sprintf(`PUBLISH "%d"`, i)) {
				t.Fatal(got)
			}
		}
		by.send(fmt.Sprintf("PUBACK id=%d", i+1))
	}
	s.until("half a second is over", func(st broker.Stats) bool {
		return time.Since(begin) > 500*time.Millisecond && st.PublishReceived > 550
	})
	st := s.stats()
	seconds := time.Since(begin).Seconds() + 0.1
	if n := float64(st.PublishReceived - 50); n > 2000*seconds+256*seconds/64+1 {
		t.Errorf("%v messages in %v s", n, seconds)
	}
	if n := float64(st.PublishBytesReceived); n > 256*1024*seconds+64<<10+200 {
		t.Errorf("%v bytes in %v s", n, seconds)
	}
	if n := float64(st.PublishBytesSent); n > 64*1024*seconds+2*(64<<10)+200 {
		t.Errorf("%v bytes sent in %v s", n, seconds)
	}
}

// TestClassAfterRestart: a session that a restart found has the queue of its class, before its client comes again.
func TestClassAfterRestart(t *testing.T) {
	t.Parallel()
	o := with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxQueuedMessages = 10 })
	rates := limit.DefaultRates()
	rates.Classes = []limit.Class{{Name: "long", Clients: []string{"long*"}, MaxQueuedMessages: 100}}
	o.Rates = &rates
	st := mem.New()
	o.Store = st
	s := serve(t, o)
	for _, id := range []string{"long", "short"} {
		s.away("id="+id+" expiry=100", "t qos=1")
	}
	s, _ = restart(t, st, o)
	pub := s.client("id=pub")
	for range 50 { // what comes in one turn may be beyond the limit
		pub.give(1, 1, "t", "")
	}
	if long, short := len(s.queued("long")), len(s.queued("short")); long != 50 || short != 10 {
		t.Errorf("%d and %d messages wait", long, short)
	}
}

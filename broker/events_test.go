package broker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// tale is what a broker has told.
type tale struct {
	mu   sync.Mutex
	told []broker.Event
}

func (x *tale) tell(e broker.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.told = append(x.told, e)
}

func (x *tale) all() []broker.Event {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.told)
}

// told are the events of one type.
func told[E broker.Event](x *tale) (list []E) {
	for _, e := range x.all() {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

// await waits for an event of a type that fits.
func await[E broker.Event](t testing.TB, x *tale, fits func(E) bool) (found E) {
	t.Helper()
	if !reached(func() bool {
		list := told[E](x)
		i := slices.IndexFunc(list, fits)
		if i >= 0 {
			found = list[i]
		}
		return i >= 0
	}) {
		t.Fatalf("nobody was told of such a %T; %+v", found, told[E](x))
	}
	return found
}

func any1[E broker.Event](E) bool { return true }

// telling runs a broker that tells.
func telling(t testing.TB, o broker.Options) (*served, *tale) {
	x := &tale{}
	o.Events = x.tell
	o.Sums.Longest = time.Second
	return serve(t, o), x
}

// order is what was told of a client, by type, in order.
func (x *tale) order(id string) (names []string) {
	for _, e := range x.all() {
		if partyOf(e).ClientID == id {
			names = append(names, strings.TrimPrefix(fmt.Sprintf("%T", e), "broker."))
		}
	}
	return names
}

func partyOf(e broker.Event) broker.Party {
	if v := reflect.ValueOf(e).FieldByName("Party"); v.IsValid() {
		return v.Interface().(broker.Party)
	}
	return broker.Party{}
}

// vouching lets everybody in as the user it claims to be, but for those whose password is wrong.
type vouching struct{}

func (vouching) Authenticate(_ context.Context, a *auth.Attempt) (*auth.Identity, error) {
	if string(a.Password) == "wrong" {
		return nil, &auth.Refusal{Reason: mqtt.BadUserNameOrPassword, Text: "no", By: "test", Why: "the password is wrong"}
	}
	id := &auth.Identity{Name: a.Username, Groups: []string{"all"}, By: "test"}
	if a.Username == "brief" {
		id.Expires = time.Now().Add(500 * time.Millisecond)
	}
	return id, nil
}

// TestToldOfConnection: who connected, how, with which session; how it ended, and what became of session and will.
func TestToldOfConnection(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		s, x := telling(t, broker.Options{Shards: shards, Authn: vouching{}})
		p := s.client(`id=a username=ann expiry=60 keepalive=30 user=client_software=meterd user=version=2.1 will=w will-delay=7 "x"`)
		p.subscribe("t qos=1")
		c := await(t, x, any1[broker.Connected])
		if c.ClientID != "a" || c.User != "ann" || c.By != "test" || !slices.Equal(c.Groups, []string{"all"}) || c.Listener != "test" || c.Address != addrOf(p) ||
			c.Version != mqtt.V5 || c.KeepAlive != 30*time.Second || c.Expiry != time.Minute || c.CleanStart || c.Resumed || c.TLS != nil ||
			c.Software != "meterd 2.1" || string(c.Will.Topic) != "w" || c.WillDelay != 7*time.Second {
			t.Errorf("%+v", c)
		}
		if d, err := s.View().Client(t.Context(), "a"); err != nil || d.Software != "meterd 2.1" || d.TLS != nil {
			t.Errorf("%+v, %v", d, err)
		}
		pub := s.client("id=pub clean")
		pub.send(`PUBLISH qos=1 id=1 topic=t "1"`)
		pub.expect("PUBACK id=1")
		p.expect("PUBLISH topic=t")
		p.send("DISCONNECT 0x00")
		p.expect("closed")
		d := await(t, x, func(d broker.Disconnected) bool { return d.ClientID == "a" })
		if d.Cause != broker.ByClient || d.Reason != mqtt.Success || d.Received != 0 || d.Sent != 1 || d.Queued != 1 || d.Expiry != time.Minute || d.Version != mqtt.V5 {
			t.Errorf("%+v", d)
		}
		p = s.client("id=a username=ann expiry=0")
		r := await(t, x, any1[broker.SessionResumed])
		if r.Queued != 1 || r.QueueBytes == 0 || r.Subscriptions != 1 || r.Away < 0 || r.Away > time.Minute || r.Expiry != 0 {
			t.Errorf("%+v", r)
		}
		p.leave(s, 1)
		e := await(t, x, any1[broker.SessionEnded])
		if e.Why != broker.EndDisconnected || e.Queued != 1 || e.Subscriptions != 1 || !e.Durable {
			t.Errorf("%+v", e)
		}
		want := "SessionCreated Connected Subscribed WillCancelled Disconnected SessionResumed Connected Disconnected SessionEnded"
		if got := strings.Join(x.order("a"), " "); got != want {
			t.Errorf("%s; want %s", got, want)
		}
		if d := told[broker.Disconnected](x)[1]; d.Cause != broker.ByClosing || !d.Resumed {
			t.Errorf("%+v", d)
		}
	})
}

// TestToldOfTLS: what was agreed on, and whose certificate it was; and of a handshake that failed.
func TestToldOfTLS(t *testing.T) {
	s, x := telling(t, broker.Options{Shards: 4})
	addr, _ := s.open(withTLS)
	cfg := private().clientConfig()
	cfg.Certificates = append(cfg.Certificates, private().client)
	s.enter(s.dialTLS(addr, cfg), "id=tls")
	c := await(t, x, any1[broker.Connected])
	if c.TLS == nil || c.TLS.Version != 0x0304 || c.TLS.Cipher == 0 || c.TLS.Resumed || c.TLS.ServerName != "localhost" || c.CommonName != "sensor-7" || c.Listener != "door" {
		t.Errorf("%+v %+v", c, c.TLS)
	}
	bad := s.dialTCP(addr)
	bad.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	io.Copy(io.Discard, bad)
	if r := await(t, x, any1[broker.Refused]); r.Cause != broker.RefusedTLS || !r.Before || r.Listener != "door" || !r.Address.IsValid() || r.Why == "" {
		t.Errorf("%+v", r)
	}
}

// TestToldWhyDisconnected: by whom a connection was ended, whichever way.
func TestToldWhyDisconnected(t *testing.T) {
	t.Parallel()
	l, d := broker.DefaultLimits(), broker.DefaultDelivery()
	l.MaxQueuedMessages, l.MaxInflight, d.Overflow = 1, 1, broker.OverflowDisconnect
	o := broker.Options{Shards: 2, Limits: &l, Delivery: &d, Authn: vouching{}, Gates: []broker.Gate{gate(func(_ string, m *mqtt.Message) mqtt.ReasonCode {
		if string(m.Topic) == "panic" {
			panic("a fault")
		}
		return mqtt.Success
	})}}
	s, x := telling(t, o)
	ctx, ctl := t.Context(), s.Control()
	for _, c := range []struct {
		words  string // of CONNECT, beside id=c
		do     func(p *peer)
		cause  broker.Cause
		reason mqtt.ReasonCode
		text   string
	}{
		{"", func(p *peer) { p.send("DISCONNECT 0x04") }, broker.ByClient, mqtt.DisconnectWithWill, "the client disconnected"},
		{"", func(p *peer) { p.send(`DISCONNECT 0x80 reason="battery"`) }, broker.ByClient, mqtt.UnspecifiedError, "battery"},
		{"v3.1.1 clean", func(p *peer) { p.send("DISCONNECT") }, broker.ByClient, mqtt.Success, "the client disconnected"},
		{"", func(p *peer) { p.conn.Close() }, broker.ByClosing, 0, "the client closed"},
		{"keepalive=1", func(*peer) {}, broker.ByKeepAlive, mqtt.KeepAliveTimeout, "no packet"},
		{"", func(p *peer) { p.send("CONNECT id=c") }, broker.ByProtocol, mqtt.ProtocolError, "a second CONNECT"},
		{"", func(p *peer) { p.send("RAW 00 00") }, broker.ByProtocol, mqtt.MalformedPacket, ""},
		{"", func(*peer) { ctl.Disconnect(ctx, "c", mqtt.UseAnotherServer, "go there") }, broker.ByAdmin, mqtt.UseAnotherServer, "go there"},
		{"", func(*peer) { ctl.EndSession(ctx, "c", "enough") }, broker.ByAdmin, mqtt.AdministrativeAction, "enough"},
		{"", func(*peer) {
			ctl.Ban(ctx, ban.Ban{Subject: ban.Client, Value: "c", Reason: "nonsense"})
			ctl.Unban(ctx, ban.Client, "c")
		}, broker.ByBan, mqtt.AdministrativeAction, "banned: nonsense"},
		{"username=brief", func(*peer) {}, broker.ByExpiry, mqtt.MaximumConnectTime, "the credentials"},
		{"", func(p *peer) { p.send("PUBLISH topic=panic") }, broker.ByFault, 0, "the connection broke"},
		{"", func(p *peer) {
			p.subscribe("q qos=1")
			for range 4 {
				ctl.Publish(ctx, mqtt.Message{Topic: []byte("q"), QoS: 1})
			}
		}, broker.ByQueue, mqtt.QuotaExceeded, "the queue"},
		{"keepalive=70", func(p *peer) {
			p.conn.SetDeadline(time.Now().Add(patience))
			<-time.After(20 * time.Millisecond) // so that it is silent for a while
			s.dial(mqtt.V5).send("CONNECT id=c expiry=0")
		}, broker.ByTakeover, mqtt.SessionTakenOver, "taken over by a connection from 127.0.0.1:"},
	} {
		n := len(told[broker.Disconnected](x))
		p := s.client("id=c " + c.words)
		c.do(p)
		if !reached(func() bool { return len(told[broker.Disconnected](x)) > n }) {
			t.Fatalf("%v: it stays", c.cause)
		}
		e := told[broker.Disconnected](x)[n]
		if e.Cause != c.cause || e.Reason != c.reason || !strings.HasPrefix(e.Text, c.text) || e.ClientID != "c" || e.Listener != "test" || e.Address != addrOf(p) {
			t.Errorf("%v: %+v", c.cause, e)
		}
	}
	if e := told[broker.ProtocolError](x); len(e) != 2 || e[0].Text != "a second CONNECT" || e[0].Reason != mqtt.ProtocolError || e[0].ClientID != "c" || e[0].Version != mqtt.V5 {
		t.Errorf("%+v", e)
	}
	if e := told[broker.TakenOver](x); len(e) != 1 || e[0].ClientID != "c" || !e[0].By.Address.IsValid() || e[0].By.Address == e[0].Address || e[0].By.Listener != "test" ||
		e[0].KeepAlive != 70*time.Second || e[0].Silent <= 0 || e[0].For < e[0].Silent {
		t.Errorf("%+v", e)
	}
	if e := told[broker.BanChanged](x); len(e) != 2 || e[0].Ended || e[0].Disconnected != 1 || e[0].Ban.Reason != "nonsense" || !e[1].Ended || e[1].Expired {
		t.Errorf("%+v", e)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	list := told[broker.Disconnected](x)
	if e := list[len(list)-1]; e.Cause != broker.ByShutdown || e.Reason != mqtt.ServerShuttingDown {
		t.Errorf("%+v", e)
	}
}

func addrOf(p *peer) netip.AddrPort { return netip.MustParseAddrPort(p.conn.LocalAddr().String()) }

// TestToldOfSession: why a session ended, and what was lost with it.
func TestToldOfSession(t *testing.T) {
	t.Parallel()
	s, x := telling(t, broker.Options{Shards: 2})
	ctx, ctl := t.Context(), s.Control()
	for _, c := range []struct {
		words string
		do    func()
		why   broker.Ending
	}{
		{"expiry=1", func() {}, broker.EndExpired},
		{"expiry=60", func() { s.client("id=c clean").conn.Close() }, broker.EndCleanStart},
		{"expiry=60", func() { ctl.EndSession(ctx, "c", "enough") }, broker.EndAdmin},
	} {
		n := len(told[broker.SessionEnded](x))
		p := s.client("id=c " + c.words)
		p.subscribe("t qos=1")
		p.leave(s, 0)
		ctl.Publish(ctx, mqtt.Message{Topic: []byte("t"), QoS: 1})
		s.until("it waits", func(st broker.Stats) bool { return st.QueuedBytes > 0 })
		c.do()
		if !reached(func() bool { return len(told[broker.SessionEnded](x)) > n }) {
			t.Fatalf("%v: it stays", c.why)
		}
		if e := told[broker.SessionEnded](x)[n]; e.Why != c.why || e.Queued != 1 || e.Subscriptions != 1 || !e.Durable || e.ClientID != "c" {
			t.Errorf("%v: %+v", c.why, e)
		}
		s.until("all are gone", func(st broker.Stats) bool { return st.Sessions == 0 })
	}
}

// TestToldOfOwnClient: that the server's own client needs its client id is what ends another's session under it, also its own of an earlier run.
func TestToldOfOwnClient(t *testing.T) {
	t.Parallel()
	s, x := telling(t, broker.Options{Shards: 2})
	s.client("id=c expiry=60")
	s.door(broker.Listener{Name: "inside", Own: true}).client("id=c")
	if !reached(func() bool { return len(told[broker.SessionEnded](x)) > 0 }) {
		t.Fatal("it stays")
	}
	if e := told[broker.SessionEnded](x)[0]; e.Why != broker.EndOwn || e.ClientID != "c" {
		t.Errorf("%+v", e)
	}
	if e := told[broker.Disconnected](x)[0]; e.Cause != broker.ByTakeover || e.Text != "the client id is the server's own" {
		t.Errorf("%+v", e)
	}
}

// TestToldOfSubscriptions: each filter with what became of it, also when the rules change.
func TestToldOfSubscriptions(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		e := policy(t, auth.Rule{Name: "all", Actions: everything, Topics: []string{"a/#", "b/#"}})
		s, x := telling(t, broker.Options{Shards: shards, Authz: e})
		p := s.client("id=c")
		p.send("SUBSCRIBE id=1 subid=5 a/# qos=1, no/# qos=1, b/+/# qos=2, a/#/x qos=0")
		p.expect("SUBACK id=1 0x01,0x87,0x02,0x8F")
		p.send("SUBSCRIBE id=2 a/# qos=2", "UNSUBSCRIBE id=3 a/#, none")
		p.expect("SUBACK id=2 0x02", "UNSUBACK id=3 0x00,0x11")
		var got []string
		for _, e := range told[broker.Subscribed](x) {
			got = append(got, fmt.Sprintf("%s %d 0x%02X %v %d", e.Filter, e.Options.QoS(), uint8(e.Code), e.Again, e.ID))
		}
		slices.Sort(got)
		want := []string{"a/# 1 0x01 false 5", "a/# 2 0x02 true 0", "a/#/x 0 0x8F false 5", "b/+/# 2 0x02 false 5", "no/# 1 0x87 false 5"}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		if u := told[broker.Unsubscribed](x); len(u) != 1 || u[0].Filter != "a/#" || u[0].ClientID != "c" {
			t.Errorf("%+v", u)
		}
		for _, rule := range []auth.Rule{
			{Name: "never", Deny: true, Actions: everything, Topics: []string{"b/#"}},
			{Name: "all", Actions: everything, Topics: []string{"b/#"}},
		} {
			if err := e.Set("test", []auth.Rule{rule}); err != nil {
				t.Fatal(err)
			}
			if n, err := s.Control().Reauthorize(t.Context()); n != 1 || err != nil {
				t.Error(n, err)
			}
		}
		if r := await(t, x, any1[broker.SubscriptionRests]); r.Filter != "b/+/#" || r.Rule != "never" || r.Allowed || r.ClientID != "c" {
			t.Errorf("%+v", r)
		}
		if r := await(t, x, any1[broker.SubscriptionResumes]); r.Filter != "b/+/#" {
			t.Errorf("%+v", r)
		}
	})
}

// TestToldOfWills: sent, cancelled, or not published.
func TestToldOfWills(t *testing.T) {
	e := policy(t, auth.Rule{Name: "all", Actions: everything, Topics: []string{"#"}})
	s, x := telling(t, broker.Options{Shards: 2, Authz: e})
	sub := s.client("id=sub")
	sub.subscribe("w/# qos=1")
	s.client(`id=a will=w/a will-qos=1 will-retain "gone"`).leave(s, 1)
	sub.expect("PUBLISH topic=w/a")
	if w := await(t, x, any1[broker.WillSent]); w.ClientID != "a" || w.Topic != "w/a" || w.QoS != 1 || !w.Retain || w.Bytes != 4 || w.Reason != 0 || w.Receivers != 1 {
		t.Errorf("%+v", w)
	}
	s.client(`id=b expiry=60 will=w/b will-delay=60 "gone"`).leave(s, 1)
	b := s.client(`id=b expiry=60 will=w/c "gone"`)
	if w := await(t, x, any1[broker.WillCancelled]); w.ClientID != "b" || w.Topic != "w/b" || !w.Reconnect {
		t.Errorf("%+v", w)
	}
	if err := e.Set("test", nil); err != nil {
		t.Fatal(err)
	}
	b.leave(s, 1)
	if w := await(t, x, func(w broker.WillSent) bool { return w.ClientID == "b" }); w.Reason != mqtt.NotAuthorized || w.Topic != "w/c" || w.Receivers != 0 {
		t.Errorf("%+v", w)
	}
}

// TestToldOfRefusals: the first at once, with the backend and what only the operator is told; a flood of them as few.
func TestToldOfRefusals(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		l := broker.DefaultLimits()
		l.ConnectTimeout = patience
		s, x := telling(t, broker.Options{Shards: shards, Authn: vouching{}, Limits: &l})
		began := time.Now()
		const n = 50
		for range n {
			if got := s.refused("id=c username=ann password=wrong"); !strings.HasPrefix(got, "CONNACK 0x86") {
				t.Fatal(got)
			}
		}
		s.dial(mqtt.V5).write([]byte("GET / HTTP/1.1\r\n\r\n"))
		l.ConnectTimeout = time.Second
		if err := s.SetLimits(l, broker.DefaultDelivery()); err != nil {
			t.Fatal(err)
		}
		s.dial(mqtt.V5) // says nothing
		of := func(cause string) func(r broker.Refused) bool {
			return func(r broker.Refused) bool { return r.Cause == cause }
		}
		if r := await(t, x, of("bad_user_name_or_password")); r.ClientID != "c" || r.User != "ann" || r.By != "test" || r.Why != "test: the password is wrong" ||
			r.Text != "no" || r.Reason != mqtt.BadUserNameOrPassword || r.Before || r.Count != 1 || r.Listener != "test" || !r.Address.IsValid() {
			t.Errorf("%+v", r)
		}
		if r := await(t, x, of(broker.RefusedInput)); !r.Before || r.ClientID != "" {
			t.Errorf("%+v", r)
		}
		if r := await(t, x, of(broker.RefusedTimeout)); !r.Before {
			t.Errorf("%+v", r)
		}
		ctx, ctl := t.Context(), s.Control()
		if _, err := ctl.Ban(ctx, ban.Ban{Subject: ban.Address, Value: "127.0.0.1"}); err != nil {
			t.Fatal(err)
		}
		for range n {
			s.shut()
		}
		sum := func(cause string) (count uint64, events int) {
			for _, r := range told[broker.Refused](x) {
				if r.Cause == cause {
					count, events = count+r.Count, events+1
				}
			}
			return count, events
		}
		if !reached(func() bool {
			a, _ := sum("bad_user_name_or_password")
			b, _ := sum(broker.RefusedBanned)
			return a == n && b == n
		}) {
			t.Errorf("%+v", told[broker.Refused](x))
		}
		for _, cause := range []string{"bad_user_name_or_password", broker.RefusedBanned} {
			if _, events := sum(cause); events > 15+int(time.Since(began).Seconds()) { // a sum is told once a second
				t.Errorf("%s: %d events", cause, events)
			}
		}
	})
}

// TestToldOfLosses: what was dropped and denied is told as sums, by client, reason and branch, with the rule and an example; together
// they are what the broker has counted.
func TestToldOfLosses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		s, x := telling(t, broker.Options{Shards: shards, Authz: policy(t,
			auth.Rule{Name: "all", Actions: everything, Topics: []string{"#"}},
			auth.Rule{Name: "not", Deny: true, Actions: auth.ActionsOf(auth.Publish), Topics: []string{"no/#"}},
			auth.Rule{Name: "deaf", Deny: true, Actions: auth.ActionsOf(auth.Receive), Topics: []string{"deaf/#"}},
		)})
		began := time.Now()
		away, here := s.client("id=away expiry=60"), s.client("id=here")
		away.subscribe("a/# qos=0, deaf/# qos=0")
		away.leave(s, 1)
		const n = 300
		for i := range n {
			here.send(fmt.Sprintf(`PUBLISH topic=a/b/c/d%d "12345"`, i), "PUBLISH topic=a", "PUBLISH qos=1 id=1 topic=no/b/c/d", "PUBLISH topic=$SYS/x", "PUBLISH topic=deaf/x")
			here.expect("PUBACK id=1 0x87")
		}
		var dropped [session.Whys]uint64
		var st broker.Stats
		var denied uint64
		if !reached(func() bool {
			st, dropped, denied = s.stats(), [session.Whys]uint64{}, 0
			for _, e := range told[broker.Dropped](x) {
				dropped[e.Why] += e.Count
			}
			for _, e := range told[broker.Denied](x) {
				denied += e.Count
			}
			return dropped[session.Offline] == 2*n && dropped == st.Dropped && denied == st.Denied
		}) {
			t.Errorf("told %v and %d; counted %v and %d", dropped, denied, st.Dropped, st.Denied)
		}
		if dropped[session.Offline] != 2*n || dropped[session.Denied] != n || denied != 2*n {
			t.Errorf("%v, %d", dropped, denied)
		}
		e := await(t, x, func(e broker.Dropped) bool { return e.Branch == "a/b/c/#" })
		if e.ClientID != "away" || e.Why != session.Offline || e.Topic != "a/b/c/d0" || e.Bytes != 5*e.Count || e.Connected || e.Incoming || e.Last.Before(e.First) {
			t.Errorf("%+v", e)
		}
		await(t, x, func(e broker.Dropped) bool { return e.Branch == "a" && e.Topic == "a" })
		if e := await(t, x, func(e broker.Dropped) bool { return e.Why == session.Denied }); e.Rule != "deaf" || e.ClientID != "away" || e.Branch != "deaf/x" {
			t.Errorf("%+v", e)
		}
		if e := await(t, x, func(e broker.Denied) bool { return e.From == broker.DeniedByRule }); e.ClientID != "here" || e.Rule != "not" || e.Branch != "no/b/c/#" ||
			e.Topic != "no/b/c/d" || e.Action != auth.Publish || e.Reason != mqtt.NotAuthorized || e.Listener != "test" || !e.Address.IsValid() {
			t.Errorf("%+v", e)
		}
		if e := await(t, x, func(e broker.Denied) bool { return e.From == broker.DeniedReserved }); e.Topic != "$SYS/x" || e.Why == "" {
			t.Errorf("%+v", e)
		}
		if events := len(told[broker.Dropped](x)) + len(told[broker.Denied](x)); events > 60+10*int(time.Since(began).Seconds()) { // a sum is told once a second
			t.Errorf("%d events in %v", events, time.Since(began))
		}
	})
}

// TestLossesBounded: a client with topics without end fills the table once, the rest is nobody's; and what a client has lost is told
// before it leaves.
func TestLossesBounded(t *testing.T) {
	t.Parallel()
	s, x := telling(t, broker.Options{Shards: 1, Authz: policy(t)})
	p := s.client("id=p")
	const n = 5000
	for i := range n {
		p.send(fmt.Sprintf("PUBLISH topic=t%d", i))
	}
	p.idle()
	p.leave(s, 0)
	d := slices.IndexFunc(x.all(), func(e broker.Event) bool { _, ok := e.(broker.Disconnected); return ok })
	own, rest := uint64(0), uint64(0)
	for _, e := range x.all()[:d] {
		if e, ok := e.(broker.Denied); ok && e.ClientID == "p" {
			own += e.Count
		}
	}
	if own < 1000 || own > n {
		t.Errorf("%d told before it left", own)
	}
	if !reached(func() bool {
		rest = 0
		for _, e := range told[broker.Denied](x) {
			if e.ClientID == "" && e.Branch == "#" {
				rest += e.Count
			}
		}
		return own+rest == n
	}) {
		t.Errorf("%d and %d", own, rest)
	}
}

// TestToldOfQuarantine: when it begins and when its time is over.
func TestToldOfQuarantine(t *testing.T) {
	t.Parallel()
	s, x := telling(t, broker.Options{Shards: 2})
	p := s.client("id=c")
	b := ban.Ban{Subject: ban.Client, Value: "c", Quarantine: true, Reason: "odd", By: "eve", Until: time.Now().Add(3 * time.Second)}
	if _, err := s.Control().Ban(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if e := await(t, x, any1[broker.Quarantined]); e.ClientID != "c" || e.Ban.Reason != "odd" || e.Ban.By != "eve" {
		t.Errorf("%+v", e)
	}
	p.send("SUBSCRIBE id=1 t qos=0", "PUBLISH qos=1 id=2 topic=t")
	p.expect("SUBACK id=1 0x87", "PUBACK id=2 0x87")
	if e := await(t, x, any1[broker.QuarantineEnded]); e.ClientID != "c" {
		t.Errorf("%+v", e)
	}
	if e := await(t, x, func(e broker.BanChanged) bool { return e.Ended }); !e.Expired || e.Ban.Value != "c" {
		t.Errorf("%+v", e)
	}
	if !reached(func() bool {
		n := uint64(0)
		for _, e := range told[broker.Denied](x) {
			if e.From == broker.DeniedInQuarantine {
				n += e.Count
			}
		}
		return n == 2
	}) {
		t.Errorf("%+v", told[broker.Denied](x))
	}
}

// TestToldOfStore: when it takes nothing new, and when it does again.
func TestToldOfStore(t *testing.T) {
	t.Parallel()
	x := &tale{}
	s, h, _ := ailing(t, broker.Options{Shards: 2, Events: x.tell})
	full := fmt.Errorf("no room: %w", store.ErrFull)
	p := s.client("id=p")
	h.SetHealth(full)
	p.send("PUBLISH qos=1 id=1 retain topic=r \"x\"")
	p.expect("PUBACK id=1 0x97")
	if e := await(t, x, any1[broker.StoreChanged]); !errors.Is(e.Err, store.ErrFull) {
		t.Errorf("%+v", e)
	}
	if e := await(t, x, any1[broker.Denied]); e.From != broker.DeniedByStore || e.Reason != mqtt.QuotaExceeded || e.ClientID != "p" || e.Topic != "r" {
		t.Errorf("%+v", e)
	}
	old := s.client("v3.1.1 id=old clean")
	old.send("PUBLISH qos=1 id=1 retain topic=r \"x\"")
	if e := await(t, x, any1[broker.Limited]); e.What != "store" || e.ClientID != "old" || e.Text != "the store is full" {
		t.Errorf("%+v", e)
	}
	h.SetHealth(nil)
	await(t, x, func(e broker.StoreChanged) bool { return e.Err == nil })
	old.expect("PUBACK id=1")
}

// TestToldOfStall: a client that does not read, and that reads again.
func TestToldOfStall(t *testing.T) {
	t.Parallel()
	o := with(func(l *broker.Limits, d *broker.Delivery) { l.MaxOutgoingBytes, d.StallTimeout = 64<<10, time.Minute })
	o.Shards = 2
	s, x := telling(t, o)
	lazy := s.plain("id=lazy")
	s.tell(lazy, "SUBSCRIBE id=1 t qos=0")
	pub := s.client("id=pub")
	s.until("it is subscribed", func(st broker.Stats) bool { return st.Subscriptions == 1 })
	payload := strings.Repeat("x", 32<<10)
	reached(func() bool { // the sockets hold more and more
		pub.send(`PUBLISH topic=t "` + payload + `"`)
		return len(told[broker.Stalled](x)) > 0
	})
	if e := await(t, x, any1[broker.Stalled]); e.ClientID != "lazy" || e.Pending <= 0 { // the sockets may have taken some more since it was full
		t.Errorf("%+v", e)
	}
	go io.Copy(io.Discard, lazy)
	if e := await(t, x, any1[broker.StallEnded]); e.ClientID != "lazy" || e.For < time.Second || e.For > time.Minute {
		t.Errorf("%+v", e)
	}
	if e := await(t, x, func(e broker.Dropped) bool { return e.Why == session.SlowConsumer }); e.ClientID != "lazy" || !e.Connected {
		t.Errorf("%+v", e)
	}
}

// TestToldLawfully: in any run of connects, disconnects, takeovers and expiries what is told of a client makes sense in its order: a
// connection begins before it ends and ends before the next, a session likewise, and a connection is within one.
func TestToldLawfully(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		s, x := telling(t, broker.Options{Shards: shards})
		var all sync.WaitGroup
		for g := range 8 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(g), 7))
				for range 60 {
					id := fmt.Sprint("c", r.IntN(4))
					p := s.dial(mqtt.V5)
					words := []string{"", "clean ", "clean expiry=60 ", "expiry=60 ", "expiry=1 "}[r.IntN(5)]
					p.send("CONNECT " + words + `id=` + id + ` will=w will-delay=1 "x"`)
					if !strings.HasPrefix(p.next(), "CONNACK 0x00") {
						continue
					}
					switch r.IntN(5) {
					case 0:
						p.send("SUBSCRIBE id=1 a/# qos=1", "DISCONNECT")
					case 1:
						p.conn.Close()
					case 2:
						p.send("RAW 00 00")
					case 3:
						s.Control().EndSession(t.Context(), id, "test")
					}
				}
			})
		}
		all.Wait()
		if err := s.close(); err != nil {
			t.Error(err)
		}
		connected, session := map[string]bool{}, map[string]bool{}
		last := map[string]string{}
		law := func(id string, ok bool, what string) {
			if !ok {
				t.Fatalf("%s: %s after %s; %q", id, what, last[id], x.order(id))
			}
			last[id] = what
		}
		for _, e := range x.all() {
			id := partyOf(e).ClientID
			switch e := e.(type) {
			case broker.SessionCreated:
				law(id, !session[id] && !connected[id], "created")
				session[id] = true
			case broker.SessionResumed:
				law(id, session[id] && !connected[id], "resumed")
			case broker.Connected:
				law(id, session[id] && !connected[id] && e.Resumed == (last[id] == "resumed") && (e.Resumed || last[id] == "created"), "connected")
				connected[id] = true
			case broker.TakenOver:
				law(id, connected[id], "taken over")
			case broker.Disconnected:
				law(id, connected[id] && (e.Cause == broker.ByTakeover) == (last[id] == "taken over"), "disconnected")
				connected[id] = false
			case broker.SessionEnded:
				law(id, session[id] && !connected[id], "ended")
				session[id] = false
			case broker.Subscribed, broker.Unsubscribed, broker.ProtocolError:
				law(id, connected[id], "served")
			}
		}
		for id, still := range connected {
			law(id, !still, "the end")
		}
		if len(last) != 4 {
			t.Error(last)
		}
	})
}

// TestLossAllocates: a message that is dropped or denied allocates nothing once its like was.
func TestLossAllocates(t *testing.T) {
	if raced {
		t.Log("the race detector allocates")
		return
	}
	x := &tale{}
	if got := lossAllocs(t, broker.Options{Shards: 1, Events: x.tell}); got > 0.02 {
		t.Errorf("%.3f allocations per message", got)
	}
}

// TestToldTotals: the end of a session tells what its client sent and got over all its connections.
func TestToldTotals(t *testing.T) {
	t.Parallel()
	o := with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxQueuedMessages = 2 })
	o.Shards = 2
	s, x := telling(t, o)
	pub := s.client("id=pub")
	c := s.client("id=c expiry=100")
	c.subscribe("t qos=1")
	pub.send(`PUBLISH qos=1 id=1 topic=t "four"`)
	pub.expect("PUBACK id=1")
	c.expect("PUBLISH qos=1 id=1")
	c.send("PUBACK id=1", `PUBLISH topic=u "x"`, `PUBLISH qos=1 id=1 topic=u "yz"`)
	c.expect("PUBACK id=1")
	c.leave(s, 1)
	for id := 2; id < 7; id++ {
		pub.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=t "four"`, id))
		pub.expect(fmt.Sprintf("PUBACK id=%d", id))
	}
	c = s.client("id=c expiry=100")
	c.expect(`PUBLISH qos=1`, `PUBLISH qos=1`)
	c.send(`PUBLISH topic=u "more"`, "PINGREQ")
	c.expect("PINGRESP")
	s.Control().EndSession(t.Context(), "c", "by order")
	if !reached(func() bool { return len(told[broker.SessionEnded](x)) > 0 }) {
		t.Fatal("its end is not told")
	}
	got := told[broker.SessionEnded](x)[0].Totals
	got.In.Rate, got.Out.Rate = 0, 0
	want := broker.Traffic{In: broker.Flow{Messages: 3, Bytes: 7}, Out: broker.Flow{Messages: 3, Bytes: 12}, Dropped: 3}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

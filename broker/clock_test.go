package broker_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// remembering is a store that remembers a past.
type remembering struct {
	store.Store
	past store.Past
}

func (r remembering) Past() store.Past { return r.past }

// aged returns a store whose last batch was kept at a time: 100 sessions, offline since ten minutes before, each
// with a message that expires an hour after, and a retained message that does.
func aged(t *testing.T, last time.Time) store.Store {
	t.Helper()
	st := mem.New()
	ms := last.UnixMilli()
	batch := store.Batch{Done: func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}}
	put := func(r store.Record) { batch.Records = append(batch.Records, r) }
	for id := store.SessionID(1); id <= 100; id++ {
		put(store.Record{Op: store.PutSession, Session: id, Meta: &store.Session{
			ID: id, ClientID: fmt.Sprint("c", id), Version: mqtt.V5, Expiry: 2 * 86400, Disconnected: ms - 600_000, Unsent: 1,
			Will: &store.Will{Message: &mqtt.Message{Topic: []byte("will")}, Delay: 4 * 86400},
		}})
		put(store.Record{Op: store.Subscribe, Session: id, Subscription: store.Subscription{Filter: "t", Options: 1}})
		put(store.Record{Op: store.Enqueue, Message: &mqtt.Message{Topic: []byte("t"), Expires: ms + 3_600_000, QoS: 1}, Targets: []store.Target{{Session: id, Delivery: store.Delivery{QoS: 1}}}})
	}
	put(store.Record{Op: store.Retain, Message: (&mqtt.Message{Topic: []byte("r"), Payload: []byte("r"), Expires: ms + 3_600_000}).Keep()})
	st.Commit(&batch)
	return remembering{st.Reopen(), store.Past{Session: 1000, Commit: ms}}
}

// TestWallClock: a wall clock that nobody can believe ends no session, publishes no will and drops no message; one
// that is a day on is believed, for the broker may have been down for a day (F230). DST and a leap second are no
// matter (F234).
func TestWallClock(t *testing.T) {
	t.Parallel()
	last := time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC)
	berlin := time.FixedZone("CET", 3600)
	f := func(name string, wall time.Time, warns bool, messages int) {
		t.Helper()
		var log bytes.Buffer
		asked := 0
		s := serve(t, broker.Options{Store: aged(t, last), Shards: 1, Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { asked++; return wall }})
		for _, id := range []string{"c1", "c100"} {
			p, ack := s.join("id=" + id + " expiry=172800")
			if !strings.Contains(ack, "present") {
				t.Errorf("%s: the session of %s is gone", name, id)
			}
			for range messages {
				p.expect("PUBLISH qos=1 topic=t")
			}
			p.idle()
		}
		st := s.stats()
		if st.Sessions != 100 || st.Wills != 0 || st.SessionsExpired != 0 || st.Connected != 2 || asked != 1 {
			t.Errorf("%s: %d sessions, %d wills, %d expired, %d connected, clock asked %d times", name, st.Sessions, st.Wills, st.SessionsExpired, st.Connected, asked)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(log.String(), "wall clock"); (got == 1) != warns || got > 1 {
			t.Errorf("%s: warned %d times: %s", name, got, log.String())
		}
		if warns && (!strings.Contains(log.String(), "last_change=2026-10-25T00:30:00.000Z") || !strings.Contains(log.String(), "wall="+wall.UTC().Format("2006-01-02"))) {
			t.Errorf("%s: %s does not tell both times", name, log.String())
		}
	}
	f("at once", last, false, 1)
	f("summer time ends", last.Add(40*time.Minute).In(berlin), false, 1)
	f("a second twice", last.Add(time.Second), false, 1)
	f("+1 day", last.Add(24*time.Hour), false, 0)
	f("-1 day", last.Add(-24*time.Hour), true, 1)
	f("1970", time.Unix(0, 0), true, 1)
	f("2106", time.Date(2106, 2, 7, 6, 28, 16, 0, time.UTC), true, 1)
}

// TestLongIntervals: intervals up to the largest there is do not wrap around, and none of 0 lasts (F233).
func TestLongIntervals(t *testing.T) {
	t.Parallel()
	o := with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxSessionExpiry = 0 })
	st := mem.New()
	o.Store = st
	s := serve(t, o)
	const most = "4294967294" // seconds; one more is "never"
	long := s.client("id=long expiry=" + most + " will=w will-delay=4294967295")
	long.subscribe("t qos=1")
	never := s.client("id=never expiry=4294967295 will=w will-delay=" + most)
	never.subscribe("t qos=1")
	none := s.client("id=none expiry=0")
	long.leave(s, 2)
	never.leave(s, 1)
	none.leave(s, 0)
	pub := s.client("id=pub")
	pub.send(`PUBLISH qos=1 id=1 topic=t expiry=4294967295 "long"`, `PUBLISH qos=1 id=2 topic=t expiry=0 "none"`, `PUBLISH qos=1 id=3 topic=r retain expiry=4294967295 "r"`)
	pub.expect("PUBACK id=1", "PUBACK id=2", "PUBACK id=3")
	for range 2 {
		s, st = restart(t, st, o)
		for _, id := range []string{"long", "never"} {
			p, ack := s.join("id=" + id + " expiry=" + most + " will=w will-delay=4294967295")
			if !strings.Contains(ack, "present") {
				t.Errorf("the session %s is gone", id)
			}
			if got := p.next(); !strings.Contains(got, `expiry=4294967`) || !strings.Contains(got, `"long"`) {
				t.Errorf("%s got %s", id, got)
			}
			p.idle()
		}
		if got := s.stats(); got.Sessions != 2 || got.Retained != 1 || got.Wills != 0 {
			t.Errorf("%d sessions, %d retained, %d wills", got.Sessions, got.Retained, got.Wills)
		}
	}
}

// TestPastSession: the number of a session that ended is not given again.
func TestPastSession(t *testing.T) {
	st := mem.New()
	put := func(id store.SessionID) store.Record {
		return store.Record{Op: store.PutSession, Session: id, Meta: &store.Session{ID: id, ClientID: fmt.Sprint(id), Expiry: 100}}
	}
	st.Commit(&store.Batch{Records: []store.Record{put(1), put(7), {Op: store.EndSession, Session: 7}}})
	s, st := restart(t, st, broker.Options{})
	s.client("id=a expiry=100")
	if got := st.Reopen().Past().Session; got != 8 {
		t.Errorf("the new session is number %d", got)
	}
}

// TestSentBeforeACrash: only what may have been sent goes out with DUP after a crash [MQTT5 MQTT-3.3.1-1].
func TestSentBeforeACrash(t *testing.T) {
	st := mem.New()
	s := serve(t, broker.Options{Store: st})
	away, online := s.client("id=away expiry=100"), s.client("id=online expiry=100 receive-max=1")
	away.subscribe("t qos=1")
	online.subscribe("t qos=1")
	pub := s.client("id=pub")
	pub.send(`PUBLISH qos=1 id=1 topic=t "1"`)
	pub.expect("PUBACK id=1")
	away.expect(`PUBLISH "1"`)
	away.leave(s, 2)
	pub.send(`PUBLISH qos=1 id=2 topic=t "2"`)
	pub.expect("PUBACK id=2")
	s, _ = restart(t, st, broker.Options{})
	away, _ = s.join("id=away expiry=100")
	away.expect(`PUBLISH dup id=1 "1"`)
	if got := away.next(); strings.Contains(got, "dup") || !alike(got, `PUBLISH id=2 "2"`) {
		t.Errorf("got %s", got)
	}
	online, _ = s.join("id=online expiry=100")
	online.expect(`PUBLISH dup id=1 "1"`, `PUBLISH dup id=2 "2"`)
}

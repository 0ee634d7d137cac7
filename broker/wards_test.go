package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/flapping"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// refused is the answer to a CONNECT that is not accepted.
func (s *served) refused(words string) string {
	s.t.Helper()
	v := mqtt.V5
	if strings.HasPrefix(words, "v3.1.1") {
		v = mqtt.V311
	}
	p := s.dial(v)
	p.send("CONNECT " + words)
	return p.next()
}

// shut tells that a connection is closed before it says anything.
func (s *served) shut() bool {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return errors.Is(err, syscall.ECONNRESET)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(patience))
	_, err = conn.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestBan: who is banned is disconnected, and refused with the reason and until when, until the ban is lifted.
func TestBan(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		for _, b := range []ban.Ban{
			{Subject: ban.Client, Value: "c"},
			{Subject: ban.User, Value: "ann"},
			{Subject: ban.User, Value: "a*"},
			{Subject: ban.Pattern, Value: "c*"},
			{Subject: ban.Address, Value: "127.0.0.1"},
			{Subject: ban.Address, Value: "127.0.0.0/8"},
		} {
			s := serve(t, broker.Options{Shards: shards, Authn: named{}})
			c := s.client("id=c username=ann expiry=100")
			other, _ := s.join("id=other username=bob")
			b.Reason, b.By, b.Until = "too loud", "root", until
			done, err := s.Control().Ban(t.Context(), b)
			all := b.Subject == ban.Address
			if want := map[bool]int{false: 1, true: 2}[all]; err != nil || done.Disconnected != want || done.Was != nil {
				t.Fatalf("%+v: %+v, %v", b, done, err)
			}
			why := "until " + until.Format(time.RFC3339) + `: too loud`
			if got := c.next(); !alike(got, "DISCONNECT 0x98") || !strings.Contains(got, why) {
				t.Errorf("%+v: %s", b, got)
			}
			if all {
				if !s.shut() { // not worth a word
					t.Errorf("%+v: it may come in", b)
				}
			} else {
				other.idle()
				if got := s.refused("id=c username=ann"); !alike(got, "CONNACK 0x8A") || !strings.Contains(got, why) {
					t.Errorf("%+v: %s", b, got)
				}
				if got := s.refused("v3.1.1 id=c username=ann"); !alike(got, "CONNACK 0x87") { // 0x05 on the wire
					t.Errorf("%+v: %s", b, got)
				}
			}
			if n := s.stats().Banned; n == 0 {
				t.Error("not counted")
			}
			if list := s.Control().Bans(); len(list) != 1 || list[0].Reason != "too loud" {
				t.Errorf("bans: %+v", list)
			}
			if got := s.Control().BanOf("c", "ann", netip.MustParseAddr("127.0.0.1")); got == nil {
				t.Errorf("%+v: nobody", b)
			}
			if done, err = s.Control().Unban(t.Context(), b.Subject, b.Value); err != nil || done.Ban.Reason != "too loud" {
				t.Errorf("unban: %+v, %v", done, err)
			}
			if _, err = s.Control().Unban(t.Context(), b.Subject, b.Value); !errors.Is(err, ban.ErrUnknown) {
				t.Errorf("unban again: %v", err)
			}
			if _, ack := s.join("id=c username=ann"); !alike(ack, "CONNACK present") {
				t.Errorf("its session is gone: %s", ack)
			}
		}
	})
}

// TestBanIdentity: a ban of a user holds for who turns out to be that user, whatever it claims.
func TestBanIdentity(t *testing.T) {
	tb := &ban.Table{}
	if err := tb.AddNow(ban.Ban{Subject: ban.User, Value: "ann"}); err != nil {
		t.Fatal(err)
	}
	s := serve(t, broker.Options{Bans: tb, Authn: alias{}})
	if got := s.refused("id=c username=bob"); !alike(got, "CONNACK 0x8A") {
		t.Error(got)
	}
}

// TestQuarantine: a client in quarantine is connected and told why, and nothing else comes from it or goes to it; what waits for it
// stays, and its subscriptions come back.
func TestQuarantine(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		for _, words := range []string{"", "expiry=100"} {
			quarantine(t, shards, words)
		}
	})
}

func quarantine(t *testing.T, shards int, words string) {
	told := &limited{}
	s := serve(t, broker.Options{Shards: shards, Events: told.event})
	k := s.Control()
	pub := s.client("id=pub")
	group := s.client("id=member")
	c := s.client(`id=c receive-max=1 will=will "gone" ` + words)
	c.subscribe("t qos=1, $share/g/s qos=1, will qos=0")
	pub.send(`PUBLISH qos=1 id=1 topic=t "1"`, `PUBLISH qos=1 id=2 topic=t "2"`)
	pub.expect("PUBACK id=1", "PUBACK id=2")
	c.expect(`PUBLISH id=1 "1"`)
	b := ban.Ban{Subject: ban.Client, Value: "c", Quarantine: true, Reason: "old firmware"}
	if done, err := k.Ban(t.Context(), b); err != nil || done.Changed != 1 || done.Disconnected != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	group.subscribe("$share/g/s qos=1")
	// Nothing goes to it, but its acknowledgement is taken.
	c.send("PUBACK id=1")
	pub.send(`PUBLISH qos=1 id=3 topic=t "3"`, `PUBLISH topic=t "4"`, `PUBLISH qos=1 id=5 topic=s "5"`)
	pub.expect("PUBACK id=3 0x10", "PUBACK id=5")
	group.expect(`PUBLISH "5"`)
	c.idle()
	// Nothing comes from it.
	pub.subscribe("from/c qos=0, will qos=0")
	c.send(`PUBLISH qos=1 id=7 topic=from/c`, `PUBLISH qos=2 id=8 topic=from/c`, `PUBLISH topic=from/c`)
	c.expect(`PUBACK id=7 0x87 reason="quarantined: old firmware"`, "PUBREC id=8 0x87")
	pub.idle()
	// It is told why where it asks, and nowhere else.
	c.send("SUBSCRIBE id=9 # qos=1, a qos=0")
	c.expect(`SUBACK id=9 0x87,0x87 reason="quarantined: old firmware"`)
	c.send("SUBSCRIBE id=10 " + broker.QuarantineTopic + " qos=1")
	c.expect("SUBACK id=10 0x01", `PUBLISH topic=$SYS/quarantine "quarantined: old firmware"`)
	b.Reason = "still"
	if done, err := k.Ban(t.Context(), b); err != nil || done.Changed != 1 || done.Was == nil {
		t.Fatalf("%+v, %v", done, err)
	}
	c.expect(`PUBLISH topic=$SYS/quarantine "quarantined: still"`)
	st := s.stats()
	if st.Dropped[session.Denied] != 2 || st.Denied != 5 || len(told.whats()) != 2 {
		t.Errorf("%d dropped, %d denied, told %q", st.Dropped[session.Denied], st.Denied, told.whats())
	}
	if words != "" { // a new connection is in quarantine, too
		c.send("DISCONNECT 0x04") // with its will, which is not published
		c.gone()
		c = s.client(`id=c receive-max=1 ` + words)
		c.expect(`PUBLISH topic=$SYS/quarantine "quarantined: still"`)
		c.idle()
		pub.idle()
	}
	if done, err := k.Unban(t.Context(), ban.Client, "c"); err != nil || done.Changed != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	c.expect(`PUBLISH qos=1 topic=t "2"`)
	c.send("PUBACK id=2")
	pub.send(`PUBLISH qos=1 id=6 topic=t "6"`)
	pub.expect("PUBACK id=6")
	c.expect(`PUBLISH qos=1 topic=t "6"`)
	c.send("PUBACK id=3", `PUBLISH qos=1 id=11 topic=from/c "free"`)
	c.expect("PUBACK id=11")
	pub.expect(`PUBLISH "free"`)
}

// TestBanEnds: a quarantine ends by itself, and one before authentication is none: its client is let in.
func TestBanEnds(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{})
	b := ban.Ban{Subject: ban.Pattern, Value: "c*", Quarantine: true, Until: time.Now().Add(3 * time.Second)}
	if _, err := s.Control().Ban(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	c := s.client("id=c1")
	c.send("SUBSCRIBE id=1 t")
	c.expect("SUBACK id=1 0x87")
	if !reached(func() bool {
		c.send("SUBSCRIBE id=2 t")
		return alike(c.next(), "SUBACK id=2 0x00")
	}) {
		t.Error("it does not end")
	}
	if list := s.Control().Bans(); len(list) != 0 {
		t.Errorf("bans: %+v", list)
	}
}

// TestFlapping: two devices with one client id are found, told of with both addresses, and banned for a while.
func TestFlapping(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		for _, answer := range []flapping.Answer{flapping.Event, flapping.Ban} {
			f := flapping.Defaults()
			f.Answer, f.Connects, f.User = answer, 5, 12
			told := &limited{}
			s := serve(t, broker.Options{Shards: shards, Authn: named{}, Flapping: &f, Events: told.event})
			var codes []string
			for range 8 {
				got := strings.Fields(s.refused("id=twin username=ann"))
				codes = append(codes, got[1])
			}
			for i := range 8 {
				got := strings.Fields(s.refused(fmt.Sprint("id=c", i, " username=ann")))
				codes = append(codes, got[1])
			}
			banned := slices.Index(codes, "0x8A")
			if answer == flapping.Ban && (banned != 5 || codes[7] != "0x8A" || codes[8] != "0x00" || codes[15] != "0x8A") || answer == flapping.Event && banned >= 0 {
				t.Errorf("%s: %v", answer, codes)
			}
			what := told.whats()
			if len(what) != 2 || what[0] != "flapping twin" || what[1] != "flapping " || !strings.Contains(told.told[0].Text, "127.0.0.1:") {
				t.Errorf("%s: told %q", answer, told.told)
			}
			if st := s.stats(); st.Flapping != 2 || answer == flapping.Ban && (len(s.Control().Bans()) != 2 || st.Connected > 8) {
				t.Errorf("%s: %d found, %d connected, %+v", answer, st.Flapping, st.Connected, s.Control().Bans())
			}
		}
	})
}

// alias takes everybody for ann.
type alias struct{}

func (alias) Authenticate(context.Context, *auth.Attempt) (*auth.Identity, error) {
	return &auth.Identity{Name: "ann"}, nil
}

// TestFlappingQuarantine: a client in quarantine does not get out of it by a ban of a few minutes that it brings about.
func TestFlappingQuarantine(t *testing.T) {
	f := flapping.Defaults()
	f.Answer, f.Connects = flapping.Ban, 3
	s := serve(t, broker.Options{Flapping: &f})
	b := ban.Ban{Subject: ban.Client, Value: "c", Quarantine: true}
	if _, err := s.Control().Ban(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if got := s.refused("id=c"); !alike(got, "CONNACK 0x00") {
			t.Error(got)
		}
	}
	if list := s.Control().Bans(); len(list) != 1 || list[0] != b {
		t.Errorf("bans: %+v", list)
	}
}

// TestQuarantineTold: behind a mount point a client in quarantine is told its reason, too, and one before MQTT 5 stays connected:
// what it publishes is acknowledged and dropped, as is all that it may not.
func TestQuarantineTold(t *testing.T) {
	s := serveAt(t, broker.Options{}, broker.Listener{Name: "m", MountPoint: "m/"})
	c, old := s.client("id=c"), s.client("v3.1.1 id=old")
	for _, id := range []string{"c", "old"} {
		if _, err := s.Control().Ban(t.Context(), ban.Ban{Subject: ban.Client, Value: id, Quarantine: true, Reason: "why"}); err != nil {
			t.Fatal(err)
		}
	}
	c.send("SUBSCRIBE id=1 " + broker.QuarantineTopic + " qos=1, t qos=0")
	c.expect("SUBACK id=1 0x01,0x87", `PUBLISH topic=$SYS/quarantine "quarantined: why"`)
	old.send("PUBLISH topic=t", "PUBLISH qos=1 id=2 topic=t", "PUBLISH qos=2 id=3 topic=t", "PINGREQ")
	old.expect("PUBACK id=2", "PUBREC id=3", "PINGRESP")
}

// TestQuarantinedMember: of a shared subscription whose members are all away, one in quarantine is not the one that gets what comes.
func TestQuarantinedMember(t *testing.T) {
	s := serve(t, broker.Options{})
	pub, barred, away := s.client("id=pub"), s.client("id=barred expiry=100"), s.client("id=away expiry=100")
	for _, c := range []*peer{barred, away} {
		c.subscribe("$share/g/t qos=1")
	}
	away.send("DISCONNECT")
	away.gone()
	if _, err := s.Control().Ban(t.Context(), ban.Ban{Subject: ban.Client, Value: "barred", Quarantine: true}); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		pub.send(fmt.Sprintf("PUBLISH qos=1 id=%d topic=t", i+1))
		pub.expect(fmt.Sprintf("PUBACK id=%d", i+1))
	}
	if got, err := s.View().Client(t.Context(), "away"); err != nil || got.Queued != 4 {
		t.Errorf("%+v, %v", got, err)
	}
}

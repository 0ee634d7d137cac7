package broker_test

import (
	"errors"
	"net"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// door opens one more listener.
func (s *served) door(l broker.Listener) *served {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- s.ServeDoor(ln, broker.NewDoor(l)) }()
	s.t.Cleanup(func() {
		ln.Close()
		if err := <-end; err != nil && !errors.Is(err, broker.ErrClosed) {
			s.t.Errorf("serve: %v", err)
		}
	})
	return &served{Broker: s.Broker, t: s.t, addr: ln.Addr().String()}
}

// TestMountPoint: clients behind a mount point see their part of the topics only, under names without it.
func TestMountPoint(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		t.Parallel()
		s := serve(t, broker.Options{Shards: shards})
		a := s.door(broker.Listener{MountPoint: "sites/a/"})
		all, in := s.client("id=all"), a.client("id=in expiry=100")
		all.subscribe("# qos=0")
		in.subscribe("# qos=1, $share/g/shared qos=0")

		other := a.client("id=other alias-max=5")
		other.subscribe("t/+ qos=0")
		other.send(`PUBLISH topic=t/1 alias=1 response-topic=answer user=k=v "x"`, `PUBLISH alias=1 "y"`)
		all.expect(`PUBLISH topic=sites/a/t/1 response-topic=sites/a/answer user=k=v "x"`, `PUBLISH topic=sites/a/t/1 "y"`)
		in.expect(`PUBLISH topic=t/1 response-topic=answer user=k=v "x"`, `PUBLISH topic=t/1 "y"`)
		other.expect(`PUBLISH topic=t/1 response-topic=answer user=k=v "x" alias=1`, `PUBLISH alias=1 "y"`)

		all.send(`PUBLISH topic=elsewhere "no"`, `PUBLISH topic=sites/a/shared response-topic=up/and/away "s"`, `PUBLISH topic=sites/a/$SYS/own "d"`)
		all.expect(`PUBLISH topic=elsewhere "no"`, `PUBLISH topic=sites/a/shared "s"`, `PUBLISH topic=sites/a/$SYS/own "d"`)
		in.expect(`PUBLISH topic=shared response-topic=up/and/away "s"`, `PUBLISH topic=shared "s"`, `PUBLISH topic=$SYS/own "d"`)
		in.send("UNSUBSCRIBE id=9 $share/g/shared", "SUBSCRIBE id=10 a#b qos=0, $share//x qos=0")
		in.expect("UNSUBACK id=9 0x00", "SUBACK id=10 0x8F,0x8F")

		// A will, and a session that goes on elsewhere: it gets nothing under names that its client does not know.
		dying := a.client(`id=dying will=gone "w"`)
		dying.conn.Close()
		all.expect(`PUBLISH topic=sites/a/gone "w"`)
		in.expect(`PUBLISH topic=gone "w"`)
		in.leave(s, 2)
		other.send(`PUBLISH qos=1 id=1 topic=queued "q"`)
		other.expect("PUBACK id=1")
		all.expect(`PUBLISH topic=sites/a/queued "q"`)
		moved := s.door(broker.Listener{MountPoint: "sites/b/"}).client("id=in expiry=100")
		moved.idle()
		s.until("what waited is denied", func(st broker.Stats) bool { return st.Dropped[session.Denied] == 1 })
	})
}

// TestMountPointOfOneClient: a name that would change the shape of a topic has no place.
func TestMountPointOfOneClient(t *testing.T) {
	s := serve(t, broker.Options{})
	own := s.door(broker.Listener{MountPoint: "u/{user}/{client}/", Authn: named{}})
	all := s.client("id=all")
	all.subscribe("# qos=0")
	own.client("id=c1 username=ann").send(`PUBLISH topic=x "1"`)
	all.expect(`PUBLISH topic=u/ann/c1/x "1"`)
	for _, words := range []string{"id=c2 username=a/b", "id=c2 username=+", "id=c2 username=#", "id=a/b username=ann", "id=c2"} {
		p := own.dial(mqtt.V5)
		p.send("CONNECT " + words)
		p.expect("CONNACK 0x87", "closed")
	}
}

// TestMountPlaceholder: what fills one placeholder is no placeholder itself.
func TestMountPlaceholder(t *testing.T) {
	for range 3 { // they were looked at in any order
		s := serveAt(t, broker.Options{}, broker.Listener{Name: "m", Authn: named{}, MountPoint: "{user}/{client}/"})
		c := s.client(`id="{user}" username="{client}"`)
		all := s.door(broker.Listener{Name: "all"}).client("id=all")
		all.subscribe("#")
		c.send("PUBLISH topic=t")
		all.expect(`PUBLISH topic="{client}/{user}/t"`)
	}
}

// TestUnwellMounted: a client before MQTT 5 is held back while the store takes nothing, also behind a mount point, under which its message
// would be stored for others.
func TestUnwellMounted(t *testing.T) {
	s, h, _ := ailing(t, broker.Options{})
	kept := s.client("id=kept expiry=100")
	kept.subscribe("m/t qos=1")
	old := s.door(broker.Listener{Name: "m", MountPoint: "m/"}).client("v3.1.1 id=old")
	h.SetHealth(store.ErrFull)
	old.send(`PUBLISH qos=1 id=1 topic=t "x"`)
	s.until("it is held back", func(st broker.Stats) bool { return st.HeldBack == 1 })
	h.SetHealth(nil)
	old.expect("PUBACK id=1")
	kept.expect(`PUBLISH topic=m/t "x"`)
}

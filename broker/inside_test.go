package broker_test

import (
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
)

// TestOwnPackets: packets are counted of everybody but the process's own clients, also where these talk to others.
func TestOwnPackets(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{Shards: 2})
	own := s.door(broker.Listener{Name: "inside", Own: true}).client("id=own")
	own.subscribe("t qos=1")
	packets := func(in, out uint64) {
		t.Helper()
		s.until("the packets of others", func(st broker.Stats) bool { return st.PacketsReceived == in && st.PacketsSent == out })
	}
	packets(0, 0)
	c := s.client("id=c")
	packets(1, 1) // CONNECT, CONNACK
	c.send("SUBSCRIBE id=1 u qos=1", "PINGREQ", `PUBLISH qos=1 id=1 topic=t "x"`)
	c.expect("SUBACK", "PINGRESP", "PUBACK id=1")
	packets(4, 4)
	own.expect("PUBLISH qos=1 id=1")
	own.send("PUBACK id=1", `PUBLISH qos=1 id=1 topic=u "y"`)
	own.expect("PUBACK id=1")
	c.expect("PUBLISH qos=1 id=1")
	packets(4, 5)
	c.send("PUBACK id=1", "DISCONNECT")
	packets(6, 5)
}

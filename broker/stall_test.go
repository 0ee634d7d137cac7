package broker_test

import (
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestStall: a client that takes nothing is disconnected after delivery.stall_timeout, although its
// keep-alive is off. Others are not. F125
func TestStall(t *testing.T) {
	t.Parallel()
	s := serve(t, with(func(l *broker.Limits, d *broker.Delivery) {
		l.MaxOutgoingBytes, d.StallTimeout = 64<<10, time.Second
	}))
	s.tell(s.plain("id=dead"), "SUBSCRIBE id=1 t qos=0")
	s.client("id=quiet").subscribe("other qos=0")
	s.until("both have subscribed", func(st broker.Stats) bool { return st.Subscriptions == 2 })
	pub := s.plain("id=pub")
	packet := (&mqtt.Publish{Topic: []byte("t"), Payload: make([]byte, 32<<10)}).AppendTo(nil, mqtt.V5)
	s.until("the dead client is disconnected", func(st broker.Stats) bool {
		if _, err := pub.Write(packet); err != nil {
			t.Fatal(err)
		}
		return st.Stalled == 1 && st.Connected == 2
	})
}

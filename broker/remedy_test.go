package broker_test

import (
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/flapping"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestRemedyLoop: what the broker does by itself about a client, which comes back at once and does it again, ends: after so many times
// in the window it stays out for a while, that is told once, and others notice nothing (F205).
func TestRemedyLoop(t *testing.T) {
	t.Parallel()
	const most = 5
	loops := func(name string, o broker.Options, cause broker.Cause, code string, provoke func(s *served, p *peer)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := flapping.Defaults()
			f.Answer, f.Connects, f.Window, f.BanTime = flapping.Ban, most, time.Hour, time.Hour
			o.Flapping = &f
			s, x := telling(t, o)
			by := s.client("id=by")
			ended, refused := 0, 0
			for range 10 * most {
				p := s.dial(mqtt.V5)
				p.send("CONNECT id=loop clean")
				switch got := p.next(); {
				case alike(got, "CONNACK 0x8A"):
					refused++
				case alike(got, "CONNACK 0x00"):
					provoke(s, p)
					for line := p.next(); !alike(line, "DISCONNECT "+code); line = p.next() {
						if line == "closed" || line == "nothing" {
							t.Fatal(line)
						}
					}
					ended++
				default:
					t.Fatal(got)
				}
			}
			if ended != most || refused != 9*most {
				t.Errorf("%d times it was ended and %d refused, want %d and %d", ended, refused, most, 9*most)
			}
			by.idle()
			if e := await(t, x, func(e broker.Limited) bool { return e.What == "flapping" }); e.ClientID != "loop" {
				t.Errorf("%+v", e)
			}
			if e := await(t, x, any1[broker.BanChanged]); e.Ban.Subject != ban.Client || e.Ban.Value != "loop" || time.Until(e.Ban.Until) < f.BanTime/2 {
				t.Errorf("%+v", e)
			}
			if n := len(told[broker.BanChanged](x)); n != 1 {
				t.Errorf("%d bans are told", n)
			}
			await(t, x, func(e broker.Disconnected) bool { return e.ClientID == "loop" && e.Cause == cause })
			if _, err := s.Control().Unban(t.Context(), ban.Client, "loop"); err != nil {
				t.Fatal(err)
			}
			s.client("id=loop").idle()
		})
	}
	rates := limit.DefaultRates()
	rates.Client.PublishMessages, rates.Answer = 1, limit.Disconnect
	loops("rate", broker.Options{Rates: &rates}, broker.ByRate, "0x96", func(_ *served, p *peer) { p.send(publishes(50, "")...) })
	slow := with(func(l *broker.Limits, d *broker.Delivery) {
		l.MaxQueuedMessages, l.MaxInflight, d.Overflow = 1, 1, broker.OverflowDisconnect
	})
	loops("queue", slow, broker.ByQueue, "0x97", func(s *served, p *peer) {
		p.subscribe("t qos=1")
		for i := range 3 {
			m := mqtt.Message{Topic: []byte("t"), QoS: 1, Payload: []byte{byte(i)}}
			if _, err := s.Control().Publish(s.t.Context(), m); err != nil {
				s.t.Fatal(err)
			}
		}
	})
}

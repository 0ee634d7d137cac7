package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// Releases come first, then messages, each in their order, with DUP only on what
// was on the wire before. [MQTT5 MQTT-4.6.0-1] [MQTT5 MQTT-4.6.0-4]
func TestResumeOrder(t *testing.T) {
	one := mqtt.Connack{Props: mqtt.Properties{Has: mqtt.PropertySet(0).With(mqtt.PropReceiveMaximum), ReceiveMaximum: 4}}
	script(t, reconnecting(mqtt.V5), func(b *bench) {
		s := b.connected(one)
		var done []chan outcome
		for _, m := range []mqtt.Publish{message("1", 1), message("2", 2), message("3", 2), message("4", 1), message("5", 1)} {
			done = append(done, b.publish(m))
		}
		for i := range uint16(4) {
			s.wantPublish(string('1'+byte(i)), i+1, false)
		}
		s.ack(mqtt.PUBREC, 3, 0) // the other way round
		s.ack(mqtt.PUBREC, 2, 0)
		synctest.Wait()
		s.cut()
		again := one
		again.SessionPresent, again.Props.ReceiveMaximum = true, 1
		s = b.accept(again)
		s.wantAck(mqtt.PUBREL, 3, 0)
		s.wantAck(mqtt.PUBREL, 2, 0)
		s.wantPublish("1", 1, true)
		s.wantSilence() // the new receive maximum holds for resending too
		s.ack(mqtt.PUBCOMP, 3, 0)
		s.ack(mqtt.PUBCOMP, 2, 0)
		s.wantSilence() // they had no place in this connection's quota
		s.ack(mqtt.PUBACK, 1, 0)
		s.wantPublish("4", 4, true)
		s.ack(mqtt.PUBACK, 4, 0)
		s.wantPublish("5", 5, false)
		s.ack(mqtt.PUBACK, 5, 0)
		for _, d := range done {
			check(t, d, 0, nil)
		}
	})
}

func TestSessionLost(t *testing.T) {
	script(t, reconnecting(mqtt.V5), func(b *bench) {
		s := b.connected(mqtt.Connack{})
		q1, q2 := b.publish(message("1", 1)), b.publish(message("2", 2))
		released := b.publish(message("3", 2))
		s.wantPublish("1", 1, false)
		s.wantPublish("2", 2, false)
		s.wantPublish("3", 3, false)
		s.ack(mqtt.PUBREC, 3, mqtt.NoMatchingSubscribers)
		s.wantAck(mqtt.PUBREL, 3, 0)
		s.cut()
		synctest.Wait()
		late := b.publish(message("4", 2)) // never sent: no harm in sending it now
		s = b.accept(mqtt.Connack{})
		s.wantPublish("1", 1, false)
		s.wantPublish("4", 4, false)
		check(t, q2, 0, client.ErrSessionLost)
		check(t, released, mqtt.NoMatchingSubscribers, nil)
		s.ack(mqtt.PUBACK, 1, 0)
		check(t, q1, 0, nil)
		s.ack(mqtt.PUBREC, 4, 0)
		s.wantAck(mqtt.PUBREL, 4, 0)
		s.ack(mqtt.PUBCOMP, 4, 0)
		check(t, late, 0, nil)
	})
}

func TestWithoutReconnectALostConnectionIsTheEnd(t *testing.T) {
	script(t, client.Options{}, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		done := b.publish(message("1", 1))
		s.wantPublish("1", 1, false)
		s.cut()
		if got := <-done; got.err == nil {
			t.Error("published to nobody")
		}
		<-b.c.Done()
		if got := <-b.publish(message("1", 0)); got.err == nil {
			t.Error("published to nobody")
		}
		if got := <-b.publish(message("1", 1)); got.err == nil {
			t.Error("published to nobody")
		}
	})
}

// A QoS 2 message is cut off at every step of its way in and is taken once.
// (client's side of MQTT 5 4.3.3-10) (client's side of 3.1.1 4.3.3-2)
func TestReceiveExactlyOnce(t *testing.T) {
	for _, v := range versions {
		for _, cut := range []string{"PUBREC", "PUBREL", "PUBCOMP"} {
			t.Run(v.String()+" before "+cut, func(t *testing.T) {
				var got []string
				o := reconnecting(v)
				o.OnMessage = func(p *mqtt.Publish) error { got = append(got, string(p.Topic)); return nil }
				script(t, o, func(b *bench) {
					s := b.connected(mqtt.Connack{})
					m := mqtt.Publish{Topic: []byte("a"), QoS: 2, ID: 9}
					s.publish(m)
					if cut != "PUBREC" {
						s.wantAck(mqtt.PUBREC, 9, 0)
					}
					if cut == "PUBCOMP" {
						s.ack(mqtt.PUBREL, 9, 0)
					}
					synctest.Wait()
					s.cut()
					s = b.accept(mqtt.Connack{SessionPresent: true})
					comp := mqtt.Success
					if cut == "PUBREC" {
						m.Dup = true
						s.publish(m)
						s.wantAck(mqtt.PUBREC, 9, 0)
					}
					if cut == "PUBCOMP" && v == mqtt.V5 {
						comp = mqtt.PacketIDNotFound
					}
					s.ack(mqtt.PUBREL, 9, 0)
					s.wantAck(mqtt.PUBCOMP, 9, comp)
					s.publish(mqtt.Publish{Topic: []byte("b"), QoS: 2, ID: 9}) // the id is free again
					s.wantAck(mqtt.PUBREC, 9, 0)
				})
				if !slices.Equal(got, []string{"a", "b"}) {
					t.Errorf("taken: %q", got)
				}
			})
		}
	}
}

func TestReceiveAfterTheSessionWasLost(t *testing.T) {
	taken := 0
	o := reconnecting(mqtt.V5)
	o.OnMessage = func(*mqtt.Publish) error { taken++; return nil }
	script(t, o, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		s.publish(mqtt.Publish{Topic: []byte("a"), QoS: 2, ID: 1})
		s.wantAck(mqtt.PUBREC, 1, 0)
		s.cut()
		s = b.accept(mqtt.Connack{})
		s.publish(mqtt.Publish{Topic: []byte("b"), QoS: 2, ID: 1}) // another message
		s.wantAck(mqtt.PUBREC, 1, 0)
	})
	if taken != 2 {
		t.Errorf("%d messages taken", taken)
	}
}

// Acks leave in the order of arrival, after OnMessage. [MQTT5 MQTT-4.6.0-2] [MQTT5 MQTT-4.6.0-3]
func TestAcksInOrder(t *testing.T) {
	script(t, client.Options{}, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		var burst []byte
		for id := range uint16(6) {
			m := mqtt.Publish{Topic: []byte("a"), QoS: mqtt.QoS(1 + id%2), ID: id + 1}
			burst = m.AppendTo(burst, b.v)
		}
		s.raw(burst)
		for id := range uint16(6) {
			if id%2 == 0 {
				s.wantAck(mqtt.PUBACK, id+1, 0)
			} else {
				s.wantAck(mqtt.PUBREC, id+1, 0)
			}
		}
	})
}

func subscribe(b *bench, s mqtt.Subscribe) chan error {
	done := make(chan error, 1)
	go func() {
		a, err := b.c.Subscribe(context.Background(), s)
		for _, r := range a.Reasons {
			if r.Failed() {
				err = errors.Join(err, r)
			}
		}
		done <- err
	}()
	return done
}

func TestSubscribe(t *testing.T) {
	var events []client.Event
	o := reconnecting(mqtt.V5)
	o.OnEvent = func(e client.Event) { events = append(events, e) }
	script(t, o, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		with7 := mqtt.Subscribe{Filters: filters("a", "b")}
		with7.Props.Has, with7.Props.SubscriptionID = with7.Props.Has.With(mqtt.PropSubscriptionID), 7
		done := subscribe(b, with7)
		s.want(mqtt.SUBSCRIBE)
		s.cut() // the answer never comes: asked again
		s = b.accept(mqtt.Connack{})
		s.want(mqtt.SUBSCRIBE)
		s.suback(mqtt.SUBACK, s.Subscribe.ID, 1, mqtt.NotAuthorized)
		if err := <-done; !errors.Is(err, mqtt.NotAuthorized) {
			t.Errorf("%v, want b refused", err)
		}
		done = subscribe(b, mqtt.Subscribe{Filters: filters("c", "d")})
		s.want(mqtt.SUBSCRIBE)
		s.suback(mqtt.SUBACK, s.Subscribe.ID, 1, 1)
		if err := <-done; err != nil {
			t.Error(err)
		}
		go func() {
			_, err := b.c.Unsubscribe(context.Background(), mqtt.Unsubscribe{Filters: [][]byte{[]byte("c")}})
			done <- err
		}()
		s.want(mqtt.UNSUBSCRIBE)
		s.suback(mqtt.UNSUBACK, s.Unsubscribe.ID, 0)
		if err := <-done; err != nil {
			t.Error(err)
		}

		s.cut()
		s = b.accept(mqtt.Connack{SessionPresent: true})
		s.wantSilence() // the server remembers
		s.cut()
		s = b.accept(mqtt.Connack{})
		s.want(mqtt.SUBSCRIBE) // it does not any more: granted ones only, with their ids
		if p := &s.Subscribe; len(p.Filters) != 1 || string(p.Filters[0].Filter) != "a" || p.Props.SubscriptionID != 7 {
			t.Errorf("resubscribed %+v", p)
		}
		s.suback(mqtt.SUBACK, s.Subscribe.ID, mqtt.QuotaExceeded)
		s.want(mqtt.SUBSCRIBE)
		if p := &s.Subscribe; len(p.Filters) != 1 || string(p.Filters[0].Filter) != "d" || p.Props.SubscriptionID != 0 {
			t.Errorf("resubscribed %+v", p)
		}
		s.suback(mqtt.SUBACK, s.Subscribe.ID, 1)
		s.wantSilence()
		last := events[len(events)-1]
		if last.Kind != client.SubscriptionRefused || last.Filter != "a" || !errors.Is(last.Err, mqtt.QuotaExceeded) {
			t.Errorf("last event %+v", last)
		}
	})
}

func TestSubscribeWhatTheServerLacks(t *testing.T) {
	var has mqtt.PropertySet
	ack := mqtt.Connack{Props: mqtt.Properties{Has: has.With(mqtt.PropSharedSubAvailable).
		With(mqtt.PropSubIDAvailable).With(mqtt.PropWildcardSubAvailable)}}
	script(t, client.Options{}, func(b *bench) {
		s := b.connected(ack)
		id := mqtt.Subscribe{Filters: filters("a")}
		id.Props.Has, id.Props.SubscriptionID = has.With(mqtt.PropSubscriptionID), 1
		for reason, p := range map[mqtt.ReasonCode]mqtt.Subscribe{
			mqtt.SubIDsNotSupported:       id,
			mqtt.SharedSubsNotSupported:   {Filters: filters("$share/g/a")},
			mqtt.WildcardSubsNotSupported: {Filters: filters("a/+")},
		} {
			if err := <-subscribe(b, p); !errors.Is(err, reason) {
				t.Errorf("%v, want %v", err, reason)
			}
		}
		s.wantSilence()
	})
}

func TestAbandonedPublish(t *testing.T) {
	o := reconnecting(mqtt.V5)
	o.MaxInflight = 1
	script(t, o, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		s.cut()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		p := message("a", 1)
		if _, err := b.c.Publish(ctx, &p); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		done := b.publish(message("b", 1)) // the only place is free again
		s = b.accept(mqtt.Connack{SessionPresent: true})
		s.wantPublish("b", 2, false)
		ctx, cancel = context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := b.c.Publish(ctx, &p); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("no bound on messages in flight", err)
		}
		s.ack(mqtt.PUBACK, 2, 0)
		check(t, done, 0, nil)
		s.wantSilence() // the abandoned ones were never sent
	})
}

// Answers to nothing do no harm, least of all to messages that this connection
// has not sent yet.
func TestStrayAcks(t *testing.T) {
	one := mqtt.Connack{Props: mqtt.Properties{Has: mqtt.PropertySet(0).With(mqtt.PropReceiveMaximum), ReceiveMaximum: 1}}
	script(t, reconnecting(mqtt.V5), func(b *bench) {
		s := b.connected(mqtt.Connack{})
		first, second := b.publish(message("1", 2)), b.publish(message("2", 1))
		s.wantPublish("1", 1, false)
		s.wantPublish("2", 2, false)
		synctest.Wait()
		s.cut()
		one.SessionPresent = true
		s = b.accept(one)
		synctest.Wait()
		if max := b.c.Connack().Props.ReceiveMaximum; max != 1 {
			t.Errorf("receive maximum %d", max)
		}
		s.wantPublish("1", 1, true)
		s.ack(mqtt.PUBACK, 2, 0) // waits for its turn
		s.ack(mqtt.PUBACK, 1, 0) // of QoS 2
		s.ack(mqtt.PUBCOMP, 9, 0)
		s.ack(mqtt.PUBREC, 9, 0)
		s.wantAck(mqtt.PUBREL, 9, mqtt.PacketIDNotFound)
		s.ack(mqtt.PUBREC, 1, 0)
		s.wantAck(mqtt.PUBREL, 1, 0)
		s.ack(mqtt.PUBREC, 1, 0)
		s.wantAck(mqtt.PUBREL, 1, 0)
		s.ack(mqtt.PUBCOMP, 1, 0)
		check(t, first, 0, nil)
		s.wantPublish("2", 2, true)
		s.ack(mqtt.PUBACK, 2, 0)
		check(t, second, 0, nil)
		last := b.publish(message("3", 2))
		s.wantPublish("3", 3, false)
		s.ack(mqtt.PUBCOMP, 3, 0)
		s.want(mqtt.DISCONNECT)
		if s.Disconnect.Reason != mqtt.ProtocolError {
			t.Errorf("DISCONNECT with %v", s.Disconnect.Reason)
		}
		s.cut()
		s = b.accept(mqtt.Connack{SessionPresent: true})
		s.wantPublish("3", 3, true)
		s.ack(mqtt.PUBREC, 3, 0)
		s.wantAck(mqtt.PUBREL, 3, 0)
		s.ack(mqtt.PUBCOMP, 3, 0)
		check(t, last, 0, nil)
	})
}

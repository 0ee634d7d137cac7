package client_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

var versions = []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}

// reconnecting is a session that survives a connection.
func reconnecting(v mqtt.Version) client.Options {
	return client.Options{
		Version: v, ClientID: "c", SessionExpiry: 60, CleanStart: v == mqtt.V5,
		Reconnect: client.Backoff{Min: time.Second, Max: time.Minute},
	}
}

func check(t *testing.T, done chan outcome, reason mqtt.ReasonCode, want error) {
	t.Helper()
	if got := <-done; got.reason != reason || !errors.Is(got.err, want) {
		t.Fatalf("Publish: %v, %v, want %v, %v", got.reason, got.err, reason, want)
	}
}

func pending(t *testing.T, done chan outcome) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-done:
		t.Fatalf("Publish ended too soon: %+v", got)
	default:
	}
}

func TestPublish(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			script(t, client.Options{Version: v, ClientID: "c", CleanStart: true}, func(b *bench) {
				s := b.connected(mqtt.Connack{})
				done := b.publish(message("q0", 0))
				s.wantPublish("q0", 0, false) // (client's side of MQTT 5 4.3.1-1)
				check(t, done, 0, nil)

				done = b.publish(message("q1", 1))
				s.wantPublish("q1", 1, false) // (client's side of MQTT 5 4.3.2-2)
				pending(t, done)              // (client's side of MQTT 5 4.3.2-3)
				s.ack(mqtt.PUBACK, 1, 0)
				check(t, done, 0, nil)

				done = b.publish(message("q2", 2))
				s.wantPublish("q2", 2, false) // (client's side of MQTT 5 4.3.3-2)
				pending(t, done)
				s.ack(mqtt.PUBREC, 2, 0)
				s.wantAck(mqtt.PUBREL, 2, 0) // (client's side of MQTT 5 4.3.3-4)
				pending(t, done)             // (client's side of MQTT 5 4.3.3-5)
				s.ack(mqtt.PUBCOMP, 2, 0)
				check(t, done, 0, nil)
			})
		})
	}
}

func TestPublishRefused(t *testing.T) {
	script(t, client.Options{}, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		done := b.publish(message("a", 1))
		s.wantPublish("a", 1, false)
		s.ack(mqtt.PUBACK, 1, mqtt.NotAuthorized)
		check(t, done, mqtt.NotAuthorized, mqtt.NotAuthorized)

		done = b.publish(message("a", 2))
		s.wantPublish("a", 2, false)
		s.ack(mqtt.PUBREC, 2, mqtt.QuotaExceeded)
		check(t, done, mqtt.QuotaExceeded, mqtt.QuotaExceeded)
		s.wantSilence() // no PUBREL

		done = b.publish(message("a", 2))
		s.wantPublish("a", 3, false)
		s.ack(mqtt.PUBREC, 3, mqtt.NoMatchingSubscribers)
		s.wantAck(mqtt.PUBREL, 3, 0)
		s.ack(mqtt.PUBCOMP, 3, 0)
		check(t, done, mqtt.NoMatchingSubscribers, nil)

		for _, p := range []mqtt.Publish{message("", 0), message("a/+", 0), message("#", 1), message("a\x00", 1)} {
			check(t, b.publish(p), mqtt.TopicNameInvalid, mqtt.TopicNameInvalid)
		}
		check(t, b.publish(message("a", 3)), mqtt.QoSNotSupported, mqtt.QoSNotSupported)
		s.wantSilence()
	})
}

// [MQTT5 MQTT-3.3.4-7] [MQTT5 MQTT-3.3.4-8]
func TestReceiveMaximumOfOne(t *testing.T) {
	ack := mqtt.Connack{Props: mqtt.Properties{Has: mqtt.PropertySet(0).With(mqtt.PropReceiveMaximum), ReceiveMaximum: 1}}
	script(t, client.Options{}, func(b *bench) {
		s := b.connected(ack)
		first := b.publish(message("1", 2))
		second := b.publish(message("2", 1))
		third := b.publish(message("3", 1))
		s.wantPublish("1", 1, false)
		s.wantSilence()
		zero := b.publish(message("0", 0)) // QoS 0 is not counted
		s.wantPublish("0", 0, false)
		check(t, zero, 0, nil)
		s.ack(mqtt.PUBREC, 1, 0)
		s.wantAck(mqtt.PUBREL, 1, 0)
		s.wantSilence() // PUBREC gives no place back
		s.ack(mqtt.PUBCOMP, 1, 0)
		check(t, first, 0, nil)
		s.wantPublish("2", 2, false)
		s.wantSilence()
		s.ack(mqtt.PUBACK, 2, 0)
		s.wantPublish("3", 3, false)
		s.ack(mqtt.PUBACK, 3, mqtt.NotAuthorized)
		check(t, second, 0, nil)
		check(t, third, mqtt.NotAuthorized, mqtt.NotAuthorized)
		last := b.publish(message("4", 2))
		s.wantPublish("4", 4, false)
		s.ack(mqtt.PUBREC, 4, mqtt.NotAuthorized) // gives the place back
		check(t, last, mqtt.NotAuthorized, mqtt.NotAuthorized)
		last = b.publish(message("5", 1))
		s.wantPublish("5", 5, false)
		s.ack(mqtt.PUBACK, 5, 0)
		check(t, last, 0, nil)
	})
}

func TestServerLimits(t *testing.T) {
	var has mqtt.PropertySet
	ack := mqtt.Connack{Props: mqtt.Properties{
		Has:        has.With(mqtt.PropMaximumQoS).With(mqtt.PropRetainAvailable).With(mqtt.PropMaximumPacketSize),
		MaximumQoS: 1, MaximumPacketSize: 40,
	}}
	script(t, client.Options{}, func(b *bench) {
		s := b.connected(ack)
		check(t, b.publish(message("a", 2)), mqtt.QoSNotSupported, mqtt.QoSNotSupported)
		retained := message("a", 0)
		retained.Retain = true
		check(t, b.publish(retained), mqtt.RetainNotSupported, mqtt.RetainNotSupported)
		for q := range mqtt.QoS(2) { // [MQTT5 MQTT-3.2.2-15]
			large := message("a", q)
			large.Payload = make([]byte, 40)
			check(t, b.publish(large), mqtt.PacketTooLarge, mqtt.PacketTooLarge)
		}
		s.wantSilence()
		done := b.publish(message("a", 1)) // what was refused holds nothing
		s.want(mqtt.PUBLISH)
		s.ack(mqtt.PUBACK, s.Publish.ID, 0)
		check(t, done, 0, nil)
	})
}

// [MQTT5 MQTT-3.3.2-9] [MQTT5 MQTT-3.2.2-18]
func TestTopicAliasOut(t *testing.T) {
	ack := mqtt.Connack{Props: mqtt.Properties{Has: mqtt.PropertySet(0).With(mqtt.PropTopicAliasMaximum), TopicAliasMaximum: 2}}
	script(t, reconnecting(mqtt.V5), func(b *bench) {
		s := b.connected(ack)
		aliased := func(topic string, alias uint16, wantTopic string, wantAlias uint16) {
			t.Helper()
			p := message(topic, 0)
			p.Props.TopicAlias = alias
			done := b.publish(p)
			s.wantPublish(wantTopic, 0, false)
			if got := s.Publish.Props.TopicAlias; got != wantAlias {
				t.Errorf("alias %d, want %d", got, wantAlias)
			}
			check(t, done, 0, nil)
		}
		aliased("a", 2, "a", 2)
		aliased("a", 2, "", 2)
		aliased("b", 2, "b", 2)
		aliased("b", 2, "", 2)
		aliased("b", 3, "b", 0)
		s.cut()
		s = b.accept(mqtt.Connack{SessionPresent: true}) // this time without aliases
		aliased("b", 2, "b", 0)
		s.cut()
		s = b.accept(ack)
		aliased("b", 2, "b", 2)
	})
}

// A publish is cut off at every step of QoS 1 and 2 and goes on where it was.
// (client's side of MQTT 5 4.4.0-1) (client's side of 3.1.1 4.4.0-1) (client's side of MQTT 5 3.3.1-1)
func TestResumePublish(t *testing.T) {
	for _, v := range versions {
		for _, cut := range []string{"PUBACK", "PUBREC", "PUBREL", "PUBCOMP"} {
			t.Run(v.String()+" before "+cut, func(t *testing.T) {
				script(t, reconnecting(v), func(b *bench) {
					s := b.connected(mqtt.Connack{})
					q := mqtt.QoS(2)
					if cut == "PUBACK" {
						q = 1
					}
					done := b.publish(message("a", q))
					s.wantPublish("a", 1, false)
					if cut == "PUBREL" || cut == "PUBCOMP" {
						s.ack(mqtt.PUBREC, 1, 0)
					}
					if cut == "PUBCOMP" {
						s.wantAck(mqtt.PUBREL, 1, 0)
					}
					synctest.Wait()
					s.cut()
					pending(t, done)
					s = b.far()
					if s.want(mqtt.CONNECT); s.Connect.CleanStart {
						t.Error("a clean start forgets the session")
					}
					s.connack(mqtt.Connack{SessionPresent: true}) // which 3.1 cannot say
					switch cut {
					case "PUBACK":
						s.wantPublish("a", 1, true)
						s.ack(mqtt.PUBACK, 1, 0)
					case "PUBREC":
						s.wantPublish("a", 1, true)
						s.ack(mqtt.PUBREC, 1, 0)
						fallthrough
					default: // (client's side of MQTT 5 4.3.3-6)
						s.wantAck(mqtt.PUBREL, 1, 0)
						s.ack(mqtt.PUBCOMP, 1, mqtt.Success)
					}
					check(t, done, 0, nil)
					s.wantSilence()
				})
			})
		}
	}
}

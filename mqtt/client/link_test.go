package client_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

func TestConnect(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			o := client.Options{
				Version: v, ClientID: "me", CleanStart: true, SessionExpiry: 7, KeepAlive: 9,
				Username: "u", Password: []byte("p"), ReceiveMaximum: 5, MaximumPacketSize: 600, TopicAliasMaximum: 3,
				Will:           &mqtt.Will{Topic: []byte("w"), Payload: []byte("gone"), QoS: 1, Retain: true},
				UserProperties: []mqtt.UserProperty{{Name: []byte("n"), Value: []byte("v")}},
			}
			script(t, o, func(b *bench) {
				done := b.dial()
				s := b.far()
				s.want(mqtt.CONNECT)
				p := s.Connect
				if p.Version != v || string(p.ClientID) != "me" || !p.CleanStart || p.KeepAlive != 9 ||
					string(p.Username) != "u" || string(p.Password) != "p" ||
					string(p.Will.Topic) != "w" || string(p.Will.Payload) != "gone" || p.Will.QoS != 1 || !p.Will.Retain {
					t.Errorf("%+v", p)
				}
				if q := p.Props; v == mqtt.V5 && (q.SessionExpiry != 7 || q.ReceiveMaximum != 5 || q.MaximumPacketSize != 600 ||
					q.TopicAliasMaximum != 3 || len(q.User) != 1) {
					t.Errorf("%+v", q)
				}
				s.connack(mqtt.Connack{})
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestConnectRefused(t *testing.T) {
	refused := func(v mqtt.Version, answer []byte, want mqtt.ReasonCode, text string) {
		t.Helper()
		script(t, client.Options{Version: v, CleanStart: true}, func(b *bench) {
			done := b.dial()
			s := b.far()
			s.want(mqtt.CONNECT)
			s.raw(answer)
			err := <-done
			if refusal := new(client.ReasonError); !errors.Is(err, want) || errors.As(err, &refusal) && refusal.Text != text {
				t.Errorf("%v: %v, want %v", v, err, want)
			}
			s.wantEnd()
		})
	}
	why := mqtt.Properties{Has: mqtt.PropertySet(0).With(mqtt.PropReasonString), ReasonString: []byte("why")}
	refused(mqtt.V5, (&mqtt.Connack{Reason: mqtt.Banned, Props: why}).AppendTo(nil, mqtt.V5, 0), mqtt.Banned, "why")
	refused(mqtt.V311, []byte{0x20, 2, 0, 5}, mqtt.NotAuthorized, "")
	refused(mqtt.V31, []byte{0x20, 2, 0, 2}, mqtt.ClientIDNotValid, "")
	refused(mqtt.V5, []byte{0x20, 2, 0, 1}, mqtt.UnsupportedProtocolVersion, "") // by a server before v5
	refused(mqtt.V5, []byte{0xD0, 0}, mqtt.ProtocolError, "")
	refused(mqtt.V5, []byte("HTTP/1.1 400 Bad Request"), mqtt.MalformedPacket, "")
	// [MQTT5 MQTT-3.2.2-4]
	refused(mqtt.V5, (&mqtt.Connack{SessionPresent: true}).AppendTo(nil, mqtt.V5, 0), mqtt.ProtocolError, "")
}

func TestConnectToASilentServer(t *testing.T) {
	script(t, client.Options{Timeout: time.Second}, func(b *bench) {
		done := b.dial()
		s := b.far()
		s.want(mqtt.CONNECT)
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		s.wantEnd()
	})
}

// A server that breaks the protocol hears why (v5), and is left.
func TestServerFaults(t *testing.T) {
	o := client.Options{MaximumPacketSize: 100, ReceiveMaximum: 1, TopicAliasMaximum: 2}
	for name, f := range map[string]struct {
		bytes  []byte
		reason mqtt.ReasonCode
	}{
		"garbage":                   {[]byte("SSH-2.0"), mqtt.MalformedPacket},
		"packet too large":          {[]byte{0x30, 0xFF, 0x01}, mqtt.PacketTooLarge},
		"a client's packet":         {[]byte{0xC0, 0}, mqtt.ProtocolError},
		"second CONNACK":            {[]byte{0x20, 3, 0, 0, 0}, mqtt.ProtocolError},
		"SUBACK from nowhere":       {[]byte{0x90, 4, 0, 1, 0, 0}, mqtt.ProtocolError},
		"AUTH":                      {[]byte{0xF0, 0}, mqtt.ProtocolError},
		"alias above the maximum":   {aliased("a", 3), mqtt.TopicAliasInvalid},
		"alias without a topic":     {aliased("", 2), mqtt.ProtocolError},
		"more than receive maximum": {[]byte{0x34, 6, 0, 1, 'a', 0, 1, 0, 0x34, 6, 0, 1, 'a', 0, 2, 0}, mqtt.ReceiveMaximumExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			script(t, o, func(b *bench) {
				s := b.connected(mqtt.Connack{})
				s.raw(f.bytes)
				if f.reason == mqtt.ReceiveMaximumExceeded {
					s.wantAck(mqtt.PUBREC, 1, 0)
				}
				s.wantDisconnect(f.reason)
				<-b.c.Done()
				if err := b.c.Err(); !errors.Is(err, f.reason) {
					t.Errorf("ended with %v", err)
				}
			})
		})
	}
}

func aliased(topic string, alias uint16) []byte {
	p := mqtt.Publish{Topic: []byte(topic), Props: mqtt.MessageProperties{TopicAlias: alias}}
	return p.AppendTo(nil, mqtt.V5)
}

// [MQTT5 MQTT-3.3.2-10]
func TestTopicAliasIn(t *testing.T) {
	var got []string
	o := client.Options{TopicAliasMaximum: 2}
	o.OnMessage = func(p *mqtt.Publish) error { got = append(got, string(p.Topic)); return nil }
	script(t, o, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		for _, p := range [][]byte{aliased("a", 1), aliased("b", 2), aliased("", 1), aliased("c", 1), aliased("", 1), aliased("", 2)} {
			s.raw(p)
		}
		s.wantSilence()
	})
	if want := []string{"a", "b", "a", "c", "c", "b"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestServerDisconnect(t *testing.T) {
	for reason, again := range map[mqtt.ReasonCode]bool{
		mqtt.ServerShuttingDown: true, mqtt.ServerBusy: true,
		mqtt.SessionTakenOver: false, mqtt.NotAuthorized: false, mqtt.ServerMoved: false,
	} {
		script(t, reconnecting(mqtt.V5), func(b *bench) {
			s := b.connected(mqtt.Connack{})
			s.raw((&mqtt.Disconnect{Reason: reason}).AppendTo(nil, b.v, 0))
			if again {
				b.accept(mqtt.Connack{SessionPresent: true})
				return
			}
			<-b.c.Done()
			if err := b.c.Err(); !errors.Is(err, reason) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestKeepAlive(t *testing.T) {
	for name, f := range map[string]struct {
		asked uint16
		ack   mqtt.Connack
		every time.Duration
	}{
		"the client's": {60, mqtt.Connack{}, 45 * time.Second}, // [MQTT5 MQTT-3.1.2-20]
		"the server's": {60, mqtt.Connack{Props: mqtt.Properties{ // [MQTT5 MQTT-3.1.2-21] [MQTT5 MQTT-3.2.2-21]
			Has: mqtt.PropertySet(0).With(mqtt.PropServerKeepAlive), ServerKeepAlive: 20,
		}}, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			script(t, client.Options{KeepAlive: f.asked, Timeout: 5 * time.Second}, func(b *bench) {
				s := b.connected(f.ack)
				for range 3 {
					start := time.Now()
					s.want(mqtt.PINGREQ)
					if took := time.Since(start); took != f.every {
						t.Errorf("PINGREQ after %v, want %v", took, f.every)
					}
					s.raw(mqtt.AppendPing(nil, mqtt.PINGRESP))
					synctest.Wait()
				}
				// And one that is not answered.
				s.want(mqtt.PINGREQ)
				start := time.Now()
				s.wantEnd()
				if took := time.Since(start); took != 5*time.Second {
					t.Errorf("left after %v", took)
				}
				<-b.c.Done()
				if err := b.c.Err(); !errors.Is(err, client.ErrSilent) {
					t.Errorf("ended with %v", err)
				}
			})
		})
	}
}

func TestKeepAliveOfASendingClient(t *testing.T) {
	script(t, client.Options{KeepAlive: 20, Timeout: 5 * time.Second}, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		go func() { // never quiet, so only the server's silence asks for a PINGREQ
			p := message("a", 0)
			for {
				if _, err := b.c.Publish(context.Background(), &p); err != nil {
					return
				}
				select {
				case <-time.After(time.Second):
				case <-b.c.Done():
				}
			}
		}()
		pings := 0
		for s.read() {
			if s.Type == mqtt.PINGREQ {
				pings++
			}
		}
		<-b.c.Done()
		if err := b.c.Err(); pings != 1 || !errors.Is(err, client.ErrSilent) {
			t.Errorf("%d PINGREQ, ended with %v", pings, err)
		}
	})
}

// A slow OnMessage is not a dead server.
func TestKeepAliveWhileBusy(t *testing.T) {
	o := client.Options{KeepAlive: 20, Timeout: 5 * time.Second}
	o.OnMessage = func(*mqtt.Publish) error { <-time.After(time.Hour - time.Second); return nil }
	script(t, o, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		s.publish(mqtt.Publish{Topic: []byte("a"), QoS: 1, ID: 1})
		go s.raw(mqtt.AppendPing(nil, mqtt.PINGRESP)) // waits to be read
		pings := 0
		for s.read() && s.Type == mqtt.PINGREQ {
			pings++
		}
		if pings != 239 { // the server hears from the client all the time
			t.Errorf("%d PINGREQ in an hour", pings)
		}
		if s.Type != mqtt.PUBACK {
			t.Errorf("got %v, ended with %v", s.Type, b.c.Err())
		}
	})
}

// A server that reads nothing costs a bounded number of bytes, and is left.
func TestServerThatDoesNotRead(t *testing.T) {
	script(t, client.Options{KeepAlive: 60, Timeout: 10 * time.Second}, func(b *bench) {
		b.connected(mqtt.Connack{})
		p := message("a", 0)
		p.Payload = make([]byte, 1000)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		n := 0
		var err error
		for err == nil {
			_, err = b.c.Publish(ctx, &p)
			n++
		}
		if !errors.Is(err, context.DeadlineExceeded) || n > 600 {
			t.Errorf("%d messages taken, then %v", n, err)
		}
		<-b.c.Done()
		if b.c.Err() == nil {
			t.Error("still there")
		}
	})
}

func TestClose(t *testing.T) {
	script(t, client.Options{}, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		ack := b.publish(message("b", 1))
		go func() {
			for range 3 {
				p := message("a", 0)
				_, _ = b.c.Publish(context.Background(), &p)
			}
			_ = b.c.Close(context.Background())
		}()
		s.wantPublish("b", 1, false)
		for range 3 {
			s.wantPublish("a", 0, false)
		}
		s.wantDisconnect(mqtt.Success) // (client's side of MQTT 5 3.14.4-1) (client's side of MQTT 5 3.14.4-2)
		<-b.c.Done()
		check(t, ack, 0, client.ErrClosed)
		check(t, b.publish(message("a", 0)), 0, client.ErrClosed)
		check(t, b.publish(message("a", 1)), 0, client.ErrClosed)
		if err := <-subscribe(b, mqtt.Subscribe{Filters: filters("a")}); !errors.Is(err, client.ErrClosed) {
			t.Error(err)
		}
		if err := b.c.Close(context.Background()); err != nil {
			t.Error("second Close:", err)
		}
	})
}

func TestCloseWhileReconnecting(t *testing.T) {
	script(t, reconnecting(mqtt.V5), func(b *bench) {
		s := b.connected(mqtt.Connack{})
		s.cut()
		synctest.Wait()
		if err := b.c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseToAServerThatDoesNotRead(t *testing.T) {
	script(t, client.Options{}, func(b *bench) {
		b.connected(mqtt.Connack{})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := b.c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		<-b.c.Done()
	})
}

func TestEndByOnMessage(t *testing.T) {
	broken := errors.New("broken")
	for _, f := range []struct {
		give, want error
		acked      bool
	}{{client.ErrStop, client.ErrClosed, true}, {broken, broken, false}} {
		o := reconnecting(mqtt.V5)
		o.OnMessage = func(*mqtt.Publish) error { return f.give }
		script(t, o, func(b *bench) {
			s := b.connected(mqtt.Connack{})
			m := mqtt.Publish{Topic: []byte("a"), QoS: 1, ID: 1}
			go s.raw(append(m.AppendTo(nil, b.v), m.AppendTo(nil, b.v)...))
			if f.acked {
				s.wantAck(mqtt.PUBACK, 1, 0)
			}
			s.wantDisconnect(mqtt.Success)
			<-b.c.Done()
			if err := b.c.Err(); err != f.want {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestAbortSendsNothing(t *testing.T) {
	script(t, reconnecting(mqtt.V5), func(b *bench) {
		s := b.connected(mqtt.Connack{})
		b.c.Abort()
		s.wantEnd()
		<-b.c.Done()
		if err := b.c.Err(); err != client.ErrAborted {
			t.Error(err)
		}
	})
}

func TestReconnect(t *testing.T) {
	var waits []time.Duration
	o := reconnecting(mqtt.V5)
	o.ClientID, o.Reconnect.Max = "", 8*time.Second
	o.OnEvent = func(e client.Event) {
		if e.Kind == client.Disconnected {
			waits = append(waits, e.Retry)
		}
	}
	script(t, o, func(b *bench) {
		s := b.connected(mqtt.Connack{Props: mqtt.Properties{
			Has: mqtt.PropertySet(0).With(mqtt.PropAssignedClientID), AssignedClientID: []byte("given"),
		}})
		s.cut()
		for range 7 {
			s = b.far()
			s.want(mqtt.CONNECT)
			if string(s.Connect.ClientID) != "given" || s.Connect.CleanStart {
				t.Errorf("%+v", s.Connect)
			}
			s.cut()
		}
		s = b.accept(mqtt.Connack{SessionPresent: true})
		<-time.After(9 * time.Second) // lasts longer than Max: the count starts again
		s.cut()
		b.accept(mqtt.Connack{SessionPresent: true})
	})
	if len(waits) != 9 {
		t.Fatal(waits)
	}
	for i, w := range waits {
		if ceiling := []time.Duration{1, 2, 4, 8, 8, 8, 8, 8, 1}[i] * time.Second; w < 0 || w >= ceiling {
			t.Errorf("wait %d is %v, want below %v", i, w, ceiling)
		}
	}
}

func TestReconnectEndsAtARefusal(t *testing.T) {
	script(t, reconnecting(mqtt.V5), func(b *bench) {
		s := b.connected(mqtt.Connack{})
		s.cut()
		s = b.far()
		s.want(mqtt.CONNECT)
		s.connack(mqtt.Connack{Reason: mqtt.ServerBusy})
		s = b.far()
		s.want(mqtt.CONNECT)
		s.connack(mqtt.Connack{Reason: mqtt.BadUserNameOrPassword})
		<-b.c.Done()
		if err := b.c.Err(); !errors.Is(err, mqtt.BadUserNameOrPassword) {
			t.Error(err)
		}
	})
}

func TestTapSeesTheWire(t *testing.T) {
	var sent, received []byte
	o := client.Options{Version: mqtt.V311, ClientID: "c", Tap: func(d client.Direction, p []byte) {
		if d == client.Sent {
			sent = append(sent, p...)
		} else {
			received = append(received, p...)
		}
	}}
	script(t, o, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		done := b.publish(message("a", 1))
		s.want(mqtt.PUBLISH)
		s.ack(mqtt.PUBACK, 1, 0)
		check(t, done, 0, nil)
	})
	if want := []byte("\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01c\x32\x06\x00\x01a\x00\x01x"); !bytes.Equal(sent, want) {
		t.Errorf("sent % x\nwant % x", sent, want)
	}
	if want := []byte("\x20\x02\x00\x00\x40\x02\x00\x01"); !bytes.Equal(received, want) {
		t.Errorf("received % x", received)
	}
}

// Bytes that come one by one, and many packets that come at once.
func TestFraming(t *testing.T) {
	got := 0
	o := client.Options{OnMessage: func(p *mqtt.Publish) error { got += len(p.Payload); return nil }}
	script(t, o, func(b *bench) {
		s := b.connected(mqtt.Connack{})
		small := message("a", 0)
		for _, c := range small.AppendTo(nil, b.v) {
			s.raw([]byte{c})
		}
		large := message("a", 0)
		large.Payload = make([]byte, 1<<20)
		s.raw(large.AppendTo(small.AppendTo(nil, b.v), b.v))
		s.publish(small)
		s.wantSilence()
	})
	if got != 1<<20+3 {
		t.Errorf("%d bytes", got)
	}
}

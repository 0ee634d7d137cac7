package clients

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// each5 is each with the clients that speak MQTT 5.
func each5(t *testing.T, test func(t *testing.T, b *bench)) {
	eachOf(t, func(k *kind) bool { k.doors = k.doors[:1]; return k.version == 5 }, test)
}

// TestProperties has a message keep its properties: live, retained, queued, and as a will.
func TestProperties(t *testing.T) {
	each5(t, func(t *testing.T, b *bench) {
		sub := b.dial(options{id: "sub", keep: true})
		sub.subscribed("props/+", 2)
		pub := b.dial(options{id: "pub"})
		full := message{
			Topic: "props/a", Payload: "{}", QoS: 1,
			properties: properties{
				User:        map[string][]string{"unit": {"°C"}, "seen": {"first", "second"}},
				ContentType: "application/json", Response: "answers/pub", Correlation: "\x01\x02 42", Text: true,
			},
		}
		for qos := range byte(3) {
			full.QoS = qos
			pub.published(full)
			sub.gets(full)
		}
		sub.closed()
		pub.published(full)
		sub = b.dial(options{id: "sub", keep: true})
		sub.gets(full)

		full.Retain = true
		pub.published(full)
		late := b.dial(options{id: "late"})
		late.subscribed("props/a", 2)
		late.gets(full)
	})
}

// TestRequestResponse is one client asking another: response topic and correlation data, over a shared
// subscription of two that answer.
func TestRequestResponse(t *testing.T) {
	each5(t, func(t *testing.T, b *bench) {
		for i := range 2 {
			var server *conn
			requests := make(chan message, 100)
			server = b.dial(options{id: fmt.Sprintf("server%d", i), receive: func(m message) { requests <- m }})
			server.subscribed("$share/servers/double", 1)
			go func() {
				for m := range requests {
					server.publish(message{
						Topic: m.Response, Payload: m.Payload + m.Payload, QoS: 1,
						properties: properties{Correlation: m.Correlation},
					})
				}
			}()
			t.Cleanup(func() { server.close(); close(requests) })
		}
		asker := b.dial(options{id: "asker"})
		asker.subscribed("answers/asker", 1)
		open := map[string]string{}
		for i := range 20 {
			id, text := fmt.Sprintf("id %d", i), fmt.Sprint(i)
			open[id] = text + text
			asker.published(message{Topic: "double", Payload: text, QoS: 1, properties: properties{Response: "answers/asker", Correlation: id}})
		}
		for len(open) > 0 {
			m := asker.next()
			if want, ok := open[m.Correlation]; !ok || m.Payload != want {
				t.Fatalf("the answer to %q is %q, want %q", m.Correlation, m.Payload, want)
			}
			delete(open, m.Correlation)
		}
	})
}

// TestExpiry has a message expire, and one that does not tell how long it still has.
func TestExpiry(t *testing.T) {
	each5(t, func(t *testing.T, b *bench) {
		sub := b.dial(options{id: "sub", keep: true})
		sub.subscribed("expire/+", 1)
		sub.closed()
		pub := b.dial(options{id: "pub"})
		pub.published(
			message{Topic: "expire/long", Payload: "long", QoS: 1, properties: properties{Expiry: 100}},
			message{Topic: "expire/short", Payload: "short", QoS: 1, Retain: true, properties: properties{Expiry: 1}})

		// When nobody gets the retained copy any more, the queued one must be gone as well.
		began := time.Now()
		for retained := true; retained; {
			probe := b.dial(options{id: "probe"})
			probe.subscribed("expire/short", 1)
			probe.subscribed("end", 1)
			pub.published(message{Topic: "end", QoS: 1})
			if retained = probe.next().Topic != "end"; retained && time.Since(began) > patience {
				t.Fatal("the retained message does not expire")
			}
			probe.closed()
		}
		sub = b.dial(options{id: "sub", keep: true})
		if m := sub.next(); m.Payload != "long" || m.Expiry == 0 || m.Expiry > 99 {
			t.Errorf("after more than a second got %+v", m)
		}
	})
}

// TestReasonCodes wants the broker's reasons at the client.
func TestReasonCodes(t *testing.T) {
	each5(t, func(t *testing.T, b *bench) {
		told := make(chan byte, 1)
		c := b.dial(options{id: "same", told: func(reason byte) { told <- reason }})
		if !strings.HasPrefix(b.name, "autopaho") { // its queue does not tell
			for qos := byte(1); qos <= 2; qos++ {
				var want byte = 0x10
				if b.name == "paho.golang/5" && qos == 2 {
					want = 0 // it tells the reason of PUBCOMP, which has none
				}
				if r := c.await(c.publish(message{Topic: "nobody", QoS: qos})); r.err != nil || r.code != want {
					t.Errorf("QoS %d to nobody: code %#x, error %v, want %#x", qos, r.code, r.err, want)
				}
				if r := c.await(c.publish(message{Topic: "$SYS/broker/version", QoS: qos})); r.code < 0x80 {
					t.Errorf("QoS %d to $SYS: code %#x, error %v", qos, r.code, r.err)
				}
			}
		}
		b.dial(options{id: "same"})
		select {
		case reason := <-told:
			if reason != 0x8E {
				t.Errorf("taken over with %#x", reason)
			}
		case <-time.After(patience):
			t.Error("the first client was not told that it was taken over")
		}
	})
}

// TestTopicAlias names topics by number, towards the broker and, where the client takes it, from it.
func TestTopicAlias(t *testing.T) {
	each5(t, func(t *testing.T, b *bench) {
		sub := b.dial(options{id: "sub", aliases: 2})
		sub.subscribed("long/#", 1)
		pub := b.dial(options{id: "pub"})
		aliased := 0
		for i := range 12 {
			want := fmt.Sprintf("long/name/of/a/topic/%d", i%3)
			m := message{Topic: want, Payload: fmt.Sprint(i), QoS: byte(i % 2), properties: properties{Alias: uint16(1 + i%3)}}
			if i >= 3 {
				m.Topic = ""
			}
			pub.published(m)
			got := sub.next()
			if got.Topic != want || got.Payload != m.Payload {
				t.Errorf("got %+v, want %q at %s", got, m.Payload, want)
			}
			if got.Alias > 0 {
				aliased++
			}
		}
		if b.name == "mqtt.js/5" && aliased < 8 {
			t.Errorf("%d of 12 messages had an alias, though the client takes two", aliased)
		}
	})
}

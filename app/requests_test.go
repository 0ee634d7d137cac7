package app

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// responder answers each request below a filter with what f makes of it; f tells the topic too.
func (b *bureau) responder(version mqtt.Version, filter string, f func(*mqtt.Publish) *mqtt.Publish) {
	b.Helper()
	requests := make(chan *mqtt.Publish, 10)
	c, err := client.Dial(b.Context(), client.Options{
		Address: b.Bound().MQTT[0], Version: version, ClientID: "responder", Username: "boss", Password: []byte(word), CleanStart: true,
		OnMessage: func(p *mqtt.Publish) error {
			requests <- f(p)
			return nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case p := <-requests:
				if p == nil {
					continue
				}
				if reason, err := c.Publish(b.Context(), p); err != nil || reason != mqtt.Success && p.QoS > 0 {
					b.Error(string(p.Topic), reason, err)
				}
			case <-c.Done():
				return
			}
		}
	}()
	b.Cleanup(func() { c.Abort(); <-done })
	b.subscribe(c, filter)
}

// TestRequest asks devices by HTTP: [MQTT5 4.10] with the response topic and the correlation data of a request, and by a topic that is
// agreed on.
func TestRequest(t *testing.T) {
	t.Parallel()
	b := openBureau(t)
	b.responder(mqtt.V5, "free/five/#", func(p *mqtt.Publish) *mqtt.Publish {
		var to, correlation []byte
		p.Props.Each(func(id mqtt.PropertyID, _, value []byte) bool {
			switch id {
			case mqtt.PropResponseTopic:
				to = bytes.Clone(value)
			case mqtt.PropCorrelationData:
				correlation = bytes.Clone(value)
			}
			return true
		})
		if string(p.Topic) == "free/five/mute" {
			return nil
		}
		if string(p.Topic) == "free/five/wrong" {
			correlation = []byte("another's")
		}
		answer := &mqtt.Publish{Topic: to, Payload: append([]byte("heard "), p.Payload...), QoS: 1}
		answer.Props.Forward = mqtt.AppendUserProperty(mqtt.AppendCorrelationData(nil, correlation), "status", "ok")
		return answer
	})
	code, got := b.status("POST", "/request", map[string]any{"topic": "free/five/x", "payload": "you", "timeout_seconds": 60})
	if code != 200 || got["payload"] != "heard you" || got["encoding"] != "text" || got["user_properties"] == nil {
		t.Fatal(code, got)
	}
	if code, got := b.status("POST", "/request", map[string]any{"topic": "free/five/x", "payload": "/w==", "encoding": "base64"}); code != 200 || got["encoding"] != "base64" || got["payload"] != "aGVhcmQg/w==" {
		t.Error(code, got)
	}
	for _, name := range []string{"mute", "wrong"} {
		if code, got := b.status("POST", "/request", map[string]any{"topic": "free/five/" + name, "timeout_seconds": 0.2}); code != http.StatusGatewayTimeout {
			t.Error(name, code, got)
		}
	}
	if code, got := b.status("POST", "/request", map[string]any{"topic": "free/nobody"}); code != http.StatusNotFound {
		t.Error(code, got)
	}
	if code, got := b.status("POST", "/request", map[string]any{"topic": "secret/x"}); code != http.StatusForbidden {
		t.Error(code, got)
	}
	if code, got := b.status("POST", "/request", map[string]any{"topic": "free/five/x", "response_topic": "secret/answers"}); code != http.StatusForbidden {
		t.Error(code, got)
	}
	if code, got := b.status("POST", "/request", map[string]any{"topic": "free/five/x", "response_topic": "free/#"}); code != http.StatusUnprocessableEntity {
		t.Error(code, got)
	}
}

// TestRequestOfOldDevices asks a device of MQTT 3.1.1, which answers where it always does.
func TestRequestOfOldDevices(t *testing.T) {
	t.Parallel()
	b := openBureau(t)
	b.responder(mqtt.V311, "free/old/ask", func(p *mqtt.Publish) *mqtt.Publish {
		return &mqtt.Publish{Topic: []byte("free/old/answer"), Payload: bytes.ToUpper(p.Payload)}
	})
	for range 2 { // the second time it subscribes anew
		code, got := b.status("POST", "/request", map[string]any{"topic": "free/old/ask", "payload": "state", "response_topic": "free/old/answer"})
		if code != 200 || got["payload"] != "STATE" || got["topic"] != "free/old/answer" {
			t.Fatal(code, got)
		}
	}
}

package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// TestStory has everything happen that an operator asks about, by real clients, and reads it back by GET /events: each is one fact with its time, its
// client, a sentence and the evidence. Clients that do not read are TestWhy's (test/why), what the broker needs to be well TestProblems'.
func TestStory(t *testing.T) {
	b := openBureau(t)
	began := time.Now()
	b.user("anna", "meters")
	b.ask("POST", "/rules", map[string]any{"name": "no orders", "deny": []string{"publish"}, "topics": []string{"free/orders/#"}})

	connect := func(id string, change func(*client.Options)) *client.Client {
		t.Helper()
		o := client.Options{Address: b.Bound().MQTT[0], ClientID: id, Username: "anna", Password: []byte(word), KeepAlive: 60, Timeout: patience}
		if change != nil {
			change(&o)
		}
		c, err := client.Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Abort)
		return c
	}
	will := func(o *client.Options) { o.Will = &mqtt.Will{Topic: []byte("free/will"), Payload: []byte("gone")} }
	lasting := func(seconds uint32) func(*client.Options) {
		return func(o *client.Options) { o.SessionExpiry = seconds }
	}
	done := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	told := connect("teller", func(o *client.Options) {
		o.UserProperties = []mqtt.UserProperty{{Name: []byte("client_software"), Value: []byte("meterd 2.1")}}
	})
	b.subscribe(told, "free/a")
	b.subscribe(told, "forbidden/#")
	_, err := told.Unsubscribe(t.Context(), mqtt.Unsubscribe{Filters: [][]byte{[]byte("free/a")}})
	done(err)
	since := time.Now()
	for range 20 { // one fact, not twenty
		if _, err = told.Publish(t.Context(), &mqtt.Publish{Topic: []byte("free/orders/7"), QoS: 1}); !errors.Is(err, mqtt.NotAuthorized) {
			t.Error(err)
		}
	}
	lasted := time.Since(since)
	if _, err := b.dial("stranger", "nobody", 0, nil); err == nil {
		t.Error("a stranger gets in")
	}
	connect("twice", will)
	connect("twice", nil)
	done(connect("polite", will).Disconnect(t.Context(), mqtt.Disconnect{}))
	connect("cut", will).Abort()

	away := connect("away", lasting(600))
	b.subscribe(away, "free/queue")
	done(away.Disconnect(t.Context(), mqtt.Disconnect{}))
	b.left("away")
	for range 5 {
		_, err = b.boss.Publish(t.Context(), &mqtt.Publish{Topic: []byte("free/queue")}) // QoS 0 is not kept for those who are away
		done(err)
	}
	connect("away", lasting(600))
	done(connect("short", lasting(1)).Disconnect(t.Context(), mqtt.Disconnect{}))
	connect("kicked", nil)
	b.ask("POST", "/clients/kicked/disconnect", map[string]any{"reason": "a new firmware"})
	b.ask("POST", "/bans", map[string]any{"subject": "client", "value": "loud", "reason": "it is loud"})
	b.write(strings.Replace(b.text(), "listeners:", "limits: {max_subscriptions: 1}\nlisteners:", 1))
	b.ask("POST", "/config/reload", map[string]any{})
	full := connect("full", nil)
	b.subscribe(full, "free/1")
	b.subscribe(full, "free/2")

	f := func(kind fact.Kind, query, reason string, code mqtt.ReasonCode, text string, detail ...string) {
		t.Helper()
		values, err := url.ParseQuery(query)
		done(err)
		values.Set("kind", string(kind))
		var found []fact.Fact
		for end := time.Now().Add(patience); len(found) == 0 && time.Now().Before(end); {
			answer, err := json.Marshal(b.ask("GET", "/events?"+values.Encode(), nil)["items"])
			done(err)
			done(json.Unmarshal(answer, &found))
			if len(found) == 0 {
				<-time.After(100 * time.Millisecond) // the API lets nobody ask all the time
			}
		}
		if len(found) == 0 {
			t.Errorf("%s %s: nobody told", kind, query)
			return
		}
		got := found[0]
		if got.At.Before(began) || got.Client != values.Get("client") || got.Reason != reason || mqtt.ReasonCode(got.Code) != code || !strings.Contains(got.Text, text) {
			t.Errorf("%s %s: %+v", kind, query, got)
		}
		for i := 0; i < len(detail); i += 2 {
			if !strings.Contains(got.Detail[detail[i]], detail[i+1]) || got.Detail[detail[i]] == "" {
				t.Errorf("%s %s: %s is %q", kind, query, detail[i], got.Detail[detail[i]])
			}
		}
	}
	f(fact.Connected, "client=teller&user=anna&address=127.0.0.1", "", mqtt.Success, "running meterd 2.1", "protocol", "5.0", "by", "accounts", "port", "", "software", "meterd 2.1")
	f(fact.Refused, "client=stranger", "bad_user_name_or_password", mqtt.BadUserNameOrPassword, "Refused as", "told", "")
	f(fact.Disconnected, "client=polite", "client", mqtt.Success, "in good order", "received", "0")
	f(fact.Disconnected, "client=cut", "closed", mqtt.Success, "without DISCONNECT")
	f(fact.TakenOver, "client=twice", "", mqtt.SessionTakenOver, "same client id", "by_address", "127.0.0.1", "by_port", "", "by", "anna")
	f(fact.Denied, "client=teller&topic=free/orders/%23", "rule", mqtt.NotAuthorized, "no orders", "action", "publish", "rule", "no orders")
	f(fact.Denied, "client=teller&topic=forbidden/%23", "rule", mqtt.NotAuthorized, "", "action", "subscribe")
	f(fact.Subscribed, "client=teller&topic=free/a", "", mqtt.GrantedQoS1, "Subscribed", "qos", "1")
	f(fact.Unsubscribed, "client=teller&topic=free/a", "", mqtt.Success, "")
	f(fact.WillSent, "client=cut", "", mqtt.Success, "free/will")
	f(fact.WillSent, "client=twice", "", mqtt.Success, "free/will")
	f(fact.WillCancelled, "client=polite", "disconnected", mqtt.Success, "")
	f(fact.SessionCreated, "client=away", "", mqtt.Success, "", "session_expiry_seconds", "600")
	f(fact.SessionResumed, "client=away", "", mqtt.Success, "1 subscription", "offline_for_seconds", "")
	f(fact.SessionEnded, "client=short", "expired", mqtt.Success, "expired")
	f(fact.Dropped, "client=away", "offline", mqtt.Success, "")
	f(fact.Disconnected, "client=kicked", "admin", mqtt.AdministrativeAction, "a new firmware")
	f(fact.Admin, "client=kicked", "client-disconnect", mqtt.Success, "operator admin did", "by", "admin", "target", "kicked", "asked", "a new firmware")
	f(fact.Admin, "reason=user-create", "user-create", mqtt.Success, "operator admin did", "asked", `"password":"***"`)
	f(fact.Banned, "client=loud", "", mqtt.Success, "it is loud")
	f(fact.Reloaded, "", "", mqtt.Success, "read again", "keys", "limits.max_subscriptions", "by", "admin")
	f(fact.Subscribed, "client=full&topic=free/2", "quota_exceeded", mqtt.QuotaExceeded, "refused", "refused", "yes")

	// What happens for each message is a sum: 20 denials in one fact or a few, and no other word of them.
	denied := b.ask("GET", "/events?client=teller&kind=denied&topic=free/orders/%23", nil)["items"].([]any)
	sum := 0.0
	for _, v := range denied {
		sum += v.(map[string]any)["count"].(float64)
	}
	if len(denied) > 3+int(lasted.Seconds()) || sum > 20 { // a sum is told once a second
		t.Error(fmt.Sprint(denied))
	}
}

// TestAuditTells: what a change did is in its entry of the audit log, also where its path shows nothing: the keys of a reload, the snapshot of what was
// deleted, the session and the ban that are not there any more.
func TestAuditTells(t *testing.T) {
	b := openBureau(t)
	f := func(operation, before, after string) {
		t.Helper()
		entry := b.ask("GET", "/audit?limit=1&operation="+operation, nil)["items"].([]any)[0].(map[string]any)
		was, _ := json.Marshal(entry["before"])
		is, _ := json.Marshal(entry["after"])
		if entry["by"] != "admin" || entry["from"] != "127.0.0.1" || !strings.Contains(string(was), before) || !strings.Contains(string(is), after) {
			t.Errorf("%s: %v", operation, entry)
		}
	}
	b.write(strings.Replace(b.text(), "listeners:", "limits: {max_subscriptions: 7}\nlisteners:", 1))
	b.ask("POST", "/config/reload", map[string]any{})
	f("config-reload", "null", "limits.max_subscriptions")
	if _, err := b.boss.Publish(t.Context(), &mqtt.Publish{Topic: []byte("free/old"), Payload: []byte("x"), QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	b.ask("POST", "/retained/delete", map[string]any{"filter": "free/old", "confirm": 1})
	f("retained-delete", "null", `"snapshot":{`)
	b.ask("POST", "/bans", map[string]any{"subject": "client", "value": "loud", "reason": "it is loud"})
	b.ask("DELETE", "/bans/client/loud", nil)
	f("ban-remove", "it is loud", "null")
	b.client("lasting", "boss", 600, nil)
	b.ask("DELETE", "/sessions/lasting", nil)
	f("session-end", `"session_expiry_seconds":600`, "null")
}

// text is what the configuration file says.
func (b *bureau) text() string {
	b.Helper()
	text, err := os.ReadFile(b.file)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// bureau is an app with an API at which a test changes who may do what, and clients that feel it.
type bureau struct {
	*testSite
	password string // of admin
	boss     *client.Client
}

// openBureau starts one. Everybody may do everything below free/ and own/{user}/; boss may do everything.
func openBureau(t *testing.T) *bureau {
	s := &testSite{T: t, file: filepath.Join(t.TempDir(), "sapwood.yaml")}
	s.write(`
watch_interval: 0s
canaries: {interval: 0s}
http: {address: '127.0.0.1:0'}
listeners: [{address: '127.0.0.1:0', name: plain}]
authentication: {chain: [password]}
authorization:
  rules:
    - {allow: [publish, subscribe, receive], topics: ["free/#", "own/{user}/#"]}
    - {allow: [publish, subscribe, receive], topics: ["#"], users: [boss]}
`)
	s.App = s.start()
	b := &bureau{testSite: s, password: s.FirstPassword()}
	b.user("boss")
	b.boss = b.client("boss", "boss", 0, nil)
	return b
}

// send sends a request of the API, and gives the status and the text of the answer.
func (b *bureau) send(method, path string, body any) (int, []byte) {
	b.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		b.Fatal(err)
	}
	r, err := http.NewRequestWithContext(b.Context(), method, b.Bound().HTTP+"/api/v1"+path, bytes.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("admin", b.password)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, answer
}

// status sends a request that may fail, and gives the status and the answer.
func (b *bureau) status(method, path string, body any) (int, map[string]any) {
	b.Helper()
	code, answer := b.send(method, path, body)
	var v map[string]any
	_ = json.Unmarshal(answer, &v) // some have none
	return code, v
}

// ask changes something by the API, and gives the answer.
func (b *bureau) ask(method, path string, body any) map[string]any {
	b.Helper()
	code, v := b.status(method, path, body)
	if code >= 300 {
		b.Fatalf("%s %s: %d %v", method, path, code, v)
	}
	return v
}

const word = "correct horse"

func (b *bureau) user(name string, groups ...string) {
	b.Helper()
	for _, g := range groups {
		b.ask("PUT", "/groups/"+g, map[string]any{})
	}
	b.ask("POST", "/users", map[string]any{"name": name, "password": word, "groups": append([]string{}, groups...)})
}

// client connects with a session of so many seconds.
func (b *bureau) client(id, user string, session uint32, got chan string) *client.Client {
	b.Helper()
	c, err := b.dial(id, user, session, got)
	if err != nil {
		b.Fatalf("%s: %v", id, err)
	}
	return c
}

func (b *bureau) dial(id, user string, session uint32, got chan string) (*client.Client, error) {
	c, err := client.Dial(b.Context(), client.Options{
		Address: b.Bound().MQTT[0], ClientID: id, Username: user, Password: []byte(word), SessionExpiry: session,
		OnMessage: func(p *mqtt.Publish) error {
			if got != nil {
				got <- string(p.Topic)
			}
			return nil
		},
	})
	if err == nil {
		b.Cleanup(c.Abort)
	}
	return c, err
}

func (b *bureau) subscribe(c *client.Client, filter string) mqtt.ReasonCode {
	b.Helper()
	s := mqtt.Subscribe{Filters: []mqtt.Subscription{{Filter: []byte(filter), Options: 1}}}
	ack, err := c.Subscribe(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	return ack.Reasons[0]
}

func (b *bureau) say(topic string) {
	b.Helper()
	if _, err := b.boss.Publish(b.Context(), &mqtt.Publish{Topic: []byte(topic), QoS: 1}); err != nil {
		b.Fatal(err)
	}
}

// left waits until the broker knows that a client has gone, whose session stays.
func (b *bureau) left(id string) {
	b.Helper()
	for end := time.Now().Add(patience); b.ask("GET", "/clients/"+url.PathEscape(id), nil)["connected"] != false; <-time.After(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%s is still connected", id)
		}
	}
}

// patience is more than the second in which a change has to act: this machine may be busy.
const patience = time.Minute

// heard tells whether what boss says to a topic arrives, after which a message to free/end does for sure.
func (b *bureau) heard(got chan string, topic string) bool {
	b.Helper()
	b.say(topic)
	b.say("free/end")
	for was := false; ; {
		select {
		case t := <-got:
			if t == "free/end" {
				return was
			}
			was = was || t == topic
		case <-time.After(patience):
			b.Fatal("nothing arrives any more")
		}
	}
}

// ends waits until a client is disconnected.
func (b *bureau) ends(c *client.Client, what string, reason mqtt.ReasonCode) {
	b.Helper()
	began := time.Now()
	select {
	case <-c.Done():
		if !errors.Is(c.Err(), reason) {
			b.Errorf("%s: %v, want %v", what, c.Err(), reason)
		}
		b.Logf("%s: disconnected after %v", what, time.Since(began))
	case <-time.After(patience):
		b.Errorf("%s: still connected", what)
	}
}

// A change of the rules acts on clients that are there, and on sessions that wait, by the time the API has answered.
func TestRulesAct(t *testing.T) {
	t.Parallel()
	b := openBureau(t)
	b.user("anna", "line")
	got := make(chan string, 100)
	c := b.client("anna-1", "anna", 3600, got)
	b.subscribe(c, "free/#")
	if r := b.subscribe(c, "secret/#"); r != mqtt.NotAuthorized {
		t.Fatalf("before there is a rule: %v", r)
	}
	allow := map[string]any{"allow": []string{"subscribe", "receive"}, "topics": []string{"secret/#"}, "groups": []string{"line"}}
	rule := b.ask("POST", "/rules", allow)["id"].(string)
	if r := b.subscribe(c, "secret/#"); r != mqtt.GrantedQoS1 {
		t.Fatalf("with the rule: %v", r)
	}
	f := func(what string, want bool) {
		t.Helper()
		began := time.Now()
		if heard := b.heard(got, "secret/x"); heard != want {
			t.Errorf("%s: heard %v", what, heard)
		}
		t.Logf("%s: known after %v", what, time.Since(began))
	}
	f("the rule is there", true)
	b.ask("PATCH", "/users/anna", map[string]any{"groups": []string{}})
	f("out of the group", false)
	b.ask("PATCH", "/users/anna", map[string]any{"groups": []string{"line"}})
	f("in the group again", true)
	deny := b.ask("POST", "/rules", map[string]any{"deny": []string{"receive"}, "topics": []string{"secret/x"}})["id"].(string)
	f("a denial is there", false)
	b.ask("DELETE", "/rules/"+deny, nil)
	f("the denial is gone", true)
	b.ask("DELETE", "/rules/"+rule, nil)
	f("the rule is gone", false)

	// Of a session that waits: what came while it was allowed is not given out afterwards.
	rule = b.ask("POST", "/rules", allow)["id"].(string)
	b.subscribe(c, "secret/#")
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.left("anna-1")
	b.say("secret/early")
	b.say("free/early")
	b.ask("DELETE", "/rules/"+rule, nil)
	b.say("secret/late")
	b.say("free/late")
	b.client("anna-1", "anna", 3600, got)
	for _, want := range []string{"free/early", "free/late"} {
		select {
		case topic := <-got:
			if topic != want {
				t.Errorf("got %s, want %s", topic, want)
			}
		case <-time.After(patience):
			t.Fatalf("no %s", want)
		}
	}
}

// What is taken from a user ends its connections, and it does not come back.
func TestUsersAct(t *testing.T) {
	t.Parallel()
	b := openBureau(t)
	for name, act := range map[string]func(user string){
		"disabled": func(u string) { b.ask("PATCH", "/users/"+u, map[string]any{"disabled": true}) },
		"deleted":  func(u string) { b.ask("DELETE", "/users/"+u, nil) },
		"password": func(u string) { b.ask("PATCH", "/users/"+u, map[string]any{"password": "another word"}) },
		"bound":    func(u string) { b.ask("PATCH", "/users/"+u, map[string]any{"client_id": "elsewhere"}) },
	} {
		b.user(name)
		c := b.client(name+"-1", name, 3600, nil)
		act(name)
		b.ends(c, name, mqtt.NotAuthorized)
		if again, err := b.dial(name+"-1", name, 3600, nil); err == nil {
			again.Abort()
			t.Errorf("%s: it came back", name)
		}
	}
	select {
	case <-b.boss.Done():
		t.Error("somebody else was disconnected")
	default:
	}
}

// A ban ends connections and keeps out, quarantine keeps apart; each until it is lifted, signed by who said so.
func TestBansAct(t *testing.T) {
	t.Parallel()
	b := openBureau(t)
	b.user("carl")
	got := make(chan string, 100)
	for subject, value := range map[string]string{"client": "carl-1", "user": "carl", "pattern": "carl-*"} {
		c := b.client("carl-1", "carl", 0, got)
		made := b.ask("POST", "/bans", map[string]any{"subject": subject, "value": value, "reason": "loud"})
		if by := made["ban"].(map[string]any)["by"]; by != "operator admin" {
			t.Errorf("signed by %v", by)
		}
		b.ends(c, "banned by "+subject, mqtt.AdministrativeAction)
		if _, err := b.dial("carl-1", "carl", 0, nil); !errors.Is(err, mqtt.Banned) {
			t.Errorf("banned by %s: %v", subject, err)
		}
		b.ask("DELETE", fmt.Sprintf("/bans/%s/%s", subject, value), nil)
	}
	c := b.client("carl-1", "carl", 0, got)
	b.subscribe(c, "free/#")
	b.ask("POST", "/bans", map[string]any{"subject": "user", "value": "carl", "quarantine": true})
	b.say("free/apart")
	if _, err := c.Publish(t.Context(), &mqtt.Publish{Topic: []byte("free/me"), QoS: 1}); !errors.Is(err, mqtt.NotAuthorized) {
		t.Errorf("in quarantine: %v", err)
	}
	select {
	case topic := <-got:
		t.Errorf("in quarantine: %s", topic)
	default:
	}
	b.ask("DELETE", "/bans/user/carl", nil)
	if !b.heard(got, "free/again") {
		t.Error("out of quarantine nothing is heard")
	}
}

package app

import (
	"fmt"
	"net/url"
	"reflect"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// items are those of a list.
func items(v map[string]any) (list []map[string]any) {
	all, _ := v["items"].([]any)
	for _, x := range all {
		list = append(list, x.(map[string]any))
	}
	return list
}

// TestClientsAPI shows clients by the API as they are.
func TestClientsAPI(t *testing.T) {
	t.Parallel()
	b := openBureau(t)
	b.user("anna")
	for i := range 3 {
		c := b.client(fmt.Sprintf("press/%d", i), "anna", 100, nil)
		b.subscribe(c, fmt.Sprintf("free/%d/#", i))
		c.Abort()
		b.left(fmt.Sprintf("press/%d", i))
	}
	all := b.ask("GET", "/clients?filter="+url.QueryEscape("user:anna id:press*")+"&sort=-id&limit=2", nil)
	if got := items(all); len(got) != 2 || got[0]["id"] != "press/2" || all["matched"] != 3.0 || all["total"] != 4.0 || got[0]["subscriptions"] != 1.0 {
		t.Fatal(all)
	}
	next := b.ask("GET", "/clients?filter="+url.QueryEscape("user:anna id:press*")+"&sort=-id&limit=2&cursor="+all["next"].(string), nil)
	if got := items(next); len(got) != 1 || got[0]["id"] != "press/0" || next["next"] != nil {
		t.Fatal(next)
	}
	b.say("free/1/x")
	one := b.ask("GET", "/clients/"+url.PathEscape("press/1"), nil)
	if one["filters"].([]any)[0].(map[string]any)["filter"] != "free/1/#" || one["session_expiry_seconds"] != 100.0 {
		t.Error(one)
	}
	q := b.ask("GET", "/clients/"+url.PathEscape("press/1")+"/queue", nil)
	if got := items(q); len(got) != 1 || got[0]["topic"] != "free/1/x" || got[0]["publisher"] != "boss" {
		t.Error(q)
	}
	if got := items(b.ask("GET", "/clients/boss/inflight", nil)); len(got) != 0 {
		t.Error(got)
	}
	if got := items(b.ask("GET", "/subscriptions?topic=free/2/y", nil)); len(got) != 1 || got[0]["client"] != "press/2" {
		t.Error(got)
	}
	if got := items(b.ask("GET", "/subscriptions?filter="+url.QueryEscape("qos>0 filter:free/*"), nil)); len(got) != 3 {
		t.Error(got)
	}
	b.ask("DELETE", "/sessions/"+url.PathEscape("press/0"), nil)
	if got := items(b.ask("GET", "/sessions", nil)); len(got) != 2 {
		t.Error(got)
	}
}

// TestRetainedAPI deletes retained messages by preview and confirmation, and puts them back byte by byte.
func TestRetainedAPI(t *testing.T) {
	t.Parallel()
	b := openBureau(t)
	for i := range 5 {
		p := &mqtt.Publish{Topic: fmt.Appendf(nil, "free/r/%d", i), Payload: []byte{byte(i), 0xff, '{'}, QoS: 1, Retain: true}
		if _, err := b.boss.Publish(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	list := func() []map[string]any {
		return items(b.ask("GET", "/retained?filter=free/r/%23&sort=-topic&publisher=boss", nil))
	}
	was := list()
	if len(was) != 5 || was[0]["topic"] != "free/r/4" || was[0]["at"] == nil || was[0]["payload"].(map[string]any)["encoding"] != "hex" {
		t.Fatal(was)
	}
	if got := items(b.ask("GET", "/retained?older_than=1h", nil)); len(got) != 0 {
		t.Error(got)
	}
	if got := items(b.ask("GET", "/retained?payload=%03%ff", nil)); len(got) != 1 {
		t.Error(got)
	}
	what := map[string]any{"filter": "free/r/#", "preview": true}
	if d := b.ask("POST", "/retained/delete", what); d["matched"] != 5.0 || d["bytes"] != 15.0 || d["deleted"] != 0.0 || len(list()) != 5 {
		t.Error(d)
	}
	d := b.ask("POST", "/retained/delete", map[string]any{"filter": "free/r/#", "confirm": 5})
	if d["deleted"] != 5.0 || len(list()) != 0 {
		t.Fatal(d)
	}
	if got := items(b.ask("GET", "/retained/snapshots", nil)); len(got) != 1 || got[0]["filter"] != "free/r/#" || got[0]["messages"] != 5.0 {
		t.Error(got)
	}
	id := d["snapshot"].(map[string]any)["id"].(string)
	if r := b.ask("POST", "/retained/snapshots/"+id+"/restore", nil); r["restored"] != 5.0 {
		t.Error(r)
	}
	if now := list(); !reflect.DeepEqual(was, now) {
		t.Errorf("%v, not %v", now, was)
	}
	if r := b.ask("POST", "/retained/snapshots/"+id+"/restore", nil); r["newer"] != 5.0 {
		t.Error(r)
	}
}

// TestTopicsAPI shows what was counted by topic.
func TestTopicsAPI(t *testing.T) {
	t.Parallel()
	b := openBureau(t)
	c := b.client("reader", "boss", 0, nil)
	b.subscribe(c, "free/a/+")
	b.subscribe(c, "nobody/#")
	for range 3 {
		b.say("free/a/x")
	}
	b.say("free/b")
	tree := items(b.ask("GET", "/topics/tree?branch=free&sort=topic", nil))
	if len(tree) != 2 || tree[0]["topic"] != "free/a" || tree[0]["branch"] != true || tree[0]["messages"] != 3.0 || tree[1]["name"] != "b" || tree[1]["unheard"] != 1.0 {
		t.Fatal(tree)
	}
	if got := items(b.ask("GET", "/topics?filter="+url.QueryEscape("messages>1 free"), nil)); len(got) != 1 || got[0]["topic"] != "free/a/x" {
		t.Error(got)
	}
	if got := items(b.ask("GET", "/topics/unheard", nil)); len(got) != 1 || got[0]["topic"] != "free/b" {
		t.Error(got)
	}
	if got := items(b.ask("GET", "/topics/unfed", nil)); len(got) != 1 || got[0]["filter"] != "nobody/#" {
		t.Error(got)
	}
	if top := b.ask("GET", "/topics/top?limit=1", nil); top["exact"] != true || items(top)[0]["topic"] != "free/a/x" || items(top)[0]["weight"] != 3.0 {
		t.Error(top)
	}
	d := b.ask("GET", "/topics/detail?topic=free/a/x", nil)
	if d["messages"] != 3.0 || d["last"].(map[string]any)["publisher"] != "boss" || d["subscribers"].([]any)[0].(map[string]any)["filter"] != "free/a/+" {
		t.Error(d)
	}
	if row := b.ask("GET", "/clients/boss", nil); row["in"].(map[string]any)["messages"] != 4.0 {
		t.Error(row)
	}
}

// TestPublishAPI publishes as a client would, rules and all.
func TestPublishAPI(t *testing.T) {
	t.Parallel()
	b := openBureau(t)
	got := make(chan string, 10)
	c := b.client("reader", "boss", 0, got)
	b.subscribe(c, "free/#")
	r := b.ask("POST", "/publish", map[string]any{"topic": "free/p", "payload": "AP8=", "encoding": "base64", "qos": 1, "retain": true, "expiry_seconds": 60, "user_properties": []any{map[string]any{"name": "a", "value": "b"}}})
	if r["code"] != 0.0 {
		t.Error(r)
	}
	if topic := <-got; topic != "free/p" {
		t.Error(topic)
	}
	m := b.ask("GET", "/retained/message?topic=free/p", nil)
	if m["size"] != 2.0 || m["publisher"] != "api:admin" || m["expires"] == nil {
		t.Error(m)
	}
	if r := b.ask("POST", "/publish", map[string]any{"topic": "free", "qos": 1}); r["code"] != 16.0 && r["code"] != 0.0 {
		t.Error(r)
	}
}

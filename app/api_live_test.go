package app

import (
	"fmt"
	"net/url"
	"testing"
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
	b := openBureau(t)
	b.user("anna")
	for i := range 3 {
		c := b.client(fmt.Sprintf("press/%d", i), "anna", 100, nil)
		b.subscribe(c, fmt.Sprintf("free/%d/#", i))
		c.Abort()
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

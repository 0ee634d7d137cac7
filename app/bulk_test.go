package app

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/console/api"
)

// many sends a bulk action, and gives the status and the last line of the answer.
func (b *bureau) many(path string, body map[string]any) (int, api.BulkDone, string) {
	b.Helper()
	code, all := b.send("POST", path, body)
	rows := strings.Split(strings.TrimSpace(string(all)), "\n")
	last := rows[len(rows)-1]
	var v struct{ Result api.BulkDone }
	_ = json.Unmarshal([]byte(last), &v) // a problem has none
	return code, v.Result, last
}

// TestManyAtOnce acts on many clients by a filter [F204]: nothing happens without a preview's count, not faster than 200 a second, and the
// audit log has it.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	b := openBureau(t)
	b.user("anna")
	for i := range 40 {
		b.client(fmt.Sprintf("press/%d", i), "anna", 0, nil)
	}
	connected := func() float64 {
		return b.ask("GET", "/clients?filter=id:press*+connected:true", nil)["matched"].(float64)
	}
	all := map[string]any{"filter": "id:press*"}
	if code, _, text := b.many("/clients/disconnect", all); code != 409 || !strings.Contains(text, "40") {
		t.Fatal(code, text)
	}
	all["preview"] = true
	if code, d, text := b.many("/clients/disconnect", all); code != 200 || d.Matched != 40 || d.Done != 0 || len(d.Sample) == 0 {
		t.Fatal(code, text)
	}
	if done := b.ask("GET", "/audit?operation=clients-disconnect&outcome=done", nil); len(done["items"].([]any)) != 0 {
		t.Errorf("a preview is written down as done: %v", done)
	}
	delete(all, "preview")
	all["confirm"] = 39
	if code, _, text := b.many("/clients/disconnect", all); code != 409 || connected() != 40 {
		t.Fatal(code, text)
	}
	if code, _, text := b.many("/clients/disconnect", map[string]any{"filter": "", "confirm": 41}); code != 422 {
		t.Fatal(code, text)
	}
	all["confirm"] = 40
	began := time.Now()
	if code, d, text := b.many("/clients/disconnect", all); code != 200 || d.Done+d.Gone != 40 || d.Done == 0 {
		t.Fatal(code, text)
	}
	if took := time.Since(began); took < 40*time.Second/200*9/10 {
		t.Errorf("40 clients in %v", took)
	}
	if n := connected(); n != 0 {
		t.Errorf("%v are connected", n)
	}
	if got := items(b.ask("GET", "/audit?operation=clients-disconnect", nil)); len(got) < 3 {
		t.Error(got)
	}
	for range 3 {
		b.client("bad/1", "anna", 60, nil).Abort()
	}
	b.client("bad/2", "anna", 60, nil)
	if code, d, text := b.many("/clients/quarantine", map[string]any{"filter": "id:bad*", "confirm": 2, "ttl_seconds": 60}); code != 200 || d.Done != 2 {
		t.Fatal(code, text)
	}
	if code, d, text := b.many("/clients/ban", map[string]any{"filter": "id:bad*", "confirm": 2, "reason": "noise"}); code != 200 || d.Done != 2 {
		t.Fatal(code, text)
	}
	if _, err := b.dial("bad/1", "anna", 0, nil); err == nil {
		t.Error("a banned client is let in")
	}
}

// TestQueuesAPI takes messages out of a queue, one and all.
func TestQueuesAPI(t *testing.T) {
	t.Parallel()
	b := openBureau(t)
	b.user("anna")
	c := b.client("away", "anna", 600, nil)
	b.subscribe(c, "free/#")
	c.Abort()
	b.left("away")
	for i := range 4 {
		b.say(fmt.Sprintf("free/%d", i))
	}
	queue := func() []map[string]any { return items(b.ask("GET", "/clients/away/queue", nil)) }
	was := queue()
	if len(was) != 4 {
		t.Fatal(was)
	}
	at := fmt.Sprint(was[1]["position"])
	b.ask("DELETE", "/clients/away/queue/"+at, nil)
	if now := queue(); len(now) != 3 || now[1]["topic"] != "free/2" {
		t.Error(now)
	}
	for _, f := range []struct {
		method, path string
		want         int
	}{
		{"DELETE", "/clients/away/queue/" + at, 404},
		{"DELETE", "/clients/nobody/queue/1", 404},
		{"POST", "/clients/away/queue/" + fmt.Sprint(was[0]["position"]) + "/requeue", 409},
		{"DELETE", "/clients/away/queue", 409},
		{"DELETE", "/clients/away/queue?confirm=4", 409},
	} {
		if code, got := b.status(f.method, f.path, nil); code != f.want {
			t.Errorf("%s %s: %d %v", f.method, f.path, code, got)
		}
	}
	if d := b.ask("DELETE", "/clients/away/queue?preview=true", nil); d["messages"] != 3.0 || d["done"] != false || len(queue()) != 3 {
		t.Error(d)
	}
	if d := b.ask("DELETE", "/clients/away/queue?confirm=3", nil); d["messages"] != 3.0 || d["done"] != true || len(queue()) != 0 {
		t.Error(d)
	}
}

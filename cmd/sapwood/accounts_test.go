package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// office is an API on accounts in memory, to which the commands of this test are sent.
func office(t *testing.T, p rights.Policy) *accounts.Accounts {
	t.Helper()
	who, err := access.Open(access.Options{Password: "office-password"})
	if err != nil {
		t.Fatal(err)
	}
	known, err := accounts.New(accounts.Options{Store: accounts.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(api.New(api.Options[disk.Status, disk.Report, disk.Compacted]{Access: who, Accounts: known, Policy: p}))
	t.Cleanup(s.Close)
	t.Setenv("SAPWOOD_API_URL", s.URL)
	t.Setenv("SAPWOOD_ADMIN_PASSWORD", "office-password")
	return known
}

// says runs a command that has to succeed and print every one of the texts.
func says(t *testing.T, in string, args []string, want ...string) string {
	t.Helper()
	code, out, errs := command(t, in, args...)
	if code != 0 {
		t.Fatalf("%v: exit %d: %s", args, code, errs)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("%v: no %q in\n%s", args, w, out)
		}
	}
	return out
}

func TestUsersCommands(t *testing.T) {
	known := office(t, rights.Policy{})
	words := strings.Fields
	says(t, "", words("groups add line-a --note first"), "line-a is there")
	says(t, "long enough\n", words("users add anna --person --group line-a --password-stdin --note x"), "user anna: created")
	secret := says(t, "", words("users add press-1 --generate --client-id press-*"))
	if u, err := known.User(t.Context(), "press-1"); err != nil || u.ClientID != "press-*" || len(strings.TrimSpace(secret)) < 16 || strings.Contains(secret, " ") {
		t.Errorf("%+v %v, secret %q", u, err, secret)
	}
	refuses(t, exitFailed, "sapwood users set", "users", "add", "anna", "--generate")
	refuses(t, exitFailed, "--password-stdin or --generate", "users", "add", "bert")
	refuses(t, exitFailed, "is empty", "users", "add", "bert", "--password-stdin")
	refuses(t, exitUsage, "not both", "users", "add", "bert", "--password-stdin", "--generate")
	refuses(t, exitFailed, "nothing to change", "users", "set", "anna")
	refuses(t, exitFailed, `no user "bert"`, "users", "set", "bert", "--disabled")
	refuses(t, exitFailed, "make the group first", "users", "set", "anna", "--group", "none")
	says(t, "", words("users set anna --disabled --expires 2099-01-01T00:00:00Z"), "user anna: changed")
	says(t, "", words("users show anna"), "state        disabled", "groups       line-a", "kind         person")
	says(t, "", words("groups add line-b --json"), `"name": "line-b"`)
	says(t, "", words("users set anna --group line-a --group line-b"))
	says(t, "", words("users show anna"), "groups       line-a,line-b")
	says(t, "", words("users set anna --no-disabled --no-groups"))
	says(t, "", words("users list"), "NAME", "anna", "press-1", "until 2099-01-01")
	if out := says(t, "", words("users list --json --limit 1")); strings.Count(out, "\n") != 1 || !strings.Contains(out, `"name":"anna"`) {
		t.Error(out)
	}
	before, _ := known.User(t.Context(), "anna")
	says(t, "another one\n", words("users password anna --password-stdin"), "another password")
	if after, _ := known.User(t.Context(), "anna"); after.Password == before.Password {
		t.Error("the password is the old one")
	}
	says(t, "", words("users flush"), "0 credentials forgotten")
	says(t, "", words("users flush --json"), `"forgotten": 0`)
	says(t, "", words("users delete anna press-1"), "2 users deleted")
	refuses(t, exitFailed, "is not there", "users", "delete", "anna")
	says(t, "", words("groups delete line-a"))
	says(t, "", words("groups list"), "NAME")
}

// Mosquitto's password files, CSV and lines of JSON come in; no password comes out (F158).
func TestUsersImport(t *testing.T) {
	known := office(t, rights.Policy{})
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hash := "$2y$05$abcdefghijklmnopqrstuuR9AS1gIKkwkkrSNLAmBKNQbvxYRYgFm"
	says(t, "", []string{"users", "import", file("passwd", "# ours\nanna:"+hash+"\nbert:"+hash+"\n")}, "2 created, 0 changed, 0 deleted")
	if u, err := known.User(t.Context(), "bert"); err != nil || u.Password != hash {
		t.Errorf("%+v, %v", u, err)
	}
	rows := "name,groups,generate,note\npress-1,line-a;line-b,true,\"a, b\"\npress-2,line-a,true,\nanna,,,known\n"
	refuses(t, exitFailed, "make the group first", "users", "import", file("a.csv", rows))
	out := filepath.Join(dir, "secrets.csv")
	says(t, "", []string{"users", "import", file("a.csv", rows), "--create-groups", "-o", out}, "2 created, 1 changed")
	text, err := os.ReadFile(out)
	if info, _ := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 || strings.Count(string(text), "\n") != 3 {
		t.Errorf("%v %s", err, text)
	}
	refuses(t, exitFailed, "new file", "users", "import", file("a.csv", rows), "-o", out)
	dump := says(t, "", []string{"users", "export"}, `{"name":"press-1","kind":"device","groups":["line-a","line-b"],"note":"a, b"}`)
	if strings.Contains(dump, "$2y$") || strings.Contains(dump, "assword") {
		t.Error(dump)
	}
	says(t, strings.ReplaceAll(dump, "known", "better known"), []string{"users", "import", "-"}, "0 created, 4 changed")
	if u, err := known.User(t.Context(), "anna"); err != nil || u.Note != "better known" || u.Password != hash {
		t.Errorf("%+v, %v", u, err)
	}
	f := func(want, text string) {
		t.Helper()
		refuses(t, exitFailed, want, "users", "import", file("bad", text))
	}
	f("line 2", "anna:"+hash+"\nno colon\n")
	f("mosquitto_passwd -U", "anna:plain\n")
	f("line 1", `{"name":"x","colour":"red"}`)
	f("no column", "name,colour\nx,red\n")
	f("line 3", "name,disabled\nx,true\ny,perhaps\n")
	f("no users", "# nothing\n")
	f("there twice", `{"name":"x"}`+"\n"+`{"name":"x"}`)
}

func TestDevicesCommands(t *testing.T) {
	known := office(t, rights.Policy{})
	out := filepath.Join(t.TempDir(), "secrets.csv")
	says(t, "", []string{"devices", "create", "--prefix", "press-", "--count", "12", "--own-client-id", "-o", out}, "12 created, 0 changed, 0 deleted in")
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != 13 || rows[12][0] != "press-12" || len(rows[12][1]) < 16 {
		t.Errorf("%v %v", rows, err)
	}
	if u, err := known.User(t.Context(), "press-07"); err != nil || u.ClientID != "press-07" {
		t.Errorf("%+v, %v", u, err)
	}
	again := out + ".2"
	refuses(t, exitFailed, "is there already", "devices", "create", "--prefix", "press-", "--count", "12", "-o", again)
	if _, err := os.Stat(again); err == nil {
		t.Error("a file without secrets stays behind")
	}
	if text := says(t, "", []string{"devices", "create", "x", "--json"}); json.Unmarshal([]byte(text), &rights.Secret{}) != nil {
		t.Error(text)
	}
	refuses(t, exitFailed, "--prefix and --count", "devices", "create")
}

func TestRulesCommands(t *testing.T) {
	known := office(t, rights.Policy{})
	says(t, "", []string{"rules", "add", "--allow", "publish,receive", "-t", "plant/{client}/#", "-g", "line-a", "--qos", "0,1", "--priority", "3"}, "rule ")
	rules, err := known.Rules(t.Context())
	if err != nil || len(rules) != 1 {
		t.Fatal(rules, err)
	}
	id := rules[0].ID
	says(t, "", []string{"rules", "list"}, id, "allow publish,receive qos 0 1", "plant/{client}/#", "group line-a")
	says(t, "", []string{"rules", "replace", id, "--deny", "publish", "-t", "a,b", "--json"}, `"id": "`+id, `"deny": [`)
	says(t, "", []string{"rules", "list"}, "deny publish", "a,b", "everybody")
	refuses(t, exitFailed, "--allow or --deny", "rules", "add", "-t", "a")
	refuses(t, exitFailed, "--topic", "rules", "add", "--allow", "publish")
	refuses(t, exitFailed, "topic filter", "rules", "add", "--allow", "publish", "-t", "a/#/b")
	refuses(t, exitFailed, "is not there", "rules", "replace", "none", "--allow", "publish", "-t", "a")
	says(t, "", []string{"rules", "delete", id, "--json"}, `"deleted": true`)
	refuses(t, exitFailed, "is not there", "rules", "delete", id)
}

// gatehouse allows publishing, knows the client press-1 and keeps bans.
type gatehouse struct{ bans []rights.Ban }

func (gatehouse) Authorize(_ *auth.Principal, q *auth.Question) bool { return q.Action == auth.Publish }

func (g gatehouse) Explain(p *auth.Principal, q *auth.Question) auth.Decision {
	return auth.Decision{Allowed: g.Authorize(p, q), Rule: "rule 1", Why: "the test says so"}
}

func (gatehouse) Principal(_ context.Context, id string) (*auth.Principal, bool, error) {
	return &auth.Principal{Identity: &auth.Identity{Name: "anna", Groups: []string{"g"}}, ClientID: id}, id == "press-1", nil
}

func (gatehouse) Disconnect(_ context.Context, id, _ string) (bool, error) {
	return id == "press-1", nil
}

func (g *gatehouse) List(context.Context) ([]rights.Ban, error) { return g.bans, nil }

func (g *gatehouse) Add(_ context.Context, b rights.Ban) (int, error) {
	g.bans = append(g.bans, b)
	return 1, nil
}

func (g *gatehouse) Remove(_ context.Context, _, value string) (bool, error) {
	was := len(g.bans)
	var left []rights.Ban
	for _, b := range g.bans {
		if b.Value != value {
			left = append(left, b)
		}
	}
	g.bans = left
	return len(left) < was, nil
}

func TestBansAndExplanations(t *testing.T) {
	g := &gatehouse{}
	office(t, rights.Policy{Authorizer: g, Clients: g, Bans: g})
	says(t, "", []string{"acl", "explain", "press-1", "plant/x"}, "allowed: publish plant/x", "rule         rule 1", "user         anna")
	code, out, _ := command(t, "", "acl", "explain", "press-1", "plant/#", "-a", "subscribe")
	if code != exitDenied || !strings.Contains(out, "denied: subscribe plant/#") {
		t.Error(code, out)
	}
	says(t, "", []string{"acl", "explain", "new", "x", "--as-user", "bert", "--claim", "site=a", "--json"}, `"user": "bert"`, `"site": "a"`, `"known": false`)
	says(t, "", []string{"clients", "disconnect", "press-1"}, "disconnected")
	refuses(t, exitFailed, `no client "press-2"`, "clients", "disconnect", "press-2")
	says(t, "", []string{"ban", "address", "192.0.2.0/24", "--for", "1h", "--reason", "scanner"}, "banned until", "1 connected client met")
	if left := time.Until(g.bans[0].Until); left > time.Hour || left < 59*time.Minute {
		t.Error(left)
	}
	says(t, "", []string{"quarantine", "client", "press\x1b[31m"}, `press\x1b[31m: in quarantine for ever`)
	says(t, "", []string{"bans"}, "192.0.2.0/24", "quarantine", "scanner", `press\x1b[31m`)
	says(t, "", []string{"unban", "address", "192.0.2.0/24"}, "let in again")
	refuses(t, exitFailed, "there is no ban", "unban", "address", "192.0.2.0/24")
	refuses(t, exitUsage, "must be one of", "ban", "planet", "x")
}

// Without a broker the commands say what to do.
func TestNoBroker(t *testing.T) {
	t.Setenv("SAPWOOD_API_URL", "")
	dir := filepath.Join(t.TempDir(), "none")
	refuses(t, exitFailed, "no broker runs on "+dir, "users", "list", "--data", dir)
	t.Setenv("SAPWOOD_ADMIN_PASSWORD", "")
	refuses(t, exitFailed, "--url needs a password", "users", "list", "--url", "http://127.0.0.1:1")
}

package app

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
	"github.com/sapwood-mqtt/sapwood/fleet/canary"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/ledger"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// near begins the configuration of a process whose HTTP side is there.
const near = "watch_interval: 0s\nhttp: {address: '127.0.0.1:0'}\n"

// finds waits until GET /api/v1/now would tell a problem.
func (s *testSite) finds(severity vitals.Severity, link string, words ...string) {
	s.Helper()
	s.until(fmt.Sprintf("%s: %q", severity, words), func(n *vitals.Now) bool {
		return slices.ContainsFunc(n.Problems, func(p vitals.Problem) bool {
			for _, w := range words {
				if !strings.Contains(p.Text, w) {
					return false
				}
			}
			return p.Severity == severity && p.Link == link
		})
	})
}

// well waits until nothing is wrong any more that has a word in it.
func (s *testSite) well(word string) {
	s.Helper()
	s.until("no "+word, func(n *vitals.Now) bool {
		return !slices.ContainsFunc(n.Problems, func(p vitals.Problem) bool { return strings.Contains(p.Text, word) })
	})
}

func (s *testSite) until(what string, ok func(*vitals.Now) bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	for at := s.vitals.Latest(); ; {
		if n, there := s.vitals.Now(); there && ok(&n) {
			return
		}
		var err error
		if at, err = s.vitals.Next(ctx, at); err != nil {
			n, _ := s.vitals.Now()
			s.Fatalf("%s is not told: %+v", what, n.Problems)
		}
	}
}

// figures are what /metrics answers.
func (s *testSite) figures() string {
	s.Helper()
	if _, err := s.vitals.Next(s.Context(), s.vitals.Latest()); err != nil {
		s.Fatal(err)
	}
	r := httptest.NewRecorder()
	s.site.metricsHandler().ServeHTTP(r, httptest.NewRequest("GET", "http://127.0.0.1/metrics", nil))
	return r.Body.String()
}

// told waits for a fact of a kind.
func (s *testSite) told(k fact.Kind) fact.Fact {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	from := s.facts.Watch(fact.Query{Kinds: []fact.Kind{k}})
	defer from.Close()
	if page, err := s.facts.Query(ctx, fact.Query{Kinds: []fact.Kind{k}, Limit: 1}); err == nil && len(page.Facts) > 0 {
		return page.Facts[0]
	}
	found, _, err := from.Next(ctx)
	if err != nil {
		s.Fatalf("no fact %s: %v", k, err)
	}
	return found[0]
}

// A rule that keeps the broker's own messages from arriving is an outage; when it is gone, the outage is told for an hour, and that the
// objective is missed.
func TestCanaryProblem(t *testing.T) {
	s := serveFile(t, near+"listeners: [{address: '127.0.0.1:0'}]\ncanaries: {interval: 100ms, timeout: 2s}\n")
	s.until("that all is well", func(n *vitals.Now) bool { return n.OK && s.canary.Report().Canaries[2].Delivered > 0 })
	rule := auth.Rule{
		Name: "a mistake", Actions: auth.ActionsOf(auth.Receive), Deny: true, Topics: []string{canary.Prefix + "#"}, Priority: 1<<30 + 1,
	}
	if err := s.rules.policy.Set("mistake", []auth.Rule{rule}); err != nil {
		t.Fatal(err)
	}
	s.finds(vitals.Critical, "/broker/delivery", "does not deliver its own test messages")
	if text := s.figures(); !strings.Contains(text, "sapwood_canary_delivers 0\n") || strings.Contains(text, `sapwood_canary_lost_total{qos="0"} 0`) {
		t.Error(text)
	}
	if err := s.rules.policy.Set("mistake", nil); err != nil {
		t.Fatal(err)
	}
	s.finds(vitals.Warning, "/broker/delivery", "did not deliver its own test messages for", "nothing arrived within 2s")
	s.finds(vitals.Warning, "/broker/delivery", "of its own test messages since 2", "; the objective is 99.9 %")
	text := s.figures()
	for _, line := range []string{
		"sapwood_canary_delivers 1", "sapwood_canary_objective_ratio 0.999", `sapwood_canary_delivery_seconds_bucket{qos="2",le="+Inf"} `,
		"# TYPE sapwood_canary_delivery_seconds histogram", "sapwood_books_imbalance 0",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %s in %s", line, text)
		}
	}
}

// wrong are books that do not balance.
type wrong struct{ lines tally.Lines }

func (w *wrong) Books(context.Context) (broker.Books, error) {
	return broker.Books{Total: w.lines, Shards: []tally.Lines{w.lines}}, nil
}

func (*wrong) Unbalanced(context.Context, int) (map[string]int64, int, error) { return nil, 0, nil }

// Books that do not balance are a problem while they do not, and another for an hour afterwards. No broker of ours has such books.
func TestBooksProblem(t *testing.T) {
	w := &wrong{}
	l, err := ledger.Open(t.Context(), w, ledger.Options{Patient: 1})
	if err != nil {
		t.Fatal(err)
	}
	f := func(want ...vitals.Problem) {
		t.Helper()
		if err := l.Check(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		var got []vitals.Problem
		last, alarm := l.Findings()
		ofBooks(last, alarm, func(severity vitals.Severity, link, text string) {
			got = append(got, vitals.Problem{Severity: severity, Text: text, Link: link})
		})
		if len(want) == 1 && len(got) == 1 {
			want[0].Text = strings.ReplaceAll(want[0].Text, "NOW", clock(alarm))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	f()
	w.lines = tally.Lines{Copies: 5, Sent0: 3}
	f(vitals.Problem{Severity: vitals.Critical, Text: "the books do not balance: 2 copies of messages on event loop 0 are not accounted for", Link: "/broker/books"})
	w.lines.Received = 7
	f(vitals.Problem{Severity: vitals.Critical, Text: "the books do not balance in 2 places: 2 copies of messages on event loop 0 are not accounted for, and so on", Link: "/broker/books"})
	w.lines = tally.Lines{}
	f(vitals.Problem{Severity: vitals.Warning, Text: "the books did not balance at NOW, and do again", Link: "/broker/books"})
}

// A store that may take no more is told, and so that it does again.
func TestStoreProblem(t *testing.T) {
	s := serveFile(t, near+"listeners: [{address: '127.0.0.1:0'}]\nstorage: {segment_size: 1MiB, reserve: 1MiB, max_bytes: 8MiB}\n")
	c, err := client.Dial(t.Context(), client.Options{Address: s.Bound().MQTT[0], ClientID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abort()
	full := false
	for i := 0; i < 200 && !full; i++ {
		_, err := c.Publish(t.Context(), &mqtt.Publish{Topic: fmt.Appendf(nil, "a/%d", i), Payload: make([]byte, 100<<10), QoS: 1, Retain: true})
		if full = errors.Is(err, mqtt.QuotaExceeded); err != nil && !full {
			t.Fatal(err)
		}
	}
	if !full {
		t.Fatal("the store takes everything")
	}
	s.finds(vitals.Critical, "/broker/store", "the store takes nothing new", "no space left")
}

// A certificate that has expired keeps clients out, one that will soon is a warning; of the HTTP side, too.
func TestCertificateProblems(t *testing.T) {
	ours := newAuthority(t, "ours")
	file := func(name string, i *privateca.Issued, err error) string {
		t.Helper()
		dir := privateca.Dir(filepath.Join(t.TempDir(), name))
		if err := os.MkdirAll(string(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := dir.WriteServer(ours.issued(i, err)); err != nil {
			t.Fatal(err)
		}
		cert, key := dir.Server()
		return fmt.Sprintf("{certificate: '%s', key: '%s'}", cert, key)
	}
	names := []string{"localhost"}
	i, err := ours.ca.Server(names, time.Now().Add(100*time.Hour))
	soon := file("soon", i, err)
	i, err = ours.ca.Server(names, time.Now().Add(-time.Hour))
	gone := file("gone", i, err)
	s := serveFile(t, fmt.Sprintf("watch_interval: 0s\nhttp: {address: '127.0.0.1:0', tls: %s}\nlisteners: [{address: '127.0.0.1:0', name: secure, tls: %s}]\n", soon, gone))
	s.finds(vitals.Warning, "/broker/listeners", "http.tls: certificate", "expires in 4 days")
	s.finds(vitals.Critical, "/broker/listeners", "the listener secure: certificate", "expired on")
	if f := s.told(fact.CertificateWarning); !strings.Contains(f.Text, "certificate") {
		t.Errorf("%+v", f)
	}
	if n, _ := s.vitals.Now(); n.OK || len(n.Problems) != 2 {
		t.Errorf("%+v", n)
	}
}

// A memory limit that is passed is overload.
func TestOverloadProblem(t *testing.T) {
	s := serveFile(t, near+"listeners: [{address: '127.0.0.1:0'}]\noverload: {memory_limit: 1MiB}\n")
	s.finds(vitals.Critical, "/broker", "the broker is overloaded: ")
}

// Whom events do not reach is told with why, counted, and well again with the first that arrives.
func TestSinkProblem(t *testing.T) {
	broken := make(chan bool, 1)
	broken <- true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b := <-broken
		broken <- b
		if b {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer server.Close()
	s := serveFile(t, near+"listeners: [{address: '127.0.0.1:0'}]\nevents: {webhook: {url: '"+server.URL+"', tries: 1}, mqtt: {enabled: true}}\n")
	s.finds(vitals.Warning, "/events", "events do not reach events.webhook", "the server answered 403")
	text := s.figures()
	if !strings.Contains(text, `sapwood_event_sink_failing{sink="webhook"} 1`) || !strings.Contains(text, `sapwood_event_sink_failing{sink="mqtt"} 0`) ||
		strings.Contains(text, `sapwood_event_sink_dropped_total{sink="webhook"} 0`) || strings.Contains(text, `sapwood_event_sink_sent_total{sink="mqtt"} 0`) {
		t.Error(text)
	}
	<-broken
	broken <- false
	s.facts.Record(fact.Fact{Kind: fact.Admin, Text: "x"})
	s.well("events.webhook")
}

// A backend that cannot be reached is not asked after a while, which is told when it begins and when it ends.
func TestBackendProblem(t *testing.T) {
	healthy := make(chan bool, 1)
	healthy <- false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ok := <-healthy
		healthy <- ok
		if !ok {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"result":"allow"}`)
	}))
	defer server.Close()
	s := serveFile(t, near+"listeners: [{address: '127.0.0.1:0'}]\nauthentication: {chain: [http], http: {url: '"+server.URL+"'}, circuit: {failures: 1, wait: 100ms, longest_wait: 100ms}}\n")
	try := func() {
		c, err := client.Dial(t.Context(), client.Options{Address: s.Bound().MQTT[0], ClientID: "c", Username: "u", Password: []byte("p")})
		if err == nil {
			c.Abort()
		}
	}
	try()
	s.finds(vitals.Critical, "/security", "the authentication backend http fails")
	if f := s.told(fact.BackendFailed); f.Reason != "http" || !strings.Contains(f.Text, "The authentication backend http fails") {
		t.Errorf("%+v", f)
	}
	<-healthy
	healthy <- true
	s.until("that the backend is back", func(n *vitals.Now) bool {
		try()
		return !slices.ContainsFunc(n.Problems, func(p vitals.Problem) bool { return p.Link == "/security" })
	})
	s.told(fact.BackendBack)
}

// Every kind of fact is told by somebody, and explained.
func TestKindsAreTold(t *testing.T) {
	explained, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]fact.Kind{} // of constants
	file, err := parser.ParseFile(token.NewFileSet(), "../fleet/fact/fact.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Kind" {
				names[v.Names[0].Name] = fact.Kind(strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`))
			}
		}
		return true
	})
	all := ""
	for _, dir := range []string{".", "../fleet", "../console/api"} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			if strings.HasSuffix(path, "journal.go") || strings.HasPrefix(path, "../fleet/why") || path == "vitals.go" {
				return nil // they sort what others tell
			}
			text, err := os.ReadFile(path)
			all += string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, kind := range names {
		if !regexp.MustCompile(`fact\.` + name + `\b|Kind: ` + name + `\b`).MatchString(all) {
			t.Errorf("nobody tells %s", name)
		}
		if !strings.Contains(string(explained), "`"+string(kind)+"`") {
			t.Errorf("docs/events.md does not explain %s", kind)
		}
	}
	if len(names) != len(fact.Kinds()) {
		t.Errorf("%d names, %d kinds", len(names), len(fact.Kinds()))
	}
}

// What of events, telemetry, canaries and metrics changes is told as waiting for a restart, and does not hold before.
func TestReloadTellsOfRestart(t *testing.T) {
	s := serveFile(t, near+"listeners: [{address: '127.0.0.1:0'}]\n")
	done := s.reload(near + `listeners: [{address: '127.0.0.1:0'}]
events: {max_age: 1h, log: {to: stderr, keep: 1}, webhook: {url: 'http://127.0.0.1:1/x', batch: 7}, mqtt: {enabled: true, kinds: [dropped]}}
telemetry: {endpoint: 'http://127.0.0.1:1', headers: [{name: X-A, value: b}], attributes: [{name: a, value: b}], sample_ratio: 0.5}
canaries: {interval: 2s, objective: 0.5}
metrics: {topics: [a]}
history: {bytes: 64MiB}
trace: {keep: 1h}
`)
	if len(done.Changes) < 15 {
		t.Errorf("%d changes: %+v", len(done.Changes), done.Changes)
	}
	for _, c := range done.Changes {
		if !c.Restart {
			t.Errorf("%s is said to hold now", c.Key)
		}
	}
	if len(s.sinks) != 0 || s.sent.exporter != nil || s.canary.Report().Interval != 1 {
		t.Error("some of it holds")
	}
	if f := s.told(fact.Reloaded); !strings.Contains(f.Text, "0 settings changed, and ") || !strings.Contains(f.Detail["after_restart"], "events.webhook.url") {
		t.Errorf("%+v", f)
	}
}

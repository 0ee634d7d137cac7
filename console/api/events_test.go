package api

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/capture"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/fact/memory"
)

// recorder is a real one as the API sees it.
type recorder struct{ *fact.Recorder }

func (r recorder) Watch(q fact.Query) FactFeed { return r.Recorder.Watch(q) }

// newsroom is an API with a recorder and one producer.
func newsroom(t *testing.T, live map[string]Producer) (*API, *httptest.Server, recorder) {
	t.Helper()
	r, err := fact.Open(t.Context(), fact.Options{Store: &memory.Store{}, Every: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(context.Background()) })
	who := admitting(t, access.Options{})
	a := New(Options[state, found, found]{Access: who, Facts: recorder{r}, Live: live})
	s := httptest.NewUnstartedServer(a)
	s.Config.ReadTimeout, s.Config.WriteTimeout = 2*time.Second, 2*time.Second // streams live longer
	s.Start()
	t.Cleanup(func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return a, s, recorder{r}
}

func TestEvents(t *testing.T) {
	_, s, r := newsroom(t, nil)
	for i := range 250 {
		r.Record(fact.Fact{Kind: []fact.Kind{fact.Connected, fact.Dropped}[i%2], Client: fmt.Sprint("c", i%10), Topic: "a/b/#", Text: "Line\r\nfeed <b>."})
	}
	page := func(query string) (p FactPage) {
		t.Helper()
		resp, body, err := ask(t, s, "GET", "/api/v1/events?"+query, right)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %v %s %v", query, resp, body, err)
		}
		if strings.ContainsAny(strings.TrimSuffix(body, "\n"), "\r\n") {
			t.Errorf("not escaped: %.300s", body)
		}
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := page("")
	if len(first.Items) != 100 || first.Next == "" || first.Items[0].ID <= first.Items[99].ID {
		t.Errorf("%d items, next %q", len(first.Items), first.Next)
	}
	if last := page("limit=200&cursor=" + first.Next); len(last.Items) != 150 || last.Next != "" || last.Items[0].ID >= first.Items[99].ID {
		t.Errorf("%d items, next %q", len(last.Items), last.Next)
	}
	for query, want := range map[string]int{
		"client=c1": 25, "client=c1&client=c2": 50, "kind=connected&limit=1000": 125, "kind=connected,dropped&limit=1000": 250, "client=c1&kind=connected": 0,
		"topic=a/b/c/d&limit=1000": 250, "topic=" + url.QueryEscape("a/#") + "&client=c3": 25, "topic=b": 0, "text=FEED&client=c4": 25, "since=1h&client=c1": 25,
		"until=1h": 0, "since=2000-01-01T00:00:00Z&until=7d": 0, "order=oldest&client=c1": 25,
	} {
		if got := len(page(query).Items); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
	for _, query := range []string{"kind=nonsense", "since=tomorrow", "until=-1h", "cursor=x", "limit=0", "limit=100000", "order=any"} {
		if resp, body, err := ask(t, s, "GET", "/api/v1/events?"+query, right); err != nil || resp.StatusCode != 422 {
			t.Errorf("%s: %d %s %v", query, resp.StatusCode, body, err)
		}
	}
	if resp, _, err := ask(t, s, "GET", "/api/v1/events/stream?kind=nonsense", right); err != nil || resp.StatusCode != 422 {
		t.Errorf("%d %v", resp.StatusCode, err)
	}
	if resp, body, err := ask(t, s, "GET", "/api/v1/stream?watch=weather", right); err != nil || resp.StatusCode != 422 || !strings.Contains(body, "events") {
		t.Errorf("%d %s %v", resp.StatusCode, body, err)
	}
}

// viewing is a stream that is open.
type viewing struct {
	t     *testing.T
	lines *bufio.Scanner
	close func()
}

func view(t *testing.T, s *httptest.Server, path string, header ...string) *viewing {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/api/v1"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("admin", right)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %d %v", path, resp.StatusCode, resp.Header)
	}
	v := &viewing{t, bufio.NewScanner(resp.Body), func() { cancel(); resp.Body.Close() }}
	t.Cleanup(v.close)
	return v
}

// next is the next event that has data.
func (v *viewing) next() (id, name, data string) {
	v.t.Helper()
	for v.lines.Scan() {
		field, value, _ := strings.Cut(v.lines.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			data = value
		case "":
			if data != "" {
				return id, name, data
			}
		}
	}
	v.t.Fatalf("the stream ended: %v", v.lines.Err())
	return "", "", ""
}

// A stream has what its filter asks for, lives longer than the deadlines for short requests, and goes on where it was left.
func TestEventsStream(t *testing.T) {
	t.Parallel()
	_, s, r := newsroom(t, nil)
	r.Record(fact.Fact{Kind: fact.Connected, Client: "before"})
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := view(t, s, "/events/stream?client=a&client=b")
	tick := time.NewTicker(600 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for i := range 5 { // beyond the two seconds
		r.Record(fact.Fact{Kind: fact.Connected, Client: "c"})
		r.Record(fact.Fact{Kind: fact.Connected, Client: "a", Count: uint64(i + 1)})
		id, name, data := v.next()
		var f fact.Fact
		if err := json.Unmarshal([]byte(data), &f); err != nil || name != "fact" || f.Count != uint64(i+1) || id != strconv.FormatUint(f.ID, 10) {
			t.Fatalf("%s %s %s %v", id, name, data, err)
		}
		last = id
		<-tick.C
	}
	v.close()
	for i := range 3 {
		r.Record(fact.Fact{Kind: fact.Connected, Client: "b", Count: uint64(i + 1)})
	}
	v = view(t, s, "/events/stream?client=a&client=b", "Last-Event-ID", last)
	r.Record(fact.Fact{Kind: fact.Connected, Client: "b", Count: 4})
	for i := range 4 {
		if _, _, data := v.next(); !strings.Contains(data, fmt.Sprintf(`"count":%d`, i+1)) {
			t.Errorf("%d: %s", i, data)
		}
	}
	v = view(t, s, "/events/stream?since=1h")
	if _, _, data := v.next(); !strings.Contains(data, `"before"`) {
		t.Errorf("%s", data)
	}
}

// A producer is asked once a second, whoever watches, and not while nobody does; all get the same.
func TestLive(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	_, s, r := newsroom(t, map[string]Producer{"stats": func(context.Context) (any, error) { return map[string]int64{"n": asked.Add(1)}, nil }})
	var all []*viewing
	for range 20 {
		all = append(all, view(t, s, "/stream?watch=stats,events"))
	}
	began := time.Now()
	r.Record(fact.Fact{Kind: fact.Admin, Text: "x"})
	for _, v := range all {
		facts, stats := 0, 0
		for facts == 0 || stats < 2 {
			switch _, name, data := v.next(); name {
			case "fact":
				facts++
			case "stats":
				stats++
			default:
				t.Fatalf("%s %s", name, data)
			}
		}
	}
	if n := asked.Load(); n > 10+int64(time.Since(began).Seconds()) {
		t.Errorf("asked %d times for 20 viewers", n)
	}
	for _, v := range all {
		v.close()
	}
	waitFor(t, func() bool { // it stops when nobody watches any more
		n := asked.Load()
		<-time.After(1500 * time.Millisecond)
		return asked.Load() == n
	})
}

func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if f() {
			return
		}
	}
	t.Error("it does not come true")
}

// F198: there are only so many viewers; who leaves makes room.
func TestViewers(t *testing.T) {
	a, s, _ := newsroom(t, nil)
	a.mu.Lock()
	a.viewers = maxViewers - 1
	a.mu.Unlock()
	v := view(t, s, "/events/stream")
	resp, body, err := ask(t, s, "GET", "/api/v1/stream?watch=events", right)
	if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%v %s %v", resp, body, err)
	}
	v.close()
	waitFor(t, func() bool {
		<-time.After(50 * time.Millisecond)
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.viewers == maxViewers-1
	})
	view(t, s, "/events/stream").close()
}

// F198: one credential cannot have all the live streams, those of traces are among them, and all room is given back.
func TestViewersOfOne(t *testing.T) {
	x := &tracer{taps: make(chan *trace.Tap, 1)}
	a, s := serveTracer(t, x)
	a.one = 3
	var info capture.Info
	if _, text := call(t, s, "POST", "/traces", `{"client":"x"}`); json.Unmarshal(text, &info) != nil {
		t.Fatal(string(text))
	}
	var all []*viewing
	for range 3 {
		all = append(all, view(t, s, "/traces/"+info.ID+"/stream"))
	}
	for _, path := range []string{"/stream", "/download"} {
		if resp, body := call(t, s, "GET", "/traces/"+info.ID+path, ""); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "3 live streams of operator admin") {
			t.Errorf("%s: %v %s", path, resp, body)
		}
	}
	for _, v := range all {
		v.close()
	}
	waitFor(t, func() bool {
		<-time.After(50 * time.Millisecond)
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.viewers == 0 && len(a.viewersOf) == 0
	})
	if resp, body := call(t, s, "GET", "/traces/"+info.ID+"/download", ""); resp.StatusCode != 200 {
		t.Errorf("%v %s", resp, body)
	}
	(<-x.taps).Close()
}

// F198: a viewer that takes nothing is told what it missed, or dropped; the others and the process do not wait for it.
func TestSlowViewer(t *testing.T) {
	t.Parallel()
	v := &viewer{frames: make(chan []byte, 2)}
	f := &feed{viewers: map[*viewer]struct{}{v: {}}}
	for range 5 {
		for w := range f.viewers {
			w.offer([]byte("x"), 3)
		}
	}
	if lost := v.missed(); lost != 9 || v.missed() != 0 {
		t.Errorf("%d facts missed", lost)
	}
}

// F198: of 256 viewers one keeps its socket open and reads nothing: it is dropped when the time is over, while another gets all there is. One more
// than 256 is turned away, so that ten thousand are 256.
func TestViewerThatStopsReading(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 1<<20)
	a, s, _ := newsroom(t, map[string]Producer{"stats": func(context.Context) (any, error) { return large, nil }})
	a.slow, a.one = 2*time.Second, maxViewers
	for range maxViewers - 2 {
		view(t, s, "/stream?watch=events")
	}
	good := view(t, s, "/stream?watch=stats")
	good.lines.Buffer(nil, 4<<20)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	key := base64.StdEncoding.EncodeToString([]byte("admin:" + right))
	if _, err := fmt.Fprintf(conn, "GET /api/v1/stream?watch=stats HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\n\r\n", key); err != nil {
		t.Fatal(err)
	}
	viewers := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.viewers
	}
	waitFor(t, func() bool { <-time.After(50 * time.Millisecond); return viewers() == maxViewers })
	turned := 0
	for range 50 {
		resp, _, err := ask(t, s, "GET", "/api/v1/stream?watch=events", right)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusServiceUnavailable {
			turned++
		}
		if viewers() < maxViewers {
			break
		}
	}
	if turned == 0 {
		t.Error("nobody is turned away")
	}
	for seen := 0; viewers() == maxViewers; seen++ { // the other one gets a picture a second
		if _, name, data := good.next(); name != "stats" || len(data) < len(large) {
			t.Fatal(name, len(data))
		}
		if seen == 30 {
			t.Fatal("who reads nothing is not dropped")
		}
	}
	if n := viewers(); n != maxViewers-1 {
		t.Errorf("%d viewers", n)
	}
}

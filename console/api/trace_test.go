package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/capture"
)

// tracer is a broker that only tests listen to.
type tracer struct {
	taps chan *trace.Tap
	kept []trace.Entry
	err  error
}

func (x *tracer) Trace(_ context.Context, f trace.Filter, d time.Duration) (*trace.Tap, error) {
	tap := trace.NewTap(f, nil)
	tap.CloseAfter(d)
	x.taps <- tap
	return tap, nil
}

func (x *tracer) LookBack(_ context.Context, id string) ([]trace.Entry, bool, error) {
	return x.kept, id == "press/07", x.err
}

func serveTracer(t *testing.T, x Tracer) (*API, *httptest.Server) {
	t.Helper()
	who := admitting(t, access.Options{})
	a := New(Options[state, found, found]{Access: who, Tracer: x})
	s := httptest.NewUnstartedServer(a)
	s.Config.WriteTimeout = 2 * time.Second // a trace lasts longer than answers may take
	s.Start()
	t.Cleanup(s.Close)
	return a, s
}

// call asks with a body of JSON.
func call(t *testing.T, s *httptest.Server, method, path, body string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("admin", right)
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, text
}

// TestTraces: a trace is begun, watched, taken away and deleted by the API.
func TestTraces(t *testing.T) {
	x := &tracer{taps: make(chan *trace.Tap, 100)}
	a, s := serveTracer(t, x)
	for body, status := range map[string]int{
		`{}`: 422, `{"client":"c","topic":"t"}`: 422, `{"topic":"a/#/b"}`: 422, `{"address":"nowhere"}`: 422, `{"client":"c","seconds":9999}`: 422,
	} {
		if resp, text := call(t, s, "POST", "/traces", body); resp.StatusCode != status {
			t.Errorf("%s: %d %s", body, resp.StatusCode, text)
		}
	}
	resp, text := call(t, s, "POST", "/traces", `{"address":"10.0.0.0/8","payload_bytes":9,"seconds":600}`)
	var info capture.Info
	if err := json.Unmarshal(text, &info); err != nil || resp.StatusCode != 201 || !info.Running || info.Address != "10.0.0.0/8" || info.By == "" {
		t.Fatalf("%d %s %v", resp.StatusCode, text, err)
	}
	tap := <-x.taps
	if tap.Network.String() != "10.0.0.0/8" || tap.Payload != 9 {
		t.Errorf("%+v", tap.Filter)
	}
	tap.Offer(trace.Packet{At: 1000, Client: "c", Dir: trace.In, Version: 4, Raw: []byte{0xC0, 0}, Size: 2})
	tap.Offer(trace.Packet{At: 2000, Client: "c", Text: "closed: enough", Closed: true})

	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/api/v1/traces/"+info.ID+"/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("admin", right)
	live, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Body.Close()
	events := bufio.NewScanner(live.Body)
	next := func(want string) {
		t.Helper()
		for events.Scan() {
			if line := events.Text(); line != "" && line != ":" {
				if !strings.HasPrefix(line, want) {
					t.Fatalf("%s; want %s", line, want)
				}
				return
			}
		}
		t.Fatalf("it ended: %v; want %s", events.Err(), want)
	}
	next("event: packet")
	next(`data: {"at":"1970-01-01T00:00:01Z","client":"c","direction":"in","type":"PINGREQ","size":2,"text":"PINGREQ"}`)
	next("event: packet")
	next(`data: {"at":"1970-01-01T00:00:02Z","client":"c","type":"note","text":"closed: enough"}`)

	for format, want := range map[string]string{"jsonl": `{"at":"1970-01-01T00:00:01Z"`, "pcapng": "\x0a\x0d\x0d\x0a"} {
		resp, text := call(t, s, "GET", "/traces/"+info.ID+"/download?format="+format, "")
		if resp.StatusCode != 200 || !strings.HasPrefix(string(text), want) || !strings.Contains(resp.Header.Get("Content-Disposition"), info.ID+"."+format) {
			t.Errorf("%s: %d %q", format, resp.StatusCode, text)
		}
	}
	tap.Close()
	next("event: end")
	next(`data: {"id":"` + info.ID + `"`)
	if resp, text := call(t, s, "GET", "/traces", ""); resp.StatusCode != 200 || !strings.Contains(string(text), `"running":false,"packets":2,"kept":2`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	for query, matched := range map[string]string{"running:false": `"matched":1`, "running:true": `"matched":0`, "packets>1 address:10.*": `"matched":1`} {
		if _, text := call(t, s, "GET", "/traces?limit=1&sort=-bytes&filter="+url.QueryEscape(query), ""); !strings.Contains(string(text), matched) {
			t.Errorf("%s: %s", query, text)
		}
	}
	for _, status := range []int{204, 404} {
		if resp, _ := call(t, s, "DELETE", "/traces/"+info.ID, ""); resp.StatusCode != status {
			t.Errorf("delete: %d", resp.StatusCode)
		}
	}
	call(t, s, "POST", "/traces", `{"client":"c"}`)
	tap = <-x.taps
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := tap.Next(t.Context(), nil); err != io.EOF {
		t.Errorf("after the stop: %v", err)
	}
}

// TestClientTrace: what was kept of a client is told by the API.
func TestClientTrace(t *testing.T) {
	x := &tracer{kept: []trace.Entry{
		{At: 1000, Until: 1900, First: 0x32, Dir: trace.In, ID: 7, Count: 3, Bytes: 30, Topic: "a/b"},
		{At: 2000, Until: 2000, First: 0x40, Dir: trace.Out, ID: 8, Count: 1, Bytes: 4, Reason: 0x87},
	}}
	_, s := serveTracer(t, x)
	want := `{"items":[{"at":"1970-01-01T00:00:01Z","client":"press/07","direction":"in","type":"PUBLISH","id":7,"qos":1,"topic":"a/b","size":30,"count":3,` +
		`"until":"1970-01-01T00:00:01.9Z"},{"at":"1970-01-01T00:00:02Z","client":"press/07","direction":"out","type":"PUBACK","id":8,"size":4,` +
		`"reason":"Not authorized","code":135}],"total":2,"matched":2}`
	if resp, text := call(t, s, "GET", "/clients/press%2F07/trace", ""); resp.StatusCode != 200 || strings.TrimSpace(string(text)) != want {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if resp, _ := call(t, s, "GET", "/clients/nobody/trace", ""); resp.StatusCode != 404 {
		t.Errorf("%d", resp.StatusCode)
	}
	x.err = errors.New("it is off")
	if resp, _ := call(t, s, "GET", "/clients/press%2F07/trace", ""); resp.StatusCode != 409 {
		t.Errorf("%d", resp.StatusCode)
	}
}

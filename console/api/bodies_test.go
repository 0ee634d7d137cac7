package api

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// TestUnusable sends every operation bodies and queries that it cannot use: each answer is one that the description lists, and a problem.
func TestUnusable(t *testing.T) {
	g := atGate(t, access.Config{})
	admin := "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+right))
	at := g.s.URL
	send := func(method, path string, op *huma.Operation, kind string, body io.Reader) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, at+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", admin)
		r.Header.Set("Content-Type", kind)
		resp, err := g.s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		if op.Responses[strconv.Itoa(resp.StatusCode)] == nil {
			t.Errorf("%s with %s: %d is not listed: %.300s", op.OperationID, kind, resp.StatusCode, text)
		}
		var problem struct{ Status int }
		if resp.StatusCode >= 400 && (resp.Header.Get("Content-Type") != "application/problem+json" || json.Unmarshal(text, &problem) != nil || problem.Status != resp.StatusCode) {
			t.Errorf("%s with %s: %v %.300s", op.OperationID, kind, resp.Header, text)
		}
		return resp.StatusCode
	}
	fill := strings.NewReplacer("{id}", "x", "{name}", "x", "{key}", "x", "{subject}", "user", "{value}", "x", "{position}", "1")
	bodies := 0
	for path, item := range g.api.served().doc.Paths {
		for method, op := range operationsOf(item) {
			if strings.HasSuffix(path, "/stream") {
				continue // it has no body and no end
			}
			path := fill.Replace(path)
			if op.RequestBody == nil {
				send(method, path, op, "application/json", strings.NewReader("{"))
				send(method, path+"?limit=1&filter=a>>b&sort=nothing&cursor=!&topic=%00", op, "application/json", http.NoBody)
				continue
			}
			bodies++
			kind := slices.Sorted(maps.Keys(op.RequestBody.Content))[0]
			isJSON := kind == "application/json"
			f := func(kind, body string, want int) {
				t.Helper()
				if got := send(method, path, op, kind, strings.NewReader(body)); got != want {
					t.Errorf("%s with %q as %s: %d, want %d", op.OperationID, body, kind, got, want)
				}
			}
			if op.RequestBody.Required {
				f(kind, "", 400)
			}
			if isJSON {
				f(kind, "{", 400)
				f(kind, `{"no such field":1}`, 422)
				f(kind, "[]", 422)
				f("application/yaml", "{}", 415)
			} else {
				send(method, path, op, kind, strings.NewReader("{"))
			}
			most := op.MaxBodyBytes
			if most == 0 {
				most = 1 << 20
			}
			if got := send(method, path, op, kind, io.LimitReader(spaces{}, most+1)); got != 413 {
				t.Errorf("%s with %d bytes: %d", op.OperationID, most+1, got)
			}
			for _, status := range []int{400, 408, 413} {
				if op.Responses[strconv.Itoa(status)] == nil {
					t.Errorf("%s: %d is not listed", op.OperationID, status)
				}
			}
		}
	}
	if bodies < 20 {
		t.Errorf("only %d operations have a body", bodies)
	}
	// The same where nothing is stored and nothing runs.
	bare := httptest.NewServer(New(Options[state, found, found]{Access: g.who, Status: func() Overview { return Overview{} }}))
	defer bare.Close()
	at = bare.URL
	for path, item := range g.api.served().doc.Paths {
		for method, op := range operationsOf(item) {
			if !strings.HasSuffix(path, "/stream") {
				send(method, fill.Replace(path), op, "application/json", strings.NewReader(`{}`))
				send(method, fill.Replace(path), op, "application/json", strings.NewReader(`{"name":"x"}`))
			}
		}
	}
	// Nor is there anything to be changed.
	for path, item := range g.api.served().doc.Paths {
		for method, op := range operationsOf(item) {
			for _, param := range op.Parameters {
				if param.Name == "If-Match" && op.OperationID != "config-reload" && (op.Responses["404"] == nil || op.Responses["412"] == nil) {
					t.Errorf("%s %s: a condition that does not hold is not listed", method, path)
				}
			}
		}
	}
	// A body that comes too slowly is for the server's clock; what is before each operation cannot be reached in this test.
	for path, item := range g.api.served().doc.Paths {
		for _, op := range operationsOf(item) {
			for _, status := range serve.Refusals() {
				if op.Responses[strconv.Itoa(status)] == nil {
					t.Errorf("%s %s: %d is not listed", path, op.OperationID, status)
				}
			}
		}
	}
}

// spaces are a body without an end.
type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/console/api/access"
)

// hostile asks every operation of the API what no program would ask.
type hostile struct {
	*bureau
	key     string
	schemas map[string]any
	asked   int
}

// values are what parameters are given, and what stands in bodies in the place of each field.
func (*hostile) values() []string {
	return []string{
		"", "\x00", "\xff\xfe", "../../../etc/passwd", "#", "a/+/#", "$share/g/#", "-1", "0", "99999999999999999999", "1e400", "NaN", "-Inf", "1e308",
		"9223372036854775807", "' OR 1=1 --", strings.Repeat("*a", 2000), strings.Repeat("!", 4000), `"`, `\`, "a\r\nX-Evil: 1", "999999999999d", "0x1p-2",
		"9999-12-31T23:59:59Z", "-1h", "eyJxIjoxfQ", strings.Repeat("/", 3000), "<script>", "client", "boss",
	}
}

func (*hostile) literals() []string {
	return []string{
		"null", "true", `""`, `"\u0000"`, `"\ud800"`, "-1", "1e308", "-1e308", "1e17", "9223372036854775807", "18446744073709551616", "0.5", "[]", "{}", `[null]`, `{"a":{}}`,
		`"` + strings.Repeat("x", 70_000) + `"`, strings.Repeat("[", 9000) + strings.Repeat("]", 9000), `"#"`, `"9999-12-31T23:59:59Z"`, `"*"`,
	}
}

// try sends a request. What it is answered with has to be an answer: no failure of the process, and an error is a problem.
func (h *hostile) try(method, path, kind, body string) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, h.Bound().HTTP+path, strings.NewReader(body))
	if err != nil {
		return // no client could send it
	}
	if r.Header.Set("Authorization", "Bearer "+h.key); body != "" {
		r.Header.Set("Content-Type", kind)
	}
	h.asked++
	what := fmt.Sprintf("%s %.200s %.200s", method, path, body)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		h.Errorf("%s: %v", what, err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode < 400 {
		return // a stream has no end
	}
	text, err := io.ReadAll(resp.Body)
	var problem struct {
		Title  string
		Status int
		Detail string
	}
	if err == nil {
		err = json.Unmarshal(text, &problem)
	}
	if err != nil || resp.Header.Get("Content-Type") != "application/problem+json" || problem.Status != resp.StatusCode || problem.Title == "" {
		h.Errorf("%s: %d %s %.300s", what, resp.StatusCode, resp.Header.Get("Content-Type"), text)
	}
	if late := resp.StatusCode == http.StatusGatewayTimeout && strings.HasPrefix(path, "/api/v1/request?"); resp.StatusCode >= 500 && !late { // it may have a tenth of a second
		h.Errorf("%s: %.300s", what, text)
	}
}

// resolved is a schema without a reference.
func (h *hostile) resolved(schema any) map[string]any {
	s, _ := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		return h.resolved(h.schemas[strings.TrimPrefix(ref, "#/components/schemas/")])
	}
	return s
}

// plain is a value that a schema allows.
func (h *hostile) plain(schema any, depth int) any {
	s := h.resolved(schema)
	if all, ok := s["enum"].([]any); ok {
		return all[0]
	}
	kind := s["type"]
	if several, ok := kind.([]any); ok {
		kind = several[0]
	}
	switch kind {
	case "string":
		if s["format"] == "date-time" {
			return "2027-01-01T00:00:00Z"
		}
		return "free/hostile"
	case "integer", "number":
		if least, ok := s["minimum"].(float64); ok {
			return least
		}
		return 1
	case "boolean":
		return true
	case "array":
		return []any{}
	}
	all := map[string]any{}
	properties, _ := s["properties"].(map[string]any)
	for name, of := range properties {
		if depth < 4 {
			all[name] = h.plain(of, depth+1)
		}
	}
	return all
}

// bodies gives a plain body with each field replaced by each literal.
func (h *hostile) bodies(schema any, send func(string)) {
	for _, whole := range append(h.literals(), "{", `{"a":`, "\x00", "{}{}") {
		send(whole)
	}
	base, _ := h.plain(schema, 0).(map[string]any)
	for name := range base {
		for _, bad := range h.literals() {
			changed := maps.Clone(base)
			changed[name] = json.RawMessage(bad)
			if text, err := json.Marshal(changed); err == nil {
				send(string(text))
			}
		}
	}
}

// operation asks one operation with each of its parameters hostile in turn, and with each field of its body.
func (h *hostile) operation(method, path string, o map[string]any) {
	params, _ := o["parameters"].([]any)
	type parameter struct{ name, in, value string }
	var all []parameter
	for _, p := range params {
		p := p.(map[string]any)
		all = append(all, parameter{p["name"].(string), p["in"].(string), fmt.Sprint(h.plain(p["schema"], 0))})
	}
	address := func(of []parameter, only int) string {
		query, to := url.Values{}, path
		for i, p := range of {
			switch {
			case p.in == "path":
				to = strings.ReplaceAll(to, "{"+p.name+"}", url.PathEscape(p.value))
			case p.in == "query" && (only < 0 || i == only || p.name == "topic" || p.name == "metric" || p.name == "watch"):
				query.Set(p.name, p.value)
			}
		}
		return to + "?" + query.Encode()
	}
	for i := range all {
		for _, v := range h.values() {
			changed := slices.Clone(all)
			changed[i].value = v
			h.try(method, address(changed, i), "application/json", "")
		}
	}
	content, _ := h.resolved(o["requestBody"])["content"].(map[string]any)
	for kind, media := range content {
		h.bodies(media.(map[string]any)["schema"], func(body string) { h.try(method, address(all, len(all)), kind, body) })
	}
	h.try(method, address(all, -1), "text/plain", "x")
}

// Whatever is asked of any operation, the answer is no failure of the process: what cannot be is a problem that says so (F197).
func TestHostile(t *testing.T) {
	h := &hostile{bureau: openBureau(t)}
	local, err := access.ReadLocal(h.cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	h.key = local.Key
	var doc struct {
		Paths      map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	text, err := h.site.api.Load().OpenAPI()
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.schemas = doc.Components.Schemas
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for method, o := range doc.Paths[path] {
			h.operation(strings.ToUpper(method), path, o.(map[string]any))
		}
	}
	// What no subscriber could read is not published [MQTT5 MQTT-1.5.4-2], and an age beyond what is counted is not none.
	for _, wrong := range []struct {
		path string
		body map[string]any
	}{
		{"/publish", map[string]any{"topic": "free/x", "content_type": "\x00"}},
		{"/publish", map[string]any{"topic": "free/x", "content_type": strings.Repeat("ä", 40_000)}},
		{"/publish", map[string]any{"topic": "free/x", "user_properties": []any{map[string]any{"name": "a", "value": strings.Repeat("ä", 40_000)}}}},
		{"/request", map[string]any{"topic": "free/x", "content_type": "\x00"}},
		{"/retained/delete", map[string]any{"filter": "#", "older_than_seconds": 1e11, "preview": true}},
		{"/bans", map[string]any{"subject": "client", "value": "x", "ttl_seconds": 1e11}},
	} {
		if code, got := h.status("POST", wrong.path, wrong.body); code != http.StatusUnprocessableEntity {
			t.Errorf("%s %.100v: %d %v", wrong.path, wrong.body, code, got)
		}
	}
	if h.asked < 5000 {
		t.Errorf("only %d requests", h.asked)
	}
	h.try("GET", "/api/v1/status", "", "")
}

package serve

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// Recorder is told what somebody did by the API. It must not block.
type Recorder interface{ Record(fact.Fact) }

// auditor writes down what changes by the API.
type auditor struct {
	who     *access.Access
	surface func() *Surface
	permits *Permits
	facts   Recorder // nil = nobody
	log     *slog.Logger

	mu    sync.Mutex
	often map[string]*recent
}

// recent is what was written of things that happen often.
type recent struct {
	at   time.Time
	more int // since, and not written
}

// patience is how long an entry waits for what is there before and after.
const patience = 2 * time.Second

// maxSeen is how much of a body an entry keeps.
const maxSeen = 16 << 10

// serve answers a request that changes something, and writes down what it did.
func (a *auditor) serve(w http.ResponseWriter, r *http.Request, pattern string) {
	visit := VisitOf(r.Context())
	e := a.begin(r, visit, pattern)
	const edits = http.MethodPut + http.MethodPatch + http.MethodDelete
	edit := strings.Contains(edits, r.Method)
	if edit {
		e.Before = a.look(r)
	}
	asked := &seen{ReadCloser: r.Body}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	r.Body = asked
	out := &outcome{ResponseWriter: w, keep: tells(e.Operation)}
	defer func() { // also when a stream that breaks off panics
		if out.status == 0 {
			out.status = http.StatusInternalServerError
		}
		e.Status, e.Outcome = out.status, judged(out.status)
		if visit.looked && e.Outcome == access.Done {
			return
		}
		if kind == "application/json" || kind == "" {
			e.Asked = redacted(asked.text)
			if r.Method == http.MethodPost {
				e.Target = named(e.Target, asked.text)
			}
		} else {
			e.Asked = json.RawMessage(fmt.Sprintf(`{"kind":%q,"bytes":%d}`, kind, asked.bytes))
		}
		if edit && e.Outcome == access.Done && r.Method != http.MethodDelete {
			e.After = a.look(r)
		}
		if out.keep && e.Outcome == access.Done {
			e.After = redacted(out.text)
		}
		a.write(r.Context(), e, a.surface().Operations[pattern].Summary, clientOf(pattern, r.URL.EscapedPath()))
	}()
	a.surface().Router.ServeHTTP(out, r)
	if out.status == 0 {
		out.status = http.StatusOK
	}
}

// refused writes down that somebody tried what it may not.
func (a *auditor) refused(r *http.Request, v *Visit, need Need, why string) {
	if need.Quiet || v.Caller == nil {
		return
	}
	_, pattern := a.surface().Router.Handler(r)
	e := a.begin(r, v, pattern)
	e.Status, e.Outcome = http.StatusForbidden, access.Refused
	e.Asked, _ = json.Marshal(map[string]string{"why": why})
	a.write(r.Context(), e, a.surface().Operations[pattern].Summary, clientOf(pattern, r.URL.EscapedPath()))
}

// begin is an entry with who, what and where.
func (a *auditor) begin(r *http.Request, v *Visit, pattern string) *access.Entry {
	e := &access.Entry{At: time.Now().UTC().Truncate(time.Millisecond), From: v.From, Operation: a.surface().Operations[pattern].ID, Target: strings.TrimPrefix(r.URL.Path, Prefix)}
	if e.Operation == "" {
		e.Operation = pattern
	}
	if len(e.Target) > 1024 {
		e.Target = e.Target[:1024]
	}
	if c := v.Caller; c != nil {
		e.By, e.Kind = c.Name, c.Kind
	}
	return e
}

// named is a target with the name of what was made in it: its path is that of the list.
func named(target string, asked []byte) string {
	var made struct{ Name string }
	if json.Unmarshal(asked, &made) != nil || made.Name == "" {
		return target
	}
	return target + "/" + made.Name
}

func judged(status int) string {
	switch {
	case status < 400:
		return access.Done
	case status < 500:
		return access.Refused
	}
	return access.Failed
}

// tells tells of operations whose answer says what they changed: keys of the configuration, how many messages and the snapshot that has them.
func tells(operation string) bool {
	switch operation {
	case "config-reload", "retained-delete", "retained-restore", "client-queue-purge":
		return true
	}
	return false
}

// seldom are operations of which one entry a minute and caller is written, with how many more there were: they would push out the rest.
func seldom(operation string) bool {
	switch operation {
	case "publish", "request", "login":
		return true
	}
	return false
}

// write keeps an entry, and tells those who listen: what the operation does, and the client that it was about, "" = none.
func (a *auditor) write(ctx context.Context, e *access.Entry, summary, client string) {
	if seldom(e.Operation) && !a.due(e) {
		return
	}
	who := (&access.Caller{Kind: e.Kind, Name: e.By}).String()
	by := cmp.Or(e.By, who)
	a.log.Info("changed by the API", "by", by, "kind", e.Kind, "remote", e.From, "operation", e.Operation, "target", e.Target, "outcome", e.Outcome)
	if err := a.who.Audit(ctx, e); err != nil {
		a.log.Error("what was done by the API is not in the audit log", "operation", e.Operation, "by", by, "error", err)
	}
	if a.facts == nil || e.Outcome == access.Refused {
		return
	}
	detail := map[string]string{"by": by, "kind": string(e.Kind), "action": e.Operation, "target": e.Target, "outcome": e.Outcome}
	// Facts are for all who may read events, and for who subscribes to $SYS: what only admins may look at stays in the audit log.
	if need := a.permits.Of(http.MethodGet, e.Target); need.Declared && need.Level == access.Read {
		detail["before"], detail["after"], detail["asked"] = short(e.Before), short(e.After), short(e.Asked)
	}
	a.facts.Record(fact.Fact{
		At: e.At, Kind: fact.Admin, Client: client, Address: e.From, Reason: e.Operation,
		Text: sentence(e, who, summary), Detail: detail,
	})
}

// sentence tells what was done, with what the operation does up to the first mark.
func sentence(e *access.Entry, who, summary string) string {
	what := e.Operation
	if end := strings.IndexAny(summary, ",;:"); end > 0 {
		summary = summary[:end]
	}
	if summary != "" {
		what = strings.ToLower(summary[:1]) + summary[1:]
	}
	verb := "did"
	if e.Outcome != access.Done {
		verb = "tried"
	}
	text := fmt.Sprintf("%s %s this by the API: %s (%s)", who, verb, what, e.Target)
	if e.Outcome != access.Done {
		return text + fmt.Sprintf("; it %s with status %d.", e.Outcome, e.Status)
	}
	return text + "."
}

// clientOf is the client that a request to a path with this pattern is about, "" = none: what is done to a client is part of its story.
func clientOf(pattern, path string) string {
	if !strings.Contains(pattern, Prefix+"/clients/{id}") && !strings.Contains(pattern, Prefix+"/sessions/{id}") {
		return ""
	}
	part := strings.Split(strings.TrimPrefix(path, Prefix), "/") // "", clients, id
	if len(part) < 3 {
		return ""
	}
	id, err := url.PathUnescape(part[2])
	if err != nil {
		return ""
	}
	return id
}

// due tells whether an entry of something that happens often is to be written, and how many were not since the last.
func (a *auditor) due(e *access.Entry) bool {
	who := e.Operation + " " + e.Outcome + " " + string(e.Kind) + " " + e.By
	if e.Operation == "login" && e.Outcome == access.Done {
		return true // it takes a password: nobody can do it often who may not do anything
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.often[who]
	if last == nil {
		if len(a.often) >= 1024 {
			clear(a.often)
		}
		last = &recent{}
		a.often[who] = last
	}
	if e.At.Sub(last.at) < time.Minute {
		last.more++
		return false
	}
	e.More = last.more
	*last = recent{at: e.At}
	return true
}

// short is as much of a body as a fact has.
func short(text json.RawMessage) string {
	const most = 1 << 10
	if len(text) > most {
		return strings.ToValidUTF8(string(text[:most]), "") + "…"
	}
	return string(text)
}

// look is what a path shows at present, as its GET answers; nil where there is none.
func (a *auditor) look(r *http.Request) json.RawMessage {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	get := r.Clone(ctx)
	get.Method, get.Body, get.ContentLength = http.MethodGet, http.NoBody, 0
	get.Header = http.Header{"Accept": {"application/json"}}
	get.Pattern = ""
	if id, ok := strings.CutPrefix(get.URL.Path, Prefix+"/sessions/"); ok { // a session is looked at as its client
		get.URL.Path, get.URL.RawPath = Prefix+"/clients/"+id, ""
	}
	if _, pattern := a.surface().Router.Handler(get); pattern == "" || pattern == "/" {
		return nil
	}
	w := &buffer{header: http.Header{}}
	a.surface().Router.ServeHTTP(w, get)
	if w.status != http.StatusOK {
		return nil
	}
	return redacted(w.text)
}

// buffer is an answer in memory, as far as an entry keeps it.
type buffer struct {
	header http.Header
	status int
	text   []byte
}

func (b *buffer) Header() http.Header { return b.header }

func (b *buffer) WriteHeader(status int) { b.status = status }

func (b *buffer) Write(text []byte) (int, error) {
	if b.status == 0 {
		b.status = http.StatusOK
	}
	b.text = append(b.text, text[:min(len(text), maxSeen+1-len(b.text))]...)
	return len(text), nil
}

// seen is a body that remembers its beginning.
type seen struct {
	io.ReadCloser
	text  []byte
	bytes int64
}

func (s *seen) Read(to []byte) (int, error) {
	n, err := s.ReadCloser.Read(to)
	s.bytes += int64(n)
	s.text = append(s.text, to[:min(n, maxSeen+1-len(s.text))]...)
	return n, err
}

// outcome is an answer whose status is noted.
type outcome struct {
	http.ResponseWriter
	status int
	keep   bool // the beginning of the body, in text
	text   []byte
}

func (o *outcome) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *outcome) Write(text []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	if o.keep {
		o.text = append(o.text, text[:min(len(text), maxSeen+1-len(o.text))]...)
	}
	return o.ResponseWriter.Write(text)
}

// Flush implements http.Flusher, for streams.
func (o *outcome) Flush() { _ = http.NewResponseController(o.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (o *outcome) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// redacted is JSON without secrets and payloads; what is too long, or no JSON, is told by its length.
func redacted(text []byte) json.RawMessage {
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return nil
	}
	var v any
	if len(text) > maxSeen || json.Unmarshal(text, &v) != nil {
		return json.RawMessage(fmt.Sprintf(`{"left_out":"%d bytes or more"}`, len(text)))
	}
	clean, err := json.Marshal(censored("", v))
	if err != nil {
		return nil
	}
	return clean
}

// censored is a value without secrets.
func censored(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		if strings.EqualFold(name, "payload") { // as lists show it
			delete(v, "text")
		}
		for k, field := range v {
			v[k] = censored(k, field)
		}
	case []any:
		for i := range v {
			v[i] = censored(name, v[i])
		}
	case string:
		name = strings.ToLower(name)
		for _, secret := range []string{"password", "secret", "token", "hash", "credential"} {
			if strings.Contains(name, secret) {
				return "***"
			}
		}
		if name == "payload" {
			return fmt.Sprintf("%d bytes", len(v))
		}
	}
	return v
}

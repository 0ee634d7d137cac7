package serve

import (
	"encoding/json"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Stall is how long a client may take nothing of an answer.
const Stall = time.Minute

// Stream writes an answer of unknown length. The header goes with the first byte.
type Stream struct {
	w           http.ResponseWriter
	control     *http.ResponseController
	kind        string
	begun       bool
	done, total atomic.Int64
}

// NewStream begins an answer of a kind.
func NewStream(hc huma.Context, kind string) *Stream {
	_, w := humago.Unwrap(hc)
	s := &Stream{w: w, control: http.NewResponseController(w), kind: kind}
	// The server's deadlines are for short requests; passing the one for reading would end the request's context.
	// One that cannot be moved is not there.
	_ = s.control.SetReadDeadline(time.Time{})
	return s
}

// Write implements io.Writer.
func (s *Stream) Write(b []byte) (int, error) {
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", s.kind)
		h.Set("Cache-Control", "no-store")
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(Stall))
	return s.w.Write(b)
}

// Send writes one value and sends it off. Who cannot be written to is gone, and its context ends.
func (s *Stream) Send(v any) {
	if text, err := json.Marshal(v); err == nil {
		if _, err := s.Write(append(text, '\n')); err == nil {
			_ = s.control.Flush()
		}
	}
}

// Append writes one value without sending it off, one of many.
func (s *Stream) Append(v any) {
	if text, err := json.Marshal(v); err == nil {
		_, _ = s.Write(append(text, '\n')) // as Send
	}
}

// Progress is a Progress.
func (s *Stream) Progress(done, total int64) {
	s.done.Store(done)
	s.total.Store(total)
}

// Tell writes the progress as a line from time to time, until the function that it returns has been called.
func (s *Stream) Tell(every time.Duration) (stop func()) {
	ended := make(chan struct{})
	var teller sync.WaitGroup
	teller.Go(func() {
		tick := time.NewTicker(Every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.Send(Line[struct{}]{Done: s.done.Load(), Total: s.total.Load()})
			case <-ended:
				return
			}
		}
	})
	return func() { close(ended); teller.Wait() }
}

// Flush sends off what was written.
func (s *Stream) Flush() error { return s.control.Flush() }

// Fail ends an answer that cannot be finished: with a problem before the first byte, afterwards by breaking the connection off.
func (s *Stream) Fail(detail string) {
	if s.begun {
		panic(http.ErrAbortHandler)
	}
	Problem(s.w, http.StatusInternalServerError, detail)
}

// Line is one line of a long task's answer: how far it is, and at last the result or the error.
type Line[T any] struct {
	Done   int64  `json:"done,omitempty"`
	Total  int64  `json:"total,omitempty"`
	Result *T     `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Every is the time between two lines of progress.
const Every = 200 * time.Millisecond

// Lines describes the answer of a long task whose last line has a T.
func Lines[T any](h huma.API) map[string]*huma.Response {
	schema := huma.SchemaFromType(h.OpenAPI().Components.Schemas, reflect.TypeFor[Line[T]]())
	return map[string]*huma.Response{"200": {
		Description: "Lines of JSON: how far it is, several times; the last one has the result or the error.",
		Content:     map[string]*huma.MediaType{"application/x-ndjson": {Schema: schema}},
	}}
}

// Raw describes an answer that is no JSON.
func Raw(kind, what string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: what,
		Content:     map[string]*huma.MediaType{kind: {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
	}}
}

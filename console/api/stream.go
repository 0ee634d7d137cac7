package api

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// stall is how long a client may take nothing of an answer.
const stall = time.Minute

// stream writes an answer of unknown length. The header goes with the first byte.
type stream struct {
	w           http.ResponseWriter
	control     *http.ResponseController
	kind        string
	begun       bool
	done, total atomic.Int64
}

func newStream(hc huma.Context, kind string) *stream {
	_, w := humago.Unwrap(hc)
	s := &stream{w: w, control: http.NewResponseController(w), kind: kind}
	// The server's deadlines are for short requests; passing the one for reading would end the request's context.
	// One that cannot be moved is not there.
	_ = s.control.SetReadDeadline(time.Time{})
	return s
}

// Write implements io.Writer.
func (s *stream) Write(b []byte) (int, error) {
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", s.kind)
		h.Set("Cache-Control", "no-store")
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(stall))
	return s.w.Write(b)
}

// line writes one value and sends it off. Who cannot be written to is gone, and its context ends.
func (s *stream) line(v any) {
	if text, err := json.Marshal(v); err == nil {
		if _, err := s.Write(append(text, '\n')); err == nil {
			_ = s.control.Flush()
		}
	}
}

// rest writes one value without sending it off, one of many.
func (s *stream) rest(v any) {
	if text, err := json.Marshal(v); err == nil {
		_, _ = s.Write(append(text, '\n')) // as line
	}
}

// progress is a Progress.
func (s *stream) progress(done, total int64) {
	s.done.Store(done)
	s.total.Store(total)
}

// tell writes the progress as a line from time to time, until the function that it returns has been called.
func (s *stream) tell(every time.Duration) (stop func()) {
	ended := make(chan struct{})
	var teller sync.WaitGroup
	teller.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.line(line[struct{}]{Done: s.done.Load(), Total: s.total.Load()})
			case <-ended:
				return
			}
		}
	})
	return func() { close(ended); teller.Wait() }
}

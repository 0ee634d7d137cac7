package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	// maxViewers is how many live streams there may be at once.
	maxViewers = 256
	// heartbeat is how often a viewer hears something, so that it, and what is between, know that the stream lives.
	heartbeat = 15 * time.Second
	// slowest is how long a viewer may take nothing before it is dropped.
	slowest = 10 * time.Second
)

// sse writes server-sent events (WHATWG HTML, 9.2).
type sse struct {
	w       http.ResponseWriter
	control *http.ResponseController
	slow    time.Duration // see slowest
}

// send writes whole events. An error means that the viewer is gone, or too slow.
func (s *sse) send(frame []byte) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.slow)); err != nil {
		return err // without one a slow viewer could hold a goroutine for ever
	}
	if _, err := s.w.Write(frame); err != nil {
		return err
	}
	return s.control.Flush()
}

// beat writes a comment.
func (s *sse) beat() error { return s.send([]byte(":\n\n")) }

// appendEvent appends an event whose data has no line ends, as JSON has none; id 0 = none.
func appendEvent(frame []byte, id uint64, name string, data []byte) []byte {
	if id != 0 {
		frame = strconv.AppendUint(append(frame, "id: "...), id, 10)
		frame = append(frame, '\n')
	}
	frame = append(append(frame, "event: "...), name...)
	frame = append(append(frame, "\ndata: "...), data...)
	return append(frame, "\n\n"...)
}

// eventStream describes the answer of a live stream.
func eventStream() map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "Server-sent events.",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: "string"}}},
	}}
}

// view lets a viewer watch, if there are not too many (F198). show gets a context that ends with the request and with Stop.
func (a *API) view(ctx context.Context, show func(ctx context.Context, w *sse)) (*huma.StreamResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending.Err() != nil {
		return nil, huma.Error503ServiceUnavailable("the process is stopping")
	}
	if a.viewers >= maxViewers {
		return nil, huma.ErrorWithHeaders(huma.Error503ServiceUnavailable("there are "+strconv.Itoa(maxViewers)+" live streams already; close one"),
			http.Header{"Retry-After": {"10"}})
	}
	a.viewers++
	a.left.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(a.ending, cancel)
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer func() {
			unlink()
			cancel()
			a.mu.Lock()
			a.viewers--
			a.mu.Unlock()
			a.left.Done()
		}()
		_, w := humago.Unwrap(hc)
		s := &sse{w, http.NewResponseController(w), a.slow}
		_ = s.control.SetReadDeadline(time.Time{}) // it would end the request's context
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // a proxy is to pass on what it gets
		if s.send([]byte("retry: 2000\n\n")) == nil {
			show(ctx, s)
		}
	}}, nil
}

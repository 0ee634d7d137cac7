package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

const (
	// maxViewers is how many live streams there may be at once, and maxViewersOne how many of one credential: nobody has them all.
	maxViewers    = 256
	maxViewersOne = 64
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

// enter makes room for one more live stream, if there are not too many (F198). What it returns ends with the request and with Stop; the
// function has to be called.
func (a *API) enter(ctx context.Context) (context.Context, func(), error) {
	who := serve.CallerOf(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	full := func(n int, whose string) error {
		return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(fmt.Sprintf("there are %d live streams%s already; close one", n, whose)),
			http.Header{"Retry-After": {"10"}})
	}
	switch {
	case a.ending.Err() != nil:
		return nil, nil, huma.Error503ServiceUnavailable("the process is stopping")
	case a.viewers >= maxViewers:
		return nil, nil, full(maxViewers, "")
	case a.viewersOf[who] >= a.one:
		return nil, nil, full(a.one, " of "+who)
	}
	a.viewers++
	a.viewersOf[who]++
	a.left.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(a.ending, cancel)
	return ctx, func() {
		unlink()
		cancel()
		a.mu.Lock()
		a.viewers--
		if a.viewersOf[who]--; a.viewersOf[who] == 0 {
			delete(a.viewersOf, who)
		}
		a.mu.Unlock()
		a.left.Done()
	}, nil
}

// view lets a viewer watch. show gets a context that ends with the request and with Stop.
func (a *API) view(ctx context.Context, show func(ctx context.Context, w *sse)) (*huma.StreamResponse, error) {
	ctx, leave, err := a.enter(ctx)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer leave()
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

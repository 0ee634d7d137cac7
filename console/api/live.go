package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// Producer computes what a page shows live. It is asked once a second while somebody watches, and never twice at once.
type Producer func(ctx context.Context) (any, error)

// feed is one of the things that a stream can show. What it gives is encoded once, whoever watches.
type feed struct {
	run func(ctx context.Context, emit func(frame []byte, facts int)) // until ctx ends

	mu      sync.Mutex
	viewers map[*viewer]struct{}
	last    []byte // what a viewer that comes gets at once; nil = nothing
	end     context.CancelFunc
}

// viewer is one stream of several feeds.
type viewer struct {
	frames chan []byte
	mu     sync.Mutex
	lost   uint64 // facts
}

// offer gives a viewer what it shall send, unless it is too slow for it.
func (v *viewer) offer(frame []byte, facts int) {
	select {
	case v.frames <- frame:
	default:
		v.mu.Lock()
		v.lost += uint64(facts)
		v.mu.Unlock()
	}
}

// missed is how many facts a viewer was too slow for since it was last asked.
func (v *viewer) missed() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.lost
	v.lost = 0
	return n
}

// join has a viewer get what the feed gives; the first one starts it.
func (f *feed) join(v *viewer, left *sync.WaitGroup) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.viewers[v] = struct{}{}
	if len(f.viewers) > 1 {
		if f.last != nil {
			v.offer(f.last, 0)
		}
		return
	}
	var ctx context.Context
	ctx, f.end = context.WithCancel(context.Background())
	left.Go(func() {
		f.run(ctx, func(frame []byte, facts int) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if ctx.Err() != nil { // others may watch by now, by a run of their own
				return
			}
			if facts == 0 {
				f.last = frame
			}
			for v := range f.viewers {
				v.offer(frame, facts)
			}
		})
	})
}

// leave ends the feed with its last viewer.
func (f *feed) leave(v *viewer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.viewers, v)
	if len(f.viewers) == 0 {
		f.end()
		f.last = nil
	}
}

// produced is the feed of a producer.
func (a *API) produced(name string, p Producer) *feed {
	return &feed{viewers: map[*viewer]struct{}{}, run: func(ctx context.Context, emit func([]byte, int)) {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			v, err := p(ctx)
			var text []byte
			if err == nil {
				text, err = json.Marshal(v)
			}
			if err == nil {
				emit(appendEvent(nil, 0, name, text), 0)
			} else if ctx.Err() == nil {
				a.log.Debug("a page gets no figures", "of", name, "error", err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}}
}

// recorded is the feed of all facts.
func recorded(facts Facts) *feed {
	return &feed{viewers: map[*viewer]struct{}{}, run: func(ctx context.Context, emit func([]byte, int)) {
		from := facts.Watch(fact.Query{})
		defer from.Close()
		for {
			found, lost, err := from.Next(ctx)
			if err != nil {
				return
			}
			var frame []byte
			if lost > 0 {
				frame = gone(lost)
			}
			for i := range found {
				frame = appendFact(frame, &found[i])
			}
			emit(frame, max(1, len(found)))
		}
	}}
}

// registerLive adds the one stream that pages watch.
func registerLive(a *API, h huma.API, producers map[string]Producer, facts Facts) {
	feeds := map[string]*feed{}
	for name, p := range producers {
		feeds[name] = a.produced(name, p)
	}
	if facts != nil {
		feeds["events"] = recorded(facts)
	}
	op := serve.Operation("stream", http.MethodGet, "/stream", "events", "One stream of all that a page watches")
	op.Description = "Server-sent events: each thing watched under its own name once a second, computed once for all viewers; `fact` for events; `gone` with `lost`, how many facts the viewer was too slow for."
	op.Responses = eventStream()
	huma.Register(h, op, func(ctx context.Context, in *struct {
		Watch string `query:"watch" required:"true" doc:"What to watch, separated by commas: stats, load, events."`
	},
	) (*huma.StreamResponse, error) {
		var watched []*feed
		for name := range strings.SplitSeq(in.Watch, ",") {
			f := feeds[name]
			if f == nil {
				return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("there is no %q to watch, but %s", name, strings.Join(slices.Sorted(maps.Keys(feeds)), ", ")))
			}
			if !slices.Contains(watched, f) {
				watched = append(watched, f)
			}
		}
		return a.view(ctx, func(ctx context.Context, w *sse) { a.watch(ctx, w, watched) })
	})
}

// watch sends what feeds give until the viewer, or the process, ends.
func (a *API) watch(ctx context.Context, w *sse, feeds []*feed) {
	v := &viewer{frames: make(chan []byte, 64)}
	for _, f := range feeds {
		f.join(v, &a.left)
		defer f.leave(v)
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case frame := <-v.frames:
			err = w.send(frame)
		case <-beat.C:
			err = w.beat()
		case <-ctx.Done():
			return
		}
		if lost := v.missed(); err == nil && lost > 0 {
			err = w.send(gone(lost))
		}
		if err != nil {
			return
		}
	}
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/console/api/capture"
	"github.com/sapwood-mqtt/sapwood/console/api/filter"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// Tracer is the broker as far as packets can be told of.
type Tracer interface {
	// Trace begins a live trace of a time.
	Trace(ctx context.Context, f trace.Filter, d time.Duration) (*trace.Tap, error)
	// LookBack is what was kept of a client id's packets, oldest first; false = there is no such client id.
	LookBack(ctx context.Context, id string) (kept []trace.Entry, known bool, err error)
}

// TraceOrder asks for a live trace of one client, one topic filter or one address.
type TraceOrder struct {
	Client  string  `json:"client,omitempty" doc:"A client id, connected or not."`
	Topic   string  `json:"topic,omitempty" maxLength:"65535" doc:"A topic filter."`
	Address string  `json:"address,omitempty" doc:"An address or a network of clients."`
	Payload int     `json:"payload_bytes,omitempty" minimum:"0" maximum:"1048576" doc:"How much of each payload is kept."`
	Seconds float64 `json:"seconds,omitempty" minimum:"0" maximum:"3600" doc:"How long; absent or 0 = ten minutes."`
}

// defaultTrace is how long a trace lasts.
const defaultTrace = 10 * time.Minute

// LookedBack is what was kept of a client's packets.
type LookedBack struct {
	Items   []trace.Line `json:"items" doc:"Oldest first. A line stands for a run of like packets if it has a count."`
	Total   int          `json:"total"`
	Matched int          `json:"matched"`
}

// traceSchema are the fields of the list of live traces.
func traceSchema() *filter.Schema[capture.Info] {
	type x = capture.Info
	return filter.New(filter.Field[x]{Append: func(b []byte, v *x) []byte {
		return append(v.Began.UTC().AppendFormat(b, "20060102150405.000000000 "), v.ID...)
	}},
		filter.TextOf("id", func(v *x) string { return v.ID }),
		filter.TextOf("client", func(v *x) string { return v.Client }),
		filter.TextOf("topic", func(v *x) string { return v.Topic }),
		filter.TextOf("address", func(v *x) string { return v.Address }),
		filter.TextOf("by", func(v *x) string { return v.By }),
		filter.TimeOf("began", func(v *x) time.Time { return v.Began }),
		filter.TimeOf("ends", func(v *x) time.Time { return v.Ends }),
		filter.BoolOf("running", func(v *x) bool { return v.Running }),
		filter.NumberOf("packets", func(v *x) uint64 { return v.Packets }),
		filter.NumberOf("bytes", func(v *x) int { return v.Bytes }),
		filter.NumberOf("missed", func(v *x) uint64 { return v.Missed }),
	)
}

// traces is what the API has of them.
type traces struct {
	api    *API
	tracer Tracer
	desk   *capture.Desk
}

type traceID struct {
	ID string `path:"id"`
}

// newTraces are those of t, which Stop ends.
func newTraces(a *API, t Tracer) *traces {
	x := &traces{api: a, tracer: t, desk: capture.NewDesk(func(ctx context.Context, f trace.Filter, d time.Duration) (*trace.Tap, error) {
		return t.Trace(ctx, f, d)
	})}
	a.left.Add(1) // Stop waits for it
	context.AfterFunc(a.ending, func() { defer a.left.Done(); x.desk.Close() })
	return x
}

// registerTraces adds what is about packets.
func registerTraces(h huma.API, x *traces) {
	huma.Register(h, serve.Operation("client-trace", http.MethodGet, "/clients/{id}/trace", "traces",
		"The last packets of a client, also of one that is gone: heads, kept without anybody having asked", http.StatusNotFound, http.StatusConflict), x.lookBack)
	begin := serve.Operation("trace-begin", http.MethodPost, "/traces", "traces",
		"Begin a live trace of a client, a topic filter or an address", http.StatusConflict, http.StatusUnprocessableEntity)
	begin.DefaultStatus = http.StatusCreated
	huma.Register(h, begin, x.begin)
	listed := traceSchema()
	huma.Register(h, serve.Operation("traces", http.MethodGet, "/traces", "traces", "The live traces, by when they began"),
		func(_ context.Context, in *serve.ShortQuery) (*answer[serve.List[capture.Info]], error) {
			var all []capture.Info
			for _, t := range x.desk.All() {
				all = append(all, t.Info())
			}
			l, err := serve.Short(listed, all, in)
			if err != nil {
				return nil, err
			}
			return &answer[serve.List[capture.Info]]{l}, nil
		})
	huma.Register(h, serve.Operation("trace", http.MethodGet, "/traces/{id}", "traces", "One live trace", http.StatusNotFound),
		func(_ context.Context, in *traceID) (*answer[capture.Info], error) {
			found := x.desk.Find(in.ID)
			if found == nil {
				return nil, serve.Missing("trace", in.ID)
			}
			return &answer[capture.Info]{found.Info()}, nil
		})
	huma.Register(h, serve.Deleted(serve.Operation("trace-delete", http.MethodDelete, "/traces/{id}", "traces", "End a live trace and forget it", http.StatusNotFound)),
		func(_ context.Context, in *traceID) (*struct{}, error) {
			if !x.desk.Delete(in.ID) {
				return nil, serve.Missing("trace", in.ID)
			}
			return nil, nil
		})
	stream := serve.Operation("trace-stream", http.MethodGet, "/traces/{id}/stream", "traces", "The packets of a live trace as they come, from the first that is kept",
		http.StatusNotFound)
	stream.Description = "Server-sent events: packet, with a line of the trace; gone, with how many were lost; end, with the trace as it was at its end."
	stream.Responses = serve.Raw("text/event-stream", "Server-sent events.")
	huma.Register(h, stream, x.stream)
	download := serve.Operation("trace-download", http.MethodGet, "/traces/{id}/download", "traces", "What is kept of a live trace, as a file", http.StatusNotFound)
	download.Responses = serve.Raw("application/x-pcapng", "The file.")
	huma.Register(h, download, x.download)
}

func (x *traces) lookBack(ctx context.Context, in *traceID) (*answer[LookedBack], error) {
	if x.tracer == nil {
		return nil, serve.Missing("client", in.ID)
	}
	kept, known, err := x.tracer.LookBack(ctx, in.ID)
	switch {
	case err != nil:
		return nil, huma.Error409Conflict(err.Error())
	case !known:
		return nil, serve.Missing("client", in.ID)
	}
	list := LookedBack{Items: make([]trace.Line, len(kept)), Total: len(kept), Matched: len(kept)}
	for i := range kept {
		list.Items[i] = kept[i].Line(in.ID)
	}
	return &answer[LookedBack]{list}, nil
}

func (x *traces) begin(ctx context.Context, in *struct{ Body TraceOrder }) (*answer[capture.Info], error) {
	o := &in.Body
	f := trace.Filter{Client: o.Client, Topic: o.Topic, Payload: o.Payload}
	if o.Address != "" {
		network, err := capture.Prefix(o.Address)
		if err != nil {
			return nil, huma.Error422UnprocessableEntity(err.Error())
		}
		f.Network = network
	}
	if err := f.Verify(); err != nil {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	if x.tracer == nil {
		return nil, huma.Error409Conflict("there is no broker to trace")
	}
	length := time.Duration(o.Seconds * float64(time.Second))
	if length <= 0 {
		length = defaultTrace
	}
	t, err := x.desk.Begin(ctx, f, o.Address, serve.CallerOf(ctx), length)
	if err != nil {
		return nil, huma.Error409Conflict(err.Error())
	}
	return &answer[capture.Info]{t.Info()}, nil
}

func (x *traces) stream(ctx context.Context, in *traceID) (*huma.StreamResponse, error) {
	t := x.desk.Find(in.ID)
	if t == nil {
		return nil, serve.Missing("trace", in.ID)
	}
	ctx, end, err := x.api.enter(ctx)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer end()
		w := serve.NewStream(hc, "text/event-stream")
		for at := uint64(0); ; {
			list, next, changed := t.Read(at)
			lost := next - at - uint64(len(list))
			err := sendPackets(w, list, lost)
			switch at = next; {
			case err != nil:
				return
			case len(list) > 0:
				continue
			case changed == nil:
				_ = sendEvent(w, "end", t.Info()) // it is the last
				return
			}
			tick := time.NewTimer(heartbeat)
			select {
			case <-changed:
			case <-tick.C:
			case <-ctx.Done():
			}
			tick.Stop()
			if ctx.Err() != nil {
				return
			}
		}
	}}, nil
}

// sendPackets writes packets, and how many are gone.
func sendPackets(s *serve.Stream, list []trace.Packet, lost uint64) error {
	var err error
	if lost > 0 {
		err = sendEvent(s, "gone", map[string]uint64{"lost": lost})
	}
	for i := range list {
		if err == nil {
			err = sendEvent(s, "packet", list[i].Line())
		}
	}
	if len(list) == 0 && err == nil {
		_, err = s.Write([]byte(":\n\n"))
	}
	return errors.Join(err, s.Flush())
}

// sendEvent writes one server-sent event.
func sendEvent(s *serve.Stream, name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = s.Write(appendEvent(nil, 0, name, text))
	return err
}

func (x *traces) download(ctx context.Context, in *struct {
	ID     string `path:"id"`
	Format string `query:"format" enum:"jsonl,pcapng" default:"jsonl"`
},
) (*huma.StreamResponse, error) {
	t := x.desk.Find(in.ID)
	if t == nil {
		return nil, serve.Missing("trace", in.ID)
	}
	_, end, err := x.api.enter(ctx)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer end()
		kind, write := "application/x-ndjson", t.JSON
		if in.Format == "pcapng" {
			kind, write = "application/x-pcapng", t.PCAP
		}
		hc.SetHeader("Content-Disposition", `attachment; filename="`+in.ID+"."+in.Format+`"`)
		w := serve.NewStream(hc, kind)
		err := write(w)
		if err == nil {
			_, err = w.Write(nil)
		}
		if err != nil {
			x.api.log.Debug("a trace was not taken to its end", "error", err)
		}
	}}, nil
}

package api

import (
	"context"
	"io"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// line is one line of a long task's answer: how far it is, and at last the result or the error.
type line[T any] struct {
	Done   int64  `json:"done,omitempty"`
	Total  int64  `json:"total,omitempty"`
	Result *T     `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

// registerStore adds what is about the store on disk.
func registerStore[S, R, C any](a *API, h huma.API, e Engine[S, R, C]) {
	op := func(id, method, path, summary string) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: method, Path: prefix + path, Tags: []string{"store"}, Summary: summary,
			Errors: append(refusals(), http.StatusConflict),
		}
	}
	there := func() error {
		if e == nil {
			return huma.Error409Conflict("durability is memory: nothing is kept on disk")
		}
		return nil
	}
	huma.Register(h, op("store", http.MethodGet, "/store", "The store on disk: its files, its commits, its last start, damage"),
		func(context.Context, *struct{}) (*answer[S], error) {
			if err := there(); err != nil {
				return nil, err
			}
			return &answer[S]{e.Status()}, nil
		})

	check := op("store-check", http.MethodPost, "/store/check", "Read everything in the store and verify its checksums")
	check.Responses = lines[R](h)
	huma.Register(h, check, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		if err := there(); err != nil {
			return nil, err
		}
		return task(ctx, a, "check", e.Check)
	})
	compact := op("store-compact", http.MethodPost, "/store/compact", "Give back all the space that nothing needs any more")
	compact.Responses = lines[C](h)
	huma.Register(h, compact, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		if err := there(); err != nil {
			return nil, err
		}
		return task(ctx, a, "compaction", e.Compact)
	})

	export := op("store-export", http.MethodGet, "/store/export", "Everything that is kept, as lines of JSON")
	export.Description = broken
	export.Responses = raw("application/x-ndjson", "Lines of JSON.")
	huma.Register(h, export, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		if err := there(); err != nil {
			return nil, err
		}
		return a.copies(ctx, "export", "application/x-ndjson", e.Export)
	})
	backup := op("backup", http.MethodGet, "/backup", "A consistent copy of the store, and of users, groups, rules and bans, for sapwood restore")
	backup.Description = broken + " A backup ends in a checksum of its own too."
	backup.Responses = raw("application/octet-stream", "The backup.")
	huma.Register(h, backup, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		if err := there(); err != nil {
			return nil, err
		}
		return a.copies(ctx, "backup", "application/octet-stream", e.Backup)
	})
}

const broken = "An error after the first byte breaks the connection off, so that no client takes what it has for the whole."

// lines describes the answer of a long task.
func lines[T any](h huma.API) map[string]*huma.Response {
	schema := huma.SchemaFromType(h.OpenAPI().Components.Schemas, reflect.TypeFor[line[T]]())
	return map[string]*huma.Response{"200": {
		Description: "Lines of JSON: how far it is, several times; the last one has the result or the error.",
		Content:     map[string]*huma.MediaType{"application/x-ndjson": {Schema: schema}},
	}}
}

func raw(kind, what string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: what,
		Content:     map[string]*huma.MediaType{kind: {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
	}}
}

// every is the time between two lines of progress.
const every = 200 * time.Millisecond

// task runs f and tells beside it how far it is, so that a slow client does not hold it up. It ends when the request does.
func task[T any](ctx context.Context, a *API, name string, f func(context.Context, Progress) (T, error)) (*huma.StreamResponse, error) {
	ctx, end, err := a.begin(ctx, name)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer end()
		w := newStream(hc, "application/x-ndjson")
		stop := w.tell(every)
		result, err := f(ctx, w.progress)
		stop()
		if err != nil {
			a.log.Warn("a task of the API failed", "task", name, "error", err)
			w.line(line[T]{Error: err.Error()})
			return
		}
		w.line(line[T]{Result: &result})
	}}, nil
}

// copies sends what f writes. An error before the first byte is a problem; a later one breaks the connection off.
func (a *API) copies(ctx context.Context, name, kind string, f func(context.Context, io.Writer, Progress) error) (*huma.StreamResponse, error) {
	ctx, end, err := a.begin(ctx, name)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer end()
		w := newStream(hc, kind)
		err := f(ctx, w, func(int64, int64) {})
		if err == nil {
			_, err = w.Write(nil) // the header, if there was nothing to write
		}
		if err == nil {
			return
		}
		a.log.Warn("a task of the API failed", "task", name, "error", err)
		if w.begun {
			panic(http.ErrAbortHandler)
		}
		problem(w.w, http.StatusInternalServerError, name+": "+err.Error())
	}}, nil
}

package api

import (
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// registerStore adds what is about the store on disk.
func registerStore[S, R, C any](a *API, h huma.API, e Engine[S, R, C]) {
	op := func(id, method, path, summary string) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: method, Path: serve.Prefix + path, Tags: []string{"store"}, Summary: summary,
			Errors: append(serve.Refusals(), http.StatusConflict),
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
	check.Responses = serve.Lines[R](h)
	huma.Register(h, check, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		if err := there(); err != nil {
			return nil, err
		}
		return task(ctx, a, "check", e.Check)
	})
	compact := op("store-compact", http.MethodPost, "/store/compact", "Give back all the space that nothing needs any more")
	compact.Responses = serve.Lines[C](h)
	huma.Register(h, compact, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		if err := there(); err != nil {
			return nil, err
		}
		return task(ctx, a, "compaction", e.Compact)
	})

	export := op("store-export", http.MethodGet, "/store/export", "Everything that is kept, as lines of JSON")
	export.Description = broken
	export.Responses = serve.Raw("application/x-ndjson", "Lines of JSON.")
	huma.Register(h, export, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		if err := there(); err != nil {
			return nil, err
		}
		return a.copies(ctx, "export", "application/x-ndjson", e.Export)
	})
	backup := op("backup", http.MethodGet, "/backup", "A consistent copy of the store, and of users, groups, rules and bans, for sapwood restore")
	backup.Description = broken + " A backup ends in a checksum of its own too."
	backup.Responses = serve.Raw("application/octet-stream", "The backup.")
	huma.Register(h, backup, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		if err := there(); err != nil {
			return nil, err
		}
		return a.copies(ctx, "backup", "application/octet-stream", e.Backup)
	})
}

const broken = "An error after the first byte breaks the connection off, so that no client takes what it has for the whole."

// task runs f and tells beside it how far it is, so that a slow client does not hold it up. It ends when the request does. Who reads the result may begin
// the next of its kind at once.
func task[T any](ctx context.Context, a *API, name string, f func(context.Context, Progress) (T, error)) (*huma.StreamResponse, error) {
	ctx, end, err := a.begin(ctx, name)
	if err != nil {
		return nil, err
	}
	end = sync.OnceFunc(end)
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer end()
		w := serve.NewStream(hc, "application/x-ndjson")
		stop := w.Tell(serve.Every)
		result, err := f(ctx, w.Progress)
		stop()
		end()
		if err != nil {
			a.log.Warn("a task of the API failed", "task", name, "error", err)
			w.Send(serve.Line[T]{Error: err.Error()})
			return
		}
		w.Send(serve.Line[T]{Result: &result})
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
		w := serve.NewStream(hc, kind)
		err := f(ctx, w, func(int64, int64) {})
		if err == nil {
			_, err = w.Write(nil) // the header, if there was nothing to write
		}
		if err == nil {
			return
		}
		a.log.Warn("a task of the API failed", "task", name, "error", err)
		w.Fail(name + ": " + err.Error())
	}}, nil
}

// Package api is Sapwood's public HTTP API under /api/v1: plain functions behind OpenAPI 3.1, errors as problem
// details (RFC 9457). It
// uses what it shows and does through the interfaces that it is handed: it knows no engine and no broker.
package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sapwood-mqtt/sapwood/broker/transport/proxy"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/fleet/canary"
)

// Progress is told how much of a long task is done; total is 0 while nobody knows.
type Progress = func(done, total int64)

// Engine is a store on disk as its tools use it. S, R and C are what it tells; they describe themselves in the
// OpenAPI document.
type Engine[S, R, C any] interface {
	Status() S
	Check(ctx context.Context, p Progress) (R, error)
	Compact(ctx context.Context, p Progress) (C, error)
	Backup(ctx context.Context, w io.Writer, p Progress) error
	Export(ctx context.Context, w io.Writer, p Progress) error
}

// Options are what the API stands on.
type Options[S, R, C any] struct {
	Access *access.Access
	Status func() Overview
	Doors  Doors           // where clients come in
	Engine Engine[S, R, C] // nil = nothing is kept on disk
	Config Configuration   // nil = there is none to show
	Logger *slog.Logger

	Canaries func() canary.Report // nil = none
	Books    Books

	Reasons  Reasons // nil = nobody can tell
	Version  string
	Recorder serve.Recorder  // is told what is done; nil = nobody
	Proxies  proxy.Trusted   // whose X-Forwarded-For is believed
	Accounts rights.Accounts // nil = nothing of them is stored
	Policy   rights.Policy

	Facts   Facts               // what happened; nil = nobody records it
	Live    map[string]Producer // what pages can watch beside events, by the name of the event: stats, load
	Tracer  Tracer              // nil = there is no broker
	Vitals  Vitals              // the present figures and their history; nil = nobody takes them
	Present Present
}

// Present is what the broker holds at present, and what can be done to it. What is nil is not there.
type Present struct {
	Clients  Inspector
	Retained Retained
	Topics   Topics
	Publish  Publisher
	Request  Requester
	Queues   Queues
}

// API is a running API. Its methods may be called from any goroutine.
type API struct {
	guard  *serve.Guard
	served func() *surface // made when somebody first asks
	log    *slog.Logger

	mu        sync.Mutex
	tasks     map[string]bool // the long ones that run, by name
	viewers   int             // of live streams
	viewersOf map[string]int  // the same, by who asked
	one       int             // see maxViewersOne
	slow      time.Duration   // see slowest
	ending    context.Context // of what Stop ends
	end       context.CancelFunc
	left      sync.WaitGroup
}

// surface is all that is served, and what describes it.
type surface struct {
	serve.Surface
	doc *huma.OpenAPI
}

// New prepares the API. The schemas of its operations are made at the first request: a process that nobody asks does without the time
// and the memory.
func New[S, R, C any](o Options[S, R, C]) *API {
	a := &API{log: o.Logger, tasks: map[string]bool{}, viewersOf: map[string]int{}, one: maxViewersOne, slow: slowest}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.ending, a.end = context.WithCancel(context.Background())
	traced := newTraces(a, o.Tracer)
	a.served = sync.OnceValue(func() *surface { return register(a, traced, &o) })
	a.guard = serve.NewGuard(serve.Options{
		Access: o.Access, Surface: func() *serve.Surface { return &a.served().Surface }, Proxies: o.Proxies, Recorder: o.Recorder, Logger: a.log,
	})
	return a
}

// register makes all that the API serves.
func register[S, R, C any](a *API, traced *traces, o *Options[S, R, C]) *surface {
	mux := serve.NewRouter()
	h := humago.New(mux, config(schemaNames(reflect.TypeFor[S]().PkgPath())))
	huma.Register(h, huma.Operation{
		OperationID: "status", Method: http.MethodGet, Path: serve.Prefix + "/status", Tags: []string{"process"},
		Summary: "What the process is, what it promises and how it is", Errors: serve.Refusals(),
	}, func(context.Context, *struct{}) (*answer[Overview], error) { return &answer[Overview]{o.Status()}, nil })
	registerDoors(h, o.Doors)
	registerCanaries(h, o.Canaries)
	registerReasons(h, o.Reasons)
	registerBooks(h, o.Books)
	registerStore(a, h, o.Engine)
	registerConfig(h, o.Config)
	registerVitals(h, o.Vitals)
	registerEvents(a, h, o.Facts)
	registerLive(a, h, o.Live, o.Facts)
	registerTraces(h, traced)
	rights.Register(h, rights.Options{
		Access: o.Access, Version: o.Version, Accounts: o.Accounts, Policy: o.Policy, Logger: a.log, Begin: a.begin,
		Write: func(ctx context.Context, e *access.Entry) { a.guard.Write(ctx, e) },
	})
	registerClientsBulk(a, h, registerClients(h, o.Present.Clients), o.Policy)
	registerRetained(h, o.Present.Retained)
	registerTopics(h, o.Present.Topics, o.Present.Clients)
	registerPublish(h, o.Present.Publish)
	registerRequest(h, o.Present.Request)
	registerQueues(h, o.Present.Queues)
	mux.HandleFunc("/", mux.Absent)
	return &surface{serve.Surface{Router: mux, Operations: describe(h.OpenAPI())}, h.OpenAPI()}
}

// answer is a body of JSON.
type answer[T any] struct{ Body T }

func config(namer func(reflect.Type, string) string) huma.Config {
	c := huma.DefaultConfig("Sapwood", "1")
	c.Info.Description = "The API of one Sapwood process. Errors are problem details (RFC 9457)."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = serve.Prefix+"/openapi", "", ""
	c.CreateHooks = nil // no $schema in answers
	c.Transformers = append(c.Transformers, withoutValues)
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", namer)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"basic":   {Type: "http", Scheme: "basic", Description: "An operator, such as admin."},
		"key":     {Type: "http", Scheme: "bearer", Description: "A key that was made by POST " + serve.Prefix + "/keys, or the one in local.key of the data directory."},
		"session": {Type: "apiKey", In: "cookie", Name: "sapwood", Description: "The cookie of POST " + serve.Prefix + "/login; its name ends in the port, as in sapwood-8083."},
	}
	c.Security = []map[string][]string{{"basic": {}}, {"key": {}}, {"session": {}}}
	return c
}

// schemaNames is how schemas are called: as their types, those of other packages with the package before, as types of two packages may
// have one name; rights and serve are parts of this one. engine is the package of the store's types.
func schemaNames(engine string) func(reflect.Type, string) string {
	ours := reflect.TypeFor[API]().PkgPath()
	return func(t reflect.Type, hint string) string {
		name := huma.DefaultSchemaNamer(t, hint)
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		from := t.PkgPath()
		switch {
		case from == engine && from != "":
			return "Store" + name
		case from == ours, from == ours+"/rights", from == ours+"/serve", !strings.HasPrefix(from, strings.TrimSuffix(ours, "console/api")):
			return name
		}
		own := path.Base(from)
		if own = strings.ToUpper(own[:1]) + own[1:]; strings.HasPrefix(name, own) {
			return name
		}
		return own + name
	}
}

// withoutValues takes out of an error what was sent: it may hold a password.
func withoutValues(_ huma.Context, _ string, v any) (any, error) {
	if problem, ok := v.(*huma.ErrorModel); ok {
		for _, detail := range problem.Errors {
			detail.Value = nil
		}
	}
	return v, nil
}

// describe writes into the description of each operation what it needs, and returns the operations by pattern.
func describe(doc *huma.OpenAPI) map[string]serve.Described {
	operations, needs := map[string]serve.Described{}, serve.NewPermits()
	for path, item := range doc.Paths {
		for method, op := range operationsOf(item) {
			describeBody(op)
			operations[method+" "+path] = serve.Described{ID: op.OperationID, Summary: op.Summary}
			need := needs.Of(method, strings.TrimPrefix(path, serve.Prefix))
			if op.Extensions == nil {
				op.Extensions = map[string]any{}
			}
			op.Extensions["x-needs"] = need.String()
			if need.Open {
				op.Security = []map[string][]string{}
			}
		}
	}
	return operations
}

// ServeHTTP answers what is under /api.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.guard.ServeHTTP(w, r) }

// Protect is next for those who may do something to a resource, as one of Permissions; it is for what is served beside the API.
func (a *API) Protect(resource string, l access.Level, next http.Handler) http.Handler {
	return a.guard.Protect(serve.Need{Resource: resource, Level: l, Declared: true}, next)
}

// OpenAPI is the description of the API, as /api/v1/openapi.json gives it.
func (a *API) OpenAPI() ([]byte, error) { return a.served().doc.MarshalJSON() }

// Stop ends long tasks, begins no more, and waits until ctx ends for those that run.
func (a *API) Stop(ctx context.Context) error {
	a.mu.Lock()
	a.end()
	a.mu.Unlock()
	done := make(chan struct{})
	go func() { a.left.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("a task of the API goes on")
	}
}

// begin makes room for a long task: each kind runs once at a time. What it returns ends with the request, with
// Stop, and by the function, which has to be called.
func (a *API) begin(ctx context.Context, name string) (context.Context, func(), error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending.Err() != nil {
		return nil, nil, huma.Error503ServiceUnavailable("the process is stopping")
	}
	if a.tasks[name] {
		return nil, nil, huma.Error409Conflict("a " + name + " is running already; wait until it has ended")
	}
	a.tasks[name] = true
	a.left.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(a.ending, cancel)
	return ctx, func() {
		unlink()
		cancel()
		a.mu.Lock()
		delete(a.tasks, name)
		a.mu.Unlock()
		a.left.Done()
	}, nil
}

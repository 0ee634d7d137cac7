// Package api is Sapwood's public HTTP API under /api/v1: plain functions behind OpenAPI 3.1, errors as problem
// details (RFC 9457). It authenticates every request, and uses what it shows and does through the interfaces that it is
// handed: it knows no engine and no broker.
package api

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sapwood-mqtt/sapwood/console/api/access"
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

	Accounts Accounts // nil = nothing of them is stored
	Policy   Policy
	Live     Live
}

// Live is what the broker holds at present, and what can be done to it. What is nil is not there.
type Live struct {
	Clients  Inspector
	Retained Retained
	Topics   Topics
	Publish  Publisher
}

// API is a running API. Its methods may be called from any goroutine.
type API struct {
	handler http.Handler
	doc     *huma.OpenAPI
	log     *slog.Logger

	mu     sync.Mutex
	tasks  map[string]bool // the long ones that run, by name
	ending context.Context // of what Stop ends
	end    context.CancelFunc
	left   sync.WaitGroup
}

// New builds the API.
func New[S, R, C any](o Options[S, R, C]) *API {
	a := &API{log: o.Logger, tasks: map[string]bool{}}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.ending, a.end = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	// The types of an engine may be called as ours are.
	engine := reflect.TypeFor[S]().PkgPath()
	h := humago.New(mux, config(func(t reflect.Type, hint string) string {
		named := t
		if t.Kind() == reflect.Pointer {
			named = t.Elem()
		}
		if named.PkgPath() == engine {
			return "Store" + huma.DefaultSchemaNamer(t, hint)
		}
		return huma.DefaultSchemaNamer(t, hint)
	}))
	a.doc = h.OpenAPI()
	huma.Register(h, huma.Operation{
		OperationID: "status", Method: http.MethodGet, Path: prefix + "/status", Tags: []string{"process"},
		Summary: "What the process is, what it promises and how it is", Errors: refusals(),
	}, func(context.Context, *struct{}) (*answer[Overview], error) { return &answer[Overview]{o.Status()}, nil })
	registerDoors(h, o.Doors)
	registerStore(a, h, o.Engine)
	registerConfig(h, o.Config)
	registerAccounts(a, h, o.Accounts)
	registerPolicy(h, o.Policy)
	registerClients(h, o.Live.Clients)
	registerRetained(h, o.Live.Retained)
	registerTopics(h, o.Live.Topics, o.Live.Clients)
	registerPublish(h, o.Live.Publish)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, "there is no "+r.Method+" "+r.URL.Path+"; what there is tells "+prefix+"/openapi.json")
	})
	// A browser that knows the password must not act on behalf of another site's page.
	foreign := http.NewCrossOriginProtection()
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusForbidden, "the request comes from another site's page")
	}))
	a.handler = guard(o.Access, foreign.Handler(mux))
	return a
}

const prefix = "/api/v1"

// answer is a body of JSON.
type answer[T any] struct{ Body T }

func config(namer func(reflect.Type, string) string) huma.Config {
	c := huma.DefaultConfig("Sapwood", "1")
	c.Info.Description = "The API of one Sapwood process. Errors are problem details (RFC 9457)."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = prefix+"/openapi", "", ""
	c.CreateHooks = nil // no $schema in answers
	c.Transformers = append(c.Transformers, withoutValues)
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", namer)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"basic": {Type: "http", Scheme: "basic", Description: "The user admin."},
		"key":   {Type: "http", Scheme: "bearer", Description: "A key, such as the one in local.key of the data directory."},
	}
	c.Security = []map[string][]string{{"basic": {}}, {"key": {}}}
	return c
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

// refusals are what every operation may answer.
func refusals() []int {
	return []int{http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusServiceUnavailable}
}

// ServeHTTP answers what is under /api.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// OpenAPI is the description of the API, as /api/v1/openapi.json gives it.
func (a *API) OpenAPI() ([]byte, error) { return a.doc.MarshalJSON() }

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

// guard lets nobody in who is not allowed to.
func guard(who *access.Access, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			from = r.RemoteAddr
		}
		err = who.Check(r.Header.Get("Authorization"), from)
		var slow *access.SlowError
		switch {
		case err == nil:
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), caller{}, userOf(r.Header.Get("Authorization")))))
		case errors.As(err, &slow):
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(slow.Wait.Seconds()))))
			problem(w, http.StatusTooManyRequests, err.Error())
		case errors.Is(err, access.ErrBusy):
			w.Header().Set("Retry-After", "1")
			problem(w, http.StatusServiceUnavailable, err.Error())
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="sapwood", charset="UTF-8"`)
			problem(w, http.StatusUnauthorized, err.Error())
		}
	})
}

// caller is the key of the request's user in its context.
type caller struct{}

// callerOf names who sent a request that was let in.
func callerOf(ctx context.Context) string {
	by, _ := ctx.Value(caller{}).(string)
	return by
}

// userOf names the user of a request that was let in.
func userOf(authorization string) string {
	scheme, rest, _ := strings.Cut(authorization, " ")
	if strings.EqualFold(scheme, "basic") {
		if text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest)); err == nil {
			user, _, _ := strings.Cut(string(text), ":")
			return "API user " + user
		}
	}
	return "API key"
}

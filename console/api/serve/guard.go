package serve

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport/proxy"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
)

// Router is a mux that knows what is registered.
type Router struct {
	*http.ServeMux
	Patterns []string
}

// NewRouter is a router without anything.
func NewRouter() *Router { return &Router{ServeMux: http.NewServeMux()} }

// Handle is that of http.ServeMux.
func (m *Router) Handle(pattern string, h http.Handler) {
	m.Patterns = append(m.Patterns, pattern)
	m.ServeMux.Handle(pattern, h)
}

// HandleFunc is that of http.ServeMux.
func (m *Router) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	m.Handle(pattern, http.HandlerFunc(h))
}

// Absent answers what nothing is registered for: 404, or 405 where another method would do.
func (m *Router) Absent(w http.ResponseWriter, r *http.Request) {
	what := "there is no " + r.Method + " " + r.URL.Path
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if _, pattern := m.Handler(&http.Request{Method: method, URL: r.URL, Host: r.Host}); pattern != "" && pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		all := strings.Join(allowed, ", ")
		w.Header().Set("Allow", all)
		Problem(w, http.StatusMethodNotAllowed, what+", but "+all)
		return
	}
	Problem(w, http.StatusNotFound, what+"; what there is tells "+Prefix+"/openapi.json")
}

// Split takes a pattern apart: its method, "" for any, and its path behind /api/v1.
func Split(pattern string) (method, path string) {
	method, path, ok := strings.Cut(pattern, " ")
	if !ok {
		method, path = "", pattern
	}
	return method, strings.TrimPrefix(path, Prefix)
}

// Options are what a guard stands on.
type Options struct {
	Access   *access.Access
	Surface  func() *Surface // what it guards, as soon as somebody asks for it; called by any goroutine
	Proxies  proxy.Trusted   // whose X-Forwarded-For is believed
	Recorder Recorder        // is told what is done; nil = nobody
	Logger   *slog.Logger
}

// Surface is what can be asked for.
type Surface struct {
	Router     *Router
	Operations map[string]Described // by pattern
}

// Guard lets nobody in who is not allowed to, and writes down what changes. Its methods may be called from any goroutine.
type Guard struct {
	who     *access.Access
	surface func() *Surface
	permits *Permits
	foreign *http.CrossOriginProtection
	proxies proxy.Trusted // whose X-Forwarded-For is believed
	audit   *auditor
}

// Described is an operation as the API's description has it.
type Described struct {
	ID, Summary string
}

// NewGuard puts a guard before a router.
func NewGuard(o Options) *Guard {
	permits := NewPermits()
	audit := &auditor{who: o.Access, surface: o.Surface, permits: permits, facts: o.Recorder, log: o.Logger, often: map[string]*recent{}}
	return &Guard{o.Access, o.Surface, permits, http.NewCrossOriginProtection(), o.Proxies, audit}
}

// Visit is a request that was let in.
type Visit struct {
	Caller *access.Caller // nil where nobody has to be anybody
	From   string         // address, without its port
	Token  string         // of its session; "" = it came without
	Cookie http.Cookie    // as this visitor's browser gets it, without a value
	looked bool           // see OnlyLooked
}

// OnlyLooked says of a request whose method is one of changes that it changed nothing and was not to, as a preview: it is not written down.
func OnlyLooked(ctx context.Context) { VisitOf(ctx).looked = true }

// visitKey is the key of the visit in a request's context.
type visitKey struct{}

// VisitOf is the visit that a context belongs to.
func VisitOf(ctx context.Context) *Visit {
	if v, ok := ctx.Value(visitKey{}).(*Visit); ok {
		return v
	}
	return &Visit{}
}

// CallerOf names who sent a request that was let in.
func CallerOf(ctx context.Context) string {
	if c := VisitOf(ctx).Caller; c != nil {
		return c.String()
	}
	return ""
}

// cookieOf is the session's cookie without its value. No path is said: it goes to what is beside POST /login, whatever
// a proxy has put in front of that. The port is in its name, for browsers send the cookies of all ports of a host.
func cookieOf(r *http.Request) http.Cookie {
	c := http.Cookie{Name: "sapwood", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		c.Name += "-" + port
	}
	// Behind a proxy that speaks TLS only the browser knows.
	c.Secure = r.TLS != nil || strings.HasPrefix(r.Header.Get("Origin"), "https://")
	return c
}

// ServeHTTP judges a request of the API.
func (g *Guard) ServeHTTP(answer http.ResponseWriter, r *http.Request) {
	w := &outcome{ResponseWriter: answer}
	defer g.caught(w, r)
	_, pattern := g.surface().Router.Handler(r)
	need := Need{Declared: true, Quiet: true} // what is not there, everybody who is somebody may know of
	if pattern != "" && pattern != "/" {
		_, path := Split(pattern)
		need = g.permits.Of(r.Method, path)
	}
	w.Header().Set("Cache-Control", "no-store")
	// On a copy: the server looks at the request's own Body to see whether all of it was read. If it sees another one, what a handler left of a
	// body that it closed is taken for the next request.
	r = r.WithContext(r.Context())
	r.Body = http.MaxBytesReader(answer, r.Body, MaxBody)
	g.admit(w, r, need, func(w http.ResponseWriter, r *http.Request) {
		if need.Quiet {
			g.surface().Router.ServeHTTP(w, r)
			return
		}
		g.audit.serve(w, r, pattern)
	})
}

// caught answers a request whose handler panicked: by a problem, or where the answer has begun by breaking it off.
func (g *Guard) caught(w *outcome, r *http.Request) {
	fault := recover()
	if fault == nil {
		return
	}
	if fault != http.ErrAbortHandler {
		g.audit.log.Error("a request of the API panicked", "method", r.Method, "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
	}
	if fault == http.ErrAbortHandler || w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	Problem(w, http.StatusInternalServerError, "the request met a fault of Sapwood, which is in its log")
}

// Protect guards what is no part of the API's router.
func (g *Guard) Protect(n Need, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.admit(w, r, n, next.ServeHTTP) })
}

// admit passes a request on if who sent it has what it needs.
func (g *Guard) admit(w http.ResponseWriter, r *http.Request, need Need, next http.HandlerFunc) {
	from, err := g.from(r)
	if err != nil {
		Problem(w, http.StatusBadRequest, err.Error())
		return
	}
	v := &Visit{From: from, Cookie: cookieOf(r)}
	// A browser that knows a password must not act on behalf of another site's page.
	if err := g.foreign.Check(r); err != nil {
		Problem(w, http.StatusForbidden, "the request comes from another site's page")
		return
	}
	if err = g.authenticate(r, v, need.Open); need.Open {
		err = nil
	}
	if slow := g.who.Take(v.Caller, from); slow != nil {
		err = slow
	}
	if err != nil {
		refuse(w, r, err)
		return
	}
	if why := g.forbidden(r, v, need); why != "" {
		g.audit.refused(r, v, need, why)
		Problem(w, http.StatusForbidden, why)
		return
	}
	ctx := context.WithValue(r.Context(), visitKey{}, v)
	if v.Caller != nil {
		var release func()
		ctx, release = v.Caller.Bound(ctx)
		defer release()
	}
	next(w, r.WithContext(ctx))
}

// Write puts an entry into the audit log of something that the guard does not see by itself.
func (g *Guard) Write(ctx context.Context, e *access.Entry) {
	g.audit.write(ctx, e, "Open a session", "")
}

// from is the address that a request comes from.
func (g *Guard) from(r *http.Request) (string, error) {
	conn, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr, nil
	}
	at, err := g.proxies.ForwardedFor(conn.Addr().Unmap(), r.Header.Values("X-Forwarded-For"))
	if err != nil {
		return "", err
	}
	return at.Unmap().String(), nil
}

// authenticate finds out who sent a request; of one that is open to everybody, only which session it comes with.
func (g *Guard) authenticate(r *http.Request, v *Visit, open bool) (err error) {
	if header := r.Header.Get("Authorization"); header != "" && !open {
		v.Caller, err = g.who.Authorization(r.Context(), header, v.From)
		return err
	}
	c, err := r.Cookie(v.Cookie.Name)
	if err != nil {
		return access.ErrNone
	}
	if v.Token = c.Value; open {
		return nil
	}
	v.Caller, err = g.who.Session(c.Value)
	return err
}

// forbidden is why a caller may not do what it asks for; "" = it may.
func (g *Guard) forbidden(r *http.Request, v *Visit, need Need) string {
	c := v.Caller
	if !safe(r.Method) && (need.Open || c.Session) {
		if why := odd(r); why != "" {
			return why
		}
	}
	switch {
	case need.Open:
		return ""
	case need.People && c.Kind == access.KindKey:
		return "this is for operators: no key may do it"
	case need.Level != 0 && !c.May(need.Resource, need.Level):
		return "this needs " + need.String() + ", and " + c.String() + " has " + strings.Join(c.Scopes, ", ")
	case need.People && need.Level != 0 && !safe(r.Method) && !g.who.Fresh(c):
		return confirmFirst
	}
	return ""
}

// confirmFirst asks a session that was opened a while ago for its password: whoever finds the page open does not have it.
const confirmFirst = "give your password again first: POST " + Prefix + "/me/confirm"

// odd is why a change that a browser sends with a cookie, or to get one, may come from another site's page; "" = it cannot. Pages of
// other sites can send forms without asking, but no JSON, and browsers tell where a change comes from.
func odd(r *http.Request) string {
	if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Cookie") != "" {
		return "a change with a cookie has to say where it comes from, by Origin or Sec-Fetch-Site"
	}
	if r.ContentLength == 0 {
		return ""
	}
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind {
	case "application/json", "application/x-ndjson", "application/yaml":
		return ""
	}
	return "a change with a cookie has to be JSON, by its Content-Type"
}

// refuse answers who is not let in.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	var slow *access.SlowError
	switch {
	case errors.As(err, &slow):
		w.Header().Set("Retry-After", RetryAfter(slow.Wait))
		Problem(w, http.StatusTooManyRequests, err.Error())
	case errors.Is(err, access.ErrBusy):
		w.Header().Set("Retry-After", "1")
		Problem(w, http.StatusServiceUnavailable, err.Error())
	default:
		how := `Basic realm="sapwood", charset="UTF-8"`
		if strings.HasPrefix(r.UserAgent(), "Mozilla/") || r.Header.Get("Sec-Fetch-Mode") != "" {
			how = `Bearer realm="sapwood"` // a browser would ask for a password by itself, and keep it
		}
		w.Header().Set("WWW-Authenticate", how)
		Problem(w, http.StatusUnauthorized, err.Error())
	}
}

// RetryAfter is a time to wait as the header Retry-After has it.
func RetryAfter(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

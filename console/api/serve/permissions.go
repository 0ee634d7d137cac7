package serve

import (
	"net/http"
	"strings"

	"github.com/sapwood-mqtt/sapwood/console/api/access"
)

// Permission says what a caller needs to look at a resource and to change it. A resource is the first part of a path behind
// /api/v1, or several of them.
type Permission struct {
	Resource     string
	Paths        []string     // first parts of paths; empty = the resource's name
	Look, Change access.Level // GET and HEAD; all other methods
	People       bool         // for operators, and for commands on the same machine: no key gets in
	Exceptions   []Exception
}

// Exception is an operation that needs something else than its method says.
type Exception struct {
	Pattern string // method and path behind /api/v1
	Level   access.Level
	Quiet   bool // it changes nothing, so that the audit log does without it
}

// Permissions are those of all resources. What is not among them, only admins and keys with the scope admin get at.
func Permissions() []Permission {
	const read, operate, admin = access.Read, access.Operate, access.Admin
	return []Permission{
		// What the process is and does.
		{Resource: "status", Look: read, Change: admin},
		{Resource: "listeners", Paths: []string{"listeners", "authentication"}, Look: read, Change: admin},
		{Resource: "metrics", Paths: []string{"metrics", "stats", "load", "history", "now", "canaries"}, Look: read, Change: admin},
		{Resource: "stream", Look: read, Change: operate},
		{Resource: "openapi", Paths: []string{"openapi", "openapi.json", "openapi.yaml", "openapi-3.0.json", "openapi-3.0.yaml"}, Look: read, Change: admin},
		{Resource: "books", Look: read, Change: admin},
		{Resource: "events", Look: read, Change: admin},
		{Resource: "why", Paths: []string{"why", "why-not", "route"}, Look: read, Change: operate},
		// Clients and messages.
		{Resource: "clients", Paths: []string{"clients", "sessions", "subscriptions"}, Look: read, Change: operate},
		{Resource: "topics", Look: read, Change: operate},
		{Resource: "retained", Look: read, Change: operate},
		{Resource: "publish", Paths: []string{"publish", "request"}, Look: operate, Change: operate},
		{Resource: "traces", Look: read, Change: operate},
		{Resource: "bans", Look: read, Change: operate},
		// Who may do what, and how it is set.
		{Resource: "users", Paths: []string{"users", "devices", "groups", "auth"}, Look: read, Change: admin, Exceptions: []Exception{
			{"POST /auth/cache/flush", operate, false},
		}},
		{Resource: "rules", Paths: []string{"rules", "acl"}, Look: read, Change: admin, Exceptions: []Exception{
			{"POST /acl/explain", read, true},
		}},
		{Resource: "config", Look: read, Change: admin, Exceptions: []Exception{
			{"POST /config/check", admin, true}, // it reads files that the configuration names
		}},
		{Resource: "store", Look: read, Change: admin, Exceptions: []Exception{
			{"GET /store/export", admin, false}, // all payloads
		}},
		{Resource: "backup", Look: admin, Change: admin}, // and all hashes of passwords
		{Resource: "audit", Look: admin, Change: admin},
		{Resource: "operators", Look: admin, Change: admin, People: true},
		{Resource: "keys", Look: admin, Change: admin, People: true},
	}
}

// Need is what an operation asks of its caller.
type Need struct {
	Resource string
	Level    access.Level // 0 = to be somebody
	Open     bool         // for everybody, without credentials
	People   bool
	Quiet    bool // it changes nothing
	Declared bool // false: nobody said, and so it is for admins
}

// String is the scope that is needed, or what stands for it.
func (n Need) String() string {
	switch {
	case n.Open:
		return "nothing"
	case n.Level == 0:
		return "any credential"
	}
	return n.Resource + ":" + n.Level.String()
}

// Permits judge requests.
type Permits struct {
	paths      map[string]*Permission // by first part
	exceptions map[string]Exception
}

// NewPermits judges by Permissions.
func NewPermits() *Permits {
	p := &Permits{paths: map[string]*Permission{}, exceptions: map[string]Exception{}}
	all := Permissions()
	for i := range all {
		r := &all[i]
		if len(r.Paths) == 0 {
			r.Paths = []string{r.Resource}
		}
		for _, path := range r.Paths {
			p.paths[path] = r
		}
		for _, e := range r.Exceptions {
			p.exceptions[e.Pattern] = e
		}
	}
	return p
}

// Resources are the names that scopes may use.
func Resources() (all []string) {
	for _, p := range Permissions() {
		if !p.People {
			all = append(all, p.Resource)
		}
	}
	return all
}

// Of is what a method of a path behind /api/v1, as it was registered, needs.
func (p *Permits) Of(method, path string) Need {
	switch method + " " + path {
	case "POST /login":
		return Need{Open: true, Declared: true, Quiet: true} // it writes its own entry
	case "POST /logout", "GET /me":
		return Need{Declared: true, Quiet: method == http.MethodGet}
	case "PUT /me/password", "POST /me/confirm":
		return Need{People: true, Declared: true}
	}
	look := safe(method)
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	r := p.paths[first]
	if r == nil {
		return Need{Resource: first, Level: access.Admin, Quiet: look}
	}
	n := Need{Resource: r.Resource, Level: r.Change, People: r.People, Quiet: look, Declared: true}
	if look {
		n.Level = r.Look
		method = http.MethodGet
	}
	if e, ok := p.exceptions[method+" "+path]; ok {
		n.Level, n.Quiet = e.Level, look || e.Quiet
	}
	return n
}

// safe tells whether a method changes nothing (RFC 9110 9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

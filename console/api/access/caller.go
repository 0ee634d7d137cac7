package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Level is what is done to something: one includes those before it.
type Level uint8

// The levels.
const (
	Read    Level = iota + 1 // look at it
	Operate                  // act on it
	Admin                    // say how it is to be
)

// String is the level's name, as in a scope.
func (l Level) String() string {
	switch l {
	case Read:
		return "read"
	case Operate:
		return "operate"
	}
	return "admin"
}

// level is the level of a name; 0 = there is none such.
func level(name string) Level {
	for l := Read; l <= Admin; l++ {
		if l.String() == name {
			return l
		}
	}
	return 0
}

// Role is what an operator may do.
type Role string

// The roles.
const (
	RoleViewer   Role = "viewer"   // reads
	RoleOperator Role = "operator" // acts on clients and messages too
	RoleAdmin    Role = "admin"    // everything
)

// level is the highest that a role has; 0 of what is no role.
func (r Role) level() Level {
	switch r {
	case RoleViewer:
		return Read
	case RoleOperator:
		return Operate
	case RoleAdmin:
		return Admin
	}
	return 0
}

// scope is the role in the words of keys.
func (r Role) scope() string { return r.level().String() }

// CheckScope says what is wrong with a scope of a key. It is a level, for everything, or resource:level, for one resource.
func CheckScope(scope string, resources []string) error {
	resource, name, one := strings.Cut(scope, ":")
	if !one {
		resource, name = "", scope
	}
	if level(name) == 0 || one && !slices.Contains(resources, resource) {
		return fmt.Errorf("%q is no scope: write read, operate or admin, or one of them for one resource, as in events:read; resources are %s",
			scope, strings.Join(resources, ", "))
	}
	return nil
}

// Kind is what somebody who calls the API showed.
type Kind string

// The kinds.
const (
	KindOperator Kind = "operator" // a name and a password, or a session of the console
	KindKey      Kind = "key"
	KindLocal    Kind = "local" // the key for commands on the same machine
)

// Caller is somebody who was let in.
type Caller struct {
	Kind   Kind
	Name   string   // of the operator or the key; "" for KindLocal
	Scopes []string // what it may do, in the words of keys
	Role   Role     // of an operator; "" otherwise

	Session      bool // it came with the cookie of a session
	ChangeNeeded bool // somebody else knows the password

	live    context.Context // ends when the credential does
	until   time.Time       // when it ends by itself; zero = never
	session *session        // nil without one
	id      string          // of the credential, for its rate
}

// May tells whether the caller may do something to a resource.
func (c *Caller) May(resource string, l Level) bool {
	for _, s := range c.Scopes {
		of, name, one := strings.Cut(s, ":")
		if !one {
			of, name = resource, s
		}
		if of == resource && level(name) >= l {
			return true
		}
	}
	return false
}

// String names the caller in records.
func (c *Caller) String() string {
	switch c.Kind {
	case KindOperator:
		return "operator " + c.Name
	case KindKey:
		return "key " + c.Name
	case KindLocal:
		return "this machine"
	}
	return "somebody" // who was not let in
}

// Bound is ctx for as long as the caller's credential lasts: a revoked one ends what it began. The function has to be called at the end.
func (c *Caller) Bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	release := []func(){cancel}
	if !c.until.IsZero() {
		var end context.CancelFunc
		ctx, end = context.WithDeadline(ctx, c.until)
		release = append(release, end)
	}
	if c.session != nil {
		c.session.enter()
		release = append(release, c.session.leave)
	}
	for _, live := range c.lives() {
		unlink := context.AfterFunc(live, cancel)
		release = append(release, func() { unlink() })
	}
	return ctx, func() {
		for _, f := range slices.Backward(release) {
			f()
		}
	}
}

// lives are the contexts of the credential and of the session that was opened with it.
func (c *Caller) lives() []context.Context {
	var all []context.Context
	if c.live != nil {
		all = append(all, c.live)
	}
	if c.session != nil {
		all = append(all, c.session.live)
	}
	return all
}

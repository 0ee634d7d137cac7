package accounts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
)

// Options are what New needs.
type Options struct {
	Store Store
	// Gate bounds how many passwords are hashed at once; it is to be the one that logins go through too, which then go first.
	// nil = one of its own, for as many as there are cores.
	Gate *phc.Gate
	// Scram names the methods that keys are derived for when a password is set: SCRAM-SHA-256, SCRAM-SHA-512. They are cheaper to guess from than the
	// argon2id hash beside them, so leave it empty where nobody uses SCRAM.
	Scram []string
	// CheckRule tells what is wrong with a rule for whoever is to go by it, nil = nothing; nil = that is not asked. A rule that was kept
	// and cannot be understood afterwards would keep all others from being in force.
	CheckRule func(*auth.Rule) error
}

// Accounts changes what a Store keeps, and tells who has to know. Its methods may be called from any goroutine.
type Accounts struct {
	Reader
	store Store
	gate  *phc.Gate
	scram []string
	check func(*auth.Rule) error
	turn  chan struct{} // held while a batch is applied and told

	mu     sync.Mutex
	tell   []*listener
	acting []*listener // told after all of tell
}

type listener struct{ told func(*Changed) }

// New makes accounts on a store.
func New(o Options) (*Accounts, error) {
	for _, m := range o.Scram {
		if scramHash(m) == nil {
			return nil, fmt.Errorf("%q is no method of SCRAM that is known: SCRAM-SHA-256, SCRAM-SHA-512", m)
		}
	}
	a := &Accounts{Reader: o.Store, store: o.Store, gate: o.Gate, scram: slices.Clone(o.Scram), check: o.CheckRule, turn: make(chan struct{}, 1)}
	if a.gate == nil {
		a.gate = phc.NewGate(runtime.GOMAXPROCS(0), 64)
	}
	return a, nil
}

// OnChange has f called after each batch that was kept, one after the other and in the order of the batches, before Apply
// returns. It may take its time, but must not call Apply. It is called no more for batches that begin after stop. It is for who remembers
// something.
func (a *Accounts) OnChange(f func(*Changed)) (stop func()) { return a.listen(&a.tell, f) }

// OnForgotten is OnChange for who acts upon a change: it is told after all that remember something have forgotten it. A client
// that is disconnected is back in a millisecond, and must not be let in by what was remembered.
func (a *Accounts) OnForgotten(f func(*Changed)) (stop func()) { return a.listen(&a.acting, f) }

func (a *Accounts) listen(to *[]*listener, f func(*Changed)) (stop func()) {
	l := &listener{f}
	a.mu.Lock()
	defer a.mu.Unlock()
	*to = append(slices.Clip(*to), l)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		*to = slices.DeleteFunc(slices.Clone(*to), func(other *listener) bool { return other == l })
	}
}

// Close closes the store.
func (a *Accounts) Close() error { return a.store.Close() }

// Apply checks the changes and makes them, all or none; see Store. When it returns, everybody has been told. Ids that are empty are made
// up, a rule without a name is named after its id, and a user without a kind is a device.
func (a *Accounts) Apply(ctx context.Context, changes []Change, progress func(done int)) error {
	for i := range changes {
		c := &changes[i]
		c.complete()
		err := c.valid()
		if err == nil && c.Rule != nil && !c.Delete && a.check != nil {
			if bad := a.check(&c.Rule.Rule); bad != nil {
				err = fmt.Errorf("%w: %w", ErrInvalid, bad)
			}
		}
		if err != nil {
			return &ChangeError{i, c.Item(), err}
		}
	}
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-a.turn }()
	if err := a.store.Apply(ctx, changes, progress); err != nil {
		return err
	}
	a.mu.Lock()
	tell := slices.Concat(a.tell, a.acting)
	a.mu.Unlock()
	if len(tell) == 0 {
		return nil
	}
	what := changed(changes)
	for _, l := range tell {
		l.told(what)
	}
	return nil
}

// complete fills in what may be left out of a put.
func (c *Change) complete() {
	switch {
	case c.Delete:
	case c.User != nil && c.User.Kind == "":
		c.User.Kind = Device
	case c.Rule != nil:
		if c.Rule.ID == "" {
			c.Rule.ID = newID()
		}
		if c.Rule.Name == "" {
			c.Rule.Name = "rule " + c.Rule.ID
		}
	case c.Ban != nil && c.Ban.ID == "":
		c.Ban.ID = newID()
	}
}

func newID() string { return strings.ToLower(rand.Text()[:10]) }

// The length of passwords that SetPassword takes, in bytes.
const (
	MinPassword = 8
	MaxPassword = 1024
)

// SetPassword hashes a password into u, which Apply is then to put. It waits for its turn to hash. The error is phc.ErrBusy, that of ctx, or
// wraps ErrInvalid.
func (a *Accounts) SetPassword(ctx context.Context, u *User, password []byte) error {
	switch {
	case len(password) < MinPassword:
		return fmt.Errorf("%w: the password of user %q has less than %d bytes", ErrInvalid, u.Name, MinPassword)
	case len(password) > MaxPassword:
		return fmt.Errorf("%w: the password of user %q has more than %d bytes", ErrInvalid, u.Name, MaxPassword)
	case string(password) == u.Name:
		return fmt.Errorf("%w: the password of user %q is its name", ErrInvalid, u.Name)
	}
	var err error
	return errors.Join(a.gate.Do(ctx, true, func() {
		u.Password = phc.New(password).String()
		u.Keys, err = scramKeys(a.scram, password, scramIterations)
	}), err)
}

// Generate makes a random secret for u, which Apply is then to put, and returns it: it cannot be told again. It is cheap, see
// phc.Generate; with SCRAM it takes some milliseconds.
func (a *Accounts) Generate(u *User) (secret string, err error) {
	secret, h := phc.Generate()
	u.Password = h.String()
	u.Keys, err = scramKeys(a.scram, []byte(secret), scramIterationsGenerated)
	return secret, err
}

// Package access decides who may use the API and the console: operators by name and password or by the cookie of a login, programs by
// keys, and commands on the same machine by a key that only they can read. It keeps the audit log of what they did. It knows HTTP's
// Authorization header and nothing of what the API does, and it writes no secret anywhere but into its two files.
package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
)

// User is the name of the operator that is always there.
const User = "admin"

// Options are what Open needs.
type Options struct {
	Dir      string       // where admin.json is kept; "" = nowhere, the password lives as long as the process
	Password string       // of the operator admin, if this is its first start; "" = a random one
	Store    Store        // where operators, keys and the audit log are kept; nil = in memory
	Config   Config       // the zero value is DefaultConfig
	Logger   *slog.Logger // nil = discard
}

// Access knows the credentials. Its methods may be called from any goroutine.
type Access struct {
	log      *slog.Logger
	cfg      Config
	store    Store
	dir      string // where the operator admin is kept; "" = nowhere
	first    string
	secret   [32]byte // keys what is remembered of credentials
	hashing  *phc.Gate
	nobody   phc.Hash // is checked for an operator that there is not, so that it takes as long
	failures atomic.Uint64
	stamps   *stamps
	*Keyring
	*Log

	changing sync.Mutex // held by a change of operators, from looking to keeping; before mu

	mu        sync.Mutex
	builtin   string // the operator that admin.json holds
	operators map[string]*operator
	sessions  map[string]*session // by the keyed hash of the cookie
	local     []byte              // keyed hash of the local key; nil = none
	seen      verified
	slow      throttle
	pace      paces
}

// Open reads the operators and keys, and makes the operator admin at the first start.
func Open(o Options) (*Access, error) {
	a := &Access{
		log: o.Logger, cfg: o.Config, store: o.Store, dir: o.Dir, hashing: phc.NewGate(1, patience),
		operators: map[string]*operator{}, sessions: map[string]*session{}, seen: verified{}, slow: throttle{}, pace: paces{}, stamps: &stamps{},
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.store == nil {
		a.store = NewMemory()
	}
	if a.cfg == (Config{}) {
		a.cfg = DefaultConfig()
	}
	a.Keyring = &Keyring{log: a.log, store: a.store, stamps: a.stamps, names: map[string]*key{}, ids: map[string]*key{}}
	a.Log = &Log{store: a.store, bounds: a.cfg.Audit}
	rand.Read(a.secret[:])
	admin, first, err := openAccount(o, a.log)
	if err != nil {
		return nil, err
	}
	a.builtin, a.nobody, a.first = admin.user, admin.password, first
	ctx := context.Background()
	if err := errors.Join(a.readOperators(ctx, admin), a.Keyring.read(ctx), a.Log.trim(ctx)); err != nil {
		return nil, fmt.Errorf("read who may use the API: %w", err)
	}
	return a, nil
}

// FirstPassword is the random password that this start made, to be shown once; "" when there is none to tell.
func (a *Access) FirstPassword() string { return a.first }

// Failures counts credentials that were wrong.
func (a *Access) Failures() uint64 { return a.failures.Load() }

// The reasons why a caller is not let in.
var (
	ErrNone  = errors.New("give credentials: an operator and its password, a key as bearer, or log in")
	ErrWrong = errors.New("the credentials are wrong")
	ErrEnded = errors.New("the login has ended; log in again")
	ErrBusy  = errors.New("too many credentials are being checked; try again in a moment")
)

// SlowError is why credentials are not even looked at: too many wrong ones came from there, or too many requests.
type SlowError struct {
	Wait time.Duration
	Why  string
}

// Error tells how long.
func (e *SlowError) Error() string {
	return fmt.Sprintf("%s; try again in %v", e.Why, max(e.Wait.Round(time.Second), time.Second))
}

// patience is how many credentials may wait to be hashed. A hash takes some 30 ms and 19 MiB.
const patience = 16

// sum is what stands for a credential in memory.
func (a *Access) sum(text string) []byte {
	h := hmac.New(sha256.New, a.secret[:])
	h.Write([]byte(text))
	return h.Sum(nil)
}

// stamps number changes. They follow the clock, so that they do not go back when something is removed and made again.
type stamps struct {
	mu   sync.Mutex
	last accounts.Revision
}

func (s *stamps) next(now time.Time) accounts.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last+1, accounts.Revision(now.UnixMicro()))
	return s.last
}

// seen says that a number was given already.
func (s *stamps) seen(r accounts.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last, r)
}

// Take counts a request of a caller, or, where that is nil, of an address. The error is a *SlowError when there were too many.
func (a *Access) Take(c *Caller, from string) error {
	who, rate, what := "from "+network(from), a.cfg.Rate.Address, "this address"
	if c != nil {
		if c.Kind == KindLocal {
			return nil
		}
		who, rate, what = c.id, a.cfg.Rate.Credential, "this credential"
	}
	a.mu.Lock()
	wait := a.pace.take(who, rate, time.Now())
	a.mu.Unlock()
	if wait > 0 {
		return &SlowError{wait, "too many requests by " + what}
	}
	return nil
}

func (a *Access) failed(from, user string, now time.Time) {
	a.failures.Add(1)
	whom := string(a.sum("user " + user)) // it may be a password in the wrong field
	a.mu.Lock()
	n := a.slow.failed(from, whom, now)
	a.mu.Unlock()
	a.log.Warn("wrong credentials for the API", "remote", from, "times", n)
}

// Close writes down when keys were last used.
func (a *Access) Close(ctx context.Context) error { return a.Keyring.noteUses(ctx) }

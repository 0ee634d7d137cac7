// Package access decides who may use the API: the user admin by name and password, and commands on the same
// machine by a key that only they can read. It knows HTTP's Authorization header and nothing of what the API does, and
// it writes no secret anywhere but into its two files.
package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
)

// User is the name of the only user in this version.
const User = "admin"

// Options are what Open needs.
type Options struct {
	Dir      string       // where admin.json is kept; "" = nowhere, the password lives as long as the process
	Password string       // of the user admin, if this is its first start; "" = a random one
	Logger   *slog.Logger // nil = discard
}

// Access knows the credentials. Its methods may be called from any goroutine.
type Access struct {
	log      *slog.Logger
	admin    account
	first    string
	secret   [32]byte // keys what is remembered of credentials
	hashing  *phc.Gate
	failures atomic.Uint64

	mu    sync.Mutex
	local []byte // keyed hash of the local key; nil = none
	seen  verified
	slow  throttle
}

// Open reads the user admin, or makes it at the first start.
func Open(o Options) (*Access, error) {
	a := &Access{log: o.Logger, hashing: phc.NewGate(1, patience), seen: verified{}, slow: throttle{}}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	rand.Read(a.secret[:])
	var err error
	if a.admin, a.first, err = openAccount(o, a.log); err != nil {
		return nil, err
	}
	return a, nil
}

// FirstPassword is the random password that this start made, to be shown once; "" when there is none to tell.
func (a *Access) FirstPassword() string { return a.first }

// Failures counts credentials that were wrong.
func (a *Access) Failures() uint64 { return a.failures.Load() }

// The reasons why Check says no.
var (
	ErrNone  = errors.New("give credentials: user admin and its password, or a key as bearer")
	ErrWrong = errors.New("the credentials are wrong")
	ErrBusy  = errors.New("too many credentials are being checked; try again in a moment")
)

// SlowError is why Check does not even look: too many wrong credentials came from there.
type SlowError struct{ Wait time.Duration }

// Error tells how long.
func (e *SlowError) Error() string {
	return fmt.Sprintf("too many wrong credentials from this address; try again in %v", e.Wait.Round(time.Second))
}

// patience is how many credentials may wait to be hashed. A hash takes some 30 ms and 19 MiB.
const patience = 16

// Check judges an Authorization header that came from an address (without its port). The error is nil, ErrNone,
// ErrWrong, ErrBusy or a *SlowError. Comparisons take the same time whatever is wrong.
func (a *Access) Check(authorization, from string) error {
	scheme, rest, _ := strings.Cut(authorization, " ")
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return ErrNone
	}
	sum := a.sum(strings.ToLower(scheme) + " " + rest)
	if a.known(sum) {
		return nil
	}
	from = network(from)
	now := time.Now()
	if wait := a.wait(from, now); wait > 0 {
		return &SlowError{wait}
	}
	ok, err := false, error(nil)
	if strings.EqualFold(scheme, "basic") {
		ok, err = a.basic(rest)
	}
	switch {
	case err != nil:
		return err
	case !ok:
		a.failed(from, now)
		return ErrWrong
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen.add(string(sum), now)
	a.slow.forget(from)
	return nil
}

// network is what an address counts as: who has one of IPv6 has all 2^64 of its network, and would have as many tries.
func network(from string) string {
	at, err := netip.ParseAddr(from)
	if err != nil {
		return from
	}
	if at = at.Unmap().WithZone(""); at.Is6() {
		return netip.PrefixFrom(at, 64).Masked().String()
	}
	return at.String()
}

// sum is what stands for a credential in memory.
func (a *Access) sum(text string) []byte {
	h := hmac.New(sha256.New, a.secret[:])
	h.Write([]byte(text))
	return h.Sum(nil)
}

// known tells whether the header is the local key, or was found right some minutes ago.
func (a *Access) known(sum []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return subtle.ConstantTimeCompare(sum, a.local) == 1 || a.seen.has(string(sum), time.Now())
}

// basic checks a name and password; a wrong name takes as long as a wrong password.
func (a *Access) basic(encoded string) (bool, error) {
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return false, nil
	}
	user, password, _ := strings.Cut(string(text), ":")
	right := false
	if a.hashing.Do(context.Background(), false, func() { right = a.admin.password.Matches([]byte(password)) }) != nil {
		return false, ErrBusy
	}
	named := subtle.ConstantTimeCompare([]byte(user), []byte(a.admin.user)) == 1
	return right && named, nil
}

func (a *Access) wait(from string, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.slow.wait(from, now)
}

func (a *Access) failed(from string, now time.Time) {
	a.failures.Add(1)
	a.mu.Lock()
	n := a.slow.failed(from, now)
	a.mu.Unlock()
	a.log.Warn("wrong credentials for the API", "remote", from, "times", n)
}

// remembered is how long a credential that was right need not be hashed again.
const remembered = 5 * time.Minute

// verified are the keyed hashes of credentials that were right, until when.
type verified map[string]time.Time

func (v verified) has(sum string, now time.Time) bool { return v[sum].After(now) }

func (v verified) add(sum string, now time.Time) {
	if len(v) >= 256 {
		clear(v) // it costs some hashes
	}
	v[sum] = now.Add(remembered)
}

// lenient is how many wrong credentials an address may send before it has to wait.
const lenient = 5

// longest is the longest wait between two tries.
const longest = time.Minute

// throttle counts the wrong credentials of addresses.
type throttle map[string]*attempts

type attempts struct {
	count int
	until time.Time // no further try before
}

func (t throttle) wait(from string, now time.Time) time.Duration {
	if a := t[from]; a != nil {
		return a.until.Sub(now)
	}
	return 0
}

// failed notes one more and returns how many there were. The wait doubles from a second on; who did not try for an
// hour is forgotten.
func (t throttle) failed(from string, now time.Time) int {
	a := t[from]
	if a == nil {
		if len(t) >= 1024 {
			t.sweep(now)
		}
		a = &attempts{}
		t[from] = a
	}
	a.count++
	a.until = now
	if over := a.count - lenient; over >= 0 {
		a.until = now.Add(min(time.Second<<min(over, 10), longest))
	}
	return a.count
}

func (t throttle) forget(from string) { delete(t, from) }

// sweep makes room: those that may try again go first, all of them if that is not enough.
func (t throttle) sweep(now time.Time) {
	for from, a := range t {
		if a.until.Add(time.Hour).Before(now) {
			delete(t, from)
		}
	}
	if len(t) >= 1024 {
		clear(t)
	}
}

package password

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Options are what Open needs.
type Options struct {
	Config   Config
	Accounts *accounts.Accounts // nil = only the files
	Gate     *phc.Gate          // that all hashing goes through; nil = one of its own, for as many as there are cores
	// Next says that others are asked about users that are not known here. Then an unknown user costs no time, so that
	// theirs do not wait, and is not counted as a guess. Without it nobody can tell an unknown user from a wrong password.
	Next bool
	// Changed is told after Reload has changed users, as accounts tell it; nil = nobody.
	Changed func(*accounts.Changed)
	Logger  *slog.Logger // nil = discard
}

// Password is an auth.Authenticator. Its methods may be called from any goroutine.
type Password struct {
	cfg      Config
	accounts *accounts.Accounts
	gate     *phc.Gate
	next     bool
	changed  func(*accounts.Changed)
	log      *slog.Logger
	stop     func()

	decoy    phc.Hash // matches nothing, and is hashed where there is nothing to hash, or too little
	verified *verified
	guesses  *guesses
	count    counters

	reload sync.Mutex // held while files are read
	files  atomic.Pointer[map[string]*account]
}

var _ auth.Authenticator = (*Password)(nil)

// counters are Stats as they are kept.
type counters struct {
	accepted, cached, wrong, unknown, barred, busy, slowed, long, alarms atomic.Uint64
}

// Stats are the figures of an authenticator since it was made.
type Stats struct {
	Accepted   uint64        `json:"accepted"`
	Cached     uint64        `json:"cached"`     // of those, by a credential that was remembered
	Wrong      uint64        `json:"wrong"`      // passwords
	Unknown    uint64        `json:"unknown"`    // users
	Barred     uint64        `json:"barred"`     // right, but disabled, expired or with another client id
	Busy       uint64        `json:"busy"`       // because too many waited to be hashed
	Slowed     uint64        `json:"slowed"`     // because of wrong passwords before
	TooLong    uint64        `json:"too_long"`   // passwords
	Alarms     uint64        `json:"alarms"`     // users that many guess at
	Remembered int           `json:"remembered"` // credentials, now
	Hashing    phc.GateStats `json:"hashing"`    // of the gate, whoever else uses it
	FileUsers  int           `json:"file_users"` // in the password files, now
}

// Open makes the authenticator. A password file that cannot be used is an error.
func Open(o Options) (*Password, error) {
	p := &Password{
		cfg: o.Config, accounts: o.Accounts, gate: o.Gate, next: o.Next, changed: o.Changed, log: o.Logger, stop: func() {}, decoy: phc.New(nil),
		verified: newVerified(o.Config.CacheSize, o.Config.CacheTTL), guesses: newGuesses(o.Config.MaxFailures, o.Config.MaxWait),
	}
	if p.gate == nil {
		p.gate = phc.NewGate(runtime.GOMAXPROCS(0), o.Config.Queue)
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.files.Store(&map[string]*account{})
	if err := p.Reload(); err != nil {
		return nil, err
	}
	if p.accounts != nil {
		p.stop = p.accounts.OnChange(func(c *accounts.Changed) { p.verified.forget(c.Users) })
	}
	return p, nil
}

// Close has changes of accounts told no more.
func (p *Password) Close() { p.stop() }

// Files are the password files.
func (p *Password) Files() []string { return slices.Clone(p.cfg.Files) }

// Reload reads the password files again. When one of them cannot be used, all stays as it was and that is the error.
func (p *Password) Reload() error {
	p.reload.Lock()
	defer p.reload.Unlock()
	users, loose, err := readFiles(p.cfg.Files)
	if err != nil {
		return err
	}
	for _, path := range loose {
		p.log.Warn("everybody on this machine can read the password file", "file", path, "fix", "chmod 640 "+path)
	}
	changes := differences(*p.files.Load(), users)
	p.files.Store(&users)
	if len(changes) == 0 {
		return nil
	}
	p.verified.forget(changes)
	if p.changed != nil {
		p.changed(&accounts.Changed{By: ByFile, Users: changes})
	}
	return nil
}

// Stats are the figures at present.
func (p *Password) Stats() Stats {
	c := &p.count
	return Stats{
		Accepted: c.accepted.Load(), Cached: c.cached.Load(), Wrong: c.wrong.Load(), Unknown: c.unknown.Load(), Barred: c.barred.Load(),
		Busy: c.busy.Load(), Slowed: c.slowed.Load(), TooLong: c.long.Load(), Alarms: c.alarms.Load(),
		Remembered: p.verified.len(), Hashing: p.gate.Stats(), FileUsers: len(*p.files.Load()),
	}
}

// name is what refusals call this backend.
const name = "password"

// text is what a client is told, whatever was wrong. The chain says the same of users that nobody knows.
const text = "authentication failed"

// Authenticate is that of auth.Authenticator. Who shows no user name or no password is none of its business.
func (p *Password) Authenticate(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
	if !a.HasUser || !a.HasPass || a.Username == "" || a.Method != "" {
		return nil, auth.ErrUnknown
	}
	if len(a.Password) > p.cfg.MaxLength {
		if found, err := p.user(ctx, a.Username); p.next && found == nil { // it may be somebody else's, such as a token
			return nil, cmp.Or(err, auth.ErrUnknown)
		}
		p.count.long.Add(1)
		return nil, &auth.Refusal{
			Reason: mqtt.BadUserNameOrPassword, Text: text, By: name,
			Why: fmt.Sprintf("the password has %d bytes, more than the %d of authentication.password.max_length", len(a.Password), p.cfg.MaxLength),
		}
	}
	now := time.Now()
	c := p.verified.sum(a.Username, a.Password)
	from := p.guesses.origin(a)
	expect := p.guesses.look(from, now)
	found, epoch := p.verified.get(c, now)
	// Who may not try yet is not told whether a remembered password was right either, unless it is where it was right before.
	if found != nil && (expect.known || expect.wait <= 0) {
		p.count.cached.Add(1)
		return p.admit(found, a, from, now)
	}
	found, err := p.user(ctx, a.Username)
	if err != nil {
		return nil, fmt.Errorf("look up the user: %w", err)
	}
	if found == nil && p.next {
		p.count.unknown.Add(1)
		return nil, auth.ErrUnknown
	}
	if err := p.prove(ctx, found, a.Password, c, from, expect); err != nil {
		return nil, p.refuse(err, found)
	}
	if found, err = p.still(ctx, found, c, epoch, now); err != nil {
		return nil, err
	}
	return p.admit(found, a, from, now)
}

// user finds a user in the accounts, or else in the files; nil = in neither.
func (p *Password) user(ctx context.Context, name string) (*account, error) {
	if p.accounts != nil {
		u, err := p.accounts.User(ctx, name)
		if err == nil {
			return &account{u, accounts.By}, nil
		}
		if !errors.Is(err, accounts.ErrNotFound) {
			return nil, err
		}
	}
	return (*p.files.Load())[name], nil
}

// Why a password does not get a client in.
var (
	errWrong  = errors.New("the password is wrong")
	errSlowed = errors.New("too many wrong passwords")
)

// prove checks a password; a is nil when there is no such user. What is no match takes as long as one argon2id, at least, so that
// time tells neither whether the user is there nor how its password is kept. Only a match of what is cheap to check comes at once: for those that
// are random neither a queue nor a wait is needed, because nobody can guess them.
func (p *Password) prove(ctx context.Context, a *account, password []byte, c credential, from origin, expect outlook) error {
	var h phc.Hash
	if a != nil && a.Password != "" {
		var err error
		if h, err = phc.Parse(a.Password); err != nil {
			return fmt.Errorf("user %q: the stored password %w", a.Name, err)
		}
	}
	if h.Scheme() == phc.Generated && h.Matches(password) {
		return nil
	}
	if expect.wait > 0 {
		return errSlowed
	}
	if !h.Slow() && h.Matches(password) {
		return nil
	}
	var verdict error
	err := p.gate.Do(ctx, expect.later, func() { verdict = p.hash(h, a, password, c, from) })
	return errors.Join(err, verdict)
}

// hash checks a password when its turn has come. What happened while it waited counts: many guesses at once gain nothing, and of many clients that show
// the same credential one is hashed.
func (p *Password) hash(h phc.Hash, a *account, password []byte, c credential, from origin) error {
	now := time.Now()
	if p.guesses.look(from, now).wait > 0 {
		return errSlowed
	}
	if known, _ := p.verified.get(c, now); known != nil {
		return nil
	}
	if h.Slow() && h.Matches(password) {
		return nil
	}
	if h.Scheme() != phc.Argon2id && h.Scheme() != phc.Bcrypt {
		p.decoy.Matches(password)
	}
	if n := p.guesses.wrong(from, now); n > 0 && a != nil {
		p.count.alarms.Add(1)
		p.log.Warn("somebody guesses the password of a user", "user", a.Name, "times", n)
	}
	return errWrong
}

// refuse is the answer to a password that was not proved.
func (p *Password) refuse(err error, a *account) error {
	switch {
	case errors.Is(err, phc.ErrBusy):
		p.count.busy.Add(1)
		return &auth.Refusal{Reason: mqtt.ServerBusy, Text: "server busy", By: name, Why: fmt.Sprintf("%v; %d wait", err, p.gate.Stats().Waiting)}
	case errors.Is(err, errSlowed):
		p.count.slowed.Add(1)
		return &auth.Refusal{Reason: mqtt.ConnectionRateExceeded, Text: "try again later", By: name, Why: "too many wrong passwords came from this address"}
	case !errors.Is(err, errWrong):
		return err
	}
	if a == nil {
		p.count.unknown.Add(1)
		return auth.ErrUnknown
	}
	p.count.wrong.Add(1)
	return &auth.Refusal{Reason: mqtt.BadUserNameOrPassword, Text: text, By: name, Why: fmt.Sprintf("wrong password for user %q", a.Name)}
}

// still remembers a credential that was right, and makes sure that it is: a user may have been changed while its password
// was hashed, and whoever acts upon that change may have passed this client by.
func (p *Password) still(ctx context.Context, a *account, c credential, epoch uint64, now time.Time) (*account, error) {
	for !p.verified.add(c, a, epoch, now) {
		epoch = p.verified.now()
		again, err := p.user(ctx, a.Name)
		if err != nil {
			return nil, fmt.Errorf("look up the user: %w", err)
		}
		if again == nil || again.Password != a.Password {
			return nil, fmt.Errorf("user %q was changed while its password was checked", a.Name)
		}
		a = again
	}
	return a, nil
}

// admit lets in who proved to be a user, if that one may come in.
func (p *Password) admit(a *account, attempt *auth.Attempt, from origin, now time.Time) (*auth.Identity, error) {
	id, err := a.Admit(attempt.ClientID, now)
	if err != nil {
		p.count.barred.Add(1)
		return nil, err
	}
	id.By = a.by
	p.guesses.right(from)
	p.count.accepted.Add(1)
	return id, nil
}

package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/fleet/sqlite"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// prompt is how long acting upon a change may take before that is an error.
const prompt = 30 * time.Second

// people are those that are stored: users, groups, devices, and who is banned. What changes in them acts on live clients.
type people struct {
	log      *slog.Logger
	rules    *rules
	db       *sqlite.DB
	accounts *accounts.Accounts
	hashing  *phc.Gate // bounds how many passwords are hashed at once, whoever asks
	bans     *ban.Table
	control  *broker.Control // nil until there is a broker
}

// openAccess opens what says who may do what: the rules of the configuration, and the database with everything that is stored.
func (a *App) openAccess(ctx context.Context) error {
	if err := a.rules.set(&a.cfg); err != nil {
		return err
	}
	dir := ""
	if a.disk != nil {
		dir = a.cfg.Data
	}
	db, err := sqlite.Open(ctx, dir)
	if err != nil {
		return CannotStore(a.cfg.Data, err)
	}
	a.open.add("database", func(context.Context) error { return db.Close() })
	p := a.people
	p.db = db
	p.hashing = phc.NewGate(runtime.GOMAXPROCS(0), a.cfg.Authentication.Password.Queue)
	p.accounts, err = accounts.New(accounts.Options{Store: db.Accounts(), Gate: p.hashing, Scram: a.cfg.Authentication.Scram, CheckRule: acl.Check})
	if err != nil {
		return fmt.Errorf("open the accounts: %w", err)
	}
	a.open.add("accounts", func(context.Context) error { return p.accounts.Close() })
	kept := storedBans{p.accounts}
	p.bans = ban.New(kept)
	banned, err := kept.all(ctx)
	if err == nil {
		err = p.bans.Load(banned)
	}
	if err != nil {
		return fmt.Errorf("read the bans: %w", err)
	}
	return p.readRules(ctx)
}

// openActing has live clients follow what changes in the accounts and the rules, now that there is a broker.
func (a *App) openActing(ctx context.Context) error {
	control := a.broker.Control()
	a.certs.follow(control)
	a.rules.follow(control)
	p := a.people
	p.control = control
	stop := p.accounts.OnForgotten(p.act)
	a.open.add("acting upon accounts", func(context.Context) error { stop(); return nil })
	all, err := p.accounts.All(ctx) // of sessions that were kept only the names are known
	if err != nil {
		return fmt.Errorf("read the accounts: %w", err)
	}
	p.act(all)
	return nil
}

// act does to live clients what a change of accounts, or of a password file, means for them. What fails is logged: the change
// itself holds, and new connections follow it.
func (p *people) act(c *accounts.Changed) {
	ctx, cancel := context.WithTimeout(context.Background(), prompt)
	defer cancel()
	var errs []error
	if c.Rules {
		errs = append(errs, p.readRules(ctx))
	}
	if len(c.Users) > 0 {
		now := time.Now()
		_, err := p.control.DisconnectAll(ctx, func(who *auth.Principal) bool { return c.Revokes(who, now) != "" }, mqtt.NotAuthorized, "the account has changed")
		errs = append(errs, err)
		_, err = p.control.Reidentify(ctx, c.Identity)
		errs = append(errs, err)
		_, err = p.control.Reauthorize(ctx)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil && !errors.Is(err, broker.ErrClosed) {
		p.log.Error("a change of accounts is not in force everywhere", "error", err)
	}
}

// readRules has the policy follow the rules that are stored.
func (p *people) readRules(ctx context.Context) error {
	stored, err := p.accounts.Rules(ctx)
	if err != nil {
		return fmt.Errorf("read the stored rules: %w", err)
	}
	rules := make([]auth.Rule, len(stored))
	for i, r := range stored {
		rules[i] = r.Rule
	}
	return p.rules.policy.Set("stored", rules)
}

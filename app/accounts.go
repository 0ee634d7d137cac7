package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/broker/auth/password"
	"github.com/sapwood-mqtt/sapwood/broker/auth/scram"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/fleet/sqlite"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// prompt is how long acting upon a change may take before that is an error.
const prompt = 30 * time.Second

// openAccounts opens the database and what stands in it about users, groups, rules and bans.
func (a *App) openAccounts(ctx context.Context) error {
	dir := ""
	if a.disk != nil {
		dir = a.cfg.Data
	}
	db, err := sqlite.Open(ctx, dir)
	if err != nil {
		return CannotStore(a.cfg.Data, err)
	}
	a.db = db
	a.onStop("database", func(context.Context) error { return db.Close() })
	a.hashing = newGate(&a.cfg)
	a.accounts, err = accounts.New(accounts.Options{Store: db.Accounts(), Gate: a.hashing, Scram: a.cfg.Authentication.Scram, CheckRule: acl.Check})
	if err != nil {
		return fmt.Errorf("open the accounts: %w", err)
	}
	if len(a.cfg.Authentication.Scram) > 0 {
		secret, err := db.Secret(ctx, "scram")
		if err != nil {
			return fmt.Errorf("open the accounts: %w", err)
		}
		a.exchange = scram.New(scramKeys{a.accounts}, secret, accounts.ScramIterations(), password.NewGuesses(a.cfg.Authentication.Password))
	}
	a.onStop("accounts", func(context.Context) error { return a.accounts.Close() })
	a.bans = ban.New(storedBans{a.accounts})
	kept, err := a.bansKept(ctx)
	if err == nil {
		err = a.bans.Load(kept)
	}
	if err != nil {
		return fmt.Errorf("read the bans: %w", err)
	}
	return a.readRules(ctx)
}

// openActing has live clients follow what changes in the accounts, now that there is a broker.
func (a *App) openActing(ctx context.Context) error {
	stop := a.accounts.OnForgotten(a.actOn)
	a.onStop("acting upon accounts", func(context.Context) error { stop(); return nil })
	all, err := a.accounts.All(ctx) // of sessions that were kept only the names are known
	if err != nil {
		return fmt.Errorf("read the accounts: %w", err)
	}
	a.actOn(all)
	return nil
}

// actOn does to live clients what a change of accounts, or of a password file, means for them. What fails is logged: the change
// itself holds, and new connections follow it.
func (a *App) actOn(c *accounts.Changed) {
	ctx, cancel := context.WithTimeout(context.Background(), prompt)
	defer cancel()
	var errs []error
	if c.Rules {
		errs = append(errs, a.readRules(ctx))
	}
	if a.broker == nil {
		return
	}
	control := a.broker.Control()
	if len(c.Users) > 0 {
		now := time.Now()
		_, err := control.DisconnectAll(ctx, func(p *auth.Principal) bool { return c.Revokes(p, now) != "" }, mqtt.NotAuthorized, "the account has changed")
		errs = append(errs, err)
		_, err = control.Reidentify(ctx, c.Identity)
		errs = append(errs, err)
	}
	if len(c.Users) > 0 || c.Rules {
		_, err := control.Reauthorize(ctx)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil && !errors.Is(err, broker.ErrClosed) {
		a.log.Error("a change of accounts is not in force everywhere", "error", err)
	}
}

// readRules has the policy follow the rules that are stored.
func (a *App) readRules(ctx context.Context) error {
	stored, err := a.accounts.Rules(ctx)
	if err != nil {
		return fmt.Errorf("read the stored rules: %w", err)
	}
	rules := make([]auth.Rule, len(stored))
	for i, r := range stored {
		rules[i] = r.Rule
	}
	return a.policy.Set("stored", rules)
}

// InBackups is the database as backups of the store hold it.
func InBackups(db *sqlite.DB) disk.Beside { return disk.Beside{Name: sqlite.File, Copy: db.Snapshot} }

// backedUp is the store with all that its backups hold.
type backedUp struct {
	*disk.Store
	db *sqlite.DB
}

// Backup is that of disk.Store, and of the database.
func (b backedUp) Backup(ctx context.Context, w io.Writer, progress api.Progress) error {
	return b.Store.Backup(ctx, w, progress, InBackups(b.db))
}

// storedBans keeps bans in the accounts.
type storedBans struct{ *accounts.Accounts }

// PutBan implements ban.Store.
func (s storedBans) PutBan(ctx context.Context, b ban.Ban) error {
	kept := accounts.Ban{Subject: accounts.Subject(b.Subject), Value: b.Value, Quarantine: b.Quarantine, Reason: b.Reason, Until: b.Until, By: b.By}
	old, err := s.same(ctx, b)
	if err != nil {
		return err
	}
	kept.ID = old
	return s.Apply(ctx, []accounts.Change{{Ban: &kept}}, nil)
}

// RemoveBan implements ban.Store.
func (s storedBans) RemoveBan(ctx context.Context, b ban.Ban) error {
	id, err := s.same(ctx, b)
	if err != nil || id == "" {
		return err
	}
	return s.Apply(ctx, []accounts.Change{{Ban: &accounts.Ban{ID: id}, Delete: true}}, nil)
}

// same is the id of the ban that is kept for the same subject and value, "" = none.
func (s storedBans) same(ctx context.Context, b ban.Ban) (string, error) {
	all, err := s.Bans(ctx)
	for _, k := range all {
		if string(k.Subject) == string(b.Subject) && k.Value == b.Value {
			return k.ID, nil
		}
	}
	return "", err
}

// bansKept are those in the accounts.
func (a *App) bansKept(ctx context.Context) ([]ban.Ban, error) {
	kept, err := a.accounts.Bans(ctx)
	var all []ban.Ban
	for _, b := range kept {
		if b.Until.IsZero() || time.Now().Before(b.Until) {
			all = append(all, ban.Ban{Subject: ban.Subject(b.Subject), Value: b.Value, Quarantine: b.Quarantine, Reason: b.Reason, Until: b.Until, By: b.By})
		}
	}
	return all, err
}

// apiClients are the broker's clients as the API acts on them.
type apiClients struct{ *broker.Control }

// Principal implements api.Clients.
func (c apiClients) Principal(ctx context.Context, id string) (*auth.Principal, bool, error) {
	who, err := c.Control.Principal(ctx, id)
	if errors.Is(err, broker.ErrNoClient) {
		return nil, false, nil
	}
	return who, err == nil, err
}

// Disconnect implements api.Clients.
func (c apiClients) Disconnect(ctx context.Context, id, why string) (bool, error) {
	was, err := c.Client(ctx, id)
	if errors.Is(err, broker.ErrNoClient) || err == nil && !was.Connected {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, c.Control.Disconnect(ctx, id, mqtt.AdministrativeAction, why)
}

// apiBans are the broker's bans as the API changes them.
type apiBans struct{ *broker.Control }

// List implements api.Bans.
func (b apiBans) List(context.Context) ([]api.Ban, error) {
	all := b.Bans()
	list := make([]api.Ban, len(all))
	for i, x := range all {
		list[i] = api.Ban{Subject: string(x.Subject), Value: x.Value, Quarantine: x.Quarantine, Reason: x.Reason, Until: x.Until, By: x.By}
	}
	return list, nil
}

// Add implements api.Bans.
func (b apiBans) Add(ctx context.Context, x api.Ban) (int, error) {
	done, err := b.Ban(ctx, ban.Ban{Subject: ban.Subject(x.Subject), Value: x.Value, Quarantine: x.Quarantine, Reason: x.Reason, Until: x.Until, By: x.By})
	return done.Disconnected + done.Changed, err
}

// Remove implements api.Bans.
func (b apiBans) Remove(ctx context.Context, subject, value string) (bool, error) {
	_, err := b.Unban(ctx, ban.Subject(subject), value)
	if errors.Is(err, ban.ErrUnknown) {
		return false, nil
	}
	return err == nil, err
}

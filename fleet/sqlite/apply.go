package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
)

// progressEvery is after how many changes progress is told and ctx looked at.
const progressEvery = 1000

// Apply is that of accounts.Store. When it returns nil the changes are on the disk.
func (a *Accounts) Apply(ctx context.Context, changes []accounts.Change, progress func(done int)) error {
	if err := a.open(); err != nil {
		return err
	}
	// The transaction does not end with ctx: the driver would interrupt a commit that is under way, and nobody would know whether it was made.
	err := a.db.inTransaction(context.WithoutCancel(ctx), func(tx *sql.Tx) error {
		b, err := newBatch(tx)
		if err != nil {
			return err
		}
		for i := range changes {
			if err := b.apply(&changes[i]); err != nil {
				return &accounts.ChangeError{Index: i, Item: changes[i].Item(), Err: err}
			}
			if done := i + 1; done%progressEvery == 0 || done == len(changes) {
				if err := ctx.Err(); err != nil {
					return err
				}
				if progress != nil {
					progress(done)
				}
			}
		}
		return b.check(changes)
	})
	var which *accounts.ChangeError
	if err != nil && ctx.Err() == nil && !errors.As(err, &which) {
		return fmt.Errorf("change accounts: %w", err)
	}
	return err
}

// batch is a transaction with the statements that it uses often.
type batch struct {
	tx         *sql.Tx
	revision   accounts.Revision
	now        time.Time
	statements map[string]*sql.Stmt
}

func newBatch(tx *sql.Tx) (*batch, error) {
	b := &batch{tx: tx, now: time.Now().UTC().Truncate(time.Millisecond), statements: map[string]*sql.Stmt{}}
	err := tx.QueryRow("UPDATE batches SET last = last + 1 RETURNING last").Scan(&b.revision)
	return b, err
}

// prepared is the statement of a text; it ends with the transaction.
func (b *batch) prepared(text string) (*sql.Stmt, error) {
	if s := b.statements[text]; s != nil {
		return s, nil
	}
	s, err := b.tx.Prepare(text)
	if err == nil {
		b.statements[text] = s
	}
	return s, err
}

func (b *batch) exec(text string, args ...any) error {
	s, err := b.prepared(text)
	if err != nil {
		return err
	}
	_, err = s.Exec(args...)
	return err
}

// scan reads one row; false when there is none.
func (b *batch) scan(text string, args []any, read func(row) error) (bool, error) {
	s, err := b.prepared(text)
	if err != nil {
		return false, err
	}
	err = read(s.QueryRow(args...))
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (b *batch) apply(c *accounts.Change) error {
	c.Was = nil
	switch {
	case c.User != nil:
		return b.user(c)
	case c.Group != nil:
		g := c.Group
		return b.item(c, "groups", "name", g.Name, &g.Stamp, func(s accounts.Stamp) error {
			return b.exec("INSERT INTO groups (name, note, revision, created, changed) VALUES (?, ?, ?, ?, ?) "+
				"ON CONFLICT DO UPDATE SET note = excluded.note, revision = excluded.revision, changed = excluded.changed",
				g.Name, g.Note, s.Revision, toMillis(s.Created), toMillis(s.Changed))
		})
	case c.Rule != nil:
		return b.item(c, "rules", "id", c.Rule.ID, &c.Rule.Stamp, func(s accounts.Stamp) error {
			body, err := json.Marshal(c.Rule)
			if err != nil {
				return err
			}
			return b.exec("REPLACE INTO rules (id, body, revision, created, changed) VALUES (?, ?, ?, ?, ?)",
				c.Rule.ID, string(body), s.Revision, toMillis(s.Created), toMillis(s.Changed))
		})
	case c.Ban != nil:
		x := c.Ban
		return b.item(c, "bans", "id", x.ID, &x.Stamp, func(s accounts.Stamp) error {
			return b.exec("REPLACE INTO bans (id, subject, value, quarantine, reason, until, by, revision, created, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
				x.ID, x.Subject, x.Value, x.Quarantine, x.Reason, toMillis(x.Until), x.By, s.Revision, toMillis(s.Created), toMillis(s.Changed))
		})
	}
	return accounts.ErrInvalid
}

// item changes a row whose key is one column.
func (b *batch) item(c *accounts.Change, table, key, value string, to *accounts.Stamp, put func(accounts.Stamp) error) error {
	var was stamp
	if _, err := b.scan("SELECT "+stampColumns+" FROM "+table+" WHERE "+key+" = ?", []any{value}, func(r row) error { return r.Scan(was.to()...) }); err != nil {
		return err
	}
	if err := c.Judge(accounts.Revision(was.revision)); err != nil {
		return err
	}
	if c.Delete {
		return b.exec("DELETE FROM "+table+" WHERE "+key+" = ?", value)
	}
	s := b.stamp(was.stamp())
	if err := put(s); err != nil {
		return err
	}
	*to = s
	return nil
}

// stamp is that of an item that is put now, and was there before or was not.
func (b *batch) stamp(was accounts.Stamp) accounts.Stamp {
	s := accounts.Stamp{Revision: b.revision, Created: b.now, Changed: b.now}
	if was.Revision != 0 {
		s.Created = was.Created
	}
	return s
}

func (b *batch) user(c *accounts.Change) error {
	u := c.User
	var was accounts.User
	there, err := b.scan(selectUser, []any{u.Name}, func(r row) (err error) {
		was, err = scanUser(r)
		return err
	})
	if err != nil {
		return err
	}
	if there {
		c.Was = &was
	}
	if err := c.Judge(was.Revision); err != nil {
		return err
	}
	if c.Delete {
		return b.exec("DELETE FROM users WHERE name = ?", u.Name)
	}
	keys := ""
	if len(u.Keys) > 0 {
		text, err := json.Marshal(u.Keys)
		if err != nil {
			return err
		}
		keys = string(text)
	}
	s := b.stamp(was.Stamp)
	err = b.exec("INSERT INTO users (name, kind, password, keys, client_id, disabled, expires, note, revision, created, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "+
		"ON CONFLICT DO UPDATE SET kind = excluded.kind, password = excluded.password, keys = excluded.keys, client_id = excluded.client_id, disabled = excluded.disabled, "+
		"expires = excluded.expires, note = excluded.note, revision = excluded.revision, changed = excluded.changed",
		u.Name, u.Kind, u.Password, keys, u.ClientID, u.Disabled, toMillis(u.Expires), u.Note, s.Revision, toMillis(s.Created), toMillis(s.Changed))
	if err == nil && len(was.Groups) > 0 {
		err = b.exec("DELETE FROM members WHERE user = ?", u.Name)
	}
	for i, g := range u.Groups {
		if err == nil {
			err = b.exec(`INSERT INTO members (user, "group", position) VALUES (?, ?, ?)`, u.Name, g, i)
		}
	}
	if err == nil {
		u.Stamp = s
	}
	return err
}

// check finds the change that leaves a user in a group that is not there, before the commit would find that there is one.
func (b *batch) check(changes []accounts.Change) error {
	putting, leaving := map[string]int{}, map[string]int{} // groups, by the last change that names or removes them
	for i, c := range changes {
		switch {
		case c.User != nil && !c.Delete:
			for _, g := range c.User.Groups {
				putting[g] = i
			}
		case c.Group != nil && c.Delete:
			leaving[c.Group.Name] = i
		}
	}
	for _, of := range []struct {
		groups map[string]int
		why    error
	}{{putting, accounts.ErrNoGroup}, {leaving, accounts.ErrInUse}} {
		for g, i := range of.groups {
			lost, err := b.scan(`SELECT 1 FROM members WHERE "group" = ? AND NOT EXISTS (SELECT 1 FROM groups WHERE name = ?) LIMIT 1`, []any{g, g},
				func(r row) error { return r.Scan(new(int)) })
			if err != nil {
				return err
			}
			if lost {
				return &accounts.ChangeError{Index: i, Item: changes[i].Item(), Err: of.why}
			}
		}
	}
	return nil
}

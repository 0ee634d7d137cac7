package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
)

// Accounts is an accounts.Store in a database. Closing it leaves the database open.
type Accounts struct {
	db     *DB
	closed atomic.Bool
}

var _ accounts.Store = (*Accounts)(nil)

// Accounts are those of the database.
func (d *DB) Accounts() *Accounts { return &Accounts{db: d} }

// Close is that of accounts.Store.
func (a *Accounts) Close() error {
	a.closed.Store(true)
	return nil
}

func (a *Accounts) open() error {
	if a.closed.Load() {
		return accounts.ErrClosed
	}
	return nil
}

const (
	stampColumns = "revision, created, changed"
	userColumns  = `u.name, u.kind, u.password, u.keys, u.client_id, u.disabled, u.expires, u.note, u.revision, u.created, u.changed,
		coalesce((SELECT group_concat("group", char(10) ORDER BY position) FROM members WHERE user = u.name), '')`
	selectUser = "SELECT " + userColumns + " FROM users u WHERE u.name = ?"
)

// row is what is scanned from.
type row interface{ Scan(to ...any) error }

// stamp are the columns of a stamp.
type stamp struct{ revision, created, changed int64 }

func (s *stamp) to() []any { return []any{&s.revision, &s.created, &s.changed} }

func (s *stamp) stamp() accounts.Stamp {
	return accounts.Stamp{Revision: accounts.Revision(s.revision), Created: fromMillis(s.created), Changed: fromMillis(s.changed)}
}

// toMillis is a time as a column; the zero time is 0.
func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func scanUser(r row) (accounts.User, error) {
	var u accounts.User
	var s stamp
	var keys, groups string
	var expires int64
	if err := r.Scan(append([]any{&u.Name, &u.Kind, &u.Password, &keys, &u.ClientID, &u.Disabled, &expires, &u.Note}, append(s.to(), &groups)...)...); err != nil {
		return u, err
	}
	u.Expires, u.Stamp = fromMillis(expires), s.stamp()
	if groups != "" {
		u.Groups = strings.Split(groups, "\n") // names have no control characters
	}
	if keys != "" {
		if err := json.Unmarshal([]byte(keys), &u.Keys); err != nil {
			return u, fmt.Errorf("the keys of user %q: %w", u.Name, err)
		}
	}
	return u, nil
}

// User is that of accounts.Store.
func (a *Accounts) User(ctx context.Context, name string) (accounts.User, error) {
	if err := a.open(); err != nil {
		return accounts.User{}, err
	}
	u, err := scanUser(a.db.user.QueryRowContext(ctx, name))
	if errors.Is(err, sql.ErrNoRows) {
		return accounts.User{}, accounts.ErrNotFound
	}
	if err != nil {
		return accounts.User{}, fmt.Errorf("read a user: %w", err)
	}
	return u, nil
}

// Users is that of accounts.Store.
func (a *Accounts) Users(ctx context.Context, page accounts.Page) ([]accounts.User, error) {
	query, args := "SELECT "+userColumns+" FROM users u WHERE u.name > ? AND u.name >= ? ORDER BY u.name LIMIT ?", []any{page.After, page.Prefix, page.Size()}
	if page.Group != "" {
		query = "SELECT " + userColumns + ` FROM members m JOIN users u ON u.name = m.user WHERE m."group" = ? AND m.user > ? AND m.user >= ? ORDER BY m.user LIMIT ?`
		args = append([]any{page.Group}, args...)
	}
	users, err := list(ctx, a, scanUser, query, args...)
	for i := range users {
		if !strings.HasPrefix(users[i].Name, page.Prefix) { // names with one prefix stand together
			return users[:i], err
		}
	}
	return users, err
}

// Groups is that of accounts.Store.
func (a *Accounts) Groups(ctx context.Context) ([]accounts.Group, error) {
	return list(ctx, a, func(r row) (g accounts.Group, err error) {
		var s stamp
		err = r.Scan(append([]any{&g.Name, &g.Note}, s.to()...)...)
		g.Stamp = s.stamp()
		return g, err
	}, "SELECT name, note, "+stampColumns+" FROM groups ORDER BY name")
}

// Rules is that of accounts.Store.
func (a *Accounts) Rules(ctx context.Context) ([]accounts.Rule, error) {
	return list(ctx, a, func(r row) (rule accounts.Rule, err error) {
		var s stamp
		var id, body string
		if err := r.Scan(append([]any{&id, &body}, s.to()...)...); err != nil {
			return rule, err
		}
		if err := json.Unmarshal([]byte(body), &rule); err != nil {
			return rule, fmt.Errorf("rule %q: %w", id, err)
		}
		rule.ID, rule.Stamp = id, s.stamp()
		return rule, nil
	}, "SELECT id, body, "+stampColumns+" FROM rules ORDER BY id")
}

// Bans is that of accounts.Store.
func (a *Accounts) Bans(ctx context.Context) ([]accounts.Ban, error) {
	return list(ctx, a, func(r row) (b accounts.Ban, err error) {
		var s stamp
		var until int64
		err = r.Scan(append([]any{&b.ID, &b.Subject, &b.Value, &b.Quarantine, &b.Reason, &until, &b.By}, s.to()...)...)
		b.Until, b.Stamp = fromMillis(until), s.stamp()
		return b, err
	}, "SELECT id, subject, value, quarantine, reason, until, by, "+stampColumns+" FROM bans ORDER BY id")
}

func list[T any](ctx context.Context, a *Accounts, scan func(row) (T, error), query string, args ...any) (items []T, err error) {
	if err := a.open(); err != nil {
		return nil, err
	}
	rows, err := a.db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read accounts: %w", err)
		}
		items = append(items, item)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	return items, nil
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Access is where it is kept who may use the API and what they did there. Its methods may be called from any goroutine.
type Access struct{ db *DB }

// Access is that of the database.
func (d *DB) Access() *Access { return &Access{d} }

// Records are the bodies of all records of a kind, by name.
func (a *Access) Records(ctx context.Context, kind string) (map[string][]byte, error) {
	rows, err := a.db.read.QueryContext(ctx, "SELECT name, body FROM access WHERE kind = ?", kind)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string][]byte{}
	for rows.Next() {
		var name, body string
		if err := rows.Scan(&name, &body); err != nil {
			return nil, err
		}
		found[name] = []byte(body)
	}
	return found, rows.Err()
}

// PutRecord makes a record or replaces it; a nil body removes it. When it returns nil, that is on the disk.
func (a *Access) PutRecord(ctx context.Context, kind, name string, body []byte) error {
	return a.db.inTransaction(context.WithoutCancel(ctx), func(tx *sql.Tx) error { // as Accounts.Apply
		if body == nil {
			_, err := tx.Exec("DELETE FROM access WHERE kind = ? AND name = ?", kind, name)
			return err
		}
		_, err := tx.Exec("REPLACE INTO access (kind, name, body) VALUES (?, ?, ?)", kind, name, string(body))
		return err
	})
}

// AppendAudit adds an entry and returns its id; ids grow. When it returns nil, that is on the disk.
func (a *Access) AppendAudit(ctx context.Context, at time.Time, body []byte) (id int64, err error) {
	err = a.db.inTransaction(context.WithoutCancel(ctx), func(tx *sql.Tx) error {
		return tx.QueryRow("INSERT INTO audit (at, body) VALUES (?, ?) RETURNING id", toMillis(at), string(body)).Scan(&id)
	})
	return id, err
}

// auditPage is how many entries are read at once: nobody holds up the database by looking.
const auditPage = 500

// Audit gives entries with ids below before, 0 = all, the newest first, until each returns false.
func (a *Access) Audit(ctx context.Context, before int64, each func(id int64, body []byte) bool) error {
	for {
		n, last, more, err := a.page(ctx, before, each)
		if err != nil || !more || n < auditPage {
			return err
		}
		before = last
	}
}

func (a *Access) page(ctx context.Context, before int64, each func(id int64, body []byte) bool) (n int, last int64, more bool, err error) {
	rows, err := a.db.read.QueryContext(ctx, "SELECT id, body FROM audit WHERE ?1 = 0 OR id < ?1 ORDER BY id DESC LIMIT ?2", before, auditPage)
	if err != nil {
		return 0, 0, false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var body string
		if err := rows.Scan(&last, &body); err != nil {
			return n, last, false, err
		}
		if n++; !each(last, []byte(body)) {
			return n, last, false, nil
		}
	}
	return n, last, true, rows.Err()
}

// TrimAudit removes all entries but the newest keep, and those that are older than a time.
func (a *Access) TrimAudit(ctx context.Context, keep int, older time.Time) error {
	err := a.db.inTransaction(context.WithoutCancel(ctx), func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM audit WHERE id <= (SELECT id FROM audit ORDER BY id DESC LIMIT 1 OFFSET ?) OR at < ?", keep, toMillis(older))
		return err
	})
	if err != nil {
		return fmt.Errorf("trim the audit log: %w", err)
	}
	return nil
}

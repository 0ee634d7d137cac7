package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
)

// secretBytes is the length of a secret.
const secretBytes = 32

// Secret is a random secret of this database, made when its name is first asked for: the same one as long as the database lasts.
func (d *DB) Secret(ctx context.Context, name string) (secret []byte, err error) {
	fresh := make([]byte, secretBytes)
	_, _ = rand.Read(fresh) // never fails
	err = d.inTransaction(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", name, fresh); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT value FROM secrets WHERE name = ?", name).Scan(&secret)
	})
	if err != nil {
		return nil, fmt.Errorf("read the secret %s: %w", name, err)
	}
	return secret, nil
}

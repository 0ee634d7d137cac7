package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Snapshot writes all that is committed at one moment into a file that is not there yet, as a database of its own that only its owner
// can read. Reading goes on meanwhile, changes wait. What a failure leaves is removed.
func (d *DB) Snapshot(ctx context.Context, path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // SQLite would make it for everybody, but takes an empty one
	if err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("copy the database: %w", err), os.Remove(path))
		}
	}()
	if err := f.Close(); err != nil {
		return err
	}
	_, err = d.write.ExecContext(ctx, "VACUUM INTO ?", path)
	return err
}

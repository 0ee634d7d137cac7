package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

const (
	// vacuumAbove is from how many free bytes on room is given back to the file system: what is less is soon used again.
	vacuumAbove = 64 << 20
	// vacuumPages is how many pages go back at a time.
	vacuumPages = 256
)

// Trim implements fact.Store. By bytes it drops whole steps: at most a step too much.
func (f *Facts) Trim(ctx context.Context, below uint64, bytes int64, step int) (n int, err error) {
	used, free, err := f.used(ctx)
	if err == nil {
		if bytes > 0 && used > bytes {
			below = math.MaxInt64
		}
		if below > 0 {
			n, err = f.drop(ctx, min(below, math.MaxInt64), step)
		}
	}
	if err == nil && free > vacuumAbove {
		_, err = f.write.ExecContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumPages))
	}
	if err != nil {
		return n, fmt.Errorf("drop facts: %w", err)
	}
	return n, nil
}

// drop drops so many of the oldest facts below an id.
func (f *Facts) drop(ctx context.Context, below uint64, step int) (n int, err error) {
	var to *int64
	err = f.read.QueryRowContext(ctx, "SELECT max(id), count(*) FROM (SELECT id FROM facts WHERE id < ? ORDER BY id LIMIT ?)", int64(below), step).Scan(&to, &n)
	if err != nil || to == nil {
		return 0, err
	}
	tx, err := f.write.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	for _, q := range []string{"DELETE FROM facts WHERE id <= ?", "UPDATE state SET last = ?"} {
		if _, err := tx.ExecContext(ctx, q, *to); err != nil {
			return 0, errors.Join(err, undo(tx))
		}
	}
	return n, tx.Commit()
}

// used is how many bytes of the file are used, and how many free.
func (f *Facts) used(ctx context.Context) (used, free int64, err error) {
	var pages, unused, size int64
	err = f.read.QueryRowContext(ctx, "SELECT * FROM pragma_page_count, pragma_freelist_count, pragma_page_size").Scan(&pages, &unused, &size)
	return (pages - unused) * size, unused * size, err
}

// Size implements fact.Store.
func (f *Facts) Size(ctx context.Context) (z fact.Size, err error) {
	if z.Bytes, _, err = f.used(ctx); err == nil {
		err = f.read.QueryRowContext(ctx, "SELECT coalesce(min(id), 0) FROM facts").Scan(&z.Oldest)
	}
	if err != nil {
		return z, fmt.Errorf("measure the facts: %w", err)
	}
	return z, nil
}

// Last implements fact.Store.
func (f *Facts) Last(ctx context.Context) (last uint64, err error) {
	err = f.read.QueryRowContext(ctx, "SELECT max((SELECT coalesce(max(id), 0) FROM facts), last) FROM state").Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("read the last fact: %w", err)
	}
	return last, nil
}

// Close implements fact.Store.
func (f *Facts) Close() error {
	var errs []error
	if f.insert != nil {
		errs = append(errs, f.insert.Close())
	}
	if f.read != nil {
		errs = append(errs, f.read.Close())
	}
	if f.write != nil {
		errs = append(errs, f.write.Close())
	}
	return errors.Join(errs...)
}

// Package sqlite is the embedded database: the relational data of a broker and its fleet in one file. It implements the Store interfaces
// that others declare, with SQL written by hand, and knows nothing of what the data means.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite" // the driver
	lib "modernc.org/sqlite/lib"
)

// File is the name of the database in the data directory.
const File = "sapwood.db"

// Files are the names of all that the database consists of. The first is all of it when nobody has it open.
func Files() []string { return []string{File, File + "-wal", File + "-shm"} }

// applicationID marks a database as ours: "SAPW".
const applicationID = 0x53415057

//go:embed migrations/*.sql
var migrations embed.FS

// DB is an open database. Its methods may be called from any goroutine.
type DB struct {
	path  string // "" = in memory
	write *sql.DB
	read  *sql.DB // the same as write when in memory
	user  *sql.Stmt
}

// Open opens the database in a directory that exists, or makes it; "" keeps it in memory for as long as the process lasts. The
// error of a database that is damaged, newer than this program or somebody else's says what to do.
func Open(ctx context.Context, dir string) (*DB, error) {
	d := &DB{}
	if dir != "" {
		d.path = filepath.Join(dir, File)
		if err := private(d.path); err != nil {
			return nil, fmt.Errorf("open the database: %w", err)
		}
	}
	if err := d.connect(); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if err := d.prepare(ctx); err != nil {
		return nil, errors.Join(d.explain(err), d.Close())
	}
	return d, nil
}

// private makes the file for its owner alone, before SQLite would make it for everybody; the files beside it get the same mode, and those
// that are there already, such as after a crash, are given it.
func private(path string) error {
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Chmod(path+suffix, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	return errors.Join(err, f.Close())
}

// busy is how long a statement waits for another process that holds the database.
const busy = 5 * time.Second

// readers is how many read at once.
const readers = 4

func (d *DB) connect() (err error) {
	pragmas := []string{fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "foreign_keys(1)", "trusted_schema(0)"}
	if d.path == "" {
		d.write, err = open(":memory:", 1, append(pragmas, "journal_mode(MEMORY)"))
		d.read = d.write
		return err
	}
	// A commit is on the disk when it returns: an account that was revoked stays so after a power cut.
	if d.write, err = open(d.path, 1, append(pragmas, "journal_mode(WAL)", "synchronous(FULL)")); err != nil {
		return err
	}
	if d.read, err = open(d.path, readers, append(pragmas, "query_only(1)")); err != nil {
		return errors.Join(err, d.write.Close())
	}
	return nil
}

func open(path string, connections int, pragmas []string) (*sql.DB, error) {
	query := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	if path != ":memory:" {
		path = "file:" + (&url.URL{Path: path}).EscapedPath()
	}
	db, err := sql.Open("sqlite", path+"?"+query.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// The ways in which a database cannot be used.
var (
	errForeign = errors.New("it is the database of another program")
	errNewer   = errors.New("it was written by a newer Sapwood")
	errDamaged = errors.New("it is damaged")
)

// prepare looks whether the database is sound and ours, and brings it to the present schema. It looks by connections that
// change nothing; the one that writes, and by itself sets the journal's mode, is made only then.
func (d *DB) prepare(ctx context.Context) error {
	steps, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	var id, version, tables int
	for _, q := range []struct {
		text string
		to   *int
	}{{"PRAGMA application_id", &id}, {"PRAGMA user_version", &version}, {"SELECT count(*) FROM sqlite_schema", &tables}} {
		if err := d.read.QueryRowContext(ctx, q.text).Scan(q.to); err != nil {
			return err
		}
	}
	switch {
	case id != applicationID && tables > 0:
		return errForeign
	case version > len(steps):
		return fmt.Errorf("%w: its schema is %d, this program knows %d", errNewer, version, len(steps))
	}
	var sound string
	if err := d.read.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&sound); err != nil {
		return err
	}
	if sound != "ok" {
		return fmt.Errorf("%w: %s", errDamaged, sound)
	}
	for ; version < len(steps); version++ {
		if err := d.migrate(ctx, steps[version], version+1); err != nil {
			return fmt.Errorf("migrate by %s: %w", steps[version], err)
		}
	}
	d.user, err = d.read.PrepareContext(ctx, selectUser)
	return err
}

// migrate runs one file and notes the version that it leads to, both or neither.
func (d *DB) migrate(ctx context.Context, name string, version int) error {
	text, err := migrations.ReadFile(name)
	if err != nil {
		return err
	}
	return d.inTransaction(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, fmt.Sprintf("%s\nPRAGMA application_id = %d;\nPRAGMA user_version = %d;", text, applicationID, version))
		return err
	})
}

// inTransaction runs f as the only writer; all it did is kept when it returns nil, nothing otherwise.
func (d *DB) inTransaction(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			return errors.Join(err, undo)
		}
		return err
	}
	return tx.Commit()
}

// explain says what to do about a database that cannot be opened.
func (d *DB) explain(err error) error {
	err = fmt.Errorf("open the database %s: %w", d.path, err)
	var code *sqlite.Error
	corrupt := errors.As(err, &code) && (code.Code()&0xff == lib.SQLITE_CORRUPT || code.Code()&0xff == lib.SQLITE_NOTADB)
	switch {
	case errors.Is(err, errNewer):
		return fmt.Errorf("%w; start the version that wrote it, or put back a backup from before the upgrade", err)
	case errors.Is(err, errForeign):
		return fmt.Errorf("%w; move the file away, or choose another data directory", err)
	case errors.Is(err, errDamaged) || corrupt:
		return fmt.Errorf("%w; put back a backup, or move %s and the files beside it (-wal, -shm) away: the next start makes an empty one, without users", err, d.path)
	}
	return err
}

// Close ends it. What was committed is kept.
func (d *DB) Close() error {
	err := d.write.Close()
	if d.read != d.write {
		err = errors.Join(d.read.Close(), err)
	}
	return err
}

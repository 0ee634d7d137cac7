package sqlite

import (
	"context"
	"database/sql"
	_ "embed" // the schema
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// FactsFile is the name of the database of facts in the data directory. It is one of its own: what it holds may be lost, and must
// not make a commit of accounts wait.
const FactsFile = "events.db"

// factsVersion is the schema, in user_version.
const factsVersion = 1

//go:embed facts.sql
var factsSchema string

// Facts is a fact.Store in a database.
type Facts struct {
	write, read *sql.DB
	insert      *sql.Stmt
	arrived     string // of which facts there is an index by address

	mu    sync.Mutex // guards what follows
	kinds map[fact.Kind]int64
	names map[int64]fact.Kind
	late  int64
}

var _ fact.Store = (*Facts)(nil)

// busyReading is how long a question about facts waits for another process that holds the database. One that writes holds up none.
const busyReading = time.Second

// OpenFacts opens the database of facts in a directory, or makes it. One that is damaged, or of another program or schema, is moved
// aside, which the log tells, and a new one begun: what it holds is not worth a broker that does not start.
func OpenFacts(ctx context.Context, dir string, log *slog.Logger) (*Facts, error) {
	path := filepath.Join(dir, FactsFile)
	f, err := openFacts(ctx, path)
	if err == nil || !unusable(err) {
		return f, err
	}
	old, removed := filepath.Glob(path + ".broken-*") // one is enough to look at: each may be as large as events may be
	for _, name := range old {
		removed = errors.Join(removed, os.Remove(name))
	}
	if removed != nil {
		log.Warn("a broken database of facts stays", "error", removed)
	}
	aside := path + ".broken-" + time.Now().UTC().Format("20060102T150405")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open the facts: %w", err)
		}
	}
	log.Error("the database of facts cannot be used; it is moved aside, and a new one is begun", "file", aside, "error", err)
	return openFacts(ctx, path)
}

// unusable tells whether a database will not get better by trying again: neither permissions nor room are missing.
func unusable(err error) bool {
	var code *sqlite.Error
	if !errors.As(err, &code) {
		return errors.Is(err, errForeign) || errors.Is(err, errDamaged)
	}
	switch code.Code() & 0xff {
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_ERROR: // the last is a schema that is not ours
		return true
	}
	return false
}

func openFacts(ctx context.Context, path string) (_ *Facts, err error) {
	f := &Facts{kinds: map[fact.Kind]int64{}, names: map[int64]fact.Kind{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open the facts %s: %w", path, err), f.Close())
		}
	}()
	if err := private(path); err != nil {
		return nil, err
	}
	// A kill loses nothing that was committed, a power cut at most what came since the last checkpoint.
	pragmas := func(wait time.Duration, more ...string) []string {
		return append(more, fmt.Sprintf("busy_timeout(%d)", wait.Milliseconds()), "trusted_schema(0)")
	}
	if f.write, err = open(path, 1, pragmas(busy, "auto_vacuum(2)", "journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-8000)", "journal_size_limit(16777216)")); err != nil {
		return f, err
	}
	if f.read, err = open(path, readers, pragmas(busyReading, "query_only(1)")); err != nil {
		return f, err
	}
	if err := f.prepare(ctx); err != nil {
		return f, err
	}
	f.insert, err = f.write.PrepareContext(ctx, "INSERT INTO facts VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
	return f, err
}

// prepare makes the schema, or looks at what there is.
func (f *Facts) prepare(ctx context.Context) error {
	var version, tables int
	if err := f.write.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	if err := f.write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case tables == 0:
		if _, err := f.write.ExecContext(ctx, fmt.Sprintf("BEGIN;\n%s\nPRAGMA user_version = %d;\nCOMMIT", factsSchema, factsVersion)); err != nil {
			return err
		}
	case version != factsVersion:
		return fmt.Errorf("%w: its schema is %d, this program knows %d", errForeign, version, factsVersion)
	}
	if err := f.indexAddresses(ctx); err != nil {
		return err
	}
	if err := f.write.QueryRowContext(ctx, "SELECT late FROM state").Scan(&f.late); err != nil {
		return err
	}
	rows, err := f.write.QueryContext(ctx, "SELECT id, name FROM kinds")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var name fact.Kind
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
		f.kinds[name], f.names[id] = id, name
	}
	return rows.Err()
}

// null is a text as a column: what does not apply takes no room.
func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func nullNumber(n uint64) any {
	if n == 0 {
		return nil
	}
	return int64(n)
}

// Append implements fact.Store.
func (f *Facts) Append(ctx context.Context, facts []fact.Fact) (err error) {
	tx, err := f.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("keep facts: %w", err)
	}
	fresh := map[fact.Kind]int64{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("keep facts: %w", err), undo(tx))
		}
	}()
	late, err := f.insertAll(ctx, tx, facts, fresh)
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = late
	for name, id := range fresh {
		f.kinds[name] = id
	}
	return nil
}

// insertAll adds rows, and the kinds that are new to fresh. It tells how late facts are by now.
func (f *Facts) insertAll(ctx context.Context, tx *sql.Tx, facts []fact.Fact, fresh map[fact.Kind]int64) (late int64, err error) {
	insert := tx.StmtContext(ctx, f.insert)
	f.mu.Lock()
	known := f.late
	f.mu.Unlock()
	late = known
	for i := range facts {
		x := &facts[i]
		kind, err := f.kind(ctx, tx, x.Kind, fresh)
		if err != nil {
			return late, err
		}
		late = max(late, int64(x.ID)-x.At.UnixMicro())
		values, err := columns(x, kind)
		if err != nil {
			return late, err
		}
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			return late, err
		}
	}
	if late > known {
		_, err = tx.ExecContext(ctx, "UPDATE state SET late = ?", late)
	}
	return late, err
}

// undo rolls back what was not committed, if there is anything left to roll back.
func undo(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return nil
}

// columns are a fact as a row.
func columns(x *fact.Fact, kind int64) ([]any, error) {
	var at, topic, key, detail any
	if micros := x.At.UnixMicro(); micros != int64(x.ID) {
		at = micros
	}
	if x.Topic != "" {
		k := fact.Key(x.Topic)
		key = k
		if k != x.Topic {
			topic = x.Topic
		}
	}
	if len(x.Detail) > 0 {
		text, err := json.Marshal(x.Detail)
		if err != nil {
			return nil, err
		}
		detail = string(text)
	}
	return []any{
		int64(x.ID), at, kind, null(x.Client), null(x.User), null(x.Address), null(x.Listener), topic, key,
		null(x.Reason), nullNumber(uint64(x.Code)), nullNumber(x.Count), null(x.Text), detail,
	}, nil
}

// kind is the number of a kind, a new one if it has none yet.
func (f *Facts) kind(ctx context.Context, tx *sql.Tx, name fact.Kind, fresh map[fact.Kind]int64) (int64, error) {
	f.mu.Lock()
	id, ok := f.kinds[name]
	f.mu.Unlock()
	if ok {
		return id, nil
	}
	if id, ok = fresh[name]; ok {
		return id, nil
	}
	done, err := tx.ExecContext(ctx, "INSERT INTO kinds (name) VALUES (?)", string(name))
	if err != nil {
		return 0, err
	}
	id, err = done.LastInsertId()
	fresh[name] = id
	f.mu.Lock()
	f.names[id] = name // who reads may see the row before Append returns
	f.mu.Unlock()
	return id, err
}

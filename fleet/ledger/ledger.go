// Package ledger watches that the broker's books balance, and carries them over restarts, with the counts by topic and by client: what was
// counted is saved each minute and at the end, and what a start finds queued is set against what the last end left. It counts nothing
// itself; the law is that of broker/tally.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
)

// Source is a broker's View.
type Source interface {
	Books(ctx context.Context) (broker.Books, error)
	Unbalanced(ctx context.Context, most int) (bad map[string]int64, looked int, err error)
}

// Options are what a ledger stands on.
type Options struct {
	Dir     string        // where the books are saved; "" = nowhere
	Rows    Rows          // counts by topic and by client, which are carried over too; nil = they are not
	Check   time.Duration // 0 = 5 s
	Save    time.Duration // 0 = a minute
	Logger  *slog.Logger  // nil = discard
	Tell    func(Finding) // nil = nobody; called once for each imbalance
	Patient int           // checks that a difference has to outlive; 0 = 3
}

// Finding is that the books do not balance.
type Finding struct {
	What       string // shard, travel, or client
	Name       string // of the client, or the number of the shard
	Difference int64  // copies, or messages, that are not accounted for
	Text       string
}

// Ledger watches one broker. Its methods may be called from any goroutine.
type Ledger struct {
	source Source
	o      Options
	log    *slog.Logger

	mu      sync.Mutex
	carried Carried
	found   map[string]*doubt // by what and name
	checked time.Time
	alarm   time.Time // when an imbalance was told last
	clients int       // looked at
	counted uint64
	last    broker.Books

	saving  rowsSaved // of who saves: Open, then Run, then Close
	refused []string  // see Refused; only Open writes to it
	opened  time.Time
}

// doubt is a difference that was seen.
type doubt struct {
	Finding
	since time.Time
	seen  int
	told  bool
}

// Open returns a ledger of a broker that has just started, with the books of its earlier runs. That a file of those cannot be used keeps
// nobody from starting: it is put aside, which Refused tells, and the books begin anew. With an error too there is a ledger.
func Open(ctx context.Context, source Source, o Options) (*Ledger, error) {
	if o.Check <= 0 {
		o.Check = 5 * time.Second
	}
	if o.Save <= 0 {
		o.Save = time.Minute
	}
	if o.Patient <= 0 {
		o.Patient = 3
	}
	l := &Ledger{source: source, o: o, log: o.Logger, found: make(map[string]*doubt), opened: time.Now()}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	now, err := source.Books(ctx)
	if err != nil {
		return l, fmt.Errorf("read the books: %w", err)
	}
	l.last = now
	l.carried.Since = now.Since
	saved, err := load(o.Dir)
	if err != nil {
		l.refuse(fileName, "the books", err)
	}
	if saved == nil {
		return l, errors.Join(l.loadRows(ctx, false), l.saveLines(ctx, false))
	}
	l.carried = saved.carryOver(int64(now.Total.Start))
	if gap := l.carried.Crashed - saved.Carried.Crashed; gap != 0 {
		l.log.Warn("the broker had ended without saving its books: what it did since they were saved is not in them",
			"saved", saved.At, "queued_then", saved.stock(), "queued_now", now.Total.Start, "difference", gap)
	}
	// This run has begun, and may end without another word.
	return l, errors.Join(l.loadRows(ctx, saved.Clean), l.saveLines(ctx, false))
}

// Run checks and saves until ctx ends. Then call Close.
func (l *Ledger) Run(ctx context.Context) {
	check, save := time.NewTicker(l.o.Check), time.NewTicker(l.o.Save)
	defer check.Stop()
	defer save.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-check.C:
			if err := l.Check(ctx, n%12 == 0); err != nil && ctx.Err() == nil {
				l.log.Warn("the books could not be checked", "error", err)
			}
		case <-save.C:
			if err := l.save(ctx, false); err != nil && ctx.Err() == nil {
				l.log.Warn("the books could not be saved", "error", err)
			}
		}
	}
}

// Close saves the books for the last time: the broker is closed, and nothing changes them any more.
func (l *Ledger) Close(ctx context.Context) error { return l.save(ctx, true) }

// Check looks whether the books balance, with clients also whether those of each client do. A difference counts once it was there
// at several checks in a row.
func (l *Ledger) Check(ctx context.Context, clients bool) error {
	books, err := l.source.Books(ctx)
	if err != nil {
		return err
	}
	var bad map[string]int64
	looked := 0
	if clients {
		if bad, looked, err = l.source.Unbalanced(ctx, 100); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := make(map[string]bool)
	note := func(what, name string, n int64, text string) {
		seen[what+name] = true
		l.note(Finding{What: what, Name: name, Difference: n, Text: text}, books.At)
	}
	for i := range books.Shards {
		s := &books.Shards[i]
		if n := s.Difference(); n != 0 {
			note("copies", fmt.Sprint(i), n, fmt.Sprintf("%d copies of messages on event loop %d are not accounted for", n, i))
		}
		if n := s.Messages(); n != 0 {
			note("messages", fmt.Sprint(i), n, fmt.Sprintf("%d messages that came in on event loop %d are not accounted for", n, i))
		}
	}
	was := &l.last.Total
	if n := books.Total.Moving(); n != 0 && books.Total.Mailed == was.Mailed && books.Total.Got == was.Got {
		note("travel", "", n, fmt.Sprintf("%d copies left one event loop and did not come to another", n))
	}
	for id, n := range bad {
		note("client", id, n, fmt.Sprintf("%d copies that came for the client %q are not accounted for", n, id))
	}
	for key, d := range l.found {
		if !seen[key] && (clients || d.What != "client") {
			delete(l.found, key)
		}
	}
	l.last, l.checked = books, books.At
	if clients {
		l.clients = looked
	}
	return nil
}

// note keeps a difference in mind, and tells of one that lasts. That of a client is told at once: its law holds at any moment.
func (l *Ledger) note(f Finding, at time.Time) {
	key := f.What + f.Name
	d := l.found[key]
	if d == nil || d.Difference != f.Difference && f.What == "travel" {
		d = &doubt{since: at}
		l.found[key] = d
	}
	d.Finding = f
	if d.seen++; d.told || d.seen < l.o.Patient && f.What != "client" {
		return
	}
	d.told = true
	l.counted++
	l.alarm = time.Now()
	l.log.Error("the books do not balance", "what", f.What, "name", f.Name, "difference", f.Difference, "text", f.Text)
	if l.o.Tell != nil {
		l.o.Tell(f)
	}
}

// Imbalances is how many were found since the start.
func (l *Ledger) Imbalances() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counted
}

// Findings are those that last, and when the last one was found, of those too that have gone; the zero time = none since the start. It asks nobody.
func (l *Ledger) Findings() (last []Finding, alarm time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.findings(), l.alarm
}

// Refused tells, one sentence each, what of earlier runs could not be used, and when that was found.
func (l *Ledger) Refused() ([]string, time.Time) { return l.refused, l.opened }

// refuse puts a file aside that cannot be used, in place of the one that was put aside before.
func (l *Ledger) refuse(name, what string, why error) {
	aside := name + ".damaged"
	kept := fmt.Sprintf("The file is kept as %s; if there is a better one, stop the broker and put that in as %s.", aside, name)
	if err := os.Rename(filepath.Join(l.o.Dir, name), filepath.Join(l.o.Dir, aside)); err != nil {
		kept = fmt.Sprintf("The file could not be put aside: %v.", err)
	}
	text := fmt.Sprintf("Of earlier runs %s cannot be used (%v): they begin anew. %s", what, why, kept)
	l.log.Warn(text)
	l.refused = append(l.refused, text)
}

// findings are those that were told and last, by what they are of. The caller holds the lock.
func (l *Ledger) findings() (last []Finding) {
	for _, key := range slices.Sorted(maps.Keys(l.found)) {
		if d := l.found[key]; d.told {
			last = append(last, d.Finding)
		}
	}
	return last
}

// Report is the state of the books.
type Report struct {
	At         time.Time
	Since      time.Time // the first run that is in them
	Checked    time.Time
	Balanced   bool
	Imbalances uint64    // found since the start
	Findings   []Finding // that last
	Clients    int       // whose own books were looked at
	Crashed    int64     // see Carried
	Stopped    int64
	Lines      tally.Lines // of all runs; Start is that of the first, Mailed and Got are those of this run
}

// Report reads the books.
func (l *Ledger) Report(ctx context.Context) (Report, error) {
	books, err := l.source.Books(ctx)
	if err != nil {
		return Report{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Report{
		At: books.At, Since: l.carried.Since, Checked: l.checked, Imbalances: l.counted, Clients: l.clients,
		Crashed: l.carried.Crashed, Stopped: l.carried.Stopped,
		Lines: l.carried.with(&books.Total), Findings: l.findings(),
	}
	r.Balanced = books.Balanced() && len(r.Findings) == 0
	return r, nil
}

// Difference is how many copies are not accounted for, over all runs: 0 when the law holds, with what travels between loops and
// what restarts lost or found.
func (r *Report) Difference() int64 {
	return r.Lines.Difference() - r.Crashed - r.Stopped
}

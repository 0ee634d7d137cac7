package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/tally"
)

// fileName is the file of the books in the data directory.
const fileName = "books.json"

// Carried is what earlier runs have counted.
type Carried struct {
	Since   time.Time   `json:"since"`
	Runs    int         `json:"runs"`
	Lines   tally.Lines `json:"lines"`   // Start is that of the first run; what is where and what travels is not in them
	Crashed int64       `json:"crashed"` // copies queued or on their way when the books were saved, less those found after a crash
	Stopped int64       `json:"stopped"` // the same of clean stops: what was not in the store
}

// saved is the file.
type saved struct {
	Version int         `json:"version"`
	At      time.Time   `json:"at"`
	Clean   bool        `json:"clean"` // the broker was closed
	Carried Carried     `json:"carried"`
	Run     tally.Lines `json:"run"` // of the run that saved it
}

// stock is how many copies were somewhere.
func (s *saved) stock() int64 {
	return s.Run.Queued + s.Run.Waiting + s.Run.Ending + s.Run.Moving()
}

// carryOver closes the books of a run that ended, and tells those that the next one, which found so many copies queued, begins with.
func (s *saved) carryOver(found int64) Carried {
	c := s.Carried
	c.Lines = c.with(&s.Run)
	c.Lines.Queued, c.Lines.Waiting, c.Lines.Ending, c.Lines.Mailed, c.Lines.Got = 0, 0, 0, 0, 0
	c.Runs++
	if gap := s.stock() - found; s.Clean {
		c.Stopped += gap
	} else {
		c.Crashed += gap
	}
	return c
}

// with adds the lines of a run. What it found queued was there already, unless it is the first.
func (c *Carried) with(run *tally.Lines) tally.Lines {
	all, r := c.Lines, *run
	if c.Runs > 0 {
		r.Start = 0
	}
	all.Add(&r)
	return all
}

// load reads the file; nil = there is none.
func load(dir string) (*saved, error) {
	if dir == "" {
		return nil, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := new(saved)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, err
	}
	if s.Version != 1 {
		return nil, fmt.Errorf("it is of version %d, known is 1", s.Version)
	}
	return s, nil
}

// rowsSaved is how the rows were saved last.
type rowsSaved struct {
	at    time.Time
	pause time.Duration // until they may be saved again
	lines tally.Lines   // as they were before
}

// save saves the books, and with them the rows when it is time for that. The lines are read after the rows, so they have all that those have,
// and are on the disk before them.
func (l *Ledger) save(ctx context.Context, clean bool) error {
	if l.o.Dir == "" {
		return nil
	}
	rows, wrong := l.saveRows(ctx, clean)
	err := l.saveLines(ctx, clean)
	if rows != "" && err == nil {
		err = os.Rename(rows, filepath.Join(l.o.Dir, rowsName))
	} else if rows != "" {
		err = errors.Join(err, os.Remove(rows))
	}
	return errors.Join(wrong, err)
}

// saveRows writes the rows beside the file they are to replace; "" = it is not time for that, or nothing has changed.
func (l *Ledger) saveRows(ctx context.Context, clean bool) (name string, err error) {
	s := &l.saving
	if l.o.Rows == nil || !clean && time.Since(s.at) < s.pause {
		return "", nil
	}
	books, err := l.source.Books(ctx)
	if err != nil || books.Total == s.lines && !s.at.IsZero() {
		return "", err
	}
	began := time.Now()
	name, size, err := l.writeRows(ctx)
	s.at = time.Now()
	s.pause = max(rowsShare*s.at.Sub(began), time.Duration(size)*time.Second/rowsPace)
	if err != nil {
		s.lines = tally.Lines{}
		return "", fmt.Errorf("save the counts by topic and by client: %w", err)
	}
	s.lines = books.Total
	return name, nil
}

func (l *Ledger) saveLines(ctx context.Context, clean bool) error {
	if l.o.Dir == "" {
		return nil
	}
	books, err := l.source.Books(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	s := saved{Version: 1, At: time.Now(), Clean: clean, Carried: l.carried, Run: books.Total}
	l.mu.Unlock()
	b, err := json.Marshal(&s)
	if err != nil {
		return err
	}
	return replace(filepath.Join(l.o.Dir, fileName), b)
}

// replace writes a file whole or not at all.
func replace(name string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(b); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	return f.Close()
}

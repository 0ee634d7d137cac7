// Package history keeps the process's own figures for 30 days at falling resolution, in a few megabytes of append-only files: 10 s for a
// day, a minute for a week, ten minutes for the rest, with the lowest, mean and highest value of each gauge. It is for charts: what it cannot
// write it drops, and nothing waits for it. It does not know what the figures mean.
package history

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Config says how much is kept.
type Config struct {
	Enabled bool  `yaml:"enabled" reload:"restart" doc:"Keep the figures of GET /api/v1/history, below history in the data directory; with durability memory, in memory."`
	Bytes   int64 `yaml:"bytes" reload:"restart" unit:"bytes" min:"1048576" doc:"What the files may take; beyond it the oldest of the finest resolution go first."`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return Config{Enabled: true, Bytes: 256 << 20} }

// Kind is how a figure behaves.
type Kind uint8

// The kinds.
const (
	Gauge   Kind = iota // goes up and down
	Counter             // only grows while the process runs
)

// Sample is one figure at one time.
type Sample struct {
	Metric string
	Labels string // as {a="b",c="d"}; "" = none
	Kind   Kind
	Value  float64 // NaN = not known
}

// Options are what a History stands on.
type Options struct {
	Dir    string       // "" = in memory
	Bytes  int64        // 0 = that of DefaultConfig
	Logger *slog.Logger // nil = discard
	Free   func() int64 // what is left on Dir's file system; below MinFree nothing is written. nil = nobody asks
}

// MinFree is what is left to others on the file system.
const MinFree = 64 << 20

// maxSeries bounds what is told apart; what comes beyond is counted and not kept.
const maxSeries = 4000

// resolutions are the tiers: each keeps steps for a time, in files that cover a part of it.
func resolutions() []tier {
	const day = 24 * time.Hour
	return []tier{
		{name: "10s", step: 10, keep: day, span: 2 * time.Hour},
		{name: "1m", step: 60, keep: 7 * day, span: 12 * time.Hour},
		{name: "10m", step: 600, keep: 30 * day, span: 2 * day},
	}
}

// History is open until Close. Its methods may be called from any goroutine.
type History struct {
	o   Options
	log *slog.Logger

	mu      sync.Mutex // guards all below, and the tiers
	series  []series
	byKey   map[key]int
	tiers   []tier
	figures Figures
	warned  time.Time
	closed  bool
}

type key struct{ metric, labels string }

type series struct {
	key
	kind Kind
	base float64 // of a counter: what earlier processes counted, so that what is kept never falls
}

// Figures tell how the history is.
type Figures struct {
	Series  int       `json:"series"`
	Bytes   int64     `json:"bytes"`
	Rows    uint64    `json:"rows" doc:"Written since the start."`
	Dropped uint64    `json:"dropped" doc:"Rows that could not be written, and samples of more series than are told apart."`
	Aside   int       `json:"set_aside" doc:"Files found damaged at the start."`
	Oldest  time.Time `json:"oldest,omitzero"`
}

// Open takes over what an earlier process kept. What is damaged is set aside with the ending .damaged, the newest of it only; an error
// says that the directory cannot be used at all.
func Open(o Options) (*History, error) {
	h := &History{o: o, log: o.Logger, byKey: map[key]int{}, tiers: resolutions()}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.o.Bytes <= 0 {
		h.o.Bytes = DefaultConfig().Bytes
	}
	if o.Dir == "" {
		return h, nil
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(o.Dir, "*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	for _, name := range names {
		h.find(name)
	}
	for i := range h.tiers {
		h.resume(i)
	}
	h.sealed()
	return h, nil
}

// Append takes the figures of one moment. They should come once a second; the slice is the caller's.
func (h *History) Append(now time.Time, samples []Sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.advance(0, now.Unix())
	t := &h.tiers[0]
	for i := range samples {
		s := &samples[i]
		if s.Value != s.Value {
			continue
		}
		if id := h.id(s.Metric, s.Labels, s.Kind); id >= 0 {
			v := s.Value + h.series[id].base
			t.take(id, triple{v, v, v})
		}
	}
}

// id is the number of a series, -1 if there is no room for it.
func (h *History) id(metric, labels string, kind Kind) int {
	k := key{metric, labels}
	id, known := h.byKey[k]
	if known {
		return id
	}
	if len(h.series) >= maxSeries {
		h.figures.Dropped++
		return -1
	}
	id = len(h.series)
	h.byKey[k] = id
	h.series = append(h.series, series{key: k, kind: kind})
	return id
}

// advance writes what is complete at second now in tier i, and hands it on to the next one.
func (h *History) advance(i int, now int64) {
	t := &h.tiers[i]
	step := now / t.step
	if t.filled && step != t.current {
		h.write(t)
		if i+1 < len(h.tiers) {
			h.advance(i+1, t.current*t.step)
			next := &h.tiers[i+1]
			for id := range t.cells {
				if c := &t.cells[id]; c.n > 0 {
					next.take(id, c.triple(h.series[id].kind))
				}
			}
		}
		t.clear()
	}
	t.current = step
}

// Close writes what there is, so that a process that stops and starts again loses none of its counts.
func (h *History) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	if t := &h.tiers[0]; t.filled {
		h.write(t)
	}
	var errs []error
	for i := range h.tiers {
		errs = append(errs, h.tiers[i].shut())
	}
	return errors.Join(errs...)
}

// Figures tell how the history is.
func (h *History) Figures() Figures {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.figures
	f.Series = len(h.series)
	for i := range h.tiers {
		for _, file := range h.tiers[i].files {
			f.Bytes += file.size + file.columns
			if at := time.Unix(file.start, 0); f.Oldest.IsZero() || at.Before(f.Oldest) {
				f.Oldest = at
			}
		}
	}
	return f
}

// warn tells once an hour what is not kept, and why.
func (h *History) warn(err error) {
	h.figures.Dropped++
	if now := time.Now(); now.Sub(h.warned) >= time.Hour {
		h.warned = now
		h.log.Warn("the history of figures has a gap", "error", err)
	}
}

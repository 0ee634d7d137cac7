// Package vitals takes the pulse of the process once a second, for everybody who wants to know: what the broker counted, how busy process
// and machine are, what is near its limit, and whether that is fine. One sampler serves all readers and feeds the history. It only looks: it
// changes nothing and decides nothing.
package vitals

import (
	"context"
	"encoding/json"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/history"
	"github.com/sapwood-mqtt/sapwood/fleet/load"
)

// Every is the time between two readings.
const Every = time.Second

// Options are where the figures come from. The functions are called by the sampler's goroutine alone, but for Changes and Health; those that may be nil
// say so.
type Options struct {
	Version  string
	Stats    func() (broker.Stats, bool)
	Loops    func() ([]broker.LoopFigures, bool)
	Queued   func() int                // messages kept for sessions that last
	Store    func() *Store             // nil, or returns nil = nothing is kept on disk
	Health   func() error              // of Store at this moment, nil = it is well; nil = only Store tells. Called by readers of Now, and fast
	Doors    func() []Door             // where clients come in
	Backends func() []Backend          // who is asked who they are; nil = nobody
	Books    func() uint64             // times that the books did not balance; nil = nobody looks
	Logins   func() uint64             // wrong ones at the API; nil = none are counted
	State    func() State              // how the process is
	Changes  func() []fact.Fact        // what happened in the last hour and is worth seeing; nil = nobody knows. Called by readers of Now
	Problems func() []Problem          // what others found wrong; nil = nobody looks
	History  *history.History          // nil = none is kept
	Late     func() time.Duration      // how overdue an event loop is; nil = nobody knows
	Kept     func() []Series           // figures of others, which the history keeps, but for histograms; nil = none. It must not wait
	More     func() []Series           // figures of others, which the history does not keep; nil = none. It must not wait
	Read     func(time.Time) load.Load // nil = of this process
}

// Store is the engine on disk.
type Store struct {
	Health               string // "ok", or why growth is refused
	Bytes, Live          int64
	Free                 int64  // on the file system, negative = not known
	Commits              uint64 // groups
	Written              uint64 // bytes
	CommitP50, CommitP99 time.Duration
	Damaged              int
}

// Door is one place where clients come in.
type Door struct {
	Name, URL   string
	Door        *broker.Door
	Connections int
	Handshaking int // also those that wait for it
	Turned      map[string]uint64
	Expires     time.Time // of the certificate that ends first; zero = there is none
}

// Backend is one that is asked who clients are.
type Backend struct {
	Name                               string
	Accepted, Refused, Unknown, Failed uint64
	CacheHits                          uint64
	Open                               bool // it fails, and is not asked at present
}

// Kept are the limits of what the broker keeps for all.
type Kept struct {
	Retained                   int
	RetainedBytes, QueuedBytes int64
}

// State is how the process is.
type State struct {
	Ready          error // nil = it is
	Overload       int   // the level, 0 = none
	OverloadWhy    string
	Warnings       []string
	MaxConnections int           // 0 = no limit
	Kept           Kept          // the limits of what all clients together have kept; 0 = none
	LagLimit       time.Duration // from which on new connections are refused; 0 = none
}

// Snapshot is one reading. It does not change any more.
type Snapshot struct {
	At     time.Time
	Stats  Stats
	Load   Load
	Series []Series
	Delays loop.Delays // turns of all event loops since the start

	raw   broker.Stats
	state State
	store *Store
	doors []Door
	back  []Backend
	core  int     // how many of Series are of the sampler itself
	heavy float64 // cores in use, of the last ten seconds

	once  [2]sync.Once
	texts [2][]byte
}

// StatsJSON and LoadJSON are made once for all who watch.
func (s *Snapshot) StatsJSON() []byte { return s.text(0, &s.Stats) }

// LoadJSON is as StatsJSON.
func (s *Snapshot) LoadJSON() []byte { return s.text(1, &s.Load) }

func (s *Snapshot) text(i int, v any) []byte {
	s.once[i].Do(func() {
		b, err := json.Marshal(v)
		if err != nil { // no value of ours is not to be written
			b = []byte("null")
		}
		s.texts[i] = b
	})
	return s.texts[i]
}

// Vitals are sampled from Run on. Methods may be called from any goroutine.
type Vitals struct {
	o     Options
	began time.Time
	last  atomic.Pointer[Snapshot]

	mu   sync.Mutex
	news chan struct{} // closed with the next snapshot

	// The sampler's own.
	read    func(time.Time) load.Load
	delays  []loop.Delays // of each loop, at the last reading
	cpu     []float64
	past    []minute  // of the last hour, oldest first; never empty; guarded by mu
	earlier counts    // what earlier processes counted in the hour before this one; constant after recall
	kept    time.Time // when the last of past was taken
	feed    []history.Sample
	seen    map[string]bool // counters with labels that were not zero once

	normal normal
	now    struct { // of readers
		sync.Mutex
		of     *Snapshot
		health string
		answer Now
	}
}

// New prepares a sampler; Run has it work.
func New(o Options) *Vitals {
	v := &Vitals{o: o, began: time.Now(), news: make(chan struct{}), read: o.Read, seen: map[string]bool{}}
	v.past = []minute{{at: v.began}}
	if v.read == nil {
		v.read = load.NewReader().Read
	}
	return v
}

// Run samples until ctx ends. What it reads may make it wait; then readers see an old Snapshot.
func (v *Vitals) Run(ctx context.Context) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	v.recall()
	v.sample(time.Now())
	for {
		select {
		case <-ctx.Done():
			if s := v.Latest(); s != nil && time.Since(s.At) < stale { // the last second is history, too
				v.sample(time.Now())
			}
			return
		case now := <-tick.C:
			v.sample(now)
		}
	}
}

// Latest is the last reading, nil before the first.
func (v *Vitals) Latest() *Snapshot { return v.last.Load() }

// Next waits for a reading that is not old (nil = any).
func (v *Vitals) Next(ctx context.Context, old *Snapshot) (*Snapshot, error) {
	for {
		v.mu.Lock()
		s, news := v.last.Load(), v.news
		v.mu.Unlock()
		if s != old && s != nil {
			return s, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// sample takes one reading.
func (v *Vitals) sample(now time.Time) {
	raw, ok := v.o.Stats()
	if !ok {
		return // the broker is closed
	}
	loops, ok := v.o.Loops()
	if !ok {
		return
	}
	before := v.last.Load()
	s := &Snapshot{At: now, raw: raw, state: v.o.State(), doors: v.o.Doors()}
	if v.o.Store != nil {
		s.store = v.o.Store()
	}
	if v.o.Backends != nil {
		s.back = v.o.Backends()
	}
	r := Rates{}
	if before != nil {
		r = rates(&raw, &before.raw, now.Sub(before.At).Seconds())
	}
	s.Stats = statsOf(&raw, now, v.began, Amount{v.o.Queued(), raw.QueuedBytes}, r)
	v.measure(s, v.read(now), loops)
	s.Series = v.series(s)
	v.remember(s)
	v.mu.Lock()
	v.last.Store(s)
	close(v.news)
	v.news = make(chan struct{})
	v.mu.Unlock()
	if v.o.History != nil {
		v.o.History.Append(now, v.samples(s))
	}
}

// samples are the figures for the history. Counts by reason are told from when there was one.
func (v *Vitals) samples(s *Snapshot) []history.Sample {
	v.feed = v.feed[:0]
	for i := range s.Series[:s.core] {
		x := &s.Series[i]
		if x.Name == "info" || math.IsNaN(x.Value) {
			continue
		}
		if x.Kind == history.Counter && x.Labels != "" && !v.seen[x.Name+x.Labels] {
			if x.Value == 0 {
				continue
			}
			v.seen[x.Name+x.Labels] = true
		}
		v.feed = append(v.feed, history.Sample{Metric: x.Metric(), Labels: x.Labels, Kind: x.Kind, Value: x.Value})
	}
	return v.feed
}

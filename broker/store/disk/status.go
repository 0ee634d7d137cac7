package disk

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Status is what the engine tells about itself.
type Status struct {
	Level    Level         `json:"durability"`
	Health   string        `json:"health"` // "ok", or why growth is refused
	Dir      string        `json:"dir"`
	Segments []Segment     `json:"segments"`
	Bytes    int64         `json:"bytes"`      // on disk, spare segments and checkpoints included
	Live     int64         `json:"live_bytes"` // of those, what is still needed, about
	Free     int64         `json:"free_bytes"` // left on the file system; -1 = the system does not tell
	Commits  Commits       `json:"commits"`
	Start    Start         `json:"start"`
	Damage   []Damage      `json:"damage,omitempty"` // found since the process began, the newest 100
	Damaged  int           `json:"damaged"`          // how many there were
	Saved    time.Time     `json:"checkpoint"`       // when the last checkpoint was written
	Tail     int64         `json:"tail_bytes"`       // of the log behind it: what a restart has to read
	Lag      time.Duration `json:"unsynced_ns"`      // durability process: the age of the oldest write not synced
}

// Segment is one file of the log.
type Segment struct {
	Number uint32 `json:"number"`
	Kind   string `json:"kind"` // "log", "cold" (survivors of a compaction)
	Bytes  int64  `json:"bytes"`
	Live   int64  `json:"live_bytes"`
}

// Commits are the figures of the group commit since the process began.
type Commits struct {
	Batches  uint64        `json:"batches"`
	Records  uint64        `json:"records"`
	Groups   uint64        `json:"groups"` // writes, and with fsync syncs
	Bytes    uint64        `json:"bytes"`
	Failed   uint64        `json:"failed"`       // batches
	SyncLast time.Duration `json:"sync_last_ns"` // the time that a group's write took, with fsync that of its sync too
	SyncMax  time.Duration `json:"sync_max_ns"`
	SyncP50  time.Duration `json:"sync_p50_ns"` // of the last 1,024 groups
	SyncP99  time.Duration `json:"sync_p99_ns"`
}

// Start is how the engine found its data.
type Start struct {
	Took        time.Duration `json:"took_ns"`
	Checkpoint  string        `json:"checkpoint"` // file name; "" = none
	Replayed    int64         `json:"replayed_bytes"`
	Records     int64         `json:"replayed_records"`
	Cut         int64         `json:"cut_bytes"` // of a torn tail: never acknowledged
	Quarantined int64         `json:"quarantined_bytes"`
}

// Damage is a part of the store that failed its checksum or is missing.
type Damage struct {
	File   string    `json:"file"`
	Offset int64     `json:"offset"`
	Bytes  int64     `json:"bytes"`
	What   string    `json:"what"` // one sentence: what it was, what is lost
	Aside  string    `json:"quarantine,omitempty"`
	Found  time.Time `json:"found"`
}

// commits counts what the committer does.
type commits struct {
	batches, records, groups, bytes, failed, moved atomic.Uint64

	unsynced atomic.Int64 // when the oldest write that is not synced happened, Unix ns; 0 = all is synced

	mu    sync.Mutex
	took  [1024]time.Duration // of the last groups, a ring
	count int
	max   time.Duration
}

// wrote counts a group that became durable.
func (c *commits) wrote(g *group, took time.Duration) {
	c.batches.Add(uint64(len(g.batches)))
	c.records.Add(uint64(g.records))
	c.groups.Add(1)
	c.bytes.Add(uint64(g.wal.Len()))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took[c.count%len(c.took)] = took
	c.count++
	c.max = max(c.max, took)
}

func (c *commits) figures() Commits {
	f := Commits{Batches: c.batches.Load(), Records: c.records.Load(), Groups: c.groups.Load(), Bytes: c.bytes.Load(), Failed: c.failed.Load()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := min(c.count, len(c.took)); n > 0 {
		f.SyncLast, f.SyncMax = c.took[(c.count-1)%len(c.took)], c.max
		sorted := slices.Sorted(slices.Values(c.took[:n]))
		f.SyncP50, f.SyncP99 = sorted[n/2], sorted[n*99/100]
	}
	return f
}

// tail is how much log a restart would have to apply, in bytes.
func (s *Store) tail() int64 {
	return s.begun.Replayed + int64(s.commits.bytes.Load()) - s.upkeep.covered.Load()
}

// Status tells how the engine is. It may be called from any goroutine, after Close too.
func (s *Store) Status() Status {
	st := Status{Level: s.level, Health: "ok", Dir: s.dir, Free: -1, Commits: s.commits.figures(), Start: s.begun, Tail: s.tail()}
	if err := s.Health(); err != nil {
		st.Health = err.Error()
	}
	if at := s.upkeep.saved.Load(); at != 0 {
		st.Saved = time.UnixMilli(at)
	}
	if since := s.commits.unsynced.Load(); since != 0 {
		st.Lag = time.Since(time.Unix(0, since))
	}
	st.Damage, st.Damaged = s.damage.all()
	if free, err := s.sys.Free(storeDir(s.dir)); err == nil {
		st.Free = free
	}
	if files, err := s.sys.List(storeDir(s.dir)); err == nil {
		for _, f := range files {
			st.Bytes += f.Size
		}
	}
	segments := s.wal.Segments()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range segments {
		kind := "log"
		if g.Cold {
			kind = "cold"
		}
		live := s.index.Live(g.Number)
		st.Live += live
		st.Segments = append(st.Segments, Segment{Number: g.Number, Kind: kind, Bytes: g.End, Live: live})
	}
	return st
}

package disk

import "time"

// Status is what the engine tells about itself.
type Status struct {
	Level    Level         `json:"durability"`
	Health   string        `json:"health"` // "ok", or why growth is refused
	Dir      string        `json:"dir"`
	Segments []Segment     `json:"segments"`
	Bytes    int64         `json:"bytes"`      // on disk, spare segments and checkpoints included
	Live     int64         `json:"live_bytes"` // of those, what is still needed, about
	Free     int64         `json:"free_bytes"` // left on the file system
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
	Failed   uint64        `json:"failed"` // batches
	SyncLast time.Duration `json:"sync_last_ns"`
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

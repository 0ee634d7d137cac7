// Package disk is the store engine of durability "fsync" and "process": one append log of segments, an index in
// memory that is rebuilt from a checkpoint and the log's tail, and message bodies that stay on disk. The layout is
// docs/storage-format.md. It knows nothing of sockets or of the protocol.
//
// Its parts: file (the file system, replaceable in tests), wal (segments, groups, checksums), index (what is alive
// and where), record (what a batch looks like in bytes).
package disk

import (
	"fmt"
	"time"
)

// Config is how the engine uses its disk. Its zero value is not usable: start from DefaultConfig.
type Config struct {
	CommitInterval time.Duration `yaml:"commit_interval" doc:"How long a commit waits for company. 0s commits at once and collects only while a sync runs; 1ms to 5ms cut CPU and wear at middling rates and come on top of every acknowledgement's latency."`
	SyncInterval   time.Duration `yaml:"sync_interval" doc:"With durability process, how often what was written is synced: what a power cut may lose at most. Not used with fsync."`
	SegmentSize    int           `yaml:"segment_size" unit:"bytes" doc:"Size of one file of the log. Three more than are in use stand ready."`
	Reserve        int           `yaml:"reserve" unit:"bytes" doc:"Space set aside in a file, so that acknowledging, cleaning up and starting cannot fail when the disk is full; a large store sets aside a multiple of it. While it cannot be had, publishes that would have to be stored are refused."`
	MaxBytes       int64         `yaml:"max_bytes" unit:"bytes" doc:"What the store may take on disk; 0 is all there is." exceeded:"as when the reserve cannot be had"`
}

// DefaultConfig is the configuration of an engine that was told nothing.
func DefaultConfig() Config {
	return Config{SyncInterval: 100 * time.Millisecond, SegmentSize: 16 << 20, Reserve: 32 << 20}
}

// Check tells what cannot be.
func (c *Config) Check(bad func(key, message, fix string)) {
	if c.CommitInterval < 0 || c.CommitInterval > time.Second {
		bad("commit_interval", "must be from 0s to 1s", "leave it at 0s, or set 2ms")
	}
	if c.SyncInterval <= 0 || c.SyncInterval > time.Minute {
		bad("sync_interval", "must be above 0s and at most 1m", "set 100ms")
	}
	if c.SegmentSize < 1<<20 || c.SegmentSize > 1<<30 {
		bad("segment_size", "must be from 1 MiB to 1 GiB", "leave it at 16MiB")
	}
	if c.Reserve < 0 {
		bad("reserve", "must not be negative", "set 32MiB")
	}
	if least := int64(c.Reserve) + 6*int64(c.SegmentSize); c.MaxBytes < 0 || c.MaxBytes > 0 && c.MaxBytes < least {
		bad("max_bytes", fmt.Sprintf("must be 0 or hold the reserve and six segments: at least %d bytes", least), "set 0 for no limit")
	}
}

// Level is what an acknowledged message survives.
type Level string

// The levels that need a disk.
const (
	Fsync   Level = "fsync"
	Process Level = "process"
)

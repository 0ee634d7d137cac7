// Package wal is the write-ahead log: groups of records appended to preallocated segments, one sync each, and the
// scan that finds them again after a crash. It knows nothing of what is in a record.
//
// The layout is docs/storage-format.md. All I/O goes through file.System.
package wal

import "fmt"

// Pos is where a record's frame begins, or where a group ends. The zero value is nowhere: before everything.
type Pos struct{ Segment, Offset uint32 }

// IsZero tells whether p is nowhere.
func (p Pos) IsZero() bool { return p == Pos{} }

// String writes the segment and the offset: "00000007:4096".
func (p Pos) String() string { return fmt.Sprintf("%08d:%d", p.Segment, p.Offset) }

package wal

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// BenchmarkAppend appends groups of 100 records of 100 bytes, synced or not, on the disk that holds the temporary directory
// (TMPDIR). disk is the same bytes written and synced with nothing around it: into room that was written before, as
// recycled segments are.
func BenchmarkAppend(b *testing.B) {
	record := bytes.Repeat([]byte("x"), 100)
	for _, sync := range []bool{true, false} {
		b.Run(fmt.Sprintf("sync=%v", sync), func(b *testing.B) {
			l, err := Open(file.OS(), b.TempDir(), Options{SegmentSize: 16 << 20})
			if err == nil {
				err = l.Start()
			}
			if err != nil {
				b.Fatal(err)
			}
			var g Group
			last := uint32(0)
			b.ReportAllocs()
			for b.Loop() {
				g.Reset()
				for range 100 {
					g.Begin()
					g.Buf = append(g.Buf, record...)
					g.End(true)
				}
				p, err := l.Append(&g, true, sync)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(g.Len()))
				if last != 0 && p.Segment != last {
					if err := l.Drop(last); err != nil {
						b.Fatal(err)
					}
				}
				last = p.Segment
			}
			b.StopTimer()
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.Run("disk", func(b *testing.B) {
		const size = 16 << 20
		f, err := file.OS().Create(filepath.Join(b.TempDir(), "bare"))
		if err != nil {
			b.Fatal(err)
		}
		group := make([]byte, groupSize+100*(frameSize+len(record)))
		for off := int64(0); off+int64(len(group)) < size; off += int64(len(group)) {
			if _, err := f.WriteAt(group, off); err != nil {
				b.Fatal(err)
			}
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		off := int64(0)
		for b.Loop() {
			if off+int64(len(group)) >= size {
				off = 0
			}
			if _, err := f.WriteAt(group, off); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			off += int64(len(group))
			b.SetBytes(int64(len(group)))
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkReplay reads a log of groups of 10 records of 100 bytes from the page cache.
func BenchmarkReplay(b *testing.B) {
	dir := b.TempDir()
	l, err := Open(file.OS(), dir, Options{SegmentSize: 16 << 20})
	if err == nil {
		err = l.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	g, _ := makeGroup(body(0, 97), body(1, 97), body(2, 97), body(3, 97), body(4, 97), body(5, 97), body(6, 97), body(7, 97), body(8, 97), body(9, 97))
	for range 50_000 {
		if _, err := l.Append(&g, true, false); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l, err := Open(file.OS(), dir, Options{SegmentSize: 16 << 20})
		if err != nil {
			b.Fatal(err)
		}
		found, err := l.Replay(Pos{}, func(Record) error { return nil })
		if err != nil || found.Records != 500_000 {
			b.Fatal(found, err)
		}
		b.SetBytes(found.Bytes)
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

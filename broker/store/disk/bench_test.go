package disk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// BenchmarkPublishers is so many publishers with one message in flight each, for one of a thousand sessions, which
// acknowledges it in the batch of the next.
func BenchmarkPublishers(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		for _, size := range []int{64, 1024} {
			b.Run(fmt.Sprintf("%d/%dB", n, size), func(b *testing.B) {
				s := loaded(b, b.TempDir(), disk.DefaultConfig())
				defer s.Close()
				var sessions []store.Record
				for id := store.SessionID(1); id <= 1000; id++ {
					sessions = append(sessions, put(id))
				}
				s.commit(b, sessions...)
				m := message("sensors/room/17/temperature", strings.Repeat("x", size))
				var publishers sync.WaitGroup
				b.ResetTimer()
				for p := range n {
					publishers.Go(func() { publish(b, s, m, p, (b.N+n-1)/n) })
				}
				publishers.Wait()
				b.StopTimer()
				c := s.Status().Commits
				b.ReportMetric(float64(c.Batches)/float64(c.Groups), "batches/sync")
				b.ReportMetric(float64(c.Bytes)/float64(b.N), "diskB/op")
			})
		}
	}
}

func publish(b *testing.B, s onDisk, m *mqtt.Message, p, rounds int) {
	done := make(chan error, 1)
	records := []store.Record{enqueue(m, 1)}
	batch := &store.Batch{Records: records, Done: func(err error) { done <- err }}
	for i := range rounds {
		id := store.SessionID(1 + (p*31+i*7)%1000)
		if i > 0 {
			last := records[0].Targets[0]
			records = append(records[:1], store.Record{Op: store.Settle, Session: last.Session, Seq: last.Seq})
		}
		records[0].Targets[0].Session = id
		batch.Records = records
		s.Commit(batch)
		if err := <-done; err != nil {
			b.Errorf("Commit: %v", err)
			return
		}
	}
}

// BenchmarkOpen is a start with a million messages for a thousand sessions, out of the log alone and out of a checkpoint.
func BenchmarkOpen(b *testing.B) {
	const messages, sessions, perBatch = 1 << 20, 1000, 1024
	for _, size := range []int{16, 1000} {
		dir := b.TempDir()
		s := loaded(b, dir, disk.DefaultConfig())
		var records []store.Record
		for id := range store.SessionID(sessions) {
			records = append(records, put(id+1))
		}
		s.commit(b, records...)
		m := message("sensors/room/17/temperature", strings.Repeat("x", size))
		for i := range messages / perBatch {
			records = records[:0]
			for j := range perBatch {
				records = append(records, enqueue(m, store.SessionID(1+(i*perBatch+j)%sessions)))
			}
			s.commit(b, records...)
		}
		for _, saved := range []bool{false, true} {
			if saved {
				if _, err := s.Compact(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
			} else {
				checkpoints, err := filepath.Glob(filepath.Join(dir, "store", "checkpoint-*"))
				if err != nil {
					b.Fatal(err)
				}
				s.Close()
				for _, name := range checkpoints {
					os.Remove(name)
				}
				s = open(b, dir, disk.Fsync, disk.DefaultConfig())
			}
			s.Close()
			b.Run(fmt.Sprintf("%dB/checkpoint=%t", size, saved), func(b *testing.B) {
				for b.Loop() {
					s = open(b, dir, disk.Fsync, disk.DefaultConfig())
					s.Close()
				}
			})
			s = open(b, dir, disk.Fsync, disk.DefaultConfig())
			if got := s.Stats().Messages; got != messages {
				b.Fatalf("%d messages", got)
			}
		}
		s.Close()
	}
}

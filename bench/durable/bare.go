package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

// bareSize is how much of the file a bare loop goes round in, in bytes.
const bareSize = 64 << 20

// bareFigures are what a bare loop did.
type bareFigures struct {
	messages float64 // per second
	syncs    float64 // per second
	cpu      float64 // µs per message, user and system
}

// bareLoop is what the disk can do for a log: batch records of size bytes in one write at the end of the last
// one, then fdatasync, and again, in a file whose blocks have all been written before, on the brokers' core.
// It stands for a broker that costs nothing and always has every publisher's next message at hand when
// a sync is done: with one message in flight each, no batch can be larger.
func bareLoop(dir string, batch, size int, d time.Duration) (l bareFigures, err error) {
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if err := prepare(f); err != nil {
		return l, err
	}
	group := make([]byte, batch*size)
	for i := range group {
		group[i] = byte(i * 11)
	}
	done := make(chan error)
	go func() { // its thread is pinned, and ends with it: it is not unlocked
		runtime.LockOSThread()
		err := pin(peer.BrokerCore)
		if err == nil {
			l, err = loopOn(f, group, batch, d)
		}
		done <- err
	}()
	return l, <-done
}

// prepare writes every block that a bare loop will write, so that a sync has no metadata to keep.
func prepare(f *os.File) error {
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for range bareSize / len(block) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return f.Sync()
}

func loopOn(f *os.File, group []byte, batch int, d time.Duration) (l bareFigures, err error) {
	cpu, err := threadCPU()
	if err != nil {
		return l, err
	}
	var syncs int
	var at int64
	began := time.Now()
	for time.Since(began) < d {
		if at+int64(len(group)) > bareSize {
			at = 0
		}
		if _, err := f.WriteAt(group, at); err != nil {
			return l, err
		}
		at += int64(len(group))
		if err := fdatasync(f); err != nil {
			return l, err
		}
		syncs++
	}
	took := time.Since(began).Seconds()
	end, err := threadCPU()
	l.syncs = float64(syncs) / took
	l.messages = l.syncs * float64(batch)
	l.cpu = float64((end - cpu).Nanoseconds()) / 1000 / float64(syncs*batch)
	return l, err
}

package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file/faulty"
)

// TestPowerCuts cuts the power (or kills) at random moments, over many lives of one log, on a disk that keeps of the rest what
// it likes and whose operations fail now and then: what was synced is there, in order, once; of the rest whole batches
// from the front, or nothing; and what a cut leaves is never called damage [F217] [F228].
func TestPowerCuts(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			p := plug{T: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), disk: faulty.New(seed), sync: seed%3 > 0}
			p.disk.Journal(seed%2 == 0)
			for range 12 {
				p.life()
			}
		})
	}
}

// plug is a log whose power is cut again and again, and what must be in it.
type plug struct {
	*testing.T
	seed  uint64
	rand  *rand.Rand
	disk  *faulty.Disk
	next  atomic.Pointer[faulty.Disk] // what the last cut left
	sync  bool
	count int
	from  Pos        // of an End
	kept  []string   // synced since from
	found []string   // what the last start found beside them: they last once something is appended
	loose []string   // appended since, and not synced
	maybe [][]string // groups that failed or were under way: one of them may be there
}

// life is one process: it recovers, checks, appends and ends in a cut.
func (p *plug) life() {
	l := p.recover()
	p.next.Store(nil)
	var left atomic.Int64
	left.Store(1 + p.rand.Int64N(200))
	kill := p.rand.IntN(4) == 0
	p.disk.Slow(faulty.Match{}, func() {
		switch {
		case left.Add(-1) != 0:
		case kill:
			p.next.Store(p.disk.Kill())
		default:
			p.next.Store(p.disk.PowerCut())
		}
	})
	if p.sync && p.rand.IntN(3) == 0 {
		op := []faulty.Op{faulty.OpWrite, faulty.OpSync, faulty.OpRename, faulty.OpAllocate}[p.rand.IntN(4)]
		p.disk.Fail(faulty.Match{Op: op}, []error{syscall.EIO, syscall.ENOSPC}[p.rand.IntN(2)], 1+p.rand.IntN(3))
	}
	if err := l.Start(); err != nil {
		p.Fatal(p.seed, err)
	}
	for i := 0; p.next.Load() == nil && i < 100; i++ {
		p.step(l)
	}
	p.next.CompareAndSwap(nil, p.disk.PowerCut())
	_ = l.Close() // as a process that is gone: its disk does nothing any more
	p.disk = p.next.Load()
}

func (p *plug) recover() *Log {
	l, err := Open(p.disk, "log", options())
	if err != nil {
		p.Fatal(p.seed, err)
	}
	var got []string
	found, err := l.Replay(p.from, func(r Record) error {
		got = append(got, string(r.Body))
		return nil
	})
	if err != nil || len(found.Damage) > 0 {
		p.Fatalf("seed %d: %v %v\n%v", p.seed, found.Damage, err, p.disk.Names())
	}
	if !p.allowed(got) {
		p.Fatalf("seed %d: from %v, end %v, cut %d\n got  %.5q\n kept %.5q\n then %.5q\n or   %.5q", p.seed, p.from, found.End, found.Cut, got, p.kept, p.loose, p.maybe)
	}
	p.found, p.loose = got[len(p.kept):], nil
	return l
}

// allowed tells whether got is what may be found.
func (p *plug) allowed(got []string) bool {
	if len(got) < len(p.kept) || !slices.Equal(got[:len(p.kept)], p.kept) {
		return false
	}
	got = got[len(p.kept):]
	for _, loose := range [][]string{p.found, p.loose} {
		n := 0
		for n < min(len(got), len(loose)) && got[n] == loose[n] {
			n++
		}
		got = got[n:]
	}
	if len(got) == 0 {
		return true
	}
	return slices.ContainsFunc(p.maybe, func(g []string) bool { return len(got) <= len(g) && slices.Equal(got, g[:len(got)]) })
}

// step does one thing.
func (p *plug) step(l *Log) {
	switch p.rand.IntN(12) {
	case 0:
		synctest.Wait()
	case 1:
		if err := l.Sync(); err == nil {
			p.kept, p.loose = append(p.kept, p.loose...), nil
		}
	case 2:
		if len(p.found)+len(p.loose)+len(p.maybe) > 0 {
			return
		}
		p.from, p.kept = l.End(), nil
		for _, s := range l.Segments() {
			if s.Number < p.from.Segment {
				if err := l.Drop(s.Number); err != nil {
					p.Fatal(p.seed, err)
				}
			}
		}
	default:
		var batches []string
		for range 1 + p.rand.IntN(4) {
			p.count++
			batches = append(batches, fmt.Sprintf("%d", p.count)+strings.Repeat("-", p.rand.IntN(1200)))
		}
		g, _ := makeGroup(batches...)
		_, err := l.Append(&g, true, p.sync)
		switch {
		case err != nil:
			p.maybe = append(p.maybe, batches)
			if errors.Is(err, faulty.ErrPowerCut) || errors.Is(err, faulty.ErrKilled) {
				return
			}
		default:
			p.kept, p.found, p.maybe = append(p.kept, p.found...), nil, nil
			if p.sync {
				p.kept = append(p.kept, batches...)
			} else {
				p.loose = append(p.loose, batches...)
			}
		}
	}
}

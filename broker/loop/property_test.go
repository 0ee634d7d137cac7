package loop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n]
}

// put queues b in one of the ways there are.
func put(r *rand.Rand, c *Conn, b []byte) {
	switch r.IntN(6) {
	case 0, 1:
		c.Write(b)
	case 2:
		c.Send(c.l.End(append(c.l.Begin(len(b)), b...)))
	case 3: // outgrows what it asked for
		c.Send(c.l.End(append(c.l.Begin(0), b...)))
	case 4:
		c.Commit(append(c.Reserve(len(b)), b...))
	case 5:
		c.Commit(append(c.Reserve(len(b)/2), b...))
	}
}

// wanderer echoes what comes, taking and queueing it in random pieces, pausing,
// waiting and moving between loops as it likes.
type wanderer struct {
	r     *rand.Rand
	loops []*Loop
	left  int // bytes still to come, as far as Data took them
}

func (w *wanderer) data(c *Conn, b []byte) (used, need int) {
	r := w.r
	if r.IntN(3) > 0 {
		used = len(b)
	} else {
		used = r.IntN(len(b) + 1)
	}
	for rest := b[:used]; len(rest) > 0; {
		n := min(len(rest), 1+r.IntN(1+r.IntN(20_000)))
		put(r, c, rest[:n])
		rest = rest[n:]
	}
	w.left -= used
	if r.IntN(2) == 0 {
		need = r.IntN(min(w.left, 300_000) + 1)
	}
	switch {
	case w.left == 0:
		c.Close()
	case c.Pending() > 200_000:
		c.PauseRead()
		c.WaitDrain()
	case r.IntN(10) == 0:
		c.Move(w.loops[r.IntN(len(w.loops))], func(*Conn) {})
	case r.IntN(10) == 0:
		c.PauseRead()
		l := c.l
		l.Post(func() { c.ResumeRead() })
	case used < len(b):
		c.ResumeRead()
	}
	return used, need
}

// Whatever the pieces, the pauses and the moves, the bytes that come out are
// those that went in, in order.
func TestBytesInOrder(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		var loops []*Loop
		h := &funcs{
			data:    func(c *Conn, b []byte) (int, int) { return c.State.(*wanderer).data(c, b) },
			drained: func(c *Conn) { c.ResumeRead() },
		}
		for range 2 {
			loops = append(loops, start(t, h, Options{ReadBuffer: 16 << 10, Linger: time.Minute}))
		}
		var wg sync.WaitGroup
		for seed := range uint64(8) {
			r := rand.New(rand.NewPCG(seed, 1))
			in := noise(r, 1+r.IntN(1_000_000))
			ours, peer := k.pair(t)
			peer.SetDeadline(time.Now().Add(time.Minute))
			t.Cleanup(func() { peer.Close() })
			attachTo(loops[seed%2], ours, k.under(t), func(c *Conn) {
				c.State = &wanderer{rand.New(rand.NewPCG(seed, 2)), loops, len(in)}
			})
			wg.Go(func() {
				for rest := in; len(rest) > 0; {
					n := min(len(rest), 1+r.IntN(1+r.IntN(100_000)))
					if _, err := peer.Write(rest[:n]); err != nil {
						t.Errorf("seed %d: write: %v", seed, err)
						return
					}
					rest = rest[n:]
				}
			})
			wg.Go(func() {
				out, err := io.ReadAll(peer)
				if !bytes.Equal(in, out) {
					t.Errorf("seed %d: %s (%v)", seed, differ(in, out), err)
				}
			})
		}
		wg.Wait()
	})
}

func differ(want, got []byte) string {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return fmt.Sprintf("byte %d of %d differs", i, len(want))
		}
	}
	return fmt.Sprintf("%d bytes instead of %d", len(got), len(want))
}

// Each receiver of shared spans and private packets gets its own, in order, be
// it slow or fast.
func TestFanOut(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		const receivers, rounds = 20, 40
		r := rand.New(rand.NewPCG(3, 4))
		l := start(t, &funcs{}, Options{FlushAt: 100_000, Linger: time.Minute})
		var conns []*Conn
		want := make([][]byte, receivers)
		got := make([][]byte, receivers)
		var wg sync.WaitGroup
		for i := range receivers {
			c, peer := attach(t, l, k)
			conns = append(conns, c)
			wg.Go(func() { got[i] = readSome(peer, 10<<(i%12)) })
		}
		for range rounds {
			on(t, l, func() {
				for range 1 + r.IntN(20) {
					size := 1 + r.IntN(200)
					if r.IntN(10) == 0 {
						size = 1 + r.IntN(40_000)
					}
					body := noise(r, size)
					s := l.End(append(l.Begin(size), body...))
					for i, c := range conns {
						switch r.IntN(8) {
						case 0:
							put(r, c, body[:size/2+1])
							want[i] = append(want[i], body[:size/2+1]...)
						case 1, 2:
						default:
							c.Send(s)
							want[i] = append(want[i], body...)
						}
					}
				}
			})
		}
		on(t, l, func() {
			for _, c := range conns {
				c.Close()
			}
		})
		wg.Wait()
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("receiver %d: %s", i, differ(want[i], got[i]))
			}
		}
	})
}

// readSome reads to the end, size bytes at a time at first, so that the
// connection fills up meanwhile.
func readSome(c net.Conn, size int) []byte {
	var all []byte
	for len(all) < 2000*size {
		n := len(all)
		all = append(all, make([]byte, size)...)
		m, err := c.Read(all[n:])
		if all = all[:n+m]; err != nil {
			return all
		}
	}
	rest, _ := io.ReadAll(c)
	return append(all, rest...)
}

package loop

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func send(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

func expectEnd(t testing.TB, r io.Reader) {
	t.Helper()
	if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
		t.Fatalf("read %q, %v; want the end", b, err)
	}
}

func TestEcho(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		l := start(t, &funcs{data: echo}, Options{})
		_, peer := attach(t, l, k)
		for range 3 {
			send(t, peer, "hello")
			expect(t, peer, "hello")
		}
	})
}

// packets consumes packets of one length byte and a body, and tells the loop how
// much it waits for.
func packets(f func(c *Conn, body []byte)) func(*Conn, []byte) (int, int) {
	return func(c *Conn, b []byte) (int, int) {
		used := 0
		for {
			rest := b[used:]
			if len(rest) == 0 {
				return used, 0
			}
			if need := 1 + int(rest[0]); len(rest) < need {
				return used, need
			}
			f(c, rest[1:1+rest[0]])
			used += 1 + int(rest[0])
		}
	}
}

func TestByteByByte(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		calls := 0
		parse := packets(func(c *Conn, body []byte) { c.Write(body) })
		l := start(t, &funcs{data: func(c *Conn, b []byte) (int, int) {
			calls++
			return parse(c, b)
		}}, Options{})
		_, peer := attach(t, l, k)
		for _, b := range []byte("\x0bhello world") {
			send(t, peer, string(rune(b)))
			on(t, l, func() {})
		}
		expect(t, peer, "hello world")
		on(t, l, func() {
			if calls > 2 {
				t.Errorf("%d Data calls for one packet whose length was known after the first byte", calls)
			}
		})
	})
}

func TestManyPacketsInOneSegment(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		l := start(t, &funcs{data: packets(func(c *Conn, body []byte) { c.Write(body) })}, Options{})
		_, peer := attach(t, l, k)
		var in, out bytes.Buffer
		for i := range 1000 {
			body := bytes.Repeat([]byte{byte(i)}, i%200)
			in.WriteByte(byte(len(body)))
			in.Write(body)
			out.Write(body)
		}
		go peer.Write(in.Bytes())
		expect(t, peer, out.String())
	})
}

// A packet of 3 MB whose length is known arrives in one Data call, and the loop
// holds no more than twice what has come.
func TestLargePacket(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		const size = 3 << 20
		got := make(chan []byte, 1)
		l := start(t, &funcs{data: func(c *Conn, b []byte) (int, int) {
			if len(b) < size {
				return 0, size
			}
			got <- bytes.Clone(b[:size])
			return size, 0
		}}, Options{})
		c, peer := attach(t, l, k)
		want := make([]byte, size)
		rand.NewChaCha8([32]byte{}).Read(want)
		send(t, peer, string(want[:100_000]))
		eventually(t, "kept input", func() (ok bool) {
			on(t, l, func() {
				if c.in != nil {
					ok = len(c.in.buf)-int(c.inOff) == 100_000
					if n := cap(c.in.buf); n > 256<<10 {
						t.Errorf("%d bytes held for 100,000", n)
					}
				}
			})
			return ok
		})
		send(t, peer, string(want[100_000:])+"rest")
		if !bytes.Equal(get(t, got), want) {
			t.Error("not what was sent")
		}
	})
}

func TestSlowReader(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		const size, low = 10 << 20, 100_000
		sent, pattern := 0, make([]byte, 100_000) // of period 251
		for i := range pattern {
			pattern[i] = byte(i % 251)
		}
		fill := func(c *Conn) {
			for sent < size && c.Pending() < 1<<20 {
				n := 1 + sent%50_000
				c.Send(c.l.End(append(c.l.Begin(n), pattern[sent%251:][:n]...)))
				sent += n
			}
			c.WaitDrain()
		}
		l := start(t, &funcs{opened: fill, drained: func(c *Conn) {
			if c.Pending() > low {
				t.Errorf("drained with %d bytes pending", c.Pending())
			}
			if sent < size {
				fill(c)
			} else {
				c.Close()
			}
		}}, Options{LowWater: low})
		c, peer := attach(t, l, k)
		on(t, l, func() {
			if n := c.Pending(); n < low || n > 2<<20 {
				t.Errorf("%d bytes pending before the peer reads", n)
			}
		})
		got, err := io.ReadAll(peer)
		if err != nil || len(got) < size {
			t.Fatalf("read %d, %v", len(got), err)
		}
		for i := 0; i < len(got); i += 50_000 {
			if part := got[i:min(i+50_000, len(got))]; !bytes.Equal(part, pattern[i%251:][:len(part)]) {
				t.Fatalf("wrong bytes behind %d", i)
			}
		}
	})
}

// Output above FlushAt does not wait for the turn's end.
func TestFlushAt(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		l := start(t, &funcs{}, Options{FlushAt: 1000})
		_, peer := attach(t, l, k)
		c2, peer2 := attach(t, l, k)
		send(t, peer, "x")
		got := make(chan struct{})
		go func() {
			defer close(got)
			io.ReadFull(peer2, make([]byte, 1000))
		}()
		on(t, l, func() {
			c2.Write(make([]byte, 1000))
			wait(t, got) // on the loop: its turn cannot end before
		})
	})
}

func TestPauseResume(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		var got []byte
		var wasPaused atomic.Bool
		l := start(t, &funcs{data: func(c *Conn, b []byte) (int, int) {
			if c.flags&paused != 0 {
				t.Error("Data while paused")
			}
			got = append(got, b[0])
			c.PauseRead() // one byte at a time
			wasPaused.Store(true)
			return 1, 0
		}}, Options{})
		c, peer := attach(t, l, k)
		send(t, peer, "abc")
		eventually(t, "paused", wasPaused.Load)
		go func() { io.WriteString(peer, "def"); peer.Close() }()
		for want := 1; want <= 6; want++ {
			eventually(t, "a byte", func() (ok bool) {
				on(t, l, func() { ok = len(got) == want })
				return ok
			})
			on(t, l, c.ResumeRead)
		}
		on(t, l, func() {
			if string(got) != "abcdef" {
				t.Errorf("got %q", got)
			}
		})
	})
}

// Pausing and resuming within Data offers the rest again, once in a turn.
func TestPauseResumeInData(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		calls := 0
		l := start(t, &funcs{
			turn: func(time.Time) { calls = 0 },
			data: func(c *Conn, b []byte) (int, int) {
				if calls++; calls > 2 { // new input, and the rest once
					t.Errorf("%d Data calls in one turn", calls)
				}
				c.PauseRead()
				c.ResumeRead()
				c.Write(b[:1])
				return 1, 0
			},
		}, Options{})
		_, peer := attach(t, l, k)
		send(t, peer, "abcdef")
		expect(t, peer, "abcdef")
	})
}

func TestMove(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		closed := make(chan error, 1)
		opened := make(chan string, 2)
		drained := make(chan bool, 2)
		b := start(t, &funcs{
			opened:  func(c *Conn) { opened <- "Opened" },
			data:    echo,
			drained: func(c *Conn) { drained <- true },
			closed:  func(c *Conn, err error) { closed <- err },
		}, Options{})
		a := start(t, &funcs{
			data: func(c *Conn, p []byte) (int, int) {
				c.Write([]byte("bye,"))
				c.WaitDrain()
				var f func(*Conn)
				if p[0] == 'f' {
					f = func(c *Conn) { opened <- "f"; c.Write([]byte("hello,")) }
				}
				c.Move(b, f)
				return 1, 0
			},
			closed: func(*Conn, error) { t.Error("closed where it left") },
		}, Options{})
		for _, first := range []string{"f", "O"} {
			c, peer := attach(t, a, k)
			send(t, peer, first+"rest")
			expect(t, peer, "bye,")
			if get(t, opened) == "f" {
				expect(t, peer, "hello,")
			}
			expect(t, peer, "rest")
			get(t, drained) // WaitDrain went along
			send(t, peer, "more")
			expect(t, peer, "more")
			on(t, a, func() {}) // its turn in which c left is over
			if a.Conns() != 0 || b.Conns() != 1 {
				t.Errorf("%d and %d connections", a.Conns(), b.Conns())
			}
			on(t, b, c.Close)
			if err := get(t, closed); err != nil {
				t.Error(err)
			}
			expectEnd(t, peer)
		}
	})
}

// Move to the own loop only calls opened; to an ended one it closes here.
func TestMoveNowhere(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		dead, err := New(&funcs{}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		dead.Stop()
		dead.Run()
		closed := make(chan error, 1)
		l := start(t, &funcs{
			data: func(c *Conn, p []byte) (int, int) {
				if c.State == nil {
					c.Move(c.l, func(c *Conn) { c.State = true })
				} else {
					c.Move(dead, nil)
				}
				return 1, 0
			},
			closed: func(c *Conn, err error) { closed <- err },
		}, Options{})
		_, peer := attach(t, l, k)
		send(t, peer, "ab")
		if err := get(t, closed); err != ErrStopped {
			t.Error(err)
		}
	})
}

// A connection that moves with much pending output keeps it, and moves on.
func TestMoveBackAndForth(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		const rounds, size = 50, 100_000
		var loops [2]*Loop
		at := 0
		data := func(c *Conn, b []byte) (int, int) {
			c.Write(bytes.Repeat(b[:1], size/2))
			p := c.l.Begin(size / 2)
			c.Send(c.l.End(append(p, bytes.Repeat(b[:1], size/2)...)))
			at = 1 - at
			c.Move(loops[at], func(*Conn) {})
			return 1, 0
		}
		loops[0] = start(t, &funcs{data: data}, Options{})
		loops[1] = start(t, &funcs{data: data}, Options{})
		_, peer := attach(t, loops[0], k)
		go func() {
			for i := range rounds {
				peer.Write([]byte{byte(i)})
			}
		}()
		for i := range rounds {
			expect(t, peer, string(bytes.Repeat([]byte{byte(i)}, size)))
		}
	})
}

func TestPeerCloses(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		closed := make(chan error, 1)
		var got []byte
		l := start(t, &funcs{
			data:   func(c *Conn, b []byte) (int, int) { got = append(got, b...); return len(b), 0 },
			closed: func(c *Conn, err error) { closed <- err },
		}, Options{})
		_, peer := attach(t, l, k)
		send(t, peer, "last words")
		peer.Close()
		if err := get(t, closed); err != io.EOF || string(got) != "last words" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestReset(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		if !k.tcp {
			return // only TCP knows resets
		}
		closed := make(chan error, 1)
		l := start(t, &funcs{closed: func(c *Conn, err error) { closed <- err }}, Options{})
		for range 10 {
			c, peer := attach(t, l, k)
			addr := c.RemoteAddr().String()
			on(t, l, func() { c.Write(make([]byte, 6<<20)) })
			peer.(interface{ SetLinger(int) error }).SetLinger(0)
			peer.Close()
			if err := get(t, closed); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) &&
				!(k.stream && err == io.EOF) { // its writer may have got the error first
				t.Error(err)
			}
			if c.RemoteAddr().String() != addr {
				t.Errorf("address %v after Closed, %v before", c.RemoteAddr(), addr)
			}
		}
	})
}

// What was queued reaches the peer though it goes on sending and reads late.
func TestCloseDeliversLastWords(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		closed := make(chan error, 2)
		l := start(t, &funcs{
			data: func(c *Conn, b []byte) (int, int) {
				c.Write([]byte("go away"))
				c.Close()
				c.Write([]byte("not sent"))
				if c.Close(); c.l.Conns() != 1 {
					t.Error("closed within Data")
				}
				return 0, 0
			},
			closed: func(c *Conn, err error) { closed <- err },
		}, Options{})
		_, peer := attach(t, l, k)
		send(t, peer, "x")
		if err := get(t, closed); err != nil {
			t.Error(err)
		}
		go peer.Write(make([]byte, 100_000))
		expect(t, peer, "go away")
		expectEnd(t, peer)
	})
}

func TestCloseLingers(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		const size = 16 << 20
		closed := make(chan error, 1)
		l := start(t, &funcs{closed: func(c *Conn, err error) { closed <- err }}, Options{Linger: time.Minute})
		c, peer := attach(t, l, k)
		on(t, l, func() {
			c.Write(make([]byte, size))
			c.Close()
		})
		if get(t, closed); l.Conns() != 0 {
			t.Error("a closed connection is still counted")
		}
		if got, err := io.ReadAll(peer); len(got) != size || err != nil {
			t.Errorf("read %d, %v", len(got), err)
		}
	})
}

// A peer that never reads holds a closed connection for the linger time only.
func TestLingerEnds(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		l := start(t, &funcs{}, Options{Linger: 20 * time.Millisecond})
		c, _ := attach(t, l, k)
		on(t, l, func() {
			c.Write(make([]byte, 16<<20))
			c.Close()
		})
		eventually(t, "destroyed", func() (ok bool) {
			on(t, l, func() { ok = c.flags&gone != 0 })
			return ok
		})
	})
}

func TestAbort(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		closed := make(chan error, 2)
		why := errors.New("why")
		l := start(t, &funcs{closed: func(c *Conn, err error) { closed <- err }}, Options{})
		c, peer := attach(t, l, k)
		on(t, l, func() {
			c.Write([]byte("not sent"))
			c.Abort(why)
			c.Abort(io.EOF)
		})
		if err := get(t, closed); err != why {
			t.Error(err)
		}
		if b, _ := io.ReadAll(peer); len(b) > 0 {
			t.Errorf("read %q", b)
		}
	})
}

// A connection closed in Turn is told in the turn that follows at once.
func TestCloseInTurn(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		closed := make(chan error, 1)
		var c *Conn
		l := start(t, &funcs{
			turn: func(time.Time) {
				if c != nil {
					c.Close()
				}
			},
			closed: func(c *Conn, err error) { closed <- err },
		}, Options{})
		x, _ := attach(t, l, k)
		on(t, l, func() { c = x })
		get(t, closed)
	})
}

// An empty Commit leaves nothing behind.
func TestEmptyCommit(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		l := start(t, &funcs{}, Options{})
		c, peer := attach(t, l, k)
		on(t, l, func() { c.Commit(c.Reserve(100)) })
		on(t, l, func() {
			if c.out != nil {
				t.Error("output without bytes")
			}
			c.Write([]byte("x"))
			c.Close()
			c.Commit(append(c.Reserve(1), 'y')) // after Close: dropped
		})
		expect(t, peer, "x")
		expectEnd(t, peer)
	})
}

// Closed may end and write to other connections.
func TestClosedReaches(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		var all []*Conn
		l := start(t, &funcs{
			opened: func(c *Conn) { all = append(all, c) },
			closed: func(*Conn, error) {
				for _, c := range all {
					c.Write([]byte("will"))
					c.Close()
				}
			},
		}, Options{})
		_, p1 := attach(t, l, k)
		_, p2 := attach(t, l, k)
		_, p3 := attach(t, l, k)
		on(t, l, func() { all[0].Close() })
		expectEnd(t, p1)
		expect(t, p2, "will")
		expectEnd(t, p2)
		expect(t, p3, "will")
		expectEnd(t, p3)
	})
}

func TestStopCloses(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		var closed atomic.Int32
		l, err := New(&funcs{closed: func(c *Conn, err error) {
			if c.Write([]byte("too late")); err != nil {
				t.Error(err)
			}
			closed.Add(1)
		}}, Options{Linger: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		_, p1 := attachOnly(t, l, k) // before Run
		_, p2 := attachOnly(t, l, k)
		done := make(chan struct{})
		go func() { l.Run(); close(done) }()
		on(t, l, func() {})
		l.Stop()
		l.Stop()
		for _, p := range []net.Conn{p1, p2} { // TLS may end with an error: there was no handshake
			if b, _ := io.ReadAll(p); len(b) > 0 {
				t.Errorf("read %q", b)
			}
		}
		if wait(t, done); closed.Load() != 2 {
			t.Errorf("%d closed", closed.Load())
		}
		if l.Post(func() {}) {
			t.Error("Post to an ended loop")
		}
		_, p3 := attachOnly(t, l, k)
		if b, _ := io.ReadAll(p3); len(b) > 0 || l.Conns() != 0 {
			t.Error("attached to an ended loop")
		}
	})
}

func TestPostsRunInOrder(t *testing.T) {
	l := start(t, &funcs{}, Options{})
	var got []int
	for i := range 1000 {
		l.Post(func() { got = append(got, i) })
	}
	on(t, l, func() {
		for i, v := range got {
			if v != i {
				t.Fatalf("%d at %d", v, i)
			}
		}
		if len(got) != 1000 {
			t.Errorf("%d ran", len(got))
		}
	})
}

// After each Wake there is a Turn, however the calls race with the loop.
func TestWake(t *testing.T) {
	noLeak(t)
	var flag, seen atomic.Int64
	turned := make(chan struct{}, 1)
	l := start(t, &funcs{turn: func(time.Time) {
		seen.Store(flag.Load())
		select {
		case turned <- struct{}{}:
		default:
		}
	}}, Options{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20_000 {
				flag.Add(1)
				l.Wake()
			}
		})
	}
	wg.Wait()
	for seen.Load() != flag.Load() {
		wait(t, turned)
	}
	for range 2000 { // one by one, mostly parked
		n := flag.Add(1)
		l.Wake()
		for seen.Load() != n {
			wait(t, turned)
		}
	}
}

func TestWakeAt(t *testing.T) {
	noLeak(t)
	fired := make(chan time.Time, 100)
	var turns atomic.Int64
	l := start(t, &funcs{turn: func(now time.Time) {
		turns.Add(1)
		fired <- now
	}}, Options{})
	var begin time.Time
	on(t, l, func() {
		begin = l.Now()
		l.WakeAt(begin.Add(time.Hour))
		l.WakeAt(begin.Add(20 * time.Millisecond))
		l.WakeAt(begin.Add(2 * time.Hour))
	})
	for {
		if d := get(t, fired).Sub(begin); d >= 20*time.Millisecond {
			if d > time.Minute {
				t.Errorf("woke after %v", d)
			}
			break
		}
	}
	var called int64
	on(t, l, func() {
		called = turns.Load()
		l.WakeAt(l.Now().Add(-time.Second))
	})
	eventually(t, "a turn after that of the call", func() bool { return turns.Load() >= called+2 })
}

// Descriptors are reused at once; what happens to the old connection does not
// reach the new one.
func TestDescriptorReuse(t *testing.T) {
	noLeak(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := 0
	l := start(t, &funcs{
		opened: func(c *Conn) { c.State = new(byte) },
		data: func(c *Conn, b []byte) (int, int) {
			for _, x := range b {
				if p := c.State.(*byte); *p == 0 {
					*p = x
				} else if *p != x {
					t.Errorf("%d on the connection of %d", x, *p)
				}
			}
			if rand.IntN(2) == 0 {
				c.Write(b)
				c.Close()
			}
			return len(b), 0
		},
		closed: func(c *Conn, err error) { closed++ },
	}, Options{})
	ended := make(chan error, 1)
	go func() { ended <- Accept(ln, nil, &Reception{Pick: func() *Loop { return l }}) }()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				c, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				for range 3 {
					c.Write(bytes.Repeat([]byte{byte(1 + g*31 + i%31)}, 10))
				}
				if i%3 == 0 {
					c.(*net.TCPConn).SetLinger(0)
				}
				c.Close()
			}
		})
	}
	wg.Wait()
	eventually(t, "all closed", func() (ok bool) {
		on(t, l, func() { ok = closed == 8*200 })
		return ok
	})
	ln.Close()
	if err := get(t, ended); err != nil {
		t.Error(err)
	}
}

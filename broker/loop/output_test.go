package loop

import (
	"strings"
	"testing"
	"time"
)

// still is a loop that does not run, and a connection whose output stays.
func still(t testing.TB) (*Loop, *Conn) {
	t.Helper()
	l := &Loop{}
	l.o.defaults()
	return l, &Conn{l: l}
}

func (c *Conn) pendingText() string {
	var s strings.Builder
	if c.out != nil {
		for _, seg := range c.out.segs[c.out.head:] {
			s.Write(seg.Bytes())
			s.WriteByte('|')
		}
	}
	return s.String()
}

// What segments a sequence of outputs makes; | ends each.
func TestSegments(t *testing.T) {
	big := strings.Repeat("B", refMin)
	span := func(l *Loop, s string) Span { return l.End(append(l.Begin(len(s)), s...)) }
	for name, test := range map[string]struct {
		f    func(l *Loop, c *Conn)
		want string
	}{
		"writes lie together in the arena": {func(l *Loop, c *Conn) {
			c.Write([]byte("a"))
			c.Write([]byte("b"))
			c.Commit(append(c.Reserve(1), 'c'))
		}, "abc|"},
		"spans that follow each other are one segment": {func(l *Loop, c *Conn) {
			c.Send(span(l, "a"))
			c.Send(span(l, "b"))
		}, "ab|"},
		"a first span is not copied, small ones behind others are": {func(l *Loop, c *Conn) {
			a := span(l, "a")
			b := span(l, "b")
			d := span(l, "d")
			c.Send(a)
			c.Send(d)
			c.Send(b)
			c.Write([]byte("e"))
		}, "a|dbe|"},
		"a large span is not copied": {func(l *Loop, c *Conn) {
			s := span(l, big)
			span(l, "x")
			c.Write([]byte("a"))
			c.Send(s)
			c.Write([]byte("b"))
		}, "a|" + big + "|b|"},
		"the same span twice": {func(l *Loop, c *Conn) {
			s := span(l, big)
			c.Send(s)
			c.Send(s)
		}, big + "|" + big + "|"},
		"outgrown": {func(l *Loop, c *Conn) {
			s := strings.Repeat("x", 20_000)
			c.Send(l.End(append(l.Begin(1), s...)))
			c.Commit(append(c.Reserve(1), s...))
		}, strings.Repeat("x", 20_000) + "|" + strings.Repeat("x", 20_000) + "|"},
		"a connection that waits copies": {func(l *Loop, c *Conn) {
			c.flags |= blocked
			c.Send(span(l, "a"))
			c.Send(span(l, big))
			c.Send(span(l, strings.Repeat("C", refMinCopies)))
		}, "a" + big + "|" + strings.Repeat("C", refMinCopies) + "|"},
		"empty output is none": {func(l *Loop, c *Conn) {
			c.Send(Span{})
			c.Send(l.End(l.Begin(10)))
			c.Write(nil)
		}, ""},
		"what was not sealed is discarded": {func(l *Loop, c *Conn) {
			_ = append(l.Begin(1), 'x')
			_ = append(c.Reserve(1), 'x')
			c.Commit(append(c.Reserve(1), 'a'))
			_ = append(c.Reserve(1), 'x')
			c.Send(l.End(append(l.Begin(1), 'b')))
		}, "ab|"},
		"Write while a span is open": {func(l *Loop, c *Conn) {
			b := append(l.Begin(3), "abc"...)
			c.Write([]byte("x"))
			c.Send(l.End(b))
		}, "xabc|"},
	} {
		t.Run(name, func(t *testing.T) {
			l, c := still(t)
			test.f(l, c)
			if got := c.pendingText(); got != test.want {
				t.Errorf("%.200q, want %.200q", got, test.want)
			}
			want := strings.ReplaceAll(test.want, "|", "")
			if c.Pending() != len(want) {
				t.Errorf("%d pending, want %d", c.Pending(), len(want))
			}
			c.privatize(refMinCopies)
			if got := strings.ReplaceAll(c.pendingText(), "|", ""); got != want {
				t.Errorf("%.200q after privatize, want %.200q", got, want)
			}
			for i := range want { // byte by byte, to the end
				c.advance(1)
				if i%97 > 0 {
					continue
				}
				if got := strings.ReplaceAll(c.pendingText(), "|", ""); got != want[i+1:] {
					t.Fatalf("%.200q after %d bytes", got, i+1)
				}
			}
			if c.out != nil && len(want) > 0 {
				t.Error("output remains")
			}
			l.arena.reset(&l.mem)
			if b := l.arena.b; b != nil && (b.refs != 1 || len(b.buf) > 0) {
				t.Errorf("the arena's block has %d references", b.refs)
			}
		})
	}
}

// A waiting connection pins nothing of the arena but large segments.
func TestWaitingPinsLittle(t *testing.T) {
	l, c := still(t)
	small := l.End(append(l.Begin(1), make([]byte, refMin)...))
	l.End(append(l.Begin(1), "between"...))
	large := l.End(append(l.Begin(1), make([]byte, refMinCopies)...))
	c.Send(small)
	c.Send(large)
	c.Send(small)
	c.privatize(refMinCopies)
	if got := small.b.refs; got != 2 {
		t.Errorf("%d references on the arena, want its own and the large segment's", got)
	}
	c.privatize(1 << 30)
	if got := small.b.refs; got != 1 {
		t.Errorf("%d references on the arena, want its own", got)
	}
}

// What a burst used is given back: half of it per second without use.
func TestMemoryIsGivenBack(t *testing.T) {
	var m memory
	now := time.Now()
	var blocks []*block
	for range 1000 {
		blocks = append(blocks, m.block(1000))
	}
	for _, b := range blocks {
		m.release(b)
		m.output().drop(&m)
	}
	seconds := 0
	for m.trim(now); !m.trimAt.IsZero(); m.trim(now) {
		now = m.trimAt
		seconds++
	}
	if n := len(m.blocks[1].free); n != keepFree || seconds > 15 {
		t.Errorf("%d blocks remain after %d s", n, seconds)
	}
}

// In steady state a message costs no allocation.
func TestEchoDoesNotAllocate(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		if k.name == "tls" || k.layers != nil && k.name != "head" {
			return // crypto/tls allocates, and so do the suite's clients
		}
		l := start(t, &funcs{data: echo}, Options{})
		_, peer := attach(t, l, k)
		b := make([]byte, 64)
		round := func() {
			peer.Write(b)
			peer.Read(b)
		}
		for range 100 {
			round()
		}
		if n := testing.AllocsPerRun(1000, round); n >= 1 {
			t.Errorf("%v allocations per message", n)
		}
	})
}

func BenchmarkEcho(b *testing.B) {
	for _, k := range kinds() {
		b.Run(k.name, func(b *testing.B) {
			l := start(b, &funcs{data: echo}, Options{})
			_, peer := attach(b, l, k)
			p := make([]byte, 64)
			b.ReportAllocs()
			for range b.N {
				peer.Write(p)
				peer.Read(p)
			}
		})
	}
}

// Package loop drives connections with event loops. A Loop owns connections
// and calls one Handler, on one goroutine, when something happened to them;
// what the handler queues is written once per turn, one system call per
// connection.
//
// On Linux a TCP or Unix connection is a file descriptor in the loop's epoll
// set and costs about a hundred bytes while idle: no goroutine, no buffer. The
// epoll descriptor itself is parked in Go's netpoller, so no thread waits in
// the kernel either. Everything else (other systems, TLS, net.Pipe) is driven
// by goroutines behind the same contract, and both kinds live on one Loop.
//
// The package moves bytes. It knows no protocol, keeps no lock while a handler
// runs, never blocks a loop, and imports nothing of this module.
//
// A turn, in order: Drained, posted functions and Opened, kept input offered
// again, input, Closed, Turn, then the output is flushed.
package loop

import (
	"errors"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrStopped is what happened to a connection that was to join a stopped Loop.
var ErrStopped = errors.New("loop: stopped")

// Handler is the owner of a loop's connections. The loop calls all methods on
// its own goroutine, one at a time, and never from inside Send, Write, Close or
// any other method of Conn. A panic in a handler is not recovered here.
type Handler interface {
	// Opened says that c joined this loop by Accept, Attach or Move.
	Opened(c *Conn)
	// Data offers unread input. b is valid only during the call. used is the
	// number of bytes consumed; the loop keeps the rest and offers it again,
	// longer, once at least need unread bytes are there (0: as soon as there
	// are more). need is a hint of when to call, never a size to allocate.
	Data(c *Conn, b []byte) (used, need int)
	// Drained answers WaitDrain: at most LowWater bytes are pending.
	Drained(c *Conn)
	// Closed comes exactly once for each connection that was Opened here and
	// did not move away. err is nil when we closed it, io.EOF when the peer
	// did. The Conn must not be used afterwards, its State and addresses may.
	Closed(c *Conn, err error)
	// Turn comes once per wake-up, after everything else and before the flush.
	Turn(now time.Time)
}

// Options tune a Loop. The zero value of each field means its default.
type Options struct {
	ReadBuffer int           // bytes of the one read buffer, at least 8 KiB; default 64 KiB
	FlushAt    int           // pending bytes of one connection that are written before the turn's end; default 256 KiB
	LowWater   int           // pending bytes at which WaitDrain is answered; default 64 KiB
	KeepAlive  time.Duration // TCP keep-alive idle time and interval of accepted connections; default 15 s, negative: off
	Linger     time.Duration // how long a closed connection's output is still tried; default 1 s
}

func (o *Options) defaults() {
	if o.ReadBuffer <= 0 {
		o.ReadBuffer = 64 << 10
	}
	o.ReadBuffer = max(o.ReadBuffer, 2*smallRest)
	if o.FlushAt <= 0 {
		o.FlushAt = 256 << 10
	}
	if o.LowWater <= 0 {
		o.LowWater = 64 << 10
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 15 * time.Second
	}
	if o.Linger <= 0 {
		o.Linger = time.Second
	}
}

// The states of a Loop's goroutine, for Wake.
const (
	awake  int32 = iota // in a turn, or about to look for work
	parked              // waiting: it takes poller.wake to end that
	woken               // a turn will follow anyway
)

// turnBytes is how much input one turn takes in before it flushes; what else is
// ready waits for the next turn. It bounds a turn's time and its arena.
const turnBytes = 1 << 20

// busyTurns is how many turns a loop takes without parking before it lets the
// Go scheduler run something else.
const busyTurns = 16

// Loop is an event loop. Make one with New and give it a goroutine with Run.
// Methods say when they may be called from other goroutines.
type Loop struct {
	h    Handler
	o    Options
	poll poller
	mem  memory

	state   atomic.Int32
	stopped atomic.Bool
	count   atomic.Int32
	large   sync.Pool // *[largeRead]byte, for the readers of streams
	mail    mailbox

	// All below belongs to the loop's goroutine.
	now      time.Time
	wakeAt   time.Time // zero: no Turn asked for
	stopping bool
	read     int    // input bytes of this turn
	turns    int    // turns since the loop last parked
	buf      []byte // the read buffer

	slots slots

	tls secure

	dirty   []*Conn  // have output to flush
	drained []*Conn  // WaitDrain is to be answered
	offer   []*Conn  // ResumeRead: kept input is to be offered
	spare   []*Conn  // the other half of drained and offer
	closing []ending // Closed is to be called
	finish  []*Conn  // Closed was called; output may remain
	linger  []lingerer
	moves   []moving // leave after the flush

	delays   Delays
	arena    arena
	reserved *block // what Reserve returned a part of
	inData   *Conn  // whose Data call this is
	move     moving // asked for during that call
}

// slots are the loop's connections by number, by which the system names them.
type slots struct {
	conns []*Conn // by Conn.slot; nil: free
	free  []int32 // for new connections
	freed []int32 // may still be named by events of this batch
}

// secure is what the loop's TLS connections share.
type secure struct {
	layout tlsLayout
	plain  []byte    // decrypted input; made when first needed
	sealed []byte    // output about to be encrypted
	fat    []*layer  // with large record buffers, to be looked at
	fatAt  time.Time // when; zero: never
}

// mailbox holds what other goroutines ask of the loop.
type mailbox struct {
	mu      sync.Mutex // guards letters, shut
	letters []letter
	shut    bool     // no more mail
	reading []letter // of the loop's goroutine
}

// A letter is what another goroutine asks of the loop: a function, or an event
// of a connection.
type letter struct {
	f      func()
	c      *Conn
	what   event
	opened func(*Conn) // for joined: called instead of Handler.Opened
}

type event uint8

const (
	joined   event = iota // c belongs to this loop from now on
	received              // a stream's reader has something
	sent                  // a stream's writer is done
)

type ending struct {
	c   *Conn
	err error
}

type lingerer struct {
	c     *Conn
	until time.Time
}

type moving struct {
	c      *Conn
	to     *Loop
	opened func(*Conn)
}

// New makes a Loop that reports to h. It holds system resources until its Run
// has returned.
func New(h Handler, o Options) (*Loop, error) {
	o.defaults()
	l := &Loop{h: h, o: o, now: time.Now(), tls: secure{layout: newTLSLayout()}}
	if err := l.poll.open(l); err != nil {
		return nil, err
	}
	l.buf = make([]byte, o.ReadBuffer)
	return l, nil
}

// Run is the loop. It returns after Stop, when all connections are closed and
// their output has been written or its linger time is over. Call it once.
func (l *Loop) Run() {
	for !l.turn() {
		if l.turns++; l.turns >= busyTurns {
			l.turns = 0
			runtime.Gosched()
		}
	}
	l.poll.close()
}

// Stop makes Run close all connections and return. It does not wait. Any
// goroutine, any number of times.
func (l *Loop) Stop() {
	l.stopped.Store(true)
	l.Wake()
}

// Post has f run on the loop before the next Turn, in the order of the posts.
// It reports false, and f will not run, when the loop has ended. Any goroutine.
func (l *Loop) Post(f func()) bool { return l.post(letter{f: f}) }

func (l *Loop) post(m letter) bool {
	l.mail.mu.Lock()
	if l.mail.shut {
		l.mail.mu.Unlock()
		return false
	}
	l.mail.letters = append(l.mail.letters, m)
	if m.what == joined && m.c != nil {
		m.c.t.home(l) // inside the lock: what m.c reports from now on comes after m
	}
	l.mail.mu.Unlock()
	l.Wake()
	return true
}

// Wake makes sure that a Turn begins after this call. It costs one atomic
// operation while the loop is awake. Any goroutine.
func (l *Loop) Wake() {
	if l.state.Load() == woken {
		return
	}
	if l.state.Swap(woken) == parked {
		l.poll.wake()
	}
}

// WakeAt asks for a Turn at t at the latest. The earliest pending request wins;
// it is used up by the first Turn at or after t. Only on the loop's goroutine.
func (l *Loop) WakeAt(t time.Time) {
	if l.wakeAt.IsZero() || t.Before(l.wakeAt) {
		l.wakeAt = t
	}
}

// Now is the time of this turn, with its monotonic reading. Only on the loop's
// goroutine.
func (l *Loop) Now() time.Time { return l.now }

// Conns is the number of connections that are on the loop or on their way to
// it. Any goroutine.
func (l *Loop) Conns() int { return int(l.count.Load()) }

// Attach takes nc over: Opened follows. On Linux a *net.TCPConn or
// *net.UnixConn gives up its file descriptor and is closed. When the loop has
// ended nc is closed. Any goroutine.
func (l *Loop) Attach(nc net.Conn) {
	r := Reception{Pick: func() *Loop { return l }}
	r.Attach(nc, nil)
}

// Attach gives nc, which was accepted and admitted elsewhere, to a loop. prefix was read from it already.
func (r *Reception) Attach(nc net.Conn, prefix []byte) {
	c := adopt(nc)
	if c == nil {
		c = newStream(nc)
	}
	if len(prefix) > 0 {
		c.in = &block{buf: slices.Clone(prefix), refs: 1, class: unpooled}
	}
	r.give(c, r.Pick())
}

// take has c, which belongs to nobody, join l.
func (l *Loop) take(c *Conn, layers *Layers, admit func(*Conn)) {
	if layers != nil {
		c = newLayered(c, layers)
	}
	if admit != nil {
		admit(c)
	}
	if !l.join(c, nil) {
		c.release()
	}
}

// join sends c, which belongs to nobody, to l. Any goroutine.
func (l *Loop) join(c *Conn, opened func(*Conn)) bool {
	l.count.Add(1)
	if l.post(letter{c: c, what: joined, opened: opened}) {
		return true
	}
	l.count.Add(-1)
	return false
}

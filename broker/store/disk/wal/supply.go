package wal

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
)

// How the keeper works.
const (
	ready     = 3 // segments that stand ready: the next one and the reserve, of which one can be freed while the other is filled
	maxSpares = 4
	retryMin  = 100 * time.Millisecond
	retryMax  = 2 * time.Second
)

// supply prepares segments and makes spares of those that are dropped, in a goroutine of its own: the keeper.
type supply struct {
	*folder
	due    func() *segment        // the next segment to be recycled; nil = none
	health atomic.Pointer[outage] // nil = well
	wake   chan struct{}          // something for the keeper to do
	stop   chan struct{}
	done   chan struct{} // closed when the keeper has ended

	mu      sync.Mutex
	number  uint32     // the highest of a segment ever
	debt    *debt      // to be written before anything else; of the keeper
	after   uint32     // of the log segment prepared last
	pool    []*segment // prepared, by number
	idle    bool       // no segment is being appended to
	spares  []spare
	named   int       // the highest number of a spare's name
	failing error     // why the last preparation failed, nil when it did not
	refused bool      // a growing group found only the reserve
	waiting int       // how many wait for a segment
	changed sync.Cond // pool, failing or closed
	closed  bool
}

// outage is why growing groups are refused.
type outage struct{ err error }

// debt is the end of the log as Replay found it.
type debt struct {
	name  string
	off   int64
	bytes []byte
}

// errMax is why no file is made though the disk has room.
var errMax = errors.New("the limit of the store's size is reached")

// full marks an error that lack of space caused with store.ErrFull.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, errMax) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

func newSupply(d *folder, due func() *segment) *supply {
	p := &supply{folder: d, due: due, idle: true, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	p.changed.L = &p.mu
	return p
}

// keep is the keeper, from Start to Close. It begins by freeing the stale segments.
func (p *supply) keep(stale []*segment) {
	defer close(p.done)
	p.sweep(stale)
	pause := retryMin
	for {
		p.recycle()
		var again <-chan time.Time
		if p.fill() {
			pause = retryMin
		} else {
			again = time.After(pause)
			pause = min(2*pause, retryMax)
		}
		select {
		case <-p.stop:
			p.recycle()
			return
		case <-p.wake:
		case <-again:
		}
	}
}

// nudge tells the keeper that there is something to do.
func (p *supply) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// fill prepares segments until enough stand ready, and tells whether it could.
func (p *supply) fill() bool {
	for {
		p.mu.Lock()
		if len(p.pool) >= ready || p.closed {
			p.mu.Unlock()
			return true
		}
		p.mu.Unlock()
		s, err := p.prepare()

		p.mu.Lock()
		if err == nil {
			p.after = s.number
			p.pool = append(p.pool, s)
			p.refused = p.refused && len(p.pool) < ready
		} else {
			err = full(err)
			if p.failing == nil {
				p.log.Warn("no segment can be prepared", "error", err)
			}
		}
		p.failing = err
		p.judge()
		p.changed.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return false
		}
	}
}

// prepare makes one segment ready, once the end of the log has been made to last.
func (p *supply) prepare() (*segment, error) {
	if err := p.settle(); err != nil {
		return nil, fmt.Errorf("make the end of the log last: %w", err)
	}
	number, err := p.another()
	if err != nil {
		return nil, fmt.Errorf("prepare segment: %w", err)
	}
	s, err := p.make(header{kind: kindLog, number: number, after: p.after, store: p.o.Store, size: p.o.SegmentSize})
	if err != nil {
		return nil, fmt.Errorf("prepare segment: %w", err)
	}
	return s, nil
}

// another is a number that no segment had.
func (p *supply) another() (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.number == math.MaxUint32 {
		return 0, fmt.Errorf("%s has the last number there is: move it away and start again", p.segmentPath(p.number))
	}
	p.number++
	return p.number, nil
}

// settle writes what is owed. It may be tried again: every time all of it is written.
func (p *supply) settle() error {
	d := p.debt
	if d == nil {
		return nil
	}
	f, err := p.sys.Open(d.name, true)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(d.bytes, d.off)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		p.debt = nil
	}
	return err
}

// judge settles what Health says; mu is held. When no more can be prepared, growing groups are refused once only the
// reserve is left and one of them would need it, or some of it is in use.
func (p *supply) judge() {
	n := len(p.pool)
	sick := p.failing != nil && (n < ready-1 || n < ready && (p.refused || p.idle))
	switch before := p.health.Load(); {
	case !sick && before != nil:
		p.health.Store(nil)
		p.log.Info("the log takes everything again")
	case sick && (before == nil || before.err != p.failing):
		p.health.Store(&outage{p.failing})
	}
}

// next is the segment that stands ready for the next group. It waits while there is hope of one.
func (p *supply) next(grows bool) (*segment, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	want := 1
	if grows {
		want = ready
	}
	for {
		switch {
		case p.closed:
			return nil, store.ErrClosed
		case len(p.pool) >= want:
			return p.pool[0], nil
		case p.failing != nil:
			p.refused = p.refused || grows
			p.judge()
			return nil, p.failing
		}
		p.wait()
	}
}

// first waits until a segment stands ready, or none can be had.
func (p *supply) first() (ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.pool) == 0 && p.failing == nil {
		p.wait()
	}
	return len(p.pool) > 0
}

// wait waits for the keeper; mu is held.
func (p *supply) wait() {
	p.waiting++
	p.changed.Wait()
	p.waiting--
}

// take takes what next returned.
func (p *supply) take() *segment {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.pool[0]
	p.pool = append(p.pool[:0], p.pool[1:]...)
	p.idle = false
	p.judge()
	p.nudge()
	return s
}

// rest notes that no segment is being appended to.
func (p *supply) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = true
	p.judge()
}

// reach keeps numbers above n from now on.
func (p *supply) reach(n uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number = max(p.number, n)
}

// close ends the waiting; the keeper is ended by stop.
func (p *supply) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.changed.Broadcast()
}

//go:build !linux

package loop

import (
	"net"
	"time"
)

// poller waits for mail: without epoll all connections are streams.
type poller struct {
	c     chan struct{}
	timer *time.Timer
}

func (p *poller) open(*Loop) error {
	p.c = make(chan struct{}, 1)
	p.timer = time.NewTimer(time.Hour)
	p.timer.Stop()
	return nil
}

func (p *poller) close() { p.timer.Stop() }

func (p *poller) wake() {
	select {
	case p.c <- struct{}{}:
	default: // a wake of an earlier park is still there
	}
}

// wait parks until there is mail if the loop has nothing to do, and reports
// whether it did.
func (p *poller) wait(l *Loop) bool {
	l.slots.free = append(l.slots.free, l.slots.freed...)
	l.slots.freed = l.slots.freed[:0]
	if l.busy() || !l.state.CompareAndSwap(awake, parked) {
		return false
	}
	if t := l.due(); !t.IsZero() {
		p.timer.Reset(time.Until(t))
	}
	select {
	case <-p.c:
	case <-p.timer.C:
	}
	p.timer.Stop()
	return true
}

func (p *poller) dispatch(*Loop) {}

// adopt says that nc is to be driven as a stream.
func adopt(net.Conn) *Conn { return nil }

// acceptor accepts by package net.
type acceptor struct{ ln net.Listener }

func (a *acceptor) open(ln net.Listener, _ <-chan struct{}) error {
	a.ln = ln
	return nil
}

func (*acceptor) close() {}

func (a *acceptor) next(r *Reception) error { return acceptFrom(a.ln, r) }

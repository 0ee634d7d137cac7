package loop

import (
	"math"
	"slices"
	"time"
)

// turn waits for work and does it. It reports whether the loop is at its end.
func (l *Loop) turn() bool {
	if l.poll.wait(l) {
		l.turns = 0
	}
	l.state.Store(awake) // a Wake from here on leads to one more turn
	l.now = time.Now()
	l.read = 0
	if !l.wakeAt.IsZero() && !l.now.Before(l.wakeAt) {
		l.wakeAt = time.Time{}
	}
	l.answerDrained()
	l.readMail()
	l.offerKept()
	l.poll.dispatch(l)
	if l.stopped.Load() {
		l.closeAll()
	}
	l.endConns()
	l.h.Turn(l.now)
	l.flush()
	l.endLinger()
	l.depart()
	l.arena.reset(&l.mem)
	l.mem.trim(l.now)
	l.trimTLS(l.now)
	l.delays.add(time.Since(l.now))
	return l.stopping && l.ended()
}

// busy reports whether the next turn has work already.
func (l *Loop) busy() bool {
	return len(l.closing)+len(l.drained)+len(l.offer) > 0
}

// due is when the loop must wake by itself; zero: never.
func (l *Loop) due() time.Time {
	t := l.wakeAt
	if len(l.linger) > 0 {
		t = earlier(t, l.linger[0].until)
	}
	return earlier(earlier(t, l.tls.fatAt), l.mem.trimAt)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (l *Loop) readMail() {
	l.mail.mu.Lock()
	l.mail.letters, l.mail.reading = l.mail.reading, l.mail.letters
	l.mail.mu.Unlock()
	for i := range l.mail.reading {
		m := l.mail.reading[i]
		switch {
		case m.f != nil:
			m.f()
		case m.what == joined:
			l.open(m.c, m.opened)
		default:
			m.c.t.(*stream).event(l, m.what)
		}
	}
	clear(l.mail.reading)
	if l.mail.reading = l.mail.reading[:0]; cap(l.mail.reading) > 4096 {
		l.mail.reading = nil
	}
}

// open makes c, sent by join, a connection of this loop.
func (l *Loop) open(c *Conn, opened func(*Conn)) {
	c.l = l
	c.flags &^= leaving
	l.seat(c)
	err := c.t.join(c)
	if opened != nil {
		opened(c)
	} else {
		l.h.Opened(c)
	}
	if err != nil {
		c.Abort(err)
	}
	if c.out != nil {
		c.touch()
	}
	c.checkDrained()
	c.offerLater()
}

// seat gives c a slot.
func (l *Loop) seat(c *Conn) {
	if n := len(l.slots.free); n > 0 {
		c.slot = l.slots.free[n-1]
		l.slots.free = l.slots.free[:n-1]
		l.slots.conns[c.slot] = c
		return
	}
	c.slot = int32(len(l.slots.conns))
	l.slots.conns = append(l.slots.conns, c)
}

func (l *Loop) answerDrained() {
	l.drained, l.spare = l.spare, l.drained
	for _, c := range l.spare {
		if c.flags&(answering|ended|leaving) == answering {
			c.flags &^= answering
			if c.flags&under == 0 {
				l.h.Drained(c)
			} else {
				c.State.(*layer).drained()
			}
		}
	}
	clear(l.spare)
	l.spare = l.spare[:0]
}

// offerKept offers input that was kept, after ResumeRead and at the beginning after a Move, and goes on reading.
func (l *Loop) offerKept() {
	l.offer, l.spare = l.spare, l.offer
	for _, c := range l.spare {
		if c.flags&offered == 0 {
			continue
		}
		c.flags &^= offered
		c.offerRest()
		if c.flags&(deaf|offered) == 0 {
			c.t.resume(c)
		}
	}
	clear(l.spare)
	l.spare = l.spare[:0]
}

// endConns tells the handler of every connection that ended since the last
// time, including those it ends meanwhile.
func (l *Loop) endConns() {
	for i := 0; i < len(l.closing); i++ {
		c, err := l.closing[i].c, l.closing[i].err
		c.flags |= told
		c.dropInput()
		if c.flags&graceful == 0 {
			c.destroy()
		} else {
			l.finish = append(l.finish, c)
		}
		if c.flags&under != 0 {
			c.State.(*layer).closed(err)
			continue
		}
		l.count.Add(-1)
		l.h.Closed(c, err)
	}
	clear(l.closing)
	l.closing = l.closing[:0]
}

// flush writes what is queued, then ends the connections that wait for it.
func (l *Loop) flush() {
	for i := 0; i < len(l.dirty); i++ { // a layered connection adds the one below it
		if c := l.dirty[i]; c.flags&dirty != 0 {
			c.flags &^= dirty
			c.flush()
		}
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
	for _, c := range l.finish {
		if c.finish(); c.flags&gone == 0 {
			l.linger = append(l.linger, lingerer{c, l.now.Add(l.o.Linger)})
		}
	}
	clear(l.finish)
	l.finish = l.finish[:0]
}

// endLinger destroys closed connections whose time is over. All linger equally
// long, so the list is in order of time.
func (l *Loop) endLinger() {
	n := 0
	for n < len(l.linger) && (l.linger[n].c.flags&gone != 0 || !l.now.Before(l.linger[n].until)) {
		l.linger[n].c.destroy()
		n++
	}
	if n == 0 {
		return
	}
	rest := copy(l.linger, l.linger[n:])
	clear(l.linger[rest:])
	l.linger = l.linger[:rest]
}

// depart sends off the connections that Move was called for, after the flush,
// so that none of this turn's lists names them any more. A stream whose writer
// is at work stays until it is done.
func (l *Loop) depart() {
	stay := l.moves[:0]
	for _, m := range l.moves {
		switch {
		case m.c.flags&ended != 0:
		case !m.c.t.movable():
			stay = append(stay, m)
		default:
			l.sendOff(m)
		}
	}
	clear(l.moves[len(stay):])
	l.moves = stay
}

func (l *Loop) sendOff(m moving) {
	c := m.c
	c.detach()
	slots := append(make([]int32, 0, 2), c.slot)
	if c.flags&layered != 0 {
		if lower := c.t.(*layer).lower; lower.flags&ended == 0 {
			slots = append(slots, lower.slot)
		}
	}
	// From a successful join on c belongs to the other loop.
	if !m.to.join(c, m.opened) {
		c.flags &^= leaving
		c.Abort(ErrStopped)
		return
	}
	for _, slot := range slots {
		l.slots.conns[slot] = nil
	}
	l.slots.freed = append(l.slots.freed, slots...)
	l.count.Add(-1)
}

// detach removes all that its loop knows of c, but for its slot.
func (c *Conn) detach() {
	l := c.l
	l.drained = without(l.drained, c)
	l.offer = without(l.offer, c)
	c.flags &^= offered
	if c.flags&answering != 0 {
		c.flags = c.flags&^answering | waitDrain
	}
	c.privatize(math.MaxInt)
	c.t.leave(c)
}

func without(list []*Conn, c *Conn) []*Conn {
	return slices.DeleteFunc(list, func(x *Conn) bool { return x == c })
}

// closeAll closes every connection and those that still come.
func (l *Loop) closeAll() {
	l.stopping = true
	for _, c := range l.slots.conns {
		if c != nil && c.flags&under == 0 {
			c.Close()
		}
	}
}

// ended reports whether nothing is left, and then refuses further mail.
func (l *Loop) ended() bool {
	if len(l.slots.free)+len(l.slots.freed) != len(l.slots.conns) || len(l.closing) > 0 {
		return false
	}
	l.mail.mu.Lock()
	defer l.mail.mu.Unlock()
	l.mail.shut = len(l.mail.letters) == 0
	return l.mail.shut
}

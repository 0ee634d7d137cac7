package loop

// chunk is how much output is encoded at a time: with TLS it is one record that fits an arena block.
const chunk = 15 << 10

// say sends b as it is, through TLS if there is.
func (x *layer) say(b []byte) {
	if x.tls == nil {
		x.lower.Write(b)
	} else if _, err := x.tls.Write(b); err != nil {
		x.upper.fail(err)
	}
}

// flush encodes what is pending. No more than LowWater waits encoded: the rest stays shared with others.
func (x *layer) flush(c *Conn) error {
	if x.stage != flowing {
		return nil
	}
	for c.out != nil {
		if x.lower.Pending() > c.l.o.LowWater {
			x.lower.flush()
		}
		if x.lower.Pending() > c.l.o.LowWater {
			if c.flags&blocked == 0 {
				c.flags |= blocked
				c.privatize(refMinCopies)
			}
			x.lower.WaitDrain()
			return nil
		}
		if err := x.encode(c); err != nil {
			return err
		}
	}
	c.flags &^= blocked
	return nil
}

// encode moves one chunk of c's output to the lower connection.
func (x *layer) encode(c *Conn) error {
	n := min(c.out.pending, chunk)
	b := c.l.tls.sealed[:0]
	if x.framing != nil {
		b = x.framing.AppendHeader(b, n)
	}
	if x.tls == nil {
		x.lower.Write(b)
		x.parts(n, func(s Span) { x.lower.Send(s) })
	} else {
		x.parts(n, func(s Span) { b = append(b, s.Bytes()...) })
		if _, err := x.tls.Write(b); err != nil {
			return err
		}
	}
	c.l.tls.sealed = b
	c.advance(n)
	return nil
}

// parts walks over the first n bytes of the upper connection's output.
func (x *layer) parts(n int, f func(Span)) {
	o := x.upper.out
	for _, s := range o.segs[o.head:] {
		if s.Len() >= n {
			s.end = s.off + int32(n)
			f(s)
			return
		}
		n -= s.Len()
		f(s)
	}
}

// drained is the lower connection's Handler.Drained.
func (x *layer) drained() {
	x.upper.flags &^= blocked
	x.upper.flush()
}

// shutdown says what is said at the end; the lower connection's linger time begins.
func (x *layer) shutdown(*Conn) {
	if x.stage == flowing {
		if x.framing != nil {
			if b := x.framing.AppendClose(nil); len(b) > 0 {
				x.say(b)
			}
		}
		if x.tls != nil {
			_ = x.tls.CloseWrite() // close_notify; it goes to memory
		}
	}
	x.lower.Close()
}

func (x *layer) close(*Conn) {
	x.canceled.Store(true)
	if hs := x.wire.hs; hs != nil {
		hs.stop()
	}
	switch {
	case x.released:
	case x.lower.l == nil:
		x.lower.release()
	case x.polite:
		x.lower.Close()
	default:
		x.lower.fail(nil)
	}
}

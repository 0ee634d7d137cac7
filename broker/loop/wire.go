package loop

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"
)

// again is the temporary net.Error that makes crypto/tls keep what it has of a record and return.
type again struct{}

func (again) Error() string   { return "no more input at present" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

var errAgain net.Error = again{}

// wire is the net.Conn below a tls.Conn. During the handshake, hs is set, a goroutine waits for input in Read; later everything
// happens on the loop, and nothing blocks.
type wire struct {
	x   *layer
	raw []byte // what of the loop's input is left
	hs  *handshake
}

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	if w.hs != nil {
		return w.hs.read(b)
	}
	if len(w.raw) == 0 {
		return 0, errAgain
	}
	n := copy(b, w.raw)
	w.raw = w.raw[n:]
	return n, nil
}

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) {
	if w.hs != nil {
		return w.hs.write(b)
	}
	w.x.lower.Write(b)
	return len(b), nil
}

// Close implements net.Conn: the lower connection is not tls.Conn's to close.
func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return w.x.local() }
func (w *wire) RemoteAddr() net.Addr             { return w.x.remote() }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// handshake is what the loop and the handshake's goroutine share. The goroutine holds one of turns while it computes and
// none while it waits for its peer.
type handshake struct {
	x     *layer
	l     *Loop
	turns Turns
	more  chan struct{} // there is input, or it was stopped; room for one

	mu      sync.Mutex // guards what follows
	in, out []byte
	stopped bool
	held    bool // the loop holds back input
	asked   bool // the loop is to send out
}

// handshake starts the TLS handshake, now that it is admitted.
func (x *layer) handshake() {
	if x.canceled.Load() || x.upper.flags&ended != 0 {
		x.with.Handshakes.leave(x)
		return
	}
	h := &handshake{x: x, l: x.upper.l, turns: x.with.Handshakes.using(), more: make(chan struct{}, 1)}
	x.wire.hs = h
	x.tls = tls.Server(&x.wire, x.with.TLS())
	x.stage = shaking
	go h.run(x.tls)
	x.lower.ResumeRead()
}

// run is the goroutine. It ends when the peer has answered or the connection ends, which the owner of the connection sees to in time.
func (h *handshake) run(c *tls.Conn) {
	h.turns <- struct{}{}
	err := c.Handshake()
	<-h.turns
	h.x.with.Handshakes.leave(h.x)
	h.l.Post(func() { h.x.shaken(h, err) })
}

func (h *handshake) read(b []byte) (int, error) {
	for {
		h.mu.Lock()
		if n := copy(b, h.in); n > 0 || h.stopped {
			h.in = h.in[n:]
			h.mu.Unlock()
			if n == 0 {
				return 0, io.ErrUnexpectedEOF
			}
			return n, nil
		}
		held := h.held
		h.held = false
		h.mu.Unlock()
		if held {
			h.l.Post(func() {
				if h.x.stage == shaking {
					h.x.lower.ResumeRead()
				}
			})
		}
		<-h.turns
		<-h.more
		h.turns <- struct{}{}
	}
}

func (h *handshake) write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return 0, io.ErrClosedPipe
	}
	h.out = append(h.out, b...)
	if !h.asked {
		h.asked = true
		h.l.Post(h.send)
	}
	return len(b), nil
}

// send sends what the goroutine wrote.
func (h *handshake) send() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = false
	h.x.lower.Write(h.out)
	h.out = h.out[:0]
}

// feed hands b over. It reports false when too much waits already.
func (h *handshake) feed(b []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.in) > 0 && len(h.in)+len(b) > maxShaking {
		h.held = true
		return false
	}
	h.in = append(h.in, b...)
	h.signal()
	return true
}

func (h *handshake) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	h.signal()
}

func (h *handshake) signal() {
	select {
	case h.more <- struct{}{}:
	default:
	}
}

// shaken takes over from the goroutine, which has ended.
func (x *layer) shaken(h *handshake, err error) {
	if x.upper.flags&ended != 0 {
		return
	}
	h.send()
	x.wire.hs = nil
	if err == nil && x.with.Secured != nil {
		state := x.tls.ConnectionState()
		err = x.with.Secured(x.upper, &state)
	}
	if err != nil {
		x.fail("TLS", err)
		return
	}
	x.stage = flowing
	x.ready()
	x.upper.l.tls.layout.trim(x.tls)
	if len(h.in) > 0 {
		x.lower.shove(h.in)
	}
	if x.upper.flags&deaf == 0 {
		x.resume(x.upper) // tls.Conn may have read ahead
	}
	if x.upper.out != nil {
		x.upper.touch()
	}
}

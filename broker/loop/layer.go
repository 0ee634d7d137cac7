package loop

import (
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
)

// Layers are what stands between the wire and the handler, from the wire upwards: a head that is read once, TLS, a framing. A
// nil one is not there. The functions run on the connection's loop and must not block. A Layers is shared by connections and
// never changed.
type Layers struct {
	// Head reads what comes before everything else. It is offered b again, longer, until it is done.
	Head func(c *Conn, b []byte) (used int, done bool, err error)
	// TLS is asked once a client has sent its hello. The same Config should come again, so that tickets are worth something, and
	// have DynamicRecordSizingDisabled.
	TLS        func() *tls.Config
	Handshakes *Handshakes
	From       func(c *Conn) netip.Addr                        // whose share of Handshakes is used; nil or invalid = nobody's
	Secured    func(c *Conn, state *tls.ConnectionState) error // the handshake is over
	Framing    func(c *Conn) Framing
}

// Framing is a protocol on top of the wire, or of TLS. It belongs to one connection and runs on its loop.
type Framing interface {
	// Decode takes all of b, which it may change. payload, the handler's, lies in b or is none; answer, to be sent, is valid until the
	// next call. io.EOF is the regular end; any error ends the connection after payload and answer.
	Decode(b []byte) (payload, answer []byte, err error)
	// AppendHeader appends what stands before n bytes of output.
	AppendHeader(b []byte, n int) []byte
	// AppendClose appends what is said when we end the connection.
	AppendClose(b []byte) []byte
}

// LayerError is what ended a connection below its handler.
type LayerError struct {
	Layer string // head, TLS or framing
	Err   error
}

// Error implements error.
func (e *LayerError) Error() string { return e.Layer + ": " + e.Err.Error() }

// Unwrap implements errors.Unwrap.
func (e *LayerError) Unwrap() error { return e.Err }

// maxHello is the largest first record of a TLS client. maxShaking is how much input waits for a handshake.
// maxAnswers is how much of pongs and the like may wait for a peer.
const (
	maxAnswers = 128 << 10
	maxHello   = 8 << 10
	maxShaking = 64 << 10
)

// plainRead is the size of the buffer for decrypted input.
const plainRead = 32 << 10

// The stages of a layered connection.
type stage uint8

const (
	atHead  stage = iota
	atHello       // waiting for all of the first record: until then a client costs no goroutine and no turn
	queued        // for its handshake
	shaking       // a goroutine does
	flowing
)

// layer is the transport of a Conn, the upper one, that stands on another, the lower one, whose handler it is. Both live on the same
// loop; the lower one is known to nobody else.
type layer struct {
	upper, lower *Conn
	with         *Layers
	tls          *tls.Conn
	wire         wire
	framing      Framing
	err          error // ended, but the handler has not taken all of the input yet
	from         netip.Prefix
	stage        stage
	polite       bool        // what was said last is to reach the peer
	released     bool        // the lower one needs us no more
	fat          bool        // in Loop.fat
	active       bool        // had input since the last look at Loop.fat
	canceled     atomic.Bool // no handshake any more
}

type layeredConn struct {
	Conn
	layer
}

// newLayered puts layers on c, which belongs to no loop yet.
func newLayered(lower *Conn, with *Layers) *Conn {
	y := &layeredConn{layer: layer{lower: lower, with: with}}
	x := &y.layer
	x.upper, x.wire.x = &y.Conn, x
	y.Conn.t, y.Conn.flags = x, layered
	lower.State = x
	lower.flags |= under
	if with.Head == nil {
		x.stage = x.afterHead()
	}
	return &y.Conn
}

func (x *layer) afterHead() stage {
	if x.with.TLS != nil {
		return atHello
	}
	x.ready()
	return flowing
}

// ready makes the framing, once what is below it stands.
func (x *layer) ready() {
	if x.with.Framing != nil {
		x.framing = x.with.Framing(x.upper)
	}
}

func (x *layer) home(l *Loop)     { x.lower.t.home(l) }
func (x *layer) movable() bool    { return x.lower.t.movable() }
func (x *layer) remote() net.Addr { return x.lower.t.remote() }
func (x *layer) local() net.Addr  { return x.lower.t.local() }

// peer is nobody: the lower connection tells who left.
func (x *layer) peer() netip.AddrPort { return netip.AddrPort{} }

func (x *layer) left() bool { return x.lower.flags&ended != 0 || x.lower.Left() }

func (x *layer) join(c *Conn) error {
	if x.lower.flags&ended != 0 { // while it moved
		return cmp.Or(x.err, io.EOF)
	}
	x.lower.l = c.l
	c.l.seat(x.lower)
	err := x.lower.t.join(x.lower)
	if x.lower.out != nil {
		x.lower.touch()
	}
	x.lower.checkDrained()
	x.lower.offerLater()
	if x.stage == flowing && x.tls != nil {
		x.watch()
	}
	return err
}

func (x *layer) leave(*Conn) {
	if x.fat {
		x.fat = false
		l := x.upper.l
		l.tls.fat = slices.DeleteFunc(l.tls.fat, func(y *layer) bool { return y == x })
	}
	if x.lower.flags&ended == 0 {
		x.lower.detach()
	}
}

// data is the lower connection's Handler.Data.
func (x *layer) data(b []byte) (used, need int) {
	for {
		switch {
		case x.upper.flags&ended != 0:
			return len(b), 0
		case x.lower.out.queued() > maxAnswers+2*x.upper.l.o.LowWater: // what we encode is less
			x.fail("framing", errors.New("the peer asks for answers and does not read them"))
			return len(b), 0
		case x.upper.flags&deaf != 0 && x.stage == flowing:
			x.lower.PauseRead()
			return used, 0
		}
		switch x.stage {
		case atHead:
			n, done, err := x.with.Head(x.upper, b[used:])
			if used += n; err != nil {
				x.fail("head", err)
				return len(b), 0
			}
			if !done {
				return used, 0
			}
			if x.stage = x.afterHead(); x.stage == flowing && x.upper.out != nil {
				x.upper.touch()
			}
		case atHello:
			n, err := helloSize(b[used:])
			if err != nil {
				x.fail("TLS", err)
				return len(b), 0
			}
			if len(b)-used < n {
				return used, n
			}
			x.stage = queued
			x.lower.PauseRead()
			if x.with.From != nil {
				x.from = group(x.with.From(x.upper))
			}
			x.with.Handshakes.enter(x)
			return used, 0
		case queued:
			x.lower.PauseRead()
			return used, 0
		case shaking:
			if !x.wire.hs.feed(b[used:]) {
				x.lower.PauseRead()
				return used, 0
			}
			return len(b), 0
		case flowing:
			if used == len(b) {
				return used, 0
			}
			used += x.input(b[used:])
			if x.upper.flags&deaf != 0 { // the peer's end is to be noticed after what came before it
				x.lower.PauseRead()
			}
			return used, 0
		}
	}
}

// helloSize is the length of the record that b begins with.
func helloSize(b []byte) (int, error) {
	if len(b) > 0 && b[0] != 0x16 { // handshake, RFC 8446 5.1
		return 0, fmt.Errorf("the client does not speak TLS: its first byte is %#02x", b[0])
	}
	if len(b) < 5 {
		return 5, nil
	}
	n := 5 + int(binary.BigEndian.Uint16(b[3:]))
	if n > maxHello {
		return 0, fmt.Errorf("a hello of %d bytes, the limit is %d", n, maxHello)
	}
	return n, nil
}

// input takes b through the layers and returns how much of it is done with.
func (x *layer) input(b []byte) int {
	if x.tls == nil {
		x.deliver(b)
		return len(b)
	}
	x.active = true
	x.wire.raw = b
	x.pump()
	used := len(b) - len(x.wire.raw)
	x.wire.raw = nil
	x.watch()
	return used
}

// pump decrypts what is there, be it read ahead, until there is no more or the handler wants none.
func (x *layer) pump() {
	l := x.upper.l
	if l.tls.plain == nil {
		l.tls.plain = make([]byte, plainRead)
	}
	for x.upper.flags&deaf == 0 && x.err == nil {
		n, err := 0, error(nil)
		for n < len(l.tls.plain) && err == nil {
			var k int
			k, err = x.tls.Read(l.tls.plain[n:])
			n += k
		}
		if n > 0 {
			x.deliver(l.tls.plain[:n])
		}
		switch {
		case err == errAgain:
			return
		case errors.Is(err, io.EOF): // close_notify
			x.end(io.EOF)
		case err != nil:
			x.fail("TLS", err)
		}
	}
}

// deliver takes plain bytes through the framing to the handler.
func (x *layer) deliver(b []byte) {
	if x.framing == nil {
		x.upper.receive(b)
		return
	}
	payload, answer, err := x.framing.Decode(b)
	if len(answer) > 0 {
		x.say(answer)
	}
	if len(payload) > 0 {
		x.upper.receive(payload)
	}
	if err == io.EOF {
		x.end(err)
	} else if err != nil {
		x.fail("framing", err)
	}
}

// fail ends the connection because of what the peer did.
func (x *layer) fail(what string, err error) { x.end(&LayerError{what, err}) }

// end ends the connection when the handler has taken what came before. What was answered still goes out.
func (x *layer) end(err error) {
	x.polite = true
	x.err = cmp.Or(x.err, err)
	x.endNow()
}

func (x *layer) endNow() {
	if x.err != nil && x.upper.flags&deaf == 0 {
		x.upper.fail(x.err)
	}
}

// resume goes on: what was read already comes first.
func (x *layer) resume(c *Conn) {
	if x.stage == flowing && x.tls != nil {
		x.pump()
	}
	if c.flags&deaf == 0 {
		x.endNow()
		if x.stage != queued {
			x.lower.ResumeRead()
		}
	}
}

// closed is the lower connection's Handler.Closed.
func (x *layer) closed(err error) {
	x.released = true
	if x.stage == shaking && err != nil { // it may have told in an alert, which comes a moment later
		err = &LayerError{"TLS", err}
	}
	if f := x.upper.flags; f&ended == 0 && f&deaf != 0 && err == io.EOF { // there may be input to be taken first
		x.err = cmp.Or(x.err, err)
		return
	}
	x.upper.fail(err)
}

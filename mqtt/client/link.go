package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

const (
	maxOut     = 256 << 10   // bytes waiting to be written, give or take a packet
	writeChunk = 64 << 10    // bytes for which the server has Timeout to make room
	keepIn     = 64 << 10    // bytes of read buffer kept when it is empty
	farewellIn = time.Second // how long to wait for the server to close
)

// link is one network connection. Fields below the line belong to mu.
type link struct {
	mu      *sync.Mutex // the Client's
	refill  func(*link) // puts into out what had no room before; with the lock held
	conn    net.Conn
	version mqtt.Version
	timeout time.Duration
	tap     func(Direction, []byte)
	connack mqtt.Connack
	resumed bool // the session lives on; 3.1 cannot say, and is taken to have kept it
	limits  limits

	input

	born  time.Time
	heard atomic.Int64 // nanoseconds from born to the newest byte received

	once    sync.Once
	dead    chan struct{} // closed by fail
	err     error         // why it failed
	written chan struct{} // closed when the writer has ended
	wake    chan struct{} // there is something to write

	// -- guarded by mu
	out      []byte
	spare    []byte
	drained  chan struct{} // closed when out was taken to be written or lost
	closing  bool          // DISCONNECT is in out: nothing may follow it
	flushed  bool          // and is written
	quota    int           // PUBLISH packets that may still be sent (MQTT5 4.9)
	sent     map[uint16]string
	lastSent time.Time
	pinged   time.Time // zero = no PINGREQ is waiting for its answer
	busy     bool      // OnMessage has the goroutine that reads
}

// input is what was received; it belongs to the goroutine that reads.
type input struct {
	in           []byte // the packets before start are done with
	start        int
	largest      int // bytes a received packet may have
	packet       mqtt.Packet
	aliases      map[uint16][]byte // the server's, up to topicAliases
	topicAliases uint16
}

// next is the next packet, a view into l.in until the call after.
func (l *link) next() (*mqtt.Packet, error) {
	for {
		h, n, err := mqtt.ParseHeader(l.in[l.start:])
		if err != nil {
			return nil, err
		}
		size := n + h.Length
		if n > 0 && l.largest > 0 && size > l.largest {
			return nil, violation(mqtt.PacketTooLarge, h.Type.String()+" above the maximum packet size")
		}
		if n > 0 && len(l.in)-l.start >= size {
			raw := l.in[l.start : l.start+size]
			l.start += size
			if l.tap != nil {
				l.tap(Received, raw)
			}
			if h.Type == mqtt.CONNACK && h.Length == 2 && l.version == mqtt.V5 {
				// A server older than MQTT 5 refuses in its own words.
				return &l.packet, l.packet.Decode(mqtt.V311, h, raw[n:], mqtt.Limits{})
			}
			return &l.packet, l.packet.Decode(l.version, h, raw[n:], mqtt.Limits{})
		}
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads what is there. The buffer grows with what has come, never by a
// size that was only announced.
func (l *link) fill() error {
	switch {
	case l.start == len(l.in) && cap(l.in) > keepIn:
		l.in, l.start = nil, 0
	case l.start > 0:
		l.in, l.start = l.in[:copy(l.in, l.in[l.start:])], 0
	}
	if len(l.in) == cap(l.in) {
		l.in = append(make([]byte, 0, max(4096, 2*cap(l.in))), l.in...)
	}
	n, err := l.conn.Read(l.in[len(l.in):cap(l.in)])
	l.in = l.in[:len(l.in)+n]
	if n > 0 {
		l.heard.Store(int64(time.Since(l.born)))
		return nil
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the server closed the connection")
	}
	return err
}

// fail cuts the connection. The first cause stays.
func (l *link) fail(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.dead)
		l.conn.Close()
	})
}

// full tells that no more should be put into out. With the lock held.
func (l *link) full() bool { return len(l.out) >= maxOut }

// emit puts one packet into out, unless it is larger than the server or MQTT
// takes (false). With the lock held.
func (l *link) emit(encode func(dst []byte) []byte) bool {
	if l.closing {
		return true
	}
	at := len(l.out)
	l.out = encode(l.out)
	if size := len(l.out) - at; size == 0 || uint32(size) > l.limits.maxPacket {
		l.out = l.out[:at]
		return false
	}
	if l.tap != nil {
		l.tap(Sent, l.out[at:])
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// serve works a connection until it is lost, and says why.
func (c *Client) serve(l *link) error {
	go l.write()
	err := c.read(l)
	if stop := new(stopped); errors.As(err, &stop) {
		c.end(stop.err)
		l.farewell(mqtt.Disconnect{})
	} else if fault := new(mqtt.Error); errors.As(err, &fault) && l.version == mqtt.V5 {
		l.farewell(mqtt.Disconnect{Reason: fault.Reason})
	}
	c.mu.Lock()
	closing := l.closing
	c.mu.Unlock()
	if closing {
		<-l.written
		_, _ = io.Copy(io.Discard, l.conn)
	}
	l.fail(err)
	<-l.written
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending == ErrClosed && !l.flushed {
		c.ending = fmt.Errorf("close: %w", l.err)
	}
	return l.err
}

// hangUp ends the connection after the farewell was written: only this way, and
// then waits for the server to close its own. Closing a socket with unread bytes
// would throw away what the server has not read yet.
func (l *link) hangUp() {
	half, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || l.conn.SetReadDeadline(time.Now().Add(farewellIn)) != nil {
		l.conn.Close()
	}
}

// farewell ends the connection with a DISCONNECT, the last packet on it.
func (l *link) farewell(d mqtt.Disconnect) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sendDisconnect(d)
}

func (l *link) sendDisconnect(d mqtt.Disconnect) {
	l.emit(func(dst []byte) []byte { return d.AppendTo(dst, l.version, l.limits.maxPacket) })
	l.closing = true
}

// write is the goroutine that writes and keeps alive.
func (l *link) write() {
	defer close(l.written)
	var beats <-chan time.Time // none without a keep-alive
	var timer *time.Timer
	if l.limits.keepAlive > 0 {
		timer = time.NewTimer(l.beat())
		defer timer.Stop()
		beats = timer.C
	}
	for {
		select {
		case <-l.wake:
			if !l.flush() {
				l.hangUp()
				return
			}
		case <-beats:
		case <-l.dead:
			return
		}
		if timer != nil {
			timer.Reset(l.beat())
		}
	}
}

// flush writes what is in out; false means that nothing more is to be written.
func (l *link) flush() bool {
	for {
		l.mu.Lock()
		if len(l.out) == 0 {
			l.flushed = l.closing
			l.mu.Unlock()
			return !l.flushed
		}
		out := l.out
		l.out, l.spare = l.spare[:0], nil
		close(l.drained)
		l.drained = make(chan struct{})
		l.lastSent = time.Now()
		l.refill(l)
		l.mu.Unlock()
		for rest := out; len(rest) > 0; {
			n := min(len(rest), writeChunk)
			_ = l.conn.SetWriteDeadline(time.Now().Add(l.timeout))
			if _, err := l.conn.Write(rest[:n]); err != nil {
				l.fail(fmt.Errorf("write: %w", err))
				return false
			}
			rest = rest[n:]
		}
		l.mu.Lock()
		if cap(out) <= 2*maxOut {
			l.spare = out
		}
		l.mu.Unlock()
	}
}

// beat sends PINGREQ when the connection was quiet in either direction for
// three quarters of the keep-alive (MQTT5 3.1.2.10), cuts it when the answer
// does not come, and says when to look again.
func (l *link) beat() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, quiet := time.Now(), l.limits.keepAlive*3/4
	heard := l.born.Add(time.Duration(l.heard.Load()))
	if now.Sub(l.lastSent) >= quiet || l.pinged.IsZero() && now.Sub(heard) >= quiet {
		l.emit(func(dst []byte) []byte { return mqtt.AppendPing(dst, mqtt.PINGREQ) })
		l.lastSent = now
		if l.pinged.IsZero() {
			l.pinged = now
		}
	}
	again := l.lastSent.Add(quiet)
	switch {
	case l.pinged.IsZero():
		again = earlier(again, heard.Add(quiet))
	case l.busy: // nobody reads: the answer may well be there
	default:
		owed := l.pinged
		if heard.After(owed) {
			owed = heard
		}
		if now.Sub(owed) >= l.timeout {
			l.fail(fmt.Errorf("%w: no PINGRESP in %v", ErrSilent, l.timeout))
			return l.timeout
		}
		again = earlier(again, owed.Add(l.timeout))
	}
	return again.Sub(now)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// yield keeps a server that takes no answers from being read: they would pile
// up, or, when the connection is lost, come to nothing.
func (l *link) yield() error {
	l.mu.Lock()
	full, drained := l.full(), l.drained
	l.mu.Unlock()
	select {
	case <-l.dead:
		return l.err
	default:
	}
	if !full {
		return nil
	}
	select {
	case <-drained:
		return nil
	case <-l.dead:
		return l.err
	}
}

func (l *link) setBusy(busy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = busy
	l.heard.Store(int64(time.Since(l.born)))
}

// resolve puts the topic in the place of a topic alias (MQTT5 3.3.2.3.4).
func (l *link) resolve(p *mqtt.Publish) error {
	alias := p.Props.TopicAlias
	switch {
	case alias == 0:
		return nil
	case alias > l.topicAliases:
		return violation(mqtt.TopicAliasInvalid, "topic alias above the maximum")
	case len(p.Topic) > 0:
		l.aliases[alias] = bytes.Clone(p.Topic)
		return nil
	}
	if p.Topic = l.aliases[alias]; p.Topic == nil {
		return violation(mqtt.ProtocolError, "topic alias without a topic")
	}
	return nil
}

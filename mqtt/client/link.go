package client

import (
	"context"
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

// link is one network connection. Fields below the line belong to Client.mu.
type link struct {
	conn    net.Conn
	version mqtt.Version
	timeout time.Duration
	tap     func(Direction, []byte)
	connack mqtt.Connack
	resumed bool // the session lives on; 3.1 cannot say, and is taken to have kept it
	limits  limits

	in      []byte // received; the packets before start are done with
	start   int
	largest int // bytes a received packet may have
	packet  mqtt.Packet
	aliases map[uint16][]byte // the server's

	born  time.Time
	heard atomic.Int64 // nanoseconds from born to the newest byte received

	once    sync.Once
	dead    chan struct{} // closed by fail
	err     error         // why it failed
	written chan struct{} // closed when the writer has ended
	wake    chan struct{} // there is something to write

	// -- guarded by Client.mu
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

// limits are what the server said in CONNACK, or the defaults (MQTT5 3.2.2.3).
type limits struct {
	keepAlive  time.Duration
	maxPacket  uint32
	maxQoS     mqtt.QoS
	retain     bool
	topicAlias uint16
	receive    int
}

// connect dials and shakes hands. The link has no writer yet.
func (c *Client) connect(ctx context.Context, cleanStart bool) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opt.Timeout)
	defer cancel()
	conn, err := c.opt.DialConn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	l := &link{
		conn: conn, born: time.Now(), version: c.opt.Version, timeout: c.opt.Timeout, tap: c.opt.Tap,
		largest: int(c.opt.MaximumPacketSize),
		aliases: map[uint16][]byte{}, sent: map[uint16]string{},
		dead: make(chan struct{}), written: make(chan struct{}),
		wake: make(chan struct{}, 1), drained: make(chan struct{}),
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err = c.shake(l, cleanStart)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("no CONNACK: %w", context.Cause(ctx))
		}
		return nil, err
	}
	return l, nil
}

// shake sends CONNECT and reads CONNACK.
func (c *Client) shake(l *link, cleanStart bool) error {
	packet := c.connectPacket(cleanStart).AppendTo(nil)
	if l.tap != nil {
		l.tap(Sent, packet)
	}
	if _, err := l.conn.Write(packet); err != nil {
		return fmt.Errorf("send CONNECT: %w", err)
	}
	p, err := l.next()
	if err != nil {
		return fmt.Errorf("read CONNACK: %w", err)
	}
	if p.Type != mqtt.CONNACK {
		return fmt.Errorf("read CONNACK: %w", violation(mqtt.ProtocolError, "another packet came first"))
	}
	if p.Connack.Reason != mqtt.Success {
		return reasonError(mqtt.CONNACK, p.Connack.Reason, &p.Connack.Props)
	}
	if p.Connack.SessionPresent && cleanStart {
		return fmt.Errorf("read CONNACK: %w", violation(mqtt.ProtocolError, "a session is present after a clean start"))
	}
	l.connack = p.Connack
	l.connack.Props = cloneProperties(p.Connack.Props)
	l.resumed = p.Connack.SessionPresent || l.version == mqtt.V31 && !cleanStart
	l.limits = c.limitsOf(&l.connack.Props)
	l.quota = min(l.limits.receive, c.opt.MaxInflight)
	l.lastSent = time.Now()
	return nil
}

func (c *Client) connectPacket(cleanStart bool) *mqtt.Connect {
	o := &c.opt
	p := &mqtt.Connect{
		Version: o.Version, CleanStart: cleanStart, KeepAlive: o.KeepAlive,
		ClientID: []byte(o.ClientID), Will: o.Will,
		Username: []byte(o.Username), HasUser: o.Username != "",
		Password: o.Password, HasPass: o.Password != nil,
	}
	if o.Version < mqtt.V5 {
		return p
	}
	p.Props.User = o.UserProperties
	if o.SessionExpiry > 0 {
		p.Props.Has = p.Props.Has.With(mqtt.PropSessionExpiry)
		p.Props.SessionExpiry = o.SessionExpiry
	}
	if o.ReceiveMaximum < 65535 {
		p.Props.Has = p.Props.Has.With(mqtt.PropReceiveMaximum)
		p.Props.ReceiveMaximum = o.ReceiveMaximum
	}
	if o.MaximumPacketSize > 0 {
		p.Props.Has = p.Props.Has.With(mqtt.PropMaximumPacketSize)
		p.Props.MaximumPacketSize = o.MaximumPacketSize
	}
	if o.TopicAliasMaximum > 0 {
		p.Props.Has = p.Props.Has.With(mqtt.PropTopicAliasMaximum)
		p.Props.TopicAliasMaximum = o.TopicAliasMaximum
	}
	return p
}

func (c *Client) limitsOf(p *mqtt.Properties) limits {
	l := limits{
		keepAlive: time.Duration(c.opt.KeepAlive) * time.Second,
		maxPacket: 1 << 30, maxQoS: 2, retain: true, receive: 65535,
		topicAlias: p.TopicAliasMaximum,
	}
	if p.Has.Has(mqtt.PropServerKeepAlive) {
		l.keepAlive = time.Duration(p.ServerKeepAlive) * time.Second
	}
	if p.Has.Has(mqtt.PropMaximumPacketSize) {
		l.maxPacket = p.MaximumPacketSize
	}
	if p.Has.Has(mqtt.PropMaximumQoS) {
		l.maxQoS = p.MaximumQoS
	}
	if p.Has.Has(mqtt.PropRetainAvailable) {
		l.retain = p.RetainAvailable
	}
	if p.Has.Has(mqtt.PropReceiveMaximum) {
		l.receive = int(p.ReceiveMaximum)
	}
	return l
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
	go c.write(l)
	err := c.read(l)
	if stop := new(stopped); errors.As(err, &stop) {
		c.end(stop.err)
		c.farewell(l, mqtt.Disconnect{})
	} else if fault := new(mqtt.Error); errors.As(err, &fault) && l.version == mqtt.V5 {
		c.farewell(l, mqtt.Disconnect{Reason: fault.Reason})
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
	switch {
	case c.ending == nil:
		return l.err
	case c.ending == ErrClosed && !l.flushed:
		return fmt.Errorf("close: %w", l.err)
	}
	return c.ending
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
func (c *Client) farewell(l *link, d mqtt.Disconnect) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendDisconnect(l, d)
}

func (c *Client) sendDisconnect(l *link, d mqtt.Disconnect) {
	l.emit(func(dst []byte) []byte { return d.AppendTo(dst, l.version, l.limits.maxPacket) })
	l.closing = true
}

// write is the goroutine that writes and keeps alive.
func (c *Client) write(l *link) {
	defer close(l.written)
	var beats <-chan time.Time // none without a keep-alive
	var timer *time.Timer
	if l.limits.keepAlive > 0 {
		timer = time.NewTimer(c.beat(l))
		defer timer.Stop()
		beats = timer.C
	}
	for {
		select {
		case <-l.wake:
			if !c.flush(l) {
				l.hangUp()
				return
			}
		case <-beats:
		case <-l.dead:
			return
		}
		if timer != nil {
			timer.Reset(c.beat(l))
		}
	}
}

// flush writes what is in out; false means that nothing more is to be written.
func (c *Client) flush(l *link) bool {
	for {
		c.mu.Lock()
		if len(l.out) == 0 {
			l.flushed = l.closing
			c.mu.Unlock()
			return !l.flushed
		}
		out := l.out
		l.out, l.spare = l.spare[:0], nil
		close(l.drained)
		l.drained = make(chan struct{})
		l.lastSent = time.Now()
		c.pump(l)
		c.mu.Unlock()
		for rest := out; len(rest) > 0; {
			n := min(len(rest), writeChunk)
			_ = l.conn.SetWriteDeadline(time.Now().Add(l.timeout))
			if _, err := l.conn.Write(rest[:n]); err != nil {
				l.fail(fmt.Errorf("write: %w", err))
				return false
			}
			rest = rest[n:]
		}
		c.mu.Lock()
		if cap(out) <= 2*maxOut {
			l.spare = out
		}
		c.mu.Unlock()
	}
}

// beat sends PINGREQ when the connection was quiet in either direction for
// three quarters of the keep-alive [MQTT5 3.1.2.10], cuts it when the answer
// does not come, and says when to look again.
func (c *Client) beat(l *link) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
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

package broker

import (
	"cmp"
	"net/netip"
	"runtime"
	"slices"

	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// traces is what a shard keeps of packets to look back at, and who listens in. Who does neither pays two checks for
// a packet.
type traces struct {
	sh    *shard
	ring  *trace.Ring  // nil = nothing is kept
	taps  []*trace.Tap // nil = nobody listens
	raw   []byte       // the packet at hand as it was before it was decoded; only while somebody listens
	owed  unnoted
	past  departed
	afar  map[afar]int // drops, by this shard, of what was for clients of others; of this second
	text  []byte
	topic []byte
}

// unnoted is a PUBLISH that came and is noted as soon as the number of its topic is known, at the latest before the next note: so it
// is told from the client's last one by that number, and the topic is not compared byte by byte.
type unnoted struct {
	from  *client
	size  int
	first byte
	yes   bool // there is one, in shard.packet
}

// early is what a connection without a client keeps for the trace.
type early struct {
	id   string // as in its CONNECT
	size int    // of the CONNECT
}

// The kinds of notes in a log, in the place of a packet's first byte.
const (
	noteClosed byte = iota
	noteDropped
	noteDenied
	noteRefused
	noteBad
)

func newTraces(sh *shard) traces {
	t := traces{sh: sh, afar: make(map[afar]int)}
	cfg := trace.Defaults()
	if c := sh.b.opts.Trace; c != nil {
		cfg = *c
	}
	if cfg.Enabled {
		shards := cmp.Or(max(sh.b.opts.Shards, 0), runtime.GOMAXPROCS(0))
		t.ring = trace.NewRing(cfg.Memory/int64(shards), cfg.PayloadBytes)
	}
	t.past = departed{byID: make(map[string]*leaver), keep: cfg.Keep.Milliseconds()}
	return t
}

// body returns the body of a packet that is about to be decoded, whose bytes begin in b, and remembers them for who listens:
// decoding moves bytes about.
func (t *traces) body(b []byte, header, length int) []byte {
	if t.taps != nil {
		t.raw = append(t.raw[:0], b[:header+length]...)
	}
	return b[header : header+length]
}

// in notes a packet that a client sent, after its topic alias was resolved.
func (t *traces) in(c *client, p *mqtt.Packet, first byte, size int) {
	switch {
	case t.ring == nil || t.taps != nil:
	case p.Type == mqtt.PUBLISH:
		t.owe(c, first, size)
		return
	case acknowledges(first) && p.Ack.Reason == 0 && c.trace.In(t.sh.now, first, size, trace.Bare):
		return
	}
	t.take(c, p, first, size)
}

// acknowledges tells a PUBACK, PUBREC, PUBREL or PUBCOMP by its first byte (MQTT5 2.1.2).
func acknowledges(first byte) bool {
	return first>>4-byte(mqtt.PUBACK) <= byte(mqtt.PUBCOMP-mqtt.PUBACK)
}

// owe has the PUBLISH at hand noted a little later.
func (t *traces) owe(c *client, first byte, size int) {
	o := &t.owed
	if o.from != c {
		o.from = c
	}
	o.size, o.first, o.yes = size, first, true
}

func (t *traces) take(c *client, p *mqtt.Packet, first byte, size int) {
	switch {
	case t.ring == nil:
	case p.Type == mqtt.PUBLISH:
		t.owe(c, first, size)
	default:
		id, reason, about := outline(p)
		t.ring.Label(c.log(), t.sh.now, trace.Head{First: first, ID: id, Reason: uint8(reason), Size: size}, bare(first, reason), about, nil)
	}
	if t.taps != nil {
		t.tapIn(c.id, c.who.Load().Peer.Address, p, c.s.Version(), size)
	}
}

// bare is the label of an acknowledgement without a reason.
func bare(first byte, reason mqtt.ReasonCode) uint32 {
	if acknowledges(first) && reason == 0 {
		return trace.Bare
	}
	return 0
}

// routed notes the PUBLISH that came, now that its topic has a number.
func (t *traces) routed(label uint32) {
	o := &t.owed
	if !o.from.trace.In(t.sh.now, o.first, o.size, label) {
		t.pay(label)
	}
	o.yes = false
}

// settle notes the PUBLISH that came, if it was not noted yet. label is the number of its topic, 0 if it is not known.
func (t *traces) settle(label uint32) {
	if t.owed.yes {
		t.pay(label)
	}
}

func (t *traces) pay(label uint32) {
	o := &t.owed
	o.yes = false
	p := &t.sh.packet.Publish
	t.ring.Label(o.from.log(), t.sh.now, trace.Head{First: o.first, ID: p.ID, Size: o.size}, t.only(label), p.Topic, p.Payload)
}

// only returns a topic's number if it stands for that topic alone, else 0.
func (t *traces) only(label uint32) uint32 {
	if label == 0 || t.sh.b.topics.names.IsRest(tally.Topic(label)) {
		return 0
	}
	return label
}

// outline is what a look back tells of a packet that is no PUBLISH.
func outline(p *mqtt.Packet) (id uint16, reason mqtt.ReasonCode, about []byte) {
	switch p.Type {
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		return p.Ack.ID, p.Ack.Reason, nil
	case mqtt.SUBSCRIBE:
		if len(p.Subscribe.Filters) > 0 {
			about = p.Subscribe.Filters[0].Filter
		}
		return p.Subscribe.ID, 0, about
	case mqtt.UNSUBSCRIBE:
		if len(p.Unsubscribe.Filters) > 0 {
			about = p.Unsubscribe.Filters[0]
		}
		return p.Unsubscribe.ID, 0, about
	case mqtt.DISCONNECT:
		return 0, p.Disconnect.Reason, nil
	case mqtt.AUTH:
		return 0, p.Auth.Reason, nil
	}
	return 0, 0, nil
}

// come notes a packet of a connection that has no client yet.
func (t *traces) come(p *pending, packet *mqtt.Packet, size int) {
	if packet.Type == mqtt.CONNECT {
		p.trace.size = size
	}
	if t.taps == nil {
		return
	}
	version := p.version
	if packet.Type == mqtt.CONNECT {
		p.trace.id, version = string(packet.Connect.ClientID), packet.Connect.Version
	}
	t.tapIn(p.clientID(), p.peer.Address, packet, version, size)
}

// clientID is the one of the connection, as far as it is known.
func (p *pending) clientID() string {
	if p.request != nil {
		return p.request.ClientID
	}
	return p.trace.id
}

// admitted notes the CONNECT of a client that has been let in.
func (t *traces) admitted(c *client, p *pending, version mqtt.Version) {
	if t.ring == nil {
		return
	}
	t.text = append(append(append(t.text[:0], p.peer.Remote()...), ", MQTT "...), version.String()...)
	t.ring.Record(c.log(), t.sh.now, trace.Head{First: byte(mqtt.CONNECT) << 4, Size: p.trace.size}, t.text, nil)
}

// firstByte is the one that a PUBLISH begins with (MQTT5 3.3.1).
func firstByte(qos mqtt.QoS, retain, dup bool) byte {
	first := byte(mqtt.PUBLISH)<<4 | byte(qos)<<1
	if retain {
		first |= 1
	}
	if dup {
		first |= 8
	}
	return first
}

// delivered notes a PUBLISH to a client.
func (t *traces) delivered(c *client, m *mqtt.Message, p *mqtt.Publish, first byte, size int) {
	if t.ring != nil {
		if !c.trace.Out(t.sh.now, first, size, m.Label) {
			t.settle(0)
			t.ring.Label(c.log(), t.sh.now, trace.Head{First: first, Out: true, ID: p.ID, Size: size}, t.only(m.Label), m.Topic, m.Payload)
		}
	}
	if t.taps != nil {
		t.tapDelivered(c, m, p, size)
	}
}

// tapDelivered is apart so that delivered keeps nothing for it.
func (t *traces) tapDelivered(c *client, m *mqtt.Message, p *mqtt.Publish, size int) {
	about := string(m.Topic)
	t.offer(c.id, c.who.Load().Peer.Address, about, func(payload int) trace.Packet {
		raw := p.AppendTo(nil, c.s.Version())
		return trace.Packet{Dir: trace.Out, Version: c.s.Version(), Topic: about, Size: size, Raw: trace.Capture(raw, len(p.Payload), payload)}
	})
}

// out notes a packet other than PUBLISH to a connection.
func (t *traces) out(conn *loop.Conn, packet []byte) {
	switch st := conn.State.(type) {
	case *client:
		// An acknowledgement of four bytes has no reason (MQTT5 3.4.2.1).
		if t.ring != nil && t.taps == nil && len(packet) == 4 && acknowledges(packet[0]) && st.trace.Out(t.sh.now, packet[0], 4, trace.Bare) {
			return
		}
		version := st.s.Version()
		if t.ring != nil {
			t.settle(0)
			id, reason := trace.Outline(packet, version)
			t.ring.Label(st.log(), t.sh.now, trace.Head{First: packet[0], Out: true, ID: id, Reason: uint8(reason), Size: len(packet)}, bare(packet[0], reason), nil, nil)
		}
		if t.taps != nil {
			t.tapOut(st.id, st.who.Load().Peer.Address, version, packet)
		}
	case *pending:
		if t.taps != nil {
			t.tapOut(st.clientID(), st.peer.Address, st.version, packet)
		}
	}
}

// bad notes what a connection sent that is no packet, or not one to be sent.
func (t *traces) bad(conn *loop.Conn, begin []byte, e *mqtt.Error) {
	id, address, version := "", netip.AddrPort{}, mqtt.Version(0)
	switch st := conn.State.(type) {
	case *client:
		id, address, version = st.id, st.who.Load().Peer.Address, st.s.Version()
		if t.ring != nil {
			t.note(st.log(), noteBad, e.Reason, "broke the protocol: ", e.Detail)
		}
	case *pending:
		id, address, version = st.clientID(), st.peer.Address, st.version
	}
	if t.taps != nil {
		t.offer(id, address, "", func(int) trace.Packet {
			return trace.Packet{Dir: trace.In, Version: version, Raw: trace.HeadOf(begin), Size: len(begin), Text: e.Detail, Reason: e.Reason, Bad: true}
		})
	}
}

// note adds a note to a log.
func (t *traces) note(l *trace.Log, kind byte, reason mqtt.ReasonCode, parts ...string) {
	t.settle(0)
	t.text = t.text[:0]
	for _, s := range parts {
		t.text = append(t.text, s...)
	}
	t.ring.Record(l, t.sh.now, trace.Head{First: kind, Reason: uint8(reason)}, t.text, nil)
}

// left notes that a client's connection has ended.
func (t *traces) left(c *client) {
	cause := ""
	if c.told.life != nil {
		cause = c.told.text
	}
	if t.ring != nil {
		t.note(c.log(), noteClosed, 0, "closed: ", cause)
	}
	if t.taps != nil {
		t.offer(c.id, c.who.Load().Peer.Address, "", func(int) trace.Packet {
			return trace.Packet{Text: "closed: " + cause, Closed: true}
		})
	}
}

// refused notes that a connection was not let in.
func (t *traces) refused(p *pending, r *session.Refusal) {
	id, why := p.clientID(), r.Text
	if r.Why != "" {
		why += " (" + r.Why + ")"
	}
	if t.ring != nil && id != "" && t.sh.b.shardOf(id) == t.sh {
		if l := t.logOf(id); l != nil {
			t.note(l, noteRefused, r.Reason, "refused ", p.peer.Remote(), ": ", why)
		}
	}
	if t.taps != nil {
		t.offer(id, p.peer.Address, "", func(int) trace.Packet {
			return trace.Packet{Text: "refused: " + why, Reason: r.Reason, Closed: true}
		})
	}
}

// tapIn offers a packet that came to those who listen.
func (t *traces) tapIn(id string, address netip.AddrPort, p *mqtt.Packet, version mqtt.Version, size int) {
	about, published := "", 0
	if p.Type == mqtt.PUBLISH {
		about, published = string(p.Publish.Topic), len(p.Publish.Payload)
	}
	for _, tap := range t.taps {
		if tap.Takes(id, address.Addr(), about) || tap.Topic != "" && asksFor(p, tap.Topic) {
			tap.Offer(trace.Packet{
				At: t.sh.now, Client: id, Address: address, Dir: trace.In, Version: version, Topic: about, Size: size,
				Raw: trace.Capture(t.raw, published, tap.Payload),
			})
		}
	}
}

// asksFor tells whether a packet subscribes or unsubscribes something that a filter covers.
func asksFor(p *mqtt.Packet, filter string) bool {
	switch p.Type {
	case mqtt.SUBSCRIBE:
		return slices.ContainsFunc(p.Subscribe.Filters, func(s mqtt.Subscription) bool { return covers(filter, s.Filter) })
	case mqtt.UNSUBSCRIBE:
		return slices.ContainsFunc(p.Unsubscribe.Filters, func(f []byte) bool { return covers(filter, f) })
	}
	return false
}

func covers(filter string, f []byte) bool {
	_, inner := splitShared(string(f))
	return inner == filter || topic.Match(filter, inner)
}

func (t *traces) tapOut(id string, address netip.AddrPort, version mqtt.Version, packet []byte) {
	t.offer(id, address, "", func(payload int) trace.Packet {
		return trace.Packet{Dir: trace.Out, Version: version, Size: len(packet), Raw: trace.Capture(packet, 0, payload)}
	})
}

// offer hands what make returns to those who listen to such things.
func (t *traces) offer(id string, address netip.AddrPort, about string, make func(payload int) trace.Packet) {
	for _, tap := range t.taps {
		if tap.Takes(id, address.Addr(), about) {
			p := make(tap.Payload)
			p.At, p.Client, p.Address = t.sh.now, id, address
			tap.Offer(p)
		}
	}
}

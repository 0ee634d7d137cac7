package load

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// client is one simulated MQTT client. It lives on the rig's loop.
type client struct {
	rig  *rig
	conn *loop.Conn // nil while not connected
	id   string

	cleanStart bool
	filters    []string // subscribed to after CONNACK; none = ready at once
	plain      bool     // subscribe at QoS 0, whatever the run's is
	wantResume bool     // CONNACK has to say that the session was present
	counts     bool     // takes what comes unread: messages of another run

	leaving bool // the rig closes it: its end is no error
	pub     *publisher
	sub     *subscriber
	fenced  int // PINGRESPs outstanding
	suback  int // SUBACKs outstanding
}

// publisher is the sending side of a client.
type publisher struct {
	client    *client
	index     int
	frames    []template // one per topic, in turn
	frameSize int        // of the longest
	limit     uint64     // messages to send, 0 = no limit
	fan       int        // deliveries that each message owes; 0 = nobody listens now
	window    int        // messages in flight

	sent    uint64
	owed    int // deliveries outstanding
	unacked int // QoS 1 and 2 exchanges under way; at QoS 0 with nobody listening: messages since the last fence
	id      uint16
	turn    int     // index into frames
	touched bool    // in rig.touched
	due     backlog // open loop: due and not sent yet
	asked   backlog // when those were due that are not acknowledged yet, if the rig measures answers

	slack int      // deliveries that may be outstanding beyond the window
	held  template // for a session that never takes it
	every int      // every so many-th message is a held one, 0 = none
	count int      // messages since the last held one
}

// absent sends every so many-th message to a topic whose subscriber stays away.
func (p *publisher) absent(t template, every int) {
	p.held, p.every = t, every
	p.frameSize = max(p.frameSize, len(t.frame))
}

// subscriber is the receiving side: which publishers it hears and what it saw of them.
type subscriber struct {
	first int        // index of the first publisher it hears
	width int        // and how many
	seen  []sequence // what it saw of each; nil where the rig's pools say what arrived
	last  []uint64   // without seen: highest number + 1 of each; nil where order is free
}

// credit is how many messages the closed loop lets p send now.
func (p *publisher) credit(qos mqtt.QoS) int {
	n := p.window
	if p.fan > 0 {
		n = min(n, n+p.slack-(p.owed+p.fan-1)/p.fan)
	}
	if qos > 0 || p.fan == 0 {
		n = min(n, p.window-p.unacked)
	}
	if p.limit > 0 {
		n = int(min(uint64(max(n, 0)), p.limit-p.sent))
	}
	return n
}

// packet takes one control packet from the broker.
func (cl *client) packet(head byte, body []byte, now time.Duration) error {
	switch mqtt.Type(head >> 4) {
	case mqtt.PUBLISH:
		return cl.message(head, body, now)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		return cl.ack(mqtt.Type(head>>4), body, now)
	case mqtt.CONNACK:
		return cl.accepted(head, body)
	case mqtt.SUBACK:
		return cl.subscribed(head, body)
	case mqtt.PINGRESP:
		cl.fenced--
		if cl.pub != nil {
			cl.pub.unacked = 0
			cl.rig.touch(cl.pub)
		}
		return nil
	}
	return fmt.Errorf("unexpected packet of type %d, %d bytes", head>>4, len(body))
}

// message takes a PUBLISH: acknowledged, verified, its latency recorded.
func (cl *client) message(head byte, body []byte, now time.Duration) error {
	r := cl.rig
	id, payload, ok := publishParts(head, body, r.opts.Version == mqtt.V5)
	if !ok {
		return fmt.Errorf("malformed PUBLISH of %d bytes", len(body))
	}
	switch head & 0x06 {
	case 0x02:
		r.acks = append(r.acks, byte(mqtt.PUBACK)<<4, 2, byte(id>>8), byte(id))
	case 0x04:
		r.acks = append(r.acks, byte(mqtt.PUBREC)<<4, 2, byte(id>>8), byte(id))
	}
	if cl.counts {
		r.tally.Received++
		return nil
	}
	s, ok := readStamp(payload)
	if !ok || s.run != r.run || int(s.publisher) >= len(r.pubs) || cl.sub == nil {
		r.tally.Foreign++
		return nil
	}
	p := r.pubs[s.publisher]
	at := p.index - cl.sub.first
	if s.sequence >= p.sent || at < 0 || at >= cl.sub.width {
		r.tally.Foreign++
		return nil
	}
	repeated := r.tally.Duplicated
	if cl.sub.seen != nil {
		cl.sub.seen[at].see(s.sequence, &r.tally)
	} else {
		r.pools[p.index].see(s.sequence, &r.tally)
	}
	if r.tally.Duplicated > repeated { // it pays for nothing that is still owed
		return nil
	}
	p.owed--
	r.flying--
	r.touch(p)
	r.latency.Record(now - s.due)
	if last := cl.sub.last; last != nil {
		if s.sequence < last[at] {
			r.tally.Reordered++
		}
		last[at] = s.sequence + 1
	}
	return nil
}

// ack takes a PUBACK, PUBREC, PUBREL or PUBCOMP and answers what has to be answered.
func (cl *client) ack(t mqtt.Type, body []byte, now time.Duration) error {
	if len(body) < 2 {
		return fmt.Errorf("malformed acknowledgement of type %d", t)
	}
	if len(body) > 2 && body[2] >= 0x80 {
		return fmt.Errorf("acknowledgement of type %d says 0x%02x", t, body[2])
	}
	r, id := cl.rig, binary.BigEndian.Uint16(body)
	switch t {
	case mqtt.PUBREL:
		r.acks = append(r.acks, byte(mqtt.PUBCOMP)<<4, 2, byte(id>>8), byte(id))
		return nil
	case mqtt.PUBREC:
		r.acks = append(r.acks, byte(mqtt.PUBREL)<<4|2, 2, byte(id>>8), byte(id))
		return nil
	}
	if cl.pub == nil || cl.pub.unacked == 0 {
		return fmt.Errorf("acknowledgement of type %d for packet %d, which is not in flight", t, id)
	}
	cl.pub.unacked--
	if r.answers != nil { // acknowledgements come in the order of what they are for (MQTT5 4.6.0-2)
		r.answers.Record(now - cl.pub.asked.take())
	}
	r.acked++
	r.touch(cl.pub)
	return nil
}

func (cl *client) accepted(head byte, body []byte) error {
	p, err := decode(head, body, cl.rig.opts.Version)
	ack := p.Connack
	switch {
	case err != nil:
		return err
	case ack.Reason != mqtt.Success:
		return fmt.Errorf("connection refused: %w", ack.Reason)
	case cl.wantResume && !ack.SessionPresent && cl.rig.opts.Version != mqtt.V31: // 3.1 does not tell
		return fmt.Errorf("session of %q is gone", cl.id)
	}
	// Without the property the server takes 65,535 (MQTT5 3.2.2.3.3).
	if cl.pub != nil && ack.Props.ReceiveMaximum != 0 && cl.rig.opts.QoS > 0 {
		cl.pub.window = min(cl.pub.window, int(ack.Props.ReceiveMaximum))
	}
	if len(cl.filters) == 0 || cl.wantResume {
		cl.rig.readied++
		return nil
	}
	cl.rig.subscribe(cl)
	return nil
}

func (cl *client) subscribed(head byte, body []byte) error {
	if err := checkSuback(head, body, cl.rig.opts.Version); err != nil {
		return err
	}
	if cl.suback--; cl.suback == 0 {
		cl.rig.readied++
	}
	return nil
}

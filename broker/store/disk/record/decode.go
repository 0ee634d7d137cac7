package record

import (
	"slices"
	"unsafe"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Decode reads the body of one change into r, whose memory it uses again: also what r.Message, r.Meta and
// r.Targets point to, which must be nil or come from Decode.
//
// What an engine keeps of a PutSession or a Subscribe (strings, will) is a copy. The rest points into
// body and holds as long as it: the message (which is not a kept one), its Publisher, the groups of the targets and the
// filter of an Unsubscribe. A body that is a list of several changes is for Each.
func Decode(body []byte, r *store.Record) error {
	n := 0
	err := Each(body, r, func(*store.Record) error {
		if n++; n > 1 {
			return ErrMalformed
		}
		return nil
	})
	if err == nil && n == 0 {
		return ErrMalformed
	}
	return err
}

// Each calls f for every change of a body, in their order, with r filled as by Decode. It ends with the first
// error of f, which it returns, or with ErrMalformed. A list may hold nothing.
func Each(body []byte, r *store.Record, f func(*store.Record) error) error {
	d := NewReader(body)
	op := Op(body)
	d.Byte()
	if op == Changes {
		return eachChange(&d, r, f)
	}
	r.Op, r.Session, r.Seq, r.PacketID = op, 0, 0, 0
	r.Subscription, r.Targets = store.Subscription{}, r.Targets[:0]
	switch op {
	case store.PutSession:
		if r.Meta == nil {
			r.Meta = new(store.Session)
		}
		readSession(&d, r.Meta)
		r.Session = r.Meta.ID
	case store.EndSession:
		r.Session = store.SessionID(d.Uvarint())
	case store.Subscribe:
		r.Session = store.SessionID(d.Uvarint())
		r.Subscription = store.Subscription{Filter: string(d.Bytes()), Options: mqtt.SubOptions(d.Byte()), ID: d.Uint32()}
	case store.Unsubscribe:
		r.Session = store.SessionID(d.Uvarint())
		r.Subscription.Filter = view(d.Bytes())
	case store.Enqueue:
		readMessage(&d, message(r))
		readTargets(&d, r)
	case store.Retain:
		readMessage(&d, message(r))
	case store.Unretain:
		*message(r) = mqtt.Message{Topic: d.Take(uint64(d.Len()))}
	default:
		d.Fail()
	}
	if err := d.End(); err != nil {
		return err
	}
	return f(r)
}

func message(r *store.Record) *mqtt.Message {
	if r.Message == nil {
		r.Message = new(mqtt.Message)
	}
	return r.Message
}

// eachChange reads the items of a list. All of it is looked through before the first one is handed
// out: a body counts as a whole or not at all.
func eachChange(d *Reader, r *store.Record, f func(*store.Record) error) error {
	var c store.Record
	whole, l := *d, list{}
	for whole.Len() > 0 {
		l.read(&whole, &c)
	}
	if !whole.OK() {
		return ErrMalformed
	}
	l = list{}
	for d.Len() > 0 {
		l.read(d, &c)
		r.Op, r.Session, r.Seq, r.PacketID = c.Op, c.Session, c.Seq, c.PacketID
		r.Subscription, r.Targets = store.Subscription{}, r.Targets[:0]
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

// read reads the next item: Op, Session, and Seq or PacketID.
func (l *list) read(d *Reader, r *store.Record) {
	head := d.Byte()
	far := uint64(head >> itemShift)
	if head&itemFar != 0 {
		rest := d.Uvarint()
		if rest >= 1<<(64-itemBits) {
			d.Fail()
		}
		far |= rest << itemBits
	}
	r.Op = store.Settle + store.Op(head&3)
	r.Session = l.session + store.SessionID(unzigzag(far))
	l.enter(r.Session)
	r.Seq, r.PacketID = 0, 0
	if r.Op == store.Receive || r.Op == store.Complete {
		id := d.Uint32()
		if id > 0xFFFF {
			d.Fail()
		}
		r.PacketID = uint16(id)
		return
	}
	l.seq += unzigzag(d.Uvarint())
	r.Seq = l.seq
}

func readSession(d *Reader, s *store.Session) {
	flags := d.Byte()
	*s = store.Session{
		Version:      mqtt.Version(d.Byte()),
		ID:           store.SessionID(d.Uvarint()),
		ClientID:     string(d.Bytes()),
		Owner:        string(d.Bytes()),
		Expiry:       d.Uint32(),
		Disconnected: d.Varint(),
		Unsent:       d.Uvarint(),
	}
	switch flags {
	case 0:
	case sessionWill:
		w := &store.Will{Delay: d.Uint32()}
		var m mqtt.Message
		readMessage(d, &m)
		m.Publisher = string([]byte(m.Publisher))
		w.Message = m.Keep()
		s.Will = w
	default:
		d.Fail()
	}
}

// readMessage makes m a view into what d reads.
func readMessage(d *Reader, m *mqtt.Message) {
	flags := d.Byte()
	if flags >= messageAt<<1 || flags&3 == 3 {
		d.Fail()
	}
	topic, payload := d.Uvarint(), d.Uvarint()
	var forward, publisher uint64
	var expires, at int64
	if flags&messageForward != 0 {
		forward = d.Uvarint()
	}
	if flags&messagePublisher != 0 {
		publisher = d.Uvarint()
	}
	if flags&messageExpires != 0 {
		expires = d.Varint()
	}
	if flags&messageAt != 0 {
		at = d.Varint()
	}
	*m = mqtt.Message{
		Topic: d.Take(topic), Forward: d.Take(forward), Payload: d.Take(payload), Publisher: view(d.Take(publisher)),
		Expires: expires, At: at, QoS: mqtt.QoS(flags & 3), Retain: flags&messageRetain != 0,
	}
}

// minTarget is the fewest bytes that a target takes.
const minTarget = 3

func readTargets(d *Reader, r *store.Record) {
	n := d.Uvarint()
	if n > uint64(d.Len())/minTarget {
		d.Fail()
		return
	}
	r.Targets = slices.Grow(r.Targets, int(n))[:n]
	var at targets
	for i := range r.Targets {
		at.next(d, &r.Targets[i])
	}
}

// targets goes through the list of a record's targets.
type targets struct {
	session store.SessionID
	seq     uint64
}

// next reads a target into t, whose memory it uses again; the group points into the body.
func (at *targets) next(d *Reader, t *store.Target) {
	flags := d.Byte()
	at.session += store.SessionID(unzigzag(d.Uvarint()))
	at.seq += unzigzag(d.Uvarint())
	if flags >= targetIDs<<1 || flags&3 == 3 || at.seq == 0 {
		d.Fail()
	}
	ids := t.Delivery.SubscriptionIDs[:0]
	*t = store.Target{Session: at.session, Seq: at.seq}
	t.Delivery = store.Delivery{QoS: mqtt.QoS(flags & 3), Retain: flags&targetRetain != 0, SubscriptionIDs: ids}
	if flags&targetGroup != 0 {
		t.Delivery.Group = view(d.Bytes())
	}
	if flags&targetIDs != 0 {
		for n := d.Uvarint(); n > 0 && d.OK(); n-- {
			t.Delivery.SubscriptionIDs = append(t.Delivery.SubscriptionIDs, d.Uint32())
		}
	}
}

// Message returns the message of an Enqueue or a Retain as a kept one, that shares no memory with body: two
// allocations, the value and one for all its bytes.
func Message(body []byte) (*mqtt.Message, error) {
	at, err := see(body)
	if err != nil {
		return nil, err
	}
	t, f := len(at.Topic), len(at.Topic)+len(at.Forward)
	p := f + len(at.Payload)
	block := make([]byte, 0, p+len(at.Publisher))
	block = append(block, at.Topic...)
	block = append(block, at.Forward...)
	block = append(block, at.Payload...)
	block = append(block, at.Publisher...)
	m := at
	m.Topic, m.Forward, m.Payload, m.Publisher = block[:t:t], block[t:f:f], block[f:p:p], view(block[p:])
	return m.Own(), nil
}

// Retained is Message for a retained message whose topic is known: it shares the memory of that string. A body with
// another topic is malformed.
func Retained(body []byte, topic string) (*mqtt.Message, error) {
	at, err := see(body)
	if err != nil || string(at.Topic) != topic {
		return nil, ErrMalformed
	}
	f := len(at.Forward)
	p := f + len(at.Payload)
	block := make([]byte, 0, p+len(at.Publisher))
	block = append(block, at.Forward...)
	block = append(block, at.Payload...)
	block = append(block, at.Publisher...)
	m := at
	m.Topic = unsafe.Slice(unsafe.StringData(topic), len(topic)) // what is kept is changed by nobody
	m.Forward, m.Payload, m.Publisher = block[:f:f], block[f:p:p], view(block[p:])
	return m.Own(), nil
}

// see is the message of an Enqueue or a Retain where it lies.
func see(body []byte) (m mqtt.Message, err error) {
	if !IsBody(body) {
		return m, ErrMalformed
	}
	d := NewReader(body[1:])
	readMessage(&d, &m)
	if !d.OK() {
		return m, ErrMalformed
	}
	return m, nil
}

// Delivery returns how the target at a position gets the message of an Enqueue; false when body has no
// such target, or is malformed. It shares no memory with body.
func Delivery(body []byte, session store.SessionID, seq uint64) (store.Delivery, bool) {
	if Op(body) != store.Enqueue {
		return store.Delivery{}, false
	}
	d := NewReader(body[1:])
	var m mqtt.Message
	readMessage(&d, &m)
	var at targets
	var t store.Target
	for n := d.Uvarint(); n > 0 && d.OK(); n-- {
		at.next(&d, &t)
		if t.Session == session && t.Seq == seq && d.OK() {
			t.Delivery.Group = string([]byte(t.Delivery.Group))
			if len(t.Delivery.SubscriptionIDs) == 0 {
				t.Delivery.SubscriptionIDs = nil
			}
			return t.Delivery, true
		}
	}
	return store.Delivery{}, false
}

// view is b as a string that shares its memory.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

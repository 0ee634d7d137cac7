// Package record is what a change of the store looks like in bytes: the bodies of the log's records. The
// layout is docs/storage-format.md, "Records"; the version of a segment's format is theirs as well. It may not
// do I/O, and it knows neither where a body lies nor what became of it.
package record

import (
	"encoding/binary"
	"errors"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// ErrMalformed is why a body cannot be decoded: what Append wrote it is not.
var ErrMalformed = errors.New("record is malformed")

// Changes is the first byte of a body that holds a list of Settle, Release, Receive and Complete. The
// first byte of any other body is the store.Op of its one change.
const Changes store.Op = 32

// Bits of a message's first byte; 0 and 1 are its QoS.
const (
	messageRetain    = 1 << 2
	messageForward   = 1 << 3
	messagePublisher = 1 << 4
	messageExpires   = 1 << 5
	messageAt        = 1 << 6
)

// Bits of a target's first byte; 0 and 1 are the QoS of its delivery.
const (
	targetRetain = 1 << 2
	targetGroup  = 1 << 3
	targetIDs    = 1 << 4
)

// The first byte of an item in a list of changes: bits 0 and 1 are its Op behind Settle, bits 3-7 the
// lowest of the distance to the session of the item before, the rest of which follows if bit 2 is set.
const (
	itemFar   = 1 << 2
	itemShift = 3
	itemBits  = 5
)

// sessionWill is the bit of a session's first byte that tells that it has a will.
const sessionWill = 1

// Append appends the body of one change, which Batch.Check finds whole. Targets whose Seq is 0 are left out.
func Append(dst []byte, r *store.Record) []byte {
	if small(r.Op) {
		var l list
		return l.append(append(dst, byte(Changes)), r)
	}
	dst = append(dst, byte(r.Op))
	switch r.Op {
	case store.PutSession:
		return appendSession(dst, r.Meta)
	case store.EndSession:
		return binary.AppendUvarint(dst, uint64(r.Session))
	case store.Subscribe:
		dst = binary.AppendUvarint(dst, uint64(r.Session))
		dst = AppendString(dst, r.Subscription.Filter)
		dst = append(dst, byte(r.Subscription.Options))
		return binary.AppendUvarint(dst, uint64(r.Subscription.ID))
	case store.Unsubscribe:
		dst = binary.AppendUvarint(dst, uint64(r.Session))
		return AppendString(dst, r.Subscription.Filter)
	case store.Enqueue:
		return appendTargets(appendMessage(dst, r.Message), r.Targets)
	case store.Retain:
		return appendMessage(dst, r.Message)
	case store.Unretain:
		return append(dst, r.Message.Topic...)
	}
	return dst
}

// AppendRun appends one body for the first changes of a batch, and tells how many they are: all the small
// ones (Settle, Release, Receive, Complete) that stand together, or a single other one. records is not empty.
func AppendRun(dst []byte, records []store.Record) (body []byte, n int) {
	if !small(records[0].Op) {
		return Append(dst, &records[0]), 1
	}
	dst = append(dst, byte(Changes))
	var l list
	for n < len(records) && small(records[n].Op) {
		dst = l.append(dst, &records[n])
		n++
	}
	return dst, n
}

func small(op store.Op) bool {
	return op == store.Settle || op == store.Release || op == store.Receive || op == store.Complete
}

// IsBody tells that a body holds a message that is needed for long (Enqueue or Retain): one that a
// compaction may have to move.
func IsBody(body []byte) bool {
	op := Op(body)
	return op == store.Enqueue || op == store.Retain
}

// Op is the kind of a body: the Op of its one change, or Changes; 0 when it is none that exists.
func Op(body []byte) store.Op {
	if len(body) == 0 {
		return 0
	}
	op := store.Op(body[0])
	if op == Changes || op >= store.PutSession && op <= store.Unretain && !small(op) {
		return op
	}
	return 0
}

// list is what an item of a list of changes is told by: the item before it.
type list struct {
	session store.SessionID
	seq     uint64 // of that session; 0 = none yet
}

func (l *list) append(dst []byte, r *store.Record) []byte {
	far := zigzag(uint64(r.Session) - uint64(l.session))
	head := byte(r.Op-store.Settle) | byte(far<<itemShift)
	if far >>= itemBits; far == 0 {
		dst = append(dst, head)
	} else {
		dst = binary.AppendUvarint(append(dst, head|itemFar), far)
	}
	l.enter(r.Session)
	if r.Op == store.Receive || r.Op == store.Complete {
		return binary.AppendUvarint(dst, uint64(r.PacketID))
	}
	dst = binary.AppendUvarint(dst, zigzag(r.Seq-l.seq))
	l.seq = r.Seq
	return dst
}

// enter goes to the session of the next item.
func (l *list) enter(id store.SessionID) {
	if id != l.session {
		*l = list{session: id}
	}
}

func appendSession(dst []byte, s *store.Session) []byte {
	var flags byte
	if s.Will != nil {
		flags |= sessionWill
	}
	dst = append(dst, flags, byte(s.Version))
	dst = binary.AppendUvarint(dst, uint64(s.ID))
	dst = AppendString(dst, s.ClientID)
	dst = AppendString(dst, s.Owner)
	dst = binary.AppendUvarint(dst, uint64(s.Expiry))
	dst = binary.AppendVarint(dst, s.Disconnected)
	dst = binary.AppendUvarint(dst, s.Unsent)
	if s.Will != nil {
		dst = binary.AppendUvarint(dst, uint64(s.Will.Delay))
		dst = appendMessage(dst, s.Will.Message)
	}
	return dst
}

func appendMessage(dst []byte, m *mqtt.Message) []byte {
	flags := byte(m.QoS & 3)
	if m.Retain {
		flags |= messageRetain
	}
	if len(m.Forward) > 0 {
		flags |= messageForward
	}
	if m.Publisher != "" {
		flags |= messagePublisher
	}
	if m.Expires != 0 {
		flags |= messageExpires
	}
	if m.At != 0 {
		flags |= messageAt
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(len(m.Topic)))
	dst = binary.AppendUvarint(dst, uint64(len(m.Payload)))
	if flags&messageForward != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(m.Forward)))
	}
	if flags&messagePublisher != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(m.Publisher)))
	}
	if flags&messageExpires != 0 {
		dst = binary.AppendVarint(dst, m.Expires)
	}
	if flags&messageAt != 0 {
		dst = binary.AppendVarint(dst, m.At)
	}
	dst = append(dst, m.Topic...)
	dst = append(dst, m.Forward...)
	dst = append(dst, m.Payload...)
	return append(dst, m.Publisher...)
}

func appendTargets(dst []byte, targets []store.Target) []byte {
	n := 0
	for i := range targets {
		if targets[i].Seq != 0 {
			n++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	var session, seq uint64
	for i := range targets {
		t := &targets[i]
		if t.Seq == 0 {
			continue
		}
		d := &t.Delivery
		flags := byte(d.QoS & 3)
		if d.Retain {
			flags |= targetRetain
		}
		if d.Group != "" {
			flags |= targetGroup
		}
		if len(d.SubscriptionIDs) > 0 {
			flags |= targetIDs
		}
		dst = append(dst, flags)
		dst = binary.AppendUvarint(dst, zigzag(uint64(t.Session)-session))
		dst = binary.AppendUvarint(dst, zigzag(t.Seq-seq))
		session, seq = uint64(t.Session), t.Seq
		if d.Group != "" {
			dst = AppendString(dst, d.Group)
		}
		if len(d.SubscriptionIDs) > 0 {
			dst = binary.AppendUvarint(dst, uint64(len(d.SubscriptionIDs)))
			for _, id := range d.SubscriptionIDs {
				dst = binary.AppendUvarint(dst, uint64(id))
			}
		}
	}
	return dst
}

// AppendString appends a string behind its length, for Reader.Bytes.
func AppendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// zigzag maps a difference, modulo 2^64, so that what is near 0 on either side is small.
func zigzag(d uint64) uint64 { return d<<1 ^ uint64(int64(d)>>63) }

func unzigzag(u uint64) uint64 { return u>>1 ^ -(u & 1) }

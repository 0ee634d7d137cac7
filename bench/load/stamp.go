package load

import (
	"encoding/binary"
	"time"
)

// A payload begins with a stamp, big-endian: publisher (4 bytes), run (4), sequence
// number (8), intended send time in ns on the run's clock (8). The rest is filler.
const stampSize = 24

type stamp struct {
	publisher uint32
	run       uint32
	sequence  uint64
	due       time.Duration
}

// putStamp writes s at the start of b.
func putStamp(b []byte, s stamp) {
	_ = b[stampSize-1]
	binary.BigEndian.PutUint32(b, s.publisher)
	binary.BigEndian.PutUint32(b[4:], s.run)
	binary.BigEndian.PutUint64(b[8:], s.sequence)
	binary.BigEndian.PutUint64(b[16:], uint64(s.due))
}

func readStamp(b []byte) (stamp, bool) {
	if len(b) < stampSize {
		return stamp{}, false
	}
	return stamp{
		publisher: binary.BigEndian.Uint32(b),
		run:       binary.BigEndian.Uint32(b[4:]),
		sequence:  binary.BigEndian.Uint64(b[8:]),
		due:       time.Duration(binary.BigEndian.Uint64(b[16:])),
	}, true
}

// nextFrame measures the control packet at the start of b: where its body begins and
// where it ends (MQTT5 2.1.4). An end beyond len(b) says how much is needed; 0 says
// that not even the length is there; a negative one that the length is malformed.
func nextFrame(b []byte) (body, end int) {
	if len(b) < 2 {
		return 0, 0
	}
	if b[1] < 0x80 {
		return 2, 2 + int(b[1])
	}
	length, shift := 0, 0
	for i := 1; i < len(b); i++ {
		length |= int(b[i]&0x7f) << shift
		if b[i] < 0x80 {
			return i + 1, i + 1 + length
		}
		if shift += 7; shift > 21 {
			return 0, -1
		}
	}
	return 0, 0
}

// publishParts finds, in the body of a PUBLISH, the packet id (0 at QoS 0) and the
// payload. Topic and properties are skipped unread.
func publishParts(head byte, body []byte, v5 bool) (id uint16, payload []byte, ok bool) {
	if len(body) < 2 {
		return 0, nil, false
	}
	at := 2 + int(binary.BigEndian.Uint16(body))
	if head&0x06 != 0 {
		if at+2 > len(body) {
			return 0, nil, false
		}
		id = binary.BigEndian.Uint16(body[at:])
		at += 2
	}
	if v5 {
		if at >= len(body) {
			return 0, nil, false
		}
		length, n := binary.Uvarint(body[at:]) // the same base-128 coding
		if n <= 0 || n > 4 || length > uint64(len(body)) {
			return 0, nil, false
		}
		at += n + int(length)
	}
	if at > len(body) {
		return 0, nil, false
	}
	return id, body[at:], true
}

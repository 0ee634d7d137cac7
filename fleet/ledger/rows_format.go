package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
)

// The file of rows: a head, records, and the CRC-32C of all before it, little endian. A record is a byte for its kind, and numbers as
// varints; counts are a mask of those that are not zero, and these.
const (
	rowsMagic = "sapwood rows 1\n\x00" // the version is in it
	headSize  = len(rowsMagic) + 16    // and since, ns, and at, ms
	crcSize   = 4

	longest    = 1<<16 - 1 // of a level, and of a client id
	mostRecord = 2*longest + 1024
)

// The kinds of records.
const (
	topicRecord   = 'T' // a name or branch; a branch comes before what is below it
	heavyRecord   = 'H'
	sessionRecord = 'S'
	endRecord     = 'E'
)

// record is what stands in a record.
type record struct {
	kind byte

	back  uint64 // topic: how many topics before it its branch is
	level []byte // only until the next record is read
	rest  bool
	topic tally.Detail // but Sum.Dropped, Denied and Refused

	by    tally.Weight // heavy
	heavy tally.Heavy

	session broker.Session

	last string // publisher: often the same
}

var (
	errShort   = errors.New("a record is cut off")
	errUnknown = errors.New("a record is of no known kind")
	errNumber  = errors.New("a number is out of its bounds")
)

const topicCounts = 10 + tally.Sizes + tally.Reasons + int(tally.Ends)

func appendTopic(b []byte, back uint64, level []byte, rest bool, d *tally.Detail) []byte {
	b = binary.AppendUvarint(append(b, topicRecord), back)
	n := uint64(len(level)) << 1
	if rest {
		n |= 1
	}
	b = append(binary.AppendUvarint(b, n), level...)
	qos := d.Sum.QoS()
	v := [topicCounts]uint64{
		qos[0], qos[1], qos[2], d.Sum.Bytes, d.Sum.Copies, d.Sum.Sent, d.Sum.Unheard, uint64(d.Sum.Largest), uint64(d.Last), uint64(len(d.Publisher)),
	}
	at := 10
	at += copy(v[at:], d.Sizes[:])
	at += copy(v[at:], d.Dropped[:])
	copy(v[at:], d.Ended[:])
	return append(appendCounts(b, v[:]), d.Publisher...)
}

func appendHeavy(b []byte, by tally.Weight, h tally.Heavy) []byte {
	b = appendText(append(b, heavyRecord, byte(by)), h.Name)
	return appendCounts(b, []uint64{h.Weight, h.Error})
}

const sessionCounts = 18 + tally.Reasons + int(tally.Ends)

func appendSession(b []byte, s *broker.Session) []byte {
	b = appendText(append(b, sessionRecord), s.Client)
	t := &s.Tally
	v := [sessionCounts]uint64{
		t.In[0], t.In[1], t.In[2], t.Out[0], t.Out[1], t.Out[2], t.InBytes, t.OutBytes, uint64(t.Queued), uint64(int64(t.Found)), t.Start, t.Meant,
		t.Acknowledged, t.Resent, t.Requeued,
	}
	if r := t.Rare; r != nil {
		v[15], v[16], v[17] = r.Unacknowledged, uint64(r.Crashed), uint64(r.Stopped)
		at := 18
		at += copy(v[at:], r.Dropped[:])
		copy(v[at:], r.Ended[:])
	}
	return appendCounts(binary.AppendUvarint(b, s.Number), v[:])
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendCounts(b []byte, v []uint64) []byte {
	mask := uint64(0)
	for i, n := range v {
		if n != 0 {
			mask |= 1 << i
		}
	}
	b = binary.AppendUvarint(b, mask)
	for _, n := range v {
		if n != 0 {
			b = binary.AppendUvarint(b, n)
		}
	}
	return b
}

// parse reads the record that b begins with, and tells its size. Of b it keeps only the level.
func (r *record) parse(b []byte) (size int, err error) {
	s := scanner{b: b}
	r.kind = s.byte()
	switch r.kind {
	case topicRecord:
		r.parseTopic(&s)
	case heavyRecord:
		r.by, r.heavy.Name = tally.Weight(s.byte()), string(s.text(s.number()))
		var v [2]uint64
		s.counts(v[:])
		r.heavy.Weight, r.heavy.Error = v[0], v[1]
		s.check(r.by < tally.Weights && len(r.heavy.Name) <= longest)
	case sessionRecord:
		r.parseSession(&s)
	case endRecord:
	default:
		s.fail(errUnknown)
	}
	return len(b) - len(s.b), s.err
}

func (r *record) parseTopic(s *scanner) {
	r.back = s.number()
	n := s.number()
	r.level, r.rest = s.text(n>>1), n&1 != 0
	var v [topicCounts]uint64
	s.counts(v[:])
	publisher := s.text(v[9])
	if string(publisher) != r.last {
		r.last = string(publisher)
	}
	d := &r.topic
	d.Sum.Counts = tally.Counts{Messages: v[0] + v[1] + v[2], Assured: [2]uint64{v[1], v[2]}, Bytes: v[3], Copies: v[4], Sent: v[5], Unheard: v[6], Largest: uint32(v[7])}
	d.Last, d.Publisher = int64(v[8]), r.last
	at := 10
	at += copy(d.Sizes[:], v[at:])
	at += copy(d.Dropped[:], v[at:])
	copy(d.Ended[:], v[at:])
	s.check(max(v[0], v[1], v[2]) < 1<<62 && v[7] < 1<<32 && d.Last >= 0)
}

func (r *record) parseSession(s *scanner) {
	r.session = broker.Session{Client: string(s.text(s.number())), Number: s.number()}
	var v [sessionCounts]uint64
	s.counts(v[:])
	found := int64(v[9])
	s.check(v[8] < 1<<31 && int64(int32(found)) == found)
	t := &r.session.Tally
	t.In, t.Out = [3]uint64(v[:3]), [3]uint64(v[3:6])
	t.InBytes, t.OutBytes, t.Queued, t.Found, t.Start, t.Meant = v[6], v[7], int32(v[8]), int32(found), v[10], v[11]
	t.Acknowledged, t.Resent, t.Requeued = v[12], v[13], v[14]
	for _, n := range v[15:] {
		if n == 0 {
			continue
		}
		x := t.Seldom()
		x.Unacknowledged, x.Crashed, x.Stopped = v[15], int64(v[16]), int64(v[17])
		copy(x.Ended[:], v[18+copy(x.Dropped[:], v[18:]):])
		return
	}
}

// scanner reads from bytes until something is wrong with them; then it gives zeros.
type scanner struct {
	b   []byte
	err error
}

func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	s.b = nil
}

func (s *scanner) check(ok bool) {
	if !ok {
		s.fail(errNumber)
	}
}

func (s *scanner) byte() byte {
	if len(s.b) == 0 {
		s.fail(errShort)
		return 0
	}
	c := s.b[0]
	s.b = s.b[1:]
	return c
}

func (s *scanner) number() uint64 {
	n, size := binary.Uvarint(s.b)
	switch {
	case size < 0:
		s.fail(errNumber)
	case size == 0:
		s.fail(errShort)
	default:
		s.b = s.b[size:]
		return n
	}
	return 0
}

func (s *scanner) text(n uint64) []byte {
	switch {
	case n > longest:
		s.fail(errNumber)
		return nil
	case n > uint64(len(s.b)):
		s.fail(errShort)
		return nil
	}
	t := s.b[:n]
	s.b = s.b[n:]
	return t
}

func (s *scanner) counts(v []uint64) {
	mask := s.number()
	s.check(mask>>len(v) == 0)
	for i := range v {
		if mask&(1<<i) != 0 {
			v[i] = s.number()
		}
	}
}

// appendHead begins a file.
func appendHead(b []byte, since, at int64) []byte {
	b = append(b, rowsMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(since))
	return binary.LittleEndian.AppendUint64(b, uint64(at))
}

// checkHead tells of which books a file is.
func checkHead(head []byte) (since int64, err error) {
	const known = len("sapwood rows ")
	switch {
	case string(head[:known]) != rowsMagic[:known]:
		return 0, errors.New("it is no file of ours")
	case string(head[:len(rowsMagic)]) != rowsMagic:
		return 0, fmt.Errorf("it is of version %q, known is %q", head[known:known+1], rowsMagic[known:known+1])
	}
	return int64(binary.LittleEndian.Uint64(head[len(rowsMagic):])), nil
}

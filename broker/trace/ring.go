package trace

import (
	"encoding/binary"
	"math"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// The layout of a chunk and of an entry in it.
const (
	chunkBytes = 256
	slabChunks = 256 // chunks that are allocated at a time
	headBytes  = 25  // of an entry: key 4, count 4, time and packet id 8, span 4, bytes 4, payload length 1; then topic and payload
	maxTopic   = 100 // of a topic; the middle of a longer one is left out
	maxPayload = 96
	lanes      = 8 // entries of a log that what comes may be folded into

	dataBytes = chunkBytes - 22
)

// The bounds of one log.
const (
	maxChunks = 24          // about 128 entries
	crowd     = 8           // entries that begin within a window; further ones are told by their kind alone
	maxGrain  = 5           // windows are at most 32 s
	shortMS   = 3 * 60_000  // a full log that reaches back less far takes longer windows,
	longMS    = 15 * 60_000 // one that reaches back further shorter ones
	staleMS   = 30 * 60_000 // what is older gives room to what is new before a log grows
	pingMS    = 60 * 60_000 // the window of pings
	timeMask  = 1<<48 - 1   // of the word that holds time and packet id
	noLane    = uint8(0xFF) // a lane without an entry
)

// The bits of an entry beside MQTT's own.
const (
	bitOut     = 1 << iota // from the broker to the client
	bitSeveral             // entries with other topics were folded into it
	bitCut                 // the topic is not whole
)

// chunk is a piece of one log. The pool is free of pointers, so that the garbage collector has nothing to look at.
type chunk struct {
	older, newer uint32 // neighbours by age, among the chunks of all logs; free chunks are linked by newer
	before       uint32 // the one before it in its log
	owner        uint32 // serial of the log, 0 = free
	stamp        uint32 // grows with every chunk that is begun: tells whether before still is what it was
	used         uint8
	_            uint8
	data         [dataBytes]byte
}

// Log is what a ring knows of one client. The zero value is an empty log. It is of use with one ring only.
type Log struct {
	c      *chunk // the newest
	hot    [2]hot // the entry that was hit last, of packets from the client and to it
	newest uint32 // number of c
	serial uint32 // 0 = has never had one
	since  uint32 // begin of the window, ms
	lanes  [lanes]uint8
	next   uint8 // the lane to be taken next
	begun  uint8 // entries since the begin of the window
	grain  uint8 // windows are 1 s << grain
}

// hot counts packets that are like an entry until they are added to it.
type hot struct {
	sum    uint64 // packets in the upper 28 bits, bytes below
	key    uint32
	start  uint32 // of the entry, ms
	window uint32 // ms; 0 = there is no entry
	last   uint32 // when the last packet came, ms
	label  uint32 // of the topic, the caller's; 0 = not known
	at     uint8  // of the entry in the newest chunk
}

// onePacket is what a packet adds to hot.sum beside its bytes: a window of 32 s overflows neither part.
const onePacket = 1 << 36

// Ring keeps the heads of the last packets of many logs, in bounded memory: when there is no more, the chunk that was begun
// first goes, whoever has it. It allocates as it grows, and nothing afterwards. It belongs to one goroutine.
type Ring struct {
	slabs          [][]chunk
	made, limit    uint32
	free           uint32
	oldest, newest uint32
	serial, stamp  uint32
	payload        int
	scratch        [maxTopic]byte
}

// Head is what an entry tells beside topic and payload.
type Head struct {
	First  byte // of the packet: its type and flags; below 0x10 a kind of note, the caller's own
	Out    bool
	Reason uint8
	ID     uint16
	Size   int // bytes of the whole packet
}

// NewRing makes a ring that takes so many bytes, and keeps so much of each payload.
func NewRing(memory int64, payload int) *Ring {
	r := &Ring{limit: uint32(min(max(memory/chunkBytes, 64), math.MaxUint32/2)), payload: min(payload, maxPayload)}
	r.slabs = [][]chunk{make([]chunk, slabChunks)}
	r.made = 1 // 0 is none
	return r
}

// Payload is how much of each payload is kept.
func (r *Ring) Payload() int { return r.payload }

// Memory is what the ring takes, in bytes.
func (r *Ring) Memory() int64 { return int64(len(r.slabs)) * slabChunks * chunkBytes }

func (r *Ring) at(n uint32) *chunk { return &r.slabs[n/slabChunks][n%slabChunks] }

// Record adds a packet to a log, or to the count of one of its last entries if it is like it and follows within the window.
// now is in ms of Unix time. What it is handed may be changed afterwards. It allocates only while the ring grows.
func (r *Ring) Record(l *Log, now int64, h Head, topic, payload []byte) {
	r.Label(l, now, h, 0, topic, payload)
}

// Bare is the label of packets that have neither topic nor reason.
const Bare = math.MaxUint32

// In tells that a packet from the client, or a note, is like the last one, and of the same time, and counts it; false when Label has to
// be called. label stands for topic and reason, as the caller knows them, and for no others; 0 = nothing does.
func (l *Log) In(now int64, first byte, size int, label uint32) bool {
	return l.hot[0].same(uint32(now), first, size, label)
}

// Out is In of a packet to the client.
func (l *Log) Out(now int64, first byte, size int, label uint32) bool {
	return l.hot[1].same(uint32(now), first, size, label)
}

// same leaves what has to be looked at in the entry itself to again, once for each time: whether it still is the log's, and how old it is.
func (w *hot) same(now uint32, first byte, size int, label uint32) bool {
	if w.last != now || uint8(w.key) != first || (w.label != label || label == 0) && w.key>>8&bitSeveral == 0 {
		return false
	}
	w.sum += onePacket + uint64(size)
	return true
}

// Label is Record of what In and Out are to know by its label.
func (r *Ring) Label(l *Log, now int64, h Head, label uint32, topic, payload []byte) {
	key, w := uint32(h.First)|uint32(h.Reason)<<16|uint32(len(topic))<<24, &l.hot[0]
	if h.Out {
		key, w = key|bitOut<<8, &l.hot[1]
	}
	if !w.again(l, uint32(now), key, h.Size, topic) {
		r.record(l, now, key, h, topic, payload)
	}
	if w.key == key {
		w.label = label
	}
}

// again counts a packet that is like the entry at hand; false when it is not.
func (w *hot) again(l *Log, now, key uint32, size int, topic []byte) bool {
	if key != w.key || now-w.start >= w.window {
		return false
	}
	c := l.c
	if c.owner != l.serial || string(c.data[int(w.at)+headBytes:][:len(topic)]) != string(topic) {
		return false
	}
	w.sum += onePacket + uint64(size)
	w.last = now
	return true
}

// record is Record of what is not like the last packet of its direction.
func (r *Ring) record(l *Log, now int64, key uint32, h Head, topic, payload []byte) {
	w := &l.hot[0]
	if h.Out {
		w = &l.hot[1]
	}
	if w.key>>8&bitSeveral != 0 && (w.key^key)&^but == 0 && uint32(now)-w.start < w.window && l.valid() {
		w.sum += onePacket + uint64(h.Size)
		w.last = uint32(now)
		return
	}
	if len(topic) > maxTopic {
		topic = cut(r.scratch[:0], topic)
		key = key&(1<<24-1) | bitCut<<8 | uint32(len(topic))<<24
	}
	r.settle(l)
	window := uint32(1000) << l.grain
	if h.First >= 0xC0 && h.First < 0xE0 {
		window = pingMS
	}
	if uint32(now)-l.since >= uint32(1000)<<l.grain {
		l.since, l.begun = uint32(now), 0
	}
	at, found := l.find(key, uint32(now), window, topic)
	if !found && l.begun >= crowd && mqtt.Type(h.First>>4) != mqtt.CONNECT {
		at, found = l.findAlike(key, uint32(now), window)
	}
	if !found {
		at = r.add(l, now, key, h, topic, payload)
	}
	d := l.c.data[at:]
	*w = hot{key: binary.LittleEndian.Uint32(d), start: uint32(binary.LittleEndian.Uint64(d[8:])), window: window, last: uint32(now), at: at}
	if found {
		w.sum = onePacket + uint64(h.Size)
	}
}

// valid tells that the newest chunk is still the log's.
func (l *Log) valid() bool { return l.c != nil && l.c.owner == l.serial }

// settle adds what was counted since to the entries.
func (r *Ring) settle(l *Log) {
	for i := range l.hot {
		w := &l.hot[i]
		if w.sum == 0 {
			continue
		}
		if l.valid() {
			d := l.c.data[w.at:]
			count := uint64(binary.LittleEndian.Uint32(d[4:])) + w.sum/onePacket
			bytes := uint64(binary.LittleEndian.Uint32(d[20:])) + w.sum%onePacket
			binary.LittleEndian.PutUint32(d[4:], uint32(min(count, math.MaxUint32)))
			binary.LittleEndian.PutUint32(d[16:], w.last-w.start)
			binary.LittleEndian.PutUint32(d[20:], uint32(min(bytes, math.MaxUint32)))
		}
		w.sum = 0
	}
}

// find looks for an entry that a packet can be added to.
func (l *Log) find(key, now, window uint32, topic []byte) (at uint8, found bool) {
	if !l.valid() {
		return 0, false
	}
	for _, at := range l.lanes {
		if at == noLane {
			continue
		}
		d := l.c.data[at:]
		if binary.LittleEndian.Uint32(d) == key && now-uint32(binary.LittleEndian.Uint64(d[8:])) < window && string(d[headBytes:][:len(topic)]) == string(topic) {
			return at, true
		}
	}
	return 0, false
}

// but are the bits of a key in which packets may differ that are alike if topics are not told apart.
const but = uint32(bitSeveral|bitCut)<<8 | 0xFF<<24

// findAlike looks for an entry that a packet can be added to if topics are not told apart, and marks it so.
func (l *Log) findAlike(key, now, window uint32) (at uint8, found bool) {
	if !l.valid() {
		return 0, false
	}
	for _, at := range l.lanes {
		if at == noLane {
			continue
		}
		d := l.c.data[at:]
		if have := binary.LittleEndian.Uint32(d); (have^key)&^but == 0 && now-uint32(binary.LittleEndian.Uint64(d[8:])) < window {
			binary.LittleEndian.PutUint32(d, have|bitSeveral<<8)
			return at, true
		}
	}
	return 0, false
}

// add begins an entry.
func (r *Ring) add(l *Log, now int64, key uint32, h Head, topic, payload []byte) (at uint8) {
	l.begun++
	payload = payload[:min(len(payload), r.payload, dataBytes-headBytes-len(topic))]
	need := headBytes + len(topic) + len(payload)
	if !l.valid() || int(l.c.used)+need > dataBytes {
		r.extend(l, now)
	}
	at = l.c.used
	d := l.c.data[at:]
	binary.LittleEndian.PutUint32(d, key)
	binary.LittleEndian.PutUint32(d[4:], 1)
	binary.LittleEndian.PutUint64(d[8:], uint64(now)&timeMask|uint64(h.ID)<<48)
	binary.LittleEndian.PutUint32(d[16:], 0)
	binary.LittleEndian.PutUint32(d[20:], uint32(min(h.Size, math.MaxUint32)))
	d[24] = uint8(len(payload))
	copy(d[headBytes:], topic)
	copy(d[headBytes+len(topic):], payload)
	l.lanes[l.next%lanes] = at
	l.next = (l.next + 1) % lanes
	l.c.used += uint8(need)
	return at
}

// cut appends what is kept of a long topic: its begin and its end, which tell most.
func cut(dst, topic []byte) []byte {
	const gap = "…"
	half := (maxTopic - len(gap)) / 2
	dst = append(dst, topic[:half]...)
	dst = append(dst, gap...)
	return append(dst, topic[len(topic)-(maxTopic-len(gap)-half):]...)
}

// More counts n more packets of so many bytes like the one to the client that was recorded last.
func (l *Log) More(n int, size uint64) { l.hot[1].sum += uint64(n)*onePacket + size }

// Again counts n more packets like the one of the client that was recorded last.
func (r *Ring) Again(l *Log, n int) { l.hot[0].sum += uint64(max(n, 0)) * onePacket }

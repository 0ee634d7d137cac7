package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// ErrNewer is why a log is not opened that a later version of the program has written. Nothing is touched.
var ErrNewer = errors.New("the store was written by a newer version")

// Version is the version of the format that this package writes, and the newest that it reads.
const Version = 1

// The sizes of the format.
const (
	headerSize = 4096 // of a segment's header: one block
	headerUsed = 64   // bytes of it that mean something
	groupSize  = 44   // of a group's header
	frameSize  = 8    // of what stands before a record's body

	lastBit   = 1 << 31 // in a frame's length: the last record of its batch
	maxOffset = math.MaxUint32
)

// marker begins (behind the checksum) every group. Read as a frame's length it is more than a segment has.
const marker = 0xFE5AD0C7

const magic = "SAPWOOD\n"

// The kinds of segments.
const (
	kindLog  = 1
	kindCold = 2
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	order      = binary.LittleEndian
)

// header is what stands at the beginning of a segment.
type header struct {
	kind    uint32
	number  uint32
	after   uint32 // the log segment expected before this one, 0 = none
	store   [16]byte
	size    int64 // the file was made at least this long; 0 = not known
	created int64 // Unix ms
}

// put writes h into b, which has headerUsed bytes.
func (h *header) put(b []byte) {
	copy(b, magic)
	order.PutUint32(b[8:], Version)
	order.PutUint32(b[12:], h.kind)
	order.PutUint32(b[16:], h.number)
	order.PutUint32(b[20:], h.after)
	copy(b[24:40], h.store[:])
	order.PutUint64(b[40:], uint64(h.size))
	order.PutUint64(b[48:], uint64(h.created))
	order.PutUint32(b[56:], 0)
	order.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
}

// errHeader is why a file is no segment.
var errHeader = errors.New("its header fails its checksum")

// parseHeader reads a header. Magic, version and checksum stand where they stand in every version.
func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerUsed || string(b[:8]) != magic || crc32.Checksum(b[:60], castagnoli) != order.Uint32(b[60:]) {
		return h, errHeader
	}
	if v := order.Uint32(b[8:]); v > Version {
		return h, fmt.Errorf("%w: format %d, this one knows %d", ErrNewer, v, Version)
	}
	h = header{
		kind:    order.Uint32(b[12:]),
		number:  order.Uint32(b[16:]),
		after:   order.Uint32(b[20:]),
		size:    int64(order.Uint64(b[40:])),
		created: int64(order.Uint64(b[48:])),
	}
	copy(h.store[:], b[24:40])
	return h, nil
}

// seed is where the checksums of one store begin; at moves it to a place, so that bytes which stand anywhere but
// where they were written (another segment, another offset, another store) never parse. Both factors are odd: places
// that differ in the segment alone, or in the offset alone, never share a seed.
type seed uint32

func newSeed(store [16]byte) seed { return seed(crc32.Checksum(store[:], castagnoli)) }

func (s seed) at(segment, offset uint32) uint32 {
	return uint32(s) ^ segment*0x9E3779B1 ^ offset*0x85EBCA6B
}

// groupHeader is what stands before the records of a group.
type groupHeader struct {
	number  uint64 // grows by one over the whole log
	durable uint64 // the highest group known to be synced when this one was written
	stamp   int64  // Unix ms, never decreasing
	bytes   uint32 // of the records that follow
	prev    Pos    // where the segment before ended
}

func (g *groupHeader) put(b []byte, seed uint32) {
	order.PutUint32(b[4:], marker)
	order.PutUint64(b[8:], g.number)
	order.PutUint64(b[16:], g.durable)
	order.PutUint64(b[24:], uint64(g.stamp))
	order.PutUint32(b[32:], g.bytes)
	order.PutUint32(b[36:], g.prev.Segment)
	order.PutUint32(b[40:], g.prev.Offset)
	order.PutUint32(b, crc32.Update(seed, castagnoli, b[4:groupSize]))
}

func parseGroup(b []byte, seed uint32) (g groupHeader, ok bool) {
	if len(b) < groupSize || order.Uint32(b[4:]) != marker || order.Uint32(b) != crc32.Update(seed, castagnoli, b[4:groupSize]) {
		return g, false
	}
	return groupHeader{
		number:  order.Uint64(b[8:]),
		durable: order.Uint64(b[16:]),
		stamp:   int64(order.Uint64(b[24:])),
		bytes:   order.Uint32(b[32:]),
		prev:    Pos{order.Uint32(b[36:]), order.Uint32(b[40:])},
	}, true
}

// sealFrame computes the checksum of the frame b.
func sealFrame(b []byte, seed uint32) {
	order.PutUint32(b, crc32.Update(seed, castagnoli, b[4:]))
}

// frameLength is the length of the frame that b begins with as it says itself, 0 when there can be none in rest bytes.
func frameLength(b []byte, rest int64) int64 {
	if len(b) < frameSize {
		return 0
	}
	n := int64(order.Uint32(b[4:]) &^ lastBit)
	if n == 0 || n+frameSize > rest {
		return 0
	}
	return n + frameSize
}

// parseFrame reads the frame that b begins with.
func parseFrame(b []byte, seed uint32) (body []byte, last, ok bool) {
	n := frameLength(b, int64(len(b)))
	if n == 0 || order.Uint32(b) != crc32.Update(seed, castagnoli, b[4:n]) {
		return nil, false, false
	}
	return b[frameSize:n:n], order.Uint32(b[4:])&lastBit != 0, true
}

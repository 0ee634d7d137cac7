package disk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
)

// A checkpoint is a file with the index as it was while the file was written: complete as of a position of the log,
// and perhaps with changes that came later, which applying the log from there does not mind. The layout is in
// docs/storage-format.md.

const (
	checkpointPrefix = "checkpoint-"
	checkpointPart   = "part-checkpoint" // while it is being written
	checkpointMagic  = "SAPWCKPT"
	checkpointHeader = 80
	frameHeader      = 8
	lastFrame        = 1 << 31
	maxFrame         = 64 << 20
)

// castagnoli is the polynomial of every checksum.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// checkpoint names one.
type checkpoint struct {
	number uint32
	from   wal.Pos // the log has to be applied from here
}

func (c checkpoint) name() string { return fmt.Sprintf("%s%08d", checkpointPrefix, c.number) }

// head is what a checkpoint says of itself.
type head struct {
	checkpoint
	id    [16]byte
	stamp int64 // of the log at from
	last  store.SessionID
}

func (h *head) encode() []byte {
	b := make([]byte, 0, checkpointHeader)
	b = append(b, checkpointMagic...)
	b = binary.LittleEndian.AppendUint32(b, Format)
	b = append(b, h.id[:]...)
	for _, v := range []uint32{h.number, h.from.Segment, h.from.Offset} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(h.stamp))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.last))
	b = b[:checkpointHeader]
	binary.LittleEndian.PutUint32(b[checkpointHeader-4:], crc32.Checksum(b[:checkpointHeader-4], castagnoli()))
	return b
}

func (h *head) decode(b []byte) error {
	if string(b[:8]) != checkpointMagic || crc32.Checksum(b[:checkpointHeader-4], castagnoli()) != binary.LittleEndian.Uint32(b[checkpointHeader-4:]) {
		return errors.New("its header fails its checksum")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != Format {
		return fmt.Errorf("it has storage format %d, and this version knows %d", v, Format)
	}
	h.id = [16]byte(b[12:28])
	h.number = binary.LittleEndian.Uint32(b[28:])
	h.from = wal.Pos{Segment: binary.LittleEndian.Uint32(b[32:]), Offset: binary.LittleEndian.Uint32(b[36:])}
	h.stamp = int64(binary.LittleEndian.Uint64(b[40:]))
	h.last = store.SessionID(binary.LittleEndian.Uint64(b[48:]))
	return nil
}

// frameSum is the checksum of a frame, bound to its place in its checkpoint.
func frameSum(table *crc32.Table, number, ordinal, length uint32, chunk []byte) uint32 {
	var seed [12]byte
	binary.LittleEndian.PutUint32(seed[0:], number)
	binary.LittleEndian.PutUint32(seed[4:], ordinal)
	binary.LittleEndian.PutUint32(seed[8:], length)
	return crc32.Update(crc32.Checksum(seed[:], table), table, chunk)
}

// checkpointWriter writes one.
type checkpointWriter struct {
	f       file.File
	table   *crc32.Table
	number  uint32
	ordinal uint32
	at      int64
	buf     []byte
}

func (w *checkpointWriter) head(h *head) error {
	w.number = h.number
	_, err := w.f.WriteAt(h.encode(), 0)
	w.at = checkpointHeader
	return err
}

// frame writes one chunk.
func (w *checkpointWriter) frame(chunk []byte, last bool) error {
	length := uint32(len(chunk))
	if last {
		length |= lastFrame
	}
	w.buf = binary.LittleEndian.AppendUint32(w.buf[:0], frameSum(w.table, w.number, w.ordinal, length, chunk))
	w.buf = binary.LittleEndian.AppendUint32(w.buf, length)
	w.buf = append(w.buf, chunk...)
	_, err := w.f.WriteAt(w.buf, w.at)
	w.at += int64(len(w.buf))
	w.ordinal++
	return err
}

// listCheckpoints tells the numbers of those there are, the newest first.
func listCheckpoints(sys file.System, dir string) ([]uint32, error) {
	files, err := sys.List(storeDir(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the store: %w", err)
	}
	var numbers []uint32
	for _, f := range files {
		if digits, ok := strings.CutPrefix(f.Name, checkpointPrefix); ok {
			if n, err := strconv.ParseUint(digits, 10, 32); err == nil {
				numbers = append(numbers, uint32(n))
			}
		}
	}
	slices.Sort(numbers)
	slices.Reverse(numbers)
	return numbers, nil
}

// badFrame is a part of a checkpoint that fails its checksum.
type badFrame struct {
	offset, bytes int64
	rest          bool // nothing can be read behind it
}

func (b *badFrame) Error() string {
	if b.rest {
		return fmt.Sprintf("it cannot be read from byte %d on", b.offset)
	}
	return fmt.Sprintf("%d bytes at %d fail their checksum", b.bytes, b.offset)
}

// readCheckpoint reads one, frame by frame. What is damaged is handed to bad, which may end the reading by its error.
func readCheckpoint(sys file.System, dir string, id [16]byte, number uint32, chunk func([]byte) error, bad func(*badFrame) error) (head, int64, error) {
	var h head
	f, err := sys.Open(filepath.Join(storeDir(dir), checkpoint{number: number}.name()), false)
	if err != nil {
		return h, 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return h, 0, err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 256<<10)
	b := make([]byte, checkpointHeader)
	if _, err := io.ReadFull(r, b); err != nil {
		return h, size, fmt.Errorf("read its header: %w", err)
	}
	if err := h.decode(b); err != nil {
		return h, size, err
	}
	if h.id != id || h.number != number {
		return h, size, errors.New("it belongs to another store")
	}
	table := castagnoli()
	var buf []byte
	for at, ordinal := int64(checkpointHeader), uint32(0); ; ordinal++ {
		if _, err := io.ReadFull(r, b[:frameHeader]); err != nil {
			return h, size, bad(&badFrame{at, size - at, true})
		}
		sum, length := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		n := int64(length &^ lastFrame)
		if n > maxFrame || at+frameHeader+n > size {
			return h, size, bad(&badFrame{at, size - at, true})
		}
		buf = slices.Grow(buf[:0], int(n))[:n]
		if _, err := io.ReadFull(r, buf); err != nil {
			return h, size, fmt.Errorf("read it: %w", err)
		}
		if sum != frameSum(table, number, ordinal, length, buf) {
			if err := bad(&badFrame{at, frameHeader + n, false}); err != nil {
				return h, size, err
			}
		} else if length&lastFrame != 0 {
			return h, size, nil
		} else if err := chunk(buf); err != nil {
			return h, size, err
		}
		at += frameHeader + n
	}
}

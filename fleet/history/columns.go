package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A file that nothing is added to any more has its values a second time, series by series, so that a chart of one reads that one: a header,
// a frame that tells the times of the rows and where each series is, and one frame for each series. A column is coded as a row is, along time.
// It is worth no more than the file beside it: what is damaged or missing is read from there.
const (
	columnsMagic  = "sapwood columns 2\n"
	columnsSuffix = ".columns"
	frameTimes    = 3
	frameColumn   = 4
)

// column is one series of a file that is being turned.
type column struct {
	kind           Kind
	metric, labels string
	rows           int // that it has, those before its first value included
	last           triple
	row            row
}

func (c *column) add(at int, v triple) {
	if c.rows == 0 {
		c.row.begin(nil, 0)
		c.row.b[0] = frameColumn
		c.last = triple{}
	}
	for ; c.rows < at; c.rows++ {
		c.row.add(nil, c.last)
	}
	c.row.add(&v, c.last)
	c.last = v
	c.rows++
}

// turn makes columns of a file's rows.
func turn(b []byte) ([]byte, error) {
	var all []*column
	var times []int64
	name := func(metric, labels string, k Kind) int {
		all = append(all, &column{kind: k, metric: metric, labels: labels})
		return len(all) - 1
	}
	err := walk(b, name, nil, func(at int64, id int, v triple) {
		if n := len(times); n == 0 || times[n-1] != at {
			times = append(times, at)
		}
		all[id].add(len(times)-1, v)
	})
	if err != nil {
		return nil, err
	}
	head := binary.AppendUvarint([]byte{frameTimes}, uint64(len(times)))
	before := int64(0)
	for _, at := range times {
		head = binary.AppendUvarint(head, uint64(at-before))
		before = at
	}
	var blocks []byte
	for _, c := range all {
		if c.rows == 0 {
			continue
		}
		from := len(blocks)
		blocks = frame(blocks, c.row.end())
		head = appendText(append(head, byte(c.kind)), c.metric)
		head = appendText(head, c.labels)
		head = binary.AppendUvarint(head, uint64(len(blocks)-from))
	}
	if len(head) > maxFrame {
		return nil, errors.New("too many series for columns")
	}
	return append(frame([]byte(columnsMagic), head), blocks...), nil
}

func (f *file) columnsPath() string { return strings.TrimSuffix(f.path, suffix) + columnsSuffix }

// seal gives a file that is complete its columns.
func (h *History) seal(f *file) {
	if f.mem != nil || f.columns > 0 {
		return
	}
	b, err := f.read()
	if err == nil {
		b, err = turn(b)
	}
	if err == nil {
		path := f.columnsPath()
		if err = os.WriteFile(path+".new", b, 0o600); err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	if err != nil {
		h.log.Debug("a part of the history stays without columns: it is read more slowly", "file", f.path, "error", errors.Join(err, f.unseal()))
		return
	}
	f.columns = int64(len(b))
}

// unseal takes the columns away.
func (f *file) unseal() error {
	f.columns = 0
	var errs []error
	for _, path := range []string{f.columnsPath(), f.columnsPath() + ".new"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sealed finds the columns that an earlier process wrote, and takes away those of no file.
func (h *History) sealed() {
	known := map[string]*file{}
	for i := range h.tiers {
		for _, f := range h.tiers[i].files {
			known[f.columnsPath()] = f
		}
	}
	found, _ := filepath.Glob(filepath.Join(h.o.Dir, "*"+columnsSuffix+"*")) // the pattern is good
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && known[path] != nil {
			known[path].columns = info.Size()
		} else if err := os.Remove(path); err != nil {
			h.log.Debug("columns of the history that belong to nothing stay", "file", path, "error", err)
		}
	}
}

// place is where one wanted column is.
type place struct {
	id         int
	from, size int64
}

// columns reads what is wanted of a file by its columns. An error comes before the first value.
func (c *collector) columns(f *file) error {
	in, err := os.Open(f.columnsPath())
	if err != nil {
		return err
	}
	defer in.Close()
	start := make([]byte, len(columnsMagic)+frameHead)
	if _, err := in.ReadAt(start, 0); err != nil {
		return err
	}
	size := binary.LittleEndian.Uint32(start[len(columnsMagic):])
	if !bytes.HasPrefix(start, []byte(columnsMagic)) || size == 0 || size > maxFrame {
		return errDamaged
	}
	head := make([]byte, frameHead+int(size))
	if _, err := in.ReadAt(head, int64(len(columnsMagic))); err != nil {
		return err
	}
	payload, _, err := unframe(head)
	if err != nil || payload[0] != frameTimes {
		return errors.Join(err, errDamaged)
	}
	times, wanted, err := c.index(&reader{b: payload[1:]}, int64(len(start)-frameHead+len(head)))
	if err != nil {
		return err
	}
	blocks := make([][]byte, len(wanted))
	for i, p := range wanted {
		b := make([]byte, p.size)
		if _, err := in.ReadAt(b, p.from); err != nil {
			return err
		}
		if blocks[i], _, err = unframe(b); err != nil || blocks[i][0] != frameColumn || !readColumn(blocks[i], len(times), nil) {
			return errors.Join(err, errDamaged)
		}
	}
	for i, p := range wanted {
		readColumn(blocks[i], len(times), func(n int, v triple) { c.row(times[n], p.id, v) })
	}
	return nil
}

// index reads the frame that tells what is where: the times of the rows, and the wanted columns.
func (c *collector) index(r *reader, at int64) (times []int64, wanted []place, err error) {
	n := r.uvarint()
	if n == 0 || n > uint64(len(r.b)) {
		return nil, nil, errDamaged
	}
	times = make([]int64, n)
	before := int64(0)
	for i := range times {
		before += int64(r.uvarint())
		times[i] = before
	}
	for len(r.b) > 0 {
		kind := Kind(r.b[0])
		r.b = r.b[1:]
		metric, labels := r.view(), r.view()
		size := r.uvarint()
		if r.bad || size > maxFrame+frameHead {
			return nil, nil, errDamaged
		}
		if id := c.find(metric, labels, kind); id >= 0 {
			wanted = append(wanted, place{id, at, int64(size)})
		}
		at += int64(size)
	}
	if r.bad {
		err = errDamaged
	}
	return times, wanted, err
}

// find is id for names that are views.
func (c *collector) find(metric, labels []byte, _ Kind) int {
	id, known := c.byKey[key{string(metric), string(labels)}]
	if known && c.all[id].wanted {
		return id
	}
	return -1
}

// readColumn reads a column of so many rows and tells whether it made sense. each may be nil.
func readColumn(payload []byte, rows int, each func(n int, v triple)) bool {
	r := reader{b: payload[1:]}
	r.uvarint() // of a row it is the time
	var last triple
	at := 0
	for len(r.b) > 0 {
		u := r.uvarint()
		n, form := u>>2, int(u&3)
		if n > uint64(rows-at) {
			return false
		}
		for range n {
			r.triple(form, &last)
			if r.bad {
				return false
			}
			if form != runAbsent && each != nil {
				each(at, last)
			}
			at++
		}
	}
	return !r.bad
}

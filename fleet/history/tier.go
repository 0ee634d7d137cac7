package history

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const suffix = ".history"

// tier is one resolution.
type tier struct {
	name       string
	step       int64 // seconds
	keep, span time.Duration

	cells   []cell // of the step that is being made, by series
	current int64  // that step
	filled  bool

	files []*file // oldest first
	out   *os.File
	live  bool      // the last file may be appended to
	local []int32   // the numbers in that file by series, -1 = none yet
	order []int32   // the series by those numbers
	last  []triple  // of the last row in it, by number
	was   []float64 // what counters had in the last row, whichever file it is in, by series
	row   row
	buf   []byte
	name1 []byte
}

// file is one file of a tier.
type file struct {
	path  string
	start int64  // Unix seconds: one step before its first figures. A row of that time is what counters had by then; those it lacks had nothing
	end   int64  // of the last one
	size  int64  // that is good
	mem   []byte // instead of a file

	columns int64 // bytes of the same by series; 0 = there are none
}

// cell gathers one series in one step.
type cell struct {
	n              int
	sum, low, high float64
	last           float64
}

func (c *cell) triple(k Kind) triple {
	if k == Counter {
		return triple{c.last, c.last, c.last}
	}
	if c.low == c.high {
		return triple{c.low, c.low, c.low}
	}
	return triple{round(c.sum / float64(c.n)), round(c.low), round(c.high)}
}

// take adds one value, or one step of the tier below.
func (t *tier) take(id int, v triple) {
	for len(t.cells) <= id {
		t.cells = append(t.cells, cell{})
	}
	t.filled = true
	c := &t.cells[id]
	if c.n == 0 {
		c.low, c.high = v.low, v.high
	}
	c.n++
	c.sum += v.mean
	c.low, c.high, c.last = math.Min(c.low, v.low), math.Max(c.high, v.high), v.mean
}

func (t *tier) clear() {
	clear(t.cells)
	t.filled = false
}

// find takes over a file of an earlier process, or sets it aside.
func (h *History) find(path string) {
	name, start, ok := strings.Cut(strings.TrimSuffix(filepath.Base(path), suffix), "-")
	at, err := strconv.ParseInt(start, 10, 64)
	i := slices.IndexFunc(h.tiers, func(t tier) bool { return t.name == name })
	if !ok || err != nil || i < 0 {
		return // somebody else's
	}
	f := &file{path: path, start: at, end: at}
	b, err := os.ReadFile(path)
	if err == nil {
		err = f.check(b)
	}
	switch {
	case errors.Is(err, errTorn): // the process ended while it wrote
		if err := os.Truncate(path, f.size); err != nil {
			h.aside(f, err)
			return
		}
	case errors.Is(err, errDamaged) && f.size > 0:
		h.aside(f, err)
		if err := os.WriteFile(path, b[:f.size], 0o600); err != nil { // what comes before the damage is good
			h.warn(err)
			return
		}
	case err != nil:
		h.aside(f, err)
		return
	}
	if time.Until(time.Unix(f.end, 0)) > time.Hour {
		h.aside(f, errors.New("it is of the future: the clock was wrong then or is now"))
		return
	}
	t := &h.tiers[i]
	t.files = append(t.files, f)
	slices.SortFunc(t.files, func(a, b *file) int { return int(a.start - b.start) })
}

// check reads all frames and finds out how much of the file is good.
func (f *file) check(b []byte) error {
	if !bytes.HasPrefix(b, []byte(magic)) {
		return fmt.Errorf("%w: it does not begin as it should", errDamaged)
	}
	f.size = int64(len(magic))
	for rest := b[len(magic):]; len(rest) > 0; {
		payload, after, err := unframe(rest)
		if err != nil {
			return err
		}
		if r := (reader{b: payload[1:]}); payload[0] == frameRow {
			f.end = max(f.end, int64(r.uvarint()))
		}
		rest = after
		f.size = int64(len(b) - len(rest))
	}
	return nil
}

// aside keeps the newest damaged file for who wants to look at it.
func (h *History) aside(f *file, why error) {
	h.figures.Aside++
	to := filepath.Join(filepath.Dir(f.path), "set-aside.damaged")
	err := os.Rename(f.path, to)
	h.log.Warn("a file of the history is damaged: it is set aside and begun anew", "file", f.path, "as", to, "why", why, "error", err)
}

// resume goes on with the newest file of a tier, and takes from the tier below what the step that is being made had.
func (h *History) resume(i int) {
	t := &h.tiers[i]
	if len(t.files) == 0 {
		return
	}
	f := t.files[len(t.files)-1]
	b, err := f.read()
	if err == nil {
		t.local, t.order, t.last = nil, nil, nil
		err = h.walk(b, func(s decoded) {
			for local, id := range s.ids {
				if id < 0 {
					continue
				}
				t.number(id, local)
				if r := &h.series[id]; r.kind == Counter {
					r.base = max(r.base, s.last[local].mean)
				}
				for len(t.was) <= id {
					t.was = append(t.was, 0)
				}
				t.was[id] = s.last[local].mean
			}
			t.last = slices.Clone(s.last)
		}, nil)
	}
	if err == nil {
		t.out, err = os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND, 0)
	}
	if err != nil {
		t.files = t.files[:len(t.files)-1]
		h.aside(f, err)
		return
	}
	if t.live = len(t.order) == len(t.last); !t.live { // it has series that there is no room for
		h.stop(t)
	}
	if i+1 < len(h.tiers) {
		h.refill(&h.tiers[i+1], t)
	}
}

// refill makes the unfinished step of a tier from the rows of the one below.
func (h *History) refill(up, from *tier) {
	for _, f := range from.files {
		if f.end < time.Now().Unix()-2*up.step {
			continue
		}
		b, err := f.read()
		if err != nil {
			continue // it was good a moment ago, and what is lost is a part of one step
		}
		_ = h.walk(b, nil, func(at int64, id int, v triple) {
			step := at / up.step
			if n := len(up.files); n > 0 && step*up.step <= up.files[n-1].end {
				return
			}
			if step != up.current {
				up.clear()
				up.current = step
			}
			up.take(id, v)
		})
	}
}

// number notes that a series has a number in the file that is written.
func (t *tier) number(id, local int) {
	for len(t.local) <= id {
		t.local = append(t.local, -1)
	}
	t.local[id] = int32(local)
	if local == len(t.order) {
		t.order = append(t.order, int32(id))
		t.last = append(t.last, triple{})
	}
}

// write adds the finished step.
func (h *History) write(t *tier) {
	at := t.current * t.step
	for len(t.was) < len(h.series) {
		t.was = append(t.was, h.series[len(t.was)].base)
	}
	if n := len(t.files); n > 0 && at <= t.files[n-1].end {
		if t.files[n-1].end-at > 3600 { // the clock was set back: what is there is of the future
			f := t.files[n-1]
			t.files = t.files[:n-1]
			h.stop(t)
			h.aside(f, errors.New("the clock was set back"))
		} else {
			return
		}
	}
	if n := len(t.files); !t.live || time.Duration(at-t.files[n-1].start)*time.Second >= t.span {
		if err := h.roll(t, at); err != nil {
			h.warn(err)
			return
		}
	}
	if err := h.line(t, at, func(id int) (triple, bool) {
		if id >= len(t.cells) || t.cells[id].n == 0 {
			return triple{}, false
		}
		return t.cells[id].triple(h.series[id].kind), true
	}); err != nil {
		h.warn(err)
		return
	}
	for id := range t.cells {
		if c := &t.cells[id]; c.n > 0 {
			t.was[id] = c.last
		}
	}
	h.figures.Rows++
	t.files[len(t.files)-1].end = at
}

// opening begins a file with what counters had before it, so that what it tells of them needs no file before it.
func (h *History) opening(t *tier, at int64) error {
	return h.line(t, at, func(id int) (triple, bool) {
		v := t.was[id]
		return triple{v, v, v}, h.series[id].kind == Counter
	})
}

// line writes a row, and before it the names of series that are new in the file. value tells what a series has, and whether it has anything.
func (h *History) line(t *tier, at int64, value func(id int) (triple, bool)) error {
	if err := h.names(t, value); err != nil {
		return err
	}
	t.row.begin(t.row.b, at)
	for local, id := range t.order {
		v, there := value(int(id))
		if !there {
			t.row.add(nil, t.last[local])
			continue
		}
		t.row.add(&v, t.last[local])
		t.last[local] = v
	}
	return h.put(t, t.row.end())
}

// names tells the file of series that are new in it.
func (h *History) names(t *tier, value func(id int) (triple, bool)) error {
	b := append(t.name1[:0], frameNames)
	for id := range h.series {
		if _, there := value(id); !there || id < len(t.local) && t.local[id] >= 0 {
			continue
		}
		s := &h.series[id]
		b = appendText(append(b, byte(s.kind)), s.metric)
		b = appendText(b, s.labels)
		t.number(id, len(t.order))
	}
	if t.name1 = b; len(b) == 1 {
		return nil
	}
	return h.put(t, b)
}

// roll begins a new file, and lets go of old ones.
func (h *History) roll(t *tier, at int64) error {
	h.stop(t)
	if n := len(t.files); n > 0 {
		h.seal(t.files[n-1])
	}
	h.retire(at)
	at -= t.step
	f := &file{path: filepath.Join(h.o.Dir, fmt.Sprintf("%s-%d%s", t.name, at, suffix)), start: at, end: at, size: int64(len(magic))}
	if h.o.Dir == "" {
		f.mem = []byte(magic)
	} else {
		if h.o.Free != nil {
			if free := h.o.Free(); free < MinFree {
				return fmt.Errorf("only %d MiB are left on the disk", free>>20)
			}
		}
		var err error
		if t.out, err = os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
			return fmt.Errorf("begin a file: %w", err)
		}
		if _, err := t.out.WriteString(magic); err != nil {
			err = errors.Join(err, t.shut(), os.Remove(f.path))
			return fmt.Errorf("begin a file: %w", err)
		}
	}
	t.files = append(t.files, f)
	t.live = true
	return h.opening(t, at)
}

// stop has the next row begin a new file.
func (h *History) stop(t *tier) {
	if err := t.shut(); err != nil {
		h.log.Debug("close a file of the history", "error", err)
	}
	t.live = false
	t.local, t.order, t.last = t.local[:0], t.order[:0], t.last[:0]
}

func (t *tier) shut() error {
	if t.out == nil {
		return nil
	}
	err := t.out.Close()
	t.out = nil
	return err
}

// put writes one frame at the end of the tier's file. What it wrote of one that failed is cut off, and a new file is begun.
func (h *History) put(t *tier, payload []byte) error {
	f := t.files[len(t.files)-1]
	t.buf = frame(t.buf[:0], payload)
	if f.mem != nil {
		f.mem = append(f.mem, t.buf...)
		f.size = int64(len(f.mem))
		return nil
	}
	var err error
	if h.o.Free != nil {
		if free := h.o.Free(); free < MinFree {
			err = fmt.Errorf("only %d MiB are left on the disk", free>>20)
		}
	}
	if err == nil {
		if _, err = t.out.Write(t.buf); err == nil {
			f.size += int64(len(t.buf))
			return nil
		}
		err = errors.Join(err, os.Truncate(f.path, f.size))
	}
	h.stop(t)
	return fmt.Errorf("write: %w", err)
}

// retire deletes files whose time is over at second now, and the oldest of the finest tiers if all take too much.
func (h *History) retire(now int64) {
	total := int64(0)
	for i := range h.tiers {
		t := &h.tiers[i]
		for len(t.files) > 0 && t.files[0].end < now-int64(t.keep/time.Second) {
			h.remove(t)
		}
		for _, f := range t.files {
			total += f.size + f.columns
		}
	}
	for i := 0; i < len(h.tiers) && total > h.o.Bytes; {
		t := &h.tiers[i]
		if len(t.files) == 0 || len(t.files) == 1 && t.live {
			i++
			continue
		}
		total -= t.files[0].size + t.files[0].columns
		h.remove(t)
	}
}

// remove deletes a tier's oldest file.
func (h *History) remove(t *tier) {
	f := t.files[0]
	t.files = t.files[1:]
	if f.mem != nil {
		return
	}
	if err := f.unseal(); err != nil {
		h.log.Warn("an old file of the history stays", "error", err)
	}
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.log.Warn("an old file of the history stays", "error", err)
	}
}

// read returns what is good of a file.
func (f *file) read() ([]byte, error) {
	if f.mem != nil {
		return f.mem[:f.size], nil
	}
	b, err := os.ReadFile(f.path)
	if err != nil {
		return nil, err
	}
	return b[:min(int64(len(b)), f.size)], nil
}

package history

import (
	"cmp"
	"errors"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"
)

// decoded is what walk knows of a file at a moment: the series by their numbers in it, and the last value of each.
type decoded struct {
	ids  []int
	last []triple
}

// walk reads a file's frames. row is told every value: the time of its step in Unix seconds, the series, the value. At the end it
// tells end what it knows then. Series that are new to the process become known to it, for which mu is held, where known is nil.
func (h *History) walk(b []byte, end func(decoded), row func(at int64, id int, v triple)) error {
	return walk(b, h.id, end, row)
}

// walk is History.walk with what turns names into numbers. end and row may be nil.
func walk(b []byte, id func(metric, labels string, k Kind) int, end func(decoded), row func(int64, int, triple)) error {
	var d decoded
	for b = b[len(magic):]; len(b) > 0; {
		payload, rest, err := unframe(b)
		if err != nil {
			return err
		}
		b = rest
		r := reader{b: payload[1:]}
		switch payload[0] {
		case frameNames:
			for len(r.b) > 0 {
				kind := Kind(r.b[0])
				r.b = r.b[1:]
				metric := r.text()
				labels := r.text()
				d.ids = append(d.ids, id(metric, labels, kind))
				d.last = append(d.last, triple{})
			}
		case frameRow:
			at := int64(r.uvarint())
			ok := decodeRow(&r, d.last, d.ids, func(local int) {
				if row != nil {
					row(at, d.ids[local], d.last[local])
				}
			})
			if !ok {
				return errDamaged
			}
		}
		if r.bad {
			return errDamaged
		}
	}
	if end != nil {
		end(d)
	}
	return nil
}

// Series is one series' points, oldest first. Of a gauge a point is the mean of its step, of a counter its increase per second.
type Series struct {
	Metric    string
	Labels    string
	Kind      Kind
	Points    []Point
	Low, High []Point // of a gauge, where they differ from the mean
	Sum       float64 // of a counter: its whole increase
}

// Point is a value at the Unix second at which its step begins.
type Point struct {
	At    int64
	Value float64
}

// Query asks for series.
type Query struct {
	Match    func(metric, labels string) bool // which
	From, To time.Time
	Step     time.Duration // between points; 0 = so that there are at most 600. What is coarser on disk comes as it is there
}

// mostPoints is how many points of a series an answer has at most.
const mostPoints = 11_000

// Query returns the series that match, by name, and the time between their points. It reads files and may take a while, during which the
// history goes on.
func (h *History) Query(q Query) ([]Series, time.Duration) {
	h.mu.Lock()
	now := time.Now().Unix()
	from, to := q.From.Unix(), q.To.Unix()
	if h.tiers[0].filled {
		now = h.tiers[0].current * h.tiers[0].step
	}
	c := collector{from: from, to: to, known: slices.Clone(h.series), match: q.Match}
	first := h.choose(&c, q.Step, now)
	var parts [][]*file // of the chosen tier, then of the finer ones
	for i := first; i >= 0; i-- {
		var part []*file
		for _, f := range h.tiers[i].files {
			if f.end >= from-2*h.tiers[i].step && f.start <= to {
				copied := *f
				part = append(part, &copied)
			}
		}
		parts = append(parts, part)
	}
	h.mu.Unlock()
	c.prepare()
	for n, part := range parts {
		c.rows = h.tiers[first-n].step // constant after Open
		for _, f := range part {
			c.start = f.start
			if f.columns > 0 {
				err := c.columns(f)
				if err == nil {
					continue
				}
				h.log.Debug("columns of the history cannot be read: rows are", "file", f.path, "error", err)
			}
			b, err := f.read()
			if err == nil {
				err = walk(b, c.id, nil, c.row)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // it was deleted just now
				h.log.Debug("a part of the history cannot be read", "file", f.path, "error", err)
			}
		}
		c.seal()
	}
	return c.series(), time.Duration(c.step) * time.Second
}

// choose finds the tier that an answer is made of, and the step.
func (h *History) choose(c *collector, step time.Duration, now int64) int {
	c.step = int64(step / time.Second)
	if step == 0 {
		c.step = (c.to - c.from + 599) / 600
	}
	c.step = max(c.step, (c.to-c.from)/mostPoints+1)
	i := 0
	for i+1 < len(h.tiers) && (h.tiers[i+1].step <= c.step || c.from < now-int64(h.tiers[i].keep/time.Second)) {
		i++
	}
	// A step is a whole number of those on disk, so that no two points are made of unlike parts.
	c.step = (c.step + h.tiers[i].step - 1) / h.tiers[i].step * h.tiers[i].step
	return i
}

// collector turns rows into points.
type collector struct {
	from, to, step int64
	rows           int64 // the step of the rows
	match          func(metric, labels string) bool
	known          []series
	byKey          map[key]int
	all            []points
	start          int64 // of the file that is read: its first row is what counters had before, and what comes later began at zero
	done           int64 // rows up to it were read already, from a coarser tier
	reach          int64 // the end of the last row's step
}

// points are those of one series, and what is needed to make the next.
type points struct {
	wanted  bool
	seen    bool
	before  float64 // of a counter
	at      int64   // the step that is made, by its time
	cell    cell
	covered int64 // seconds that cell is of
	out     Series
}

func (c *collector) prepare() {
	c.byKey = make(map[key]int, len(c.known))
	c.all = make([]points, len(c.known))
	for id, s := range c.known {
		c.byKey[s.key] = id
		c.all[id].wanted = c.match(s.metric, s.labels)
		c.all[id].out = Series{Metric: s.metric, Labels: s.labels, Kind: s.kind}
	}
}

// id is the number of a series, -1 if it is not wanted.
func (c *collector) id(metric, labels string, _ Kind) int {
	if id, known := c.byKey[key{metric, labels}]; known && c.all[id].wanted {
		return id
	}
	return -1
}

func (c *collector) row(at int64, id int, v triple) {
	if at < c.done || at >= c.to {
		return
	}
	c.reach = max(c.reach, at+c.rows)
	p := &c.all[id]
	value := v.mean
	if p.out.Kind == Counter {
		increase := v.mean - p.before
		if increase < 0 { // what was kept of earlier processes is lost
			increase = v.mean
		}
		known := p.seen || at > c.start
		p.before, p.seen = v.mean, true
		if !known || at == c.start && increase == 0 {
			return
		}
		value = increase
	}
	if at < c.from {
		return
	}
	if step := at / c.step * c.step; step != p.at {
		p.emit()
		p.at = step
	}
	if p.cell.n == 0 {
		p.cell.low, p.cell.high = v.low, v.high
	}
	p.cell.n++
	p.cell.sum += value
	p.covered += c.rows
	p.cell.low, p.cell.high = math.Min(p.cell.low, v.low), math.Max(p.cell.high, v.high)
}

// seal is called when a tier's rows are read: finer ones tell only what comes after.
func (c *collector) seal() { c.done = max(c.done, c.reach) }

// emit makes a point of what was gathered.
func (p *points) emit() {
	if p.cell.n == 0 {
		return
	}
	out := &p.out
	if out.Kind == Counter {
		out.Sum += p.cell.sum
		out.Points = append(out.Points, Point{p.at, p.cell.sum / float64(p.covered)})
	} else {
		mean := p.cell.sum / float64(p.cell.n)
		out.Points = append(out.Points, Point{p.at, mean})
		if p.cell.low != p.cell.high {
			out.Low, out.High = append(out.Low, Point{p.at, p.cell.low}), append(out.High, Point{p.at, p.cell.high})
		}
	}
	p.cell, p.covered = cell{}, 0
}

func (c *collector) series() (all []Series) {
	for i := range c.all {
		p := &c.all[i]
		p.emit()
		if len(p.out.Points) > 0 {
			all = append(all, p.out)
		}
	}
	slices.SortFunc(all, func(a, b Series) int {
		return cmp.Or(strings.Compare(a.Metric, b.Metric), strings.Compare(a.Labels, b.Labels))
	})
	return all
}

// Metrics are the series that there are, by name.
func (h *History) Metrics() []Series {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Series, 0, len(h.series))
	for _, s := range h.series {
		all = append(all, Series{Metric: s.metric, Labels: s.labels, Kind: s.kind})
	}
	slices.SortFunc(all, func(a, b Series) int {
		return cmp.Or(strings.Compare(a.Metric, b.Metric), strings.Compare(a.Labels, b.Labels))
	})
	return all
}

package wal

import (
	"errors"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// fillStep is how much of a new file is written and synced at once.
const fillStep = 1 << 20

// spare is a file without meaning, to become a segment. Its bytes are those of its last life.
type spare struct {
	name   string
	was    uint32 // the segment it was
	usable bool   // of the right size, and known not to hold what would parse again
}

// found learns which segment a spare was: that number must not come again, because under it the old bytes would parse.
// One that does not tell is of no use.
func (p *supply) found(n int, info file.Info) {
	b := make([]byte, headerUsed)
	f, err := p.sys.Open(p.path(info.Name), false)
	if err == nil {
		_, err = f.ReadAt(b, 0)
		err = errors.Join(err, f.Close())
	}
	var h header
	if err == nil {
		h, err = parseHeader(b)
	}
	p.reach(h.number)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.named = max(p.named, n)
	p.spares = append(p.spares, spare{info.Name, h.number, err == nil && info.Size == p.o.SegmentSize})
}

// sort gives up the spares that may be one file with a segment or another spare, under two names: a crash can leave a
// rename like that.
func (p *supply) sort(segments map[uint32]*segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := map[uint32]int{}
	for _, s := range p.spares {
		names[s.was]++
	}
	kept := 0
	for i := range p.spares {
		s := &p.spares[i]
		s.usable = s.usable && segments[s.was] == nil && names[s.was] == 1 && kept < maxSpares
		if s.usable {
			kept++
		}
	}
}

// sweep frees what is no part of the log: first the spares that are of no use, for good, then the stale segments. Of
// those the youngest goes first, and for good before the next: each is the witness that the one before it existed. So
// where one fails the rest stays until the next start.
func (p *supply) sweep(stale []*segment) {
	p.mu.Lock()
	spares := p.spares
	p.spares = nil
	p.mu.Unlock()
	var err error
	for _, s := range spares {
		if !s.usable {
			err = errors.Join(err, p.sys.Remove(p.path(s.name)))
		}
	}
	if len(spares) > 0 && err == nil {
		err = p.sys.SyncDir(p.dir)
	}
	if err != nil {
		p.log.Warn("spare files that are of no use stay", "error", err)
		return
	}
	for _, s := range spares {
		if s.usable {
			p.keepSpare(s)
		}
	}
	for _, s := range stale {
		if !p.release(s) {
			return
		}
	}
}

func (p *supply) keepSpare(s spare) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spares = append(p.spares, s)
}

// recycle frees the dropped segments that nobody reads any more.
func (p *supply) recycle() {
	for s := p.due(); s != nil; s = p.due() {
		p.release(s)
	}
}

// release makes a segment a spare, or removes it. What fails leaves a file that nobody needs, to be found again by the
// next start.
func (p *supply) release(s *segment) bool {
	p.files.forget(s.number)
	p.mu.Lock()
	keep := len(p.spares) < maxSpares && !s.poisoned && s.wrong == "" && s.size.Load() == p.o.SegmentSize
	p.named++
	name := spareName(p.named)
	p.mu.Unlock()
	var err error
	if keep {
		err = p.sys.Rename(p.segmentPath(s.number), p.path(name))
	} else {
		err = p.sys.Remove(p.segmentPath(s.number))
	}
	// Before the bytes change the old name must be gone: a segment found with another's header is damage.
	if err == nil {
		err = p.sys.SyncDir(p.dir)
	}
	if err != nil {
		p.log.Warn("a segment that is not needed stays", "file", segmentName(s.number), "error", err)
		return false
	}
	if keep {
		p.keepSpare(spare{name, s.number, true})
	}
	return true
}

// make makes a file with a header, a log segment out of a spare if there is one, and gives it its name for good.
func (p *supply) make(h header) (*segment, error) {
	h.created = time.Now().UnixMilli()
	name, f, err := p.blank(&h)
	if err != nil {
		return nil, err
	}
	s := &segment{number: h.number, cold: h.kind == kindCold, head: h, file: f, ended: true}
	s.end.Store(headerSize)
	s.size.Store(max(h.size, headerSize))
	if err = f.Sync(); err == nil {
		err = p.sys.Rename(p.path(name), p.segmentPath(h.number))
	}
	if err == nil {
		name = segmentName(h.number)
		err = p.sys.SyncDir(p.dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), p.sys.Remove(p.path(name)))
	}
	return s, nil
}

// cold makes a cold segment, which grows as it is written.
func (p *supply) cold() (*segment, error) {
	number, err := p.another()
	if err != nil {
		return nil, err
	}
	return p.make(header{kind: kindCold, number: number, store: p.o.Store})
}

// blank is a file with nothing but a header, under a name without meaning.
func (p *supply) blank(h *header) (name string, f file.File, err error) {
	name, reused := p.takeSpare(h.kind)
	if reused {
		f, err = p.sys.Open(p.path(name), true)
	} else if err = p.room(h.size); err == nil {
		if err = p.sys.MakeDir(p.dir); err == nil {
			f, err = p.sys.Create(p.path(name))
		}
	}
	if err != nil {
		if reused {
			p.keepSpare(spare{name, 0, true})
		}
		return "", nil, err
	}
	err = f.Allocate(max(h.size, headerSize))
	if err == nil {
		b := make([]byte, headerSize)
		h.put(b)
		_, err = f.WriteAt(b, 0)
	}
	if err == nil && !reused {
		err = p.zero(f, h.size)
	}
	if err != nil {
		return "", nil, errors.Join(err, f.Close(), p.sys.Remove(p.path(name)))
	}
	return name, f, nil
}

// takeSpare is the name of a spare to be used again, or a new name.
func (p *supply) takeSpare(kind uint32) (name string, reused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.spares); n > 0 && kind == kindLog {
		name = p.spares[n-1].name
		p.spares = p.spares[:n-1]
		return name, true
	}
	p.named++
	return spareName(p.named), false
}

// zero writes a new file full, because syncing into written blocks is faster than into allocated ones. It stops when
// somebody waits for the segment.
func (p *supply) zero(f file.File, size int64) error {
	b := make([]byte, min(fillStep, size))
	for off := int64(headerSize); off < size; off += fillStep {
		p.mu.Lock()
		hurry := p.waiting > 0 || p.closed
		p.mu.Unlock()
		if hurry {
			return nil
		}
		if _, err := f.WriteAt(b[:min(fillStep, size-off)], off); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

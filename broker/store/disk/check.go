package disk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/index"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/lock"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
)

// Report is what a check found.
type Report struct {
	Segments int      `json:"segments"`
	Records  int      `json:"records"` // that are intact
	Bytes    int64    `json:"bytes"`
	Sessions int      `json:"sessions"`
	Messages int      `json:"messages"` // queued
	Retained int      `json:"retained"`
	Damage   []Damage `json:"damage,omitempty"`
}

// Check reads everything there is and compares the checksums. It changes nothing. progress, which may be nil, is told bytes.
func (s *Store) Check(ctx context.Context, progress func(done, total int64)) (Report, error) {
	var r Report
	pin := s.wal.NewReader()
	defer pin.Close()
	s.mu.Lock()
	r.count(s.index)
	s.mu.Unlock()
	if err := r.scan(ctx, s.wal, progress); err != nil {
		return r, err
	}
	for _, d := range r.Damage {
		s.damage.add(s.log, d)
	}
	r.Damage, _ = s.damage.all()
	return r, nil
}

// CheckDir does the same for the store of a stopped broker, and reads it as a start would.
func CheckDir(ctx context.Context, dir string, cfg Config, progress func(done, total int64)) (r Report, err error) {
	held, err := lock.Acquire(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, held.Release()) }()
	read := reading{sys: file.OS(), dir: dir, cfg: cfg}
	im, err := read.image()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, im.wal.Close()) }()
	r.Damage = im.damage
	r.count(im.index)
	err = r.scan(ctx, im.wal, progress)
	return r, err
}

// add takes a damage into the report, each place once.
func (r *Report) add(d Damage) {
	if !slices.ContainsFunc(r.Damage, d.same) {
		r.Damage = append(r.Damage, d)
	}
}

func (r *Report) count(x *index.Index) {
	st := x.Stats()
	r.Sessions, r.Messages, r.Retained = st.Sessions, st.Messages, st.Retained
}

// scan reads every segment.
func (r *Report) scan(ctx context.Context, log *wal.Log, progress func(done, total int64)) error {
	segments := log.Segments()
	var done, total int64
	for _, g := range segments {
		total += g.End
	}
	for _, g := range segments {
		damage, err := log.Scan(g.Number, func(wal.Record) error {
			r.Records++
			return context.Cause(ctx)
		})
		if err != nil {
			return fmt.Errorf("read segment %d: %w", g.Number, err)
		}
		for _, d := range damage {
			r.add(found(d))
		}
		r.Segments++
		r.Bytes += g.End
		done += g.End
		report(progress, done, total)
	}
	return nil
}

// found is a damage of the log as the engine tells it.
func found(d wal.Damage) Damage {
	return Damage{File: d.File, Offset: d.Offset, Bytes: d.Bytes, What: d.What, Aside: d.Aside, Found: time.Now()}
}

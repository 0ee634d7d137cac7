package disk

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/index"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/record"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
)

// image is a store as its files tell it: the newest checkpoint that is whole, and what the log says since.
type image struct {
	marker marker
	wal    *wal.Log // not started
	index  *index.Index
	end    wal.Pos // the index is the state as of here
	past   store.Past
	kept   []checkpoint // that are whole, the newest first
	number uint32       // the highest, of those too that cannot be used
	size   int64        // of the newest
	begun  Start
	damage []Damage
}

// reading is how an image is read.
type reading struct {
	sys    file.System
	dir    string
	cfg    Config
	repair bool // make a store where there is none, and set aside what is damaged; else nothing is changed
	log    *slog.Logger
	hold   func() error // why the log makes no new file; nil = it may
}

// image reads a store. Only what makes it impossible to go on is an error; damage is reported in the image.
func (r *reading) image() (*image, error) {
	im := &image{index: index.New()}
	if err := r.mark(im); err != nil {
		return nil, err
	}
	id, err := im.marker.id()
	if err != nil {
		return nil, err
	}
	o := wal.Options{SegmentSize: int64(r.cfg.SegmentSize), MaxBytes: r.cfg.MaxBytes, Hold: r.hold, Store: id, Logger: r.log}
	if r.repair {
		o.Quarantine = quarantineDir(r.dir)
	}
	if im.wal, err = wal.Open(r.sys, storeDir(r.dir), o); err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	if err := r.fill(im, id); err != nil {
		return nil, errors.Join(err, im.wal.Close())
	}
	return im, nil
}

// mark finds out which store this is, and names one where there is none.
func (r *reading) mark(im *image) error {
	data, err := hasData(r.sys, r.dir)
	if err != nil {
		return fmt.Errorf("look into the data directory: %w", err)
	}
	half, err := interrupted(r.sys, r.dir)
	if err != nil {
		return fmt.Errorf("look into the data directory: %w", err)
	}
	path := filepath.Join(r.dir, markerName)
	im.marker, err = readMarker(r.sys, r.dir)
	if data && !half && (err == nil || errors.Is(err, errNoMarker) || errors.Is(err, errMarker)) {
		err = r.confirm(im, err)
	}
	write := false
	switch {
	case err == nil && im.marker.Begun && !data:
		return fmt.Errorf("%s says that a store was made here on %s, but %s is empty: mount or restore the data, or remove that file to begin with nothing",
			path, im.marker.Created.Format(time.DateOnly), storeDir(r.dir))
	case err == nil:
		write = len(im.damage) > 0
	case errors.Is(err, errMarker):
		return fmt.Errorf("%w: put %s back from a backup", err, path)
	case !errors.Is(err, errNoMarker):
		return err
	case data && half:
		return fmt.Errorf("a restore into %s did not come to its end: run it again, or empty the directory", r.dir)
	case data:
		return fmt.Errorf("%s holds a store, but %s is missing: put it back from a backup", storeDir(r.dir), path)
	case !r.repair:
		return fmt.Errorf("%s holds no store", r.dir)
	default:
		im.marker, write = newMarker(), true
	}
	if !r.repair {
		return nil
	}
	return r.settle(im, write, half)
}

// settle makes what mark found out last: the directories, the marker if it is to be written, and the end of a restore.
func (r *reading) settle(im *image, write, restored bool) error {
	if err := r.sys.MakeDir(storeDir(r.dir)); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := errors.Join(r.sys.SyncDir(r.dir), r.sys.SyncDir(filepath.Dir(r.dir))); err != nil {
		return fmt.Errorf("sync the data directory: %w", err)
	}
	if write {
		if err := im.marker.write(r.sys, r.dir); err != nil {
			return fmt.Errorf("write %s: %w", filepath.Join(r.dir, markerName), err)
		}
	}
	if restored {
		if err := ignoreMissing(r.sys.Remove(filepath.Join(r.dir, restoringName))); err != nil {
			return fmt.Errorf("end a restore: %w", err)
		}
	}
	return nil
}

// confirm compares the marker, or why there is none, with the segments. When these agree about a store that it does not
// name, it is the marker that is wrong, and is made again; else everything that is kept would be taken for another's.
func (r *reading) confirm(im *image, wrong error) error {
	stores, err := wal.Stores(r.sys, storeDir(r.dir))
	if err != nil {
		return fmt.Errorf("look into the log: %w", err)
	}
	if wrong == nil {
		id, err := im.marker.id()
		if err != nil || len(stores) == 0 || stores[id] > 0 {
			return err
		}
		wrong = fmt.Errorf("%w: it names another store than the segments", errMarker)
	}
	if len(stores) != 1 {
		return wrong
	}
	for id := range stores {
		im.marker = newMarker()
		im.marker.ID, im.marker.Begun = hex.EncodeToString(id[:]), true
	}
	im.damaged(Damage{File: markerName, What: fmt.Sprintf("%v; it is made again from what the segments say", wrong)})
	return nil
}

// fill reads checkpoint and log.
func (r *reading) fill(im *image, id [16]byte) error {
	numbers, err := listCheckpoints(r.sys, r.dir)
	if err != nil {
		return err
	}
	for _, n := range slices.Backward(numbers) {
		if n < 1<<31 { // no store comes that far: it is nobody's
			im.number = n
		}
	}
	var from wal.Pos
	h, ok, err := r.checkpoint(im, id, numbers)
	if err != nil {
		return err
	}
	if ok {
		from, im.past.Commit, im.past.Session = h.from, h.stamp, h.last
		im.begun.Checkpoint = h.name()
	}
	var rec store.Record
	replayed, err := im.wal.Replay(from, func(w wal.Record) error {
		err := record.Each(w.Body, &rec, func(change *store.Record) error {
			im.index.Apply(change, w.At)
			return nil
		})
		if err != nil {
			im.damaged(Damage{
				File: segmentFile(w.At.Segment), Offset: int64(w.At.Offset), Bytes: int64(len(w.Body)),
				What: fmt.Sprintf("a record makes no sense and is left out: %v", err),
			})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	im.index.Loaded()
	for _, d := range replayed.Damage {
		im.damaged(found(d))
		im.begun.Quarantined += d.Bytes
	}
	im.forget()
	im.end = replayed.End
	im.begun.Replayed, im.begun.Records, im.begun.Cut = replayed.Bytes, replayed.Records, replayed.Cut
	im.past.Commit = max(im.past.Commit, replayed.Stamp)
	im.past.Session = max(im.past.Session, im.index.Last())
	return nil
}

// checkpoint loads the newest one that is whole; if none is, what can be read of the newest.
func (r *reading) checkpoint(im *image, id [16]byte, numbers []uint32) (h head, found bool, err error) {
	strict := func(b *badFrame) error { return b }
	for i, n := range numbers {
		h, size, err := readCheckpoint(r.sys, r.dir, id, n, im.index.LoadChunk, strict)
		if err == nil {
			im.kept, im.size = append(im.kept, h.checkpoint), size
			for _, older := range numbers[i+1:] { // to fall back on
				if h, _, err := readCheckpoint(r.sys, r.dir, id, older, func([]byte) error { return nil }, strict); err == nil {
					im.kept = append(im.kept, h.checkpoint)
				}
			}
			return h, true, nil
		}
		what := fmt.Sprintf("a checkpoint cannot be used: %v; an older one and more of the log take its place", err)
		im.damaged(Damage{File: checkpoint{number: n}.name(), What: what})
		im.index = index.New()
	}
	for _, n := range numbers {
		lost := int64(0)
		h, size, err := readCheckpoint(r.sys, r.dir, id, n, im.index.LoadChunk, func(b *badFrame) error {
			lost += b.bytes
			im.damaged(Damage{File: checkpoint{number: n}.name(), Offset: b.offset, Bytes: b.bytes, What: "no checkpoint is whole: sessions, subscriptions or queues that are named here only are lost"})
			return nil
		})
		if err == nil && lost < size/2 {
			im.kept, im.size = []checkpoint{h.checkpoint}, size
			return h, true, nil
		}
		im.index = index.New()
	}
	return h, false, nil
}

// forget gives up the messages whose segments are gone.
func (im *image) forget() {
	there := map[uint32]bool{}
	for _, g := range im.wal.Segments() {
		there[g.Number] = true
	}
	for _, n := range im.index.Segments() {
		if !there[n] {
			queued, retained := im.index.Forget(n)
			im.damaged(Damage{
				File: segmentFile(n),
				What: fmt.Sprintf("the segment is missing: %d queued and %d retained messages are lost with it", queued, retained),
			})
		}
	}
}

func segmentFile(number uint32) string { return fmt.Sprintf("%08d.seg", number) }

func (im *image) damaged(d Damage) {
	d.Found = time.Now()
	im.damage = append(im.damage, d)
}

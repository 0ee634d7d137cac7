package disk

import (
	"errors"
	"fmt"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/index"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/record"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// loadAhead is how much of a segment is read at a time where all of it will be needed.
const loadAhead = 256 << 10

// Load implements store.Store. Sessions come from the index, retained messages from the disk in the order in which they lie there.
// One that cannot be read is reported and left out: nothing keeps a store from starting.
func (s *Store) Load(session func(*store.Recovered) error, retained func(*mqtt.Message) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	if err := s.index.Sessions(session); err != nil {
		return err
	}
	places := s.index.RetainedByPos()
	read := s.wal.NewReader()
	defer read.Close()
	for _, p := range places {
		m, err := s.retained(read, p)
		switch {
		case isDamage(err) || errors.Is(err, record.ErrMalformed):
			s.index.LoseRetained(p.Name, p.At)
			continue
		case errors.Is(err, store.ErrClosed):
			return err
		case err != nil: // the disk fails there now, and may not the next time: nothing keeps the broker from starting
			s.damage.add(s.log, Damage{
				File: segmentFile(p.At.Segment), Offset: int64(p.At.Offset), Bytes: int64(p.Bytes), Found: time.Now(),
				What: fmt.Sprintf("the retained message of %q cannot be read and is left out: %v", p.Name, err),
			})
			continue
		}
		if err := retained(m); err != nil {
			return err
		}
	}
	return nil
}

// retained reads a retained message. A damaged one is reported.
func (s *Store) retained(read *wal.Reader, t index.Topic) (*mqtt.Message, error) {
	body, err := read.Read(t.At, loadAhead)
	if err != nil {
		s.met(err)
		return nil, err
	}
	return record.Retained(body, t.Name)
}

func isDamage(err error) bool {
	var d *wal.DamageError
	return errors.As(err, &d)
}

// met reports a damage that a read came upon.
func (s *Store) met(err error) {
	var d *wal.DamageError
	if errors.As(err, &d) {
		s.damage.add(s.log, Damage{File: d.File, Offset: d.Offset, What: d.Error(), Found: time.Now()})
	}
}

// gap is how many bytes are read for nothing rather than with another call.
const gap = 16 << 10

// Read implements store.Store. The index tells where the messages lie; they are read from there without its lock.
func (s *Store) Read(id store.SessionID, from, to uint64, dst []store.Queued, maxBytes int) ([]store.Queued, uint64, error) {
	for begin := len(dst); ; {
		var err error
		if dst, from, err = s.page(id, from, to, dst, maxBytes); err != nil || len(dst) > begin || from > to {
			return dst, from, err
		}
	}
}

// page is a Read that may find nothing but what is lost.
func (s *Store) page(id store.SessionID, from, to uint64, dst []store.Queued, maxBytes int) ([]store.Queued, uint64, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return dst, from, store.ErrClosed
	}
	var places []index.Place
	bytes := 0
	next := s.index.Places(id, from, to, cap(dst)-len(dst), func(p index.Place) bool {
		if !p.Released {
			if bytes += int(p.Bytes); bytes > maxBytes && len(places) > 0 {
				return false
			}
		}
		places = append(places, p)
		return true
	})
	read := s.wal.NewReader() // before the lock is gone: what was found stays where it is
	s.mu.Unlock()
	defer read.Close()
	for i := range places {
		p := &places[i]
		q, err := s.queued(read, id, p, ahead(places[i:]))
		if p.Lost || isDamage(err) || err != nil && !errors.Is(err, store.ErrClosed) && s.giveUp(read, p.At, err) {
			s.mu.Lock()
			s.index.Lose(id, p.Seq)
			s.mu.Unlock()
			continue
		}
		if err != nil {
			return dst, p.Seq, fmt.Errorf("read a queued message: %w", err)
		}
		dst = append(dst, q)
	}
	return dst, next, nil
}

// ahead is how many bytes from the first of some places on are worth reading at once.
func ahead(places []index.Place) int {
	first, end := places[0].At, places[0].At.Offset
	for _, p := range places {
		if p.Released || p.Lost {
			continue
		}
		if p.At.Segment != first.Segment || p.At.Offset < first.Offset || p.At.Offset > end+gap || end-first.Offset > loadAhead {
			break
		}
		end = max(end, p.At.Offset+p.Bytes)
	}
	return int(end - first.Offset)
}

// queued reads one position.
func (s *Store) queued(read *wal.Reader, id store.SessionID, p *index.Place, ahead int) (store.Queued, error) {
	if p.Released || p.Lost {
		return store.Queued{Seq: p.Seq, Released: true}, nil
	}
	body, err := read.Read(p.At, ahead)
	if err != nil {
		s.met(err)
		return store.Queued{}, err
	}
	s.damage.passed(p.At)
	q := store.Queued{Seq: p.Seq, Delivery: p.Delivery}
	if p.Find {
		var ok bool
		if q.Delivery, ok = record.Delivery(body, id, p.Seq); !ok {
			return store.Queued{}, fmt.Errorf("the record at %v does not name session %d", p.At, id)
		}
	}
	q.Message, err = record.Message(body)
	return q, err
}

package disk

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// importing is an export on its way into an empty store.
type importing struct {
	s       *Store
	records []store.Record
	bytes   int
	lines   int
	ended   bool
}

// importStep is how many bytes of messages, and how many records, are kept at a time.
const (
	importStep    = 1 << 20
	importRecords = 4096
)

// Import fills an empty store with an export: sessions keep their numbers and messages their positions, and with them the packet
// identifiers that clients know. progress, which may be nil, is told lines; the total is not known (0). A failed import
// leaves what it had read.
func (s *Store) Import(ctx context.Context, r io.Reader, progress func(done, total int64)) error {
	if st := s.Stats(); st != (store.Stats{}) {
		return fmt.Errorf("import: the store is not empty (%d sessions, %d messages, %d retained): import into a new data directory", st.Sessions, st.Messages, st.Retained)
	}
	im := importing{s: s}
	d := json.NewDecoder(bufio.NewReaderSize(r, 256<<10))
	for {
		var l line
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("import line %d: %w", im.lines+1, err)
		}
		if err := im.take(&l); err != nil {
			return fmt.Errorf("import line %d: %w", im.lines+1, err)
		}
		if im.lines++; im.lines%1024 == 0 {
			report(progress, int64(im.lines), 0)
		}
		if im.bytes > importStep || len(im.records) > importRecords {
			if err := im.keep(ctx); err != nil {
				return fmt.Errorf("import: %w", err)
			}
		}
	}
	if err := im.keep(ctx); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if !im.ended {
		return errors.New("import: the last line is missing: the export is incomplete, and so is what was imported")
	}
	return nil
}

func (im *importing) take(l *line) error {
	if (im.lines == 0) != (l.Export != nil) {
		return errors.New("this is no export: it has to begin with sapwood_export, once")
	}
	if im.ended {
		return errors.New("there is something behind the end")
	}
	add := func(r store.Record) { im.records = append(im.records, r) }
	switch {
	case l.Export != nil:
		if l.Export.Version != 1 {
			return fmt.Errorf("it has version %d, and this Sapwood knows 1", l.Export.Version)
		}
	case l.Session != nil:
		im.session(l.Session)
	case l.Message != nil:
		m := l.Message.message()
		im.bytes += m.Bytes()
		r := store.Record{Op: store.Enqueue, Message: m}
		for _, t := range l.Message.To {
			r.Targets = append(r.Targets, t.target())
		}
		add(r)
	case l.Released != nil:
		t := l.Released.target()
		add(store.Record{Op: store.Enqueue, Message: (&mqtt.Message{QoS: 2}).Keep(), Targets: []store.Target{t}})
		add(store.Record{Op: store.Release, Session: t.Session, Seq: t.Seq})
	case l.Retained != nil:
		m := l.Retained.message()
		im.bytes += m.Bytes()
		add(store.Record{Op: store.Retain, Message: m})
	case l.End != nil:
		im.ended = true
		if l.End.Lines != im.lines {
			return fmt.Errorf("%d lines were written, and %d are here", l.End.Lines, im.lines)
		}
	}
	return nil
}

func (t *exportTarget) target() store.Target {
	return store.Target{Session: t.Session, Seq: t.Seq, Delivery: store.Delivery{QoS: t.QoS, Retain: t.Retain, Group: t.Group, SubscriptionIDs: t.IDs}}
}

func (im *importing) session(x *exportSession) {
	meta := &store.Session{
		ID: x.ID, ClientID: x.ClientID, Owner: x.Owner, Version: x.Version, Expiry: x.Expiry, Disconnected: x.Disconnected, Unsent: x.Unsent,
	}
	if x.Will != nil {
		meta.Will = &store.Will{Message: x.Will.Message.message(), Delay: x.Will.Delay}
	}
	im.records = append(im.records, store.Record{Op: store.PutSession, Session: x.ID, Meta: meta})
	for _, s := range x.Subscriptions {
		im.records = append(im.records, store.Record{Op: store.Subscribe, Session: x.ID, Subscription: store.Subscription(s)})
	}
	for _, id := range x.Received {
		im.records = append(im.records, store.Record{Op: store.Receive, Session: x.ID, PacketID: id})
	}
}

// keep writes what was collected, with the positions it has already.
func (im *importing) keep(ctx context.Context) error {
	if len(im.records) == 0 {
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	done := make(chan error, 1)
	b := &store.Batch{Records: im.records, Done: func(err error) { done <- err }}
	if err := b.Check(); err != nil {
		return err
	}
	im.s.take(b, false)
	im.records, im.bytes = nil, 0
	return <-done
}

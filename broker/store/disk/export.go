package disk

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/index"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/lock"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/record"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/wal"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// An export is the store as lines of JSON, for people, for other tools and for another version: first what it is, then
// each session, each queued message with all that wait for it, in an order that is right for every one of them,
// each retained message, and a last line that tells how many there were.

// line is one of them: exactly one field is set.
type line struct {
	Export   *exportHead    `json:"sapwood_export,omitempty"`
	Session  *exportSession `json:"session,omitempty"`
	Message  *exportMessage `json:"message,omitempty"`
	Released *exportTarget  `json:"released,omitempty"`
	Retained *exportMessage `json:"retained,omitempty"`
	End      *exportEnd     `json:"end,omitempty"`
}

type exportHead struct {
	Version int       `json:"version"`
	Taken   time.Time `json:"taken"`
}

type exportEnd struct {
	Lines int `json:"lines"` // before this one
}

type exportSession struct {
	ID            store.SessionID      `json:"id"`
	ClientID      string               `json:"client_id"`
	Owner         string               `json:"owner,omitempty"`
	Version       mqtt.Version         `json:"version"`
	Expiry        uint32               `json:"expiry_s"`
	Disconnected  int64                `json:"disconnected_ms,omitempty"`
	Unsent        uint64               `json:"unsent,omitempty"`
	Will          *exportWill          `json:"will,omitempty"`
	Subscriptions []exportSubscription `json:"subscriptions,omitempty"`
	Received      []uint16             `json:"received,omitempty"`
}

type exportSubscription struct {
	Filter  string          `json:"filter"`
	Options mqtt.SubOptions `json:"options"`
	ID      uint32          `json:"id,omitempty"`
}

type exportWill struct {
	Message exportMessage `json:"message"`
	Delay   uint32        `json:"delay_s"`
}

type exportMessage struct {
	Topic     string         `json:"topic"`
	Text      *string        `json:"text,omitempty"`    // the payload, when it is UTF-8
	Payload   []byte         `json:"payload,omitempty"` // else, in base64
	Forward   []byte         `json:"properties,omitempty"`
	Publisher string         `json:"publisher,omitempty"`
	Expires   int64          `json:"expires_ms,omitempty"`
	QoS       mqtt.QoS       `json:"qos"`
	Retain    bool           `json:"retain,omitempty"`
	To        []exportTarget `json:"to,omitempty"`
}

type exportTarget struct {
	Session store.SessionID `json:"session"`
	Seq     uint64          `json:"seq"`
	QoS     mqtt.QoS        `json:"qos"`
	Retain  bool            `json:"retain,omitempty"`
	Group   string          `json:"group,omitempty"`
	IDs     []uint32        `json:"subscription_ids,omitempty"`
}

func exported(m *mqtt.Message) exportMessage {
	e := exportMessage{
		Topic: string(m.Topic), Forward: m.Forward, Publisher: m.Publisher, Expires: m.Expires, QoS: m.QoS, Retain: m.Retain,
	}
	if utf8.Valid(m.Payload) {
		text := string(m.Payload)
		e.Text = &text
	} else {
		e.Payload = m.Payload
	}
	return e
}

func (e *exportMessage) message() *mqtt.Message {
	m := mqtt.Message{
		Topic: []byte(e.Topic), Payload: e.Payload, Forward: e.Forward, Publisher: e.Publisher, Expires: e.Expires, QoS: e.QoS, Retain: e.Retain,
	}
	if e.Text != nil {
		m.Payload = []byte(*e.Text)
	}
	return m.Keep()
}

// Export writes the store as it is at one moment. For that it reads the index a second time: it takes as much memory as the
// store has, while it runs. progress, which may be nil, is told lines.
func (s *Store) Export(ctx context.Context, w io.Writer, progress func(done, total int64)) error {
	pin := s.wal.NewReader() // what is dropped from now on stays as it is until the end
	defer pin.Close()
	read := reading{sys: s.sys, dir: s.dir, cfg: s.cfg, log: s.log}
	var im *image
	err := s.upkeep.maintaining(ctx, func() (err error) {
		im, err = read.image()
		return err
	})
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return errors.Join(im.export(ctx, w, progress), im.wal.Close())
}

// ExportDir does the same for the store of a stopped broker.
func ExportDir(ctx context.Context, dir string, cfg Config, w io.Writer, progress func(done, total int64)) (err error) {
	held, err := lock.Acquire(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Release()) }()
	read := reading{sys: file.OS(), dir: dir, cfg: cfg}
	im, err := read.image()
	if err != nil {
		return err
	}
	return errors.Join(im.export(ctx, w, progress), im.wal.Close())
}

// exporter writes the lines of one image.
type exporter struct {
	im    *image
	read  *wal.Reader
	out   *bufio.Writer
	json  *json.Encoder
	ctx   context.Context
	tell  func(done, total int64)
	lines int64
	total int64
}

func (im *image) export(ctx context.Context, w io.Writer, progress func(done, total int64)) error {
	st := im.index.Stats()
	e := exporter{
		im: im, read: im.wal.NewReader(), out: bufio.NewWriterSize(w, 256<<10), ctx: ctx, tell: progress,
		total: int64(st.Sessions + st.Messages + st.Retained),
	}
	defer e.read.Close()
	e.json = json.NewEncoder(e.out)
	e.json.SetEscapeHTML(false)
	if err := e.all(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return e.out.Flush()
}

func (e *exporter) line(l line) error {
	if e.lines++; e.lines%1024 == 0 {
		report(e.tell, e.lines, e.total)
		if err := context.Cause(e.ctx); err != nil {
			return err
		}
	}
	return e.json.Encode(l)
}

func (e *exporter) all() error {
	if err := e.line(line{Export: &exportHead{Version: 1, Taken: time.Now().UTC()}}); err != nil {
		return err
	}
	var ids []store.SessionID
	err := e.im.index.Sessions(func(r *store.Recovered) error {
		ids = append(ids, r.Session.ID)
		return e.line(line{Session: exportedSession(r)})
	})
	if err != nil {
		return err
	}
	slices.Sort(ids)
	slices.Reverse(ids) // the last one is worked on
	if err := e.messages(ids); err != nil {
		return err
	}
	for _, p := range e.im.index.RetainedByPos() {
		body, err := e.read.Read(p.At, 0)
		if isDamage(err) {
			continue // a check tells of it
		}
		if err != nil {
			return err
		}
		m, err := record.Message(body)
		if err != nil {
			return err
		}
		x := exported(m)
		if err := e.line(line{Retained: &x}); err != nil {
			return err
		}
	}
	report(e.tell, e.total, e.total)
	return e.json.Encode(line{End: &exportEnd{Lines: int(e.lines)}})
}

func exportedSession(r *store.Recovered) *exportSession {
	m := &r.Session
	x := &exportSession{
		ID: m.ID, ClientID: m.ClientID, Owner: m.Owner, Version: m.Version, Expiry: m.Expiry,
		Disconnected: m.Disconnected, Unsent: m.Unsent, Received: r.Received,
	}
	if m.Will != nil {
		x.Will = &exportWill{Message: exported(m.Will.Message), Delay: m.Will.Delay}
	}
	for _, s := range r.Subscriptions {
		x.Subscriptions = append(x.Subscriptions, exportSubscription(s))
	}
	return x
}

// front is where a session's queue is read at.
type front struct {
	id     store.SessionID
	next   uint64
	places []index.Place
	waits  bool // for others to come to the same message
}

// peek returns the first place of the queue that is not written yet.
func (f *front) peek(x *index.Index) (index.Place, bool) {
	if len(f.places) == 0 {
		f.next = x.Places(f.id, f.next, ^uint64(0)-1, 64, func(p index.Place) bool {
			f.places = append(f.places, p)
			return true
		})
	}
	if len(f.places) == 0 {
		return index.Place{}, false
	}
	return f.places[0], true
}

func (f *front) step() {
	f.places, f.waits = f.places[1:], false
}

// messages writes the queues. A message comes when it is the first of every queue it is in: one such order exists, that
// in which they were stored.
func (e *exporter) messages(ids []store.SessionID) error {
	fronts := make(map[store.SessionID]*front, len(ids))
	arrived := map[wal.Pos]int{}
	for _, id := range ids {
		fronts[id] = &front{id: id, next: 1}
	}
	var r store.Record
	for work := ids; len(work) > 0; {
		f := fronts[work[len(work)-1]]
		p, ok := f.peek(e.im.index)
		if !ok || f.waits {
			work = work[:len(work)-1]
			continue
		}
		if p.Lost {
			f.step()
			continue
		}
		if p.Released {
			f.step()
			if err := e.line(line{Released: &exportTarget{Session: f.id, Seq: p.Seq, QoS: 2}}); err != nil {
				return err
			}
			continue
		}
		body, err := e.read.Read(p.At, 0)
		if isDamage(err) {
			f.step() // a check tells of it
			continue
		}
		if err == nil {
			err = record.Decode(body, &r)
		}
		if err != nil {
			return err
		}
		e.im.index.Trim(&r, p.At)
		if arrived[p.At]++; arrived[p.At] < len(r.Targets) {
			f.waits = true
			continue
		}
		delete(arrived, p.At)
		x := exported(r.Message)
		for _, t := range r.Targets {
			x.To = append(x.To, exportTarget{t.Session, t.Seq, t.Delivery.QoS, t.Delivery.Retain, t.Delivery.Group, t.Delivery.SubscriptionIDs})
			fronts[t.Session].step()
			if t.Session != f.id {
				work = append(work, t.Session)
			}
		}
		if err := e.line(line{Message: &x}); err != nil {
			return err
		}
	}
	return nil
}

// Package storetest is what every store engine must pass, and what tests above
// a store lean on: Run is the suite, Bench the measurements, Held a store whose
// commits wait for the test. It is imported by tests only and knows no engine.
package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Reopener is a store that survives a restart. A test of such an engine hands Run
// stores that implement it; then the suite restarts them at many places and
// demands that Load tells what was kept, and that the engine goes on from there.
type Reopener interface {
	store.Store
	// Reopen ends the store, if it is not closed yet, and opens what it kept again.
	// Load has not been called on the result, which is a Reopener as well.
	Reopen(t testing.TB) store.Store
}

// Run proves that an engine keeps the contract of store.Store. open returns an
// empty store on which nothing was called yet; Run closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			e := &engine{t: t, Store: s}
			t.Cleanup(func() {
				if err := e.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			if d := e.load(); !reflect.DeepEqual(d, dump{}) {
				t.Fatalf("a new store has something: %v", d)
			}
			c.run(e)
		})
	}
}

// engine is the store under test with the handles that the cases need.
type engine struct {
	t *testing.T
	store.Store
}

// start commits a batch and returns a channel that gets the outcome.
func (e *engine) start(records ...store.Record) <-chan error {
	out := make(chan error, 2)
	e.Commit(&store.Batch{Records: records, Done: func(err error) { out <- err }})
	return out
}

// commit commits a batch that must be kept.
func (e *engine) commit(records ...store.Record) {
	e.t.Helper()
	if err := <-e.start(records...); err != nil {
		e.t.Fatalf("Commit: %v", err)
	}
}

// refuse commits a batch that must fail.
func (e *engine) refuse(records ...store.Record) error {
	e.t.Helper()
	err := <-e.start(records...)
	if err == nil {
		e.t.Fatalf("Commit of %v was kept", records)
	}
	return err
}

// enqueue queues a message for sessions at QoS 1 and returns the positions.
func (e *engine) enqueue(m *mqtt.Message, ids ...store.SessionID) []uint64 {
	e.t.Helper()
	r := enqueue(m, ids...)
	e.commit(r)
	var seqs []uint64
	for _, t := range r.Targets {
		seqs = append(seqs, t.Seq)
	}
	return seqs
}

// read reads a range to its end, in pages, and demands that every page keeps
// the rules.
func (e *engine) read(id store.SessionID, from, to uint64, page, maxBytes int) []store.Queued {
	e.t.Helper()
	var all []store.Queued
	for from <= to {
		dst := make([]store.Queued, 0, page)
		items, next, err := e.Read(id, from, to, dst, maxBytes)
		if err != nil {
			e.t.Fatalf("Read(%d, %d, %d): %v", id, from, to, err)
		}
		if len(items) > page {
			e.t.Fatalf("Read(%d, %d, %d) into %d gave %d", id, from, to, page, len(items))
		}
		bytes := 0
		for i, it := range items {
			if it.Seq < from || it.Seq > to {
				e.t.Fatalf("Read(%d, %d, %d) gave position %d", id, from, to, it.Seq)
			}
			from = it.Seq + 1
			if it.Message != nil {
				bytes += it.Message.Bytes()
			}
			if bytes > maxBytes && i > 0 {
				e.t.Fatalf("Read of at most %d bytes gave %d in %d items", maxBytes, bytes, i+1)
			}
		}
		if next < from {
			e.t.Fatalf("next = %d, read as far as %d", next, from-1)
		}
		if len(items) == 0 && next <= to {
			e.t.Fatalf("Read(%d, %d, %d) gave nothing but next = %d", id, from, to, next)
		}
		from = next
		all = append(all, items...)
	}
	return all
}

// expectQueue demands what a queue holds, told as "seq:payload" or "seq:released".
func (e *engine) expectQueue(id store.SessionID, want ...string) {
	e.t.Helper()
	got := []string{}
	for _, q := range e.read(id, 0, math.MaxInt64, 64, math.MaxInt) {
		got = append(got, tell(q))
	}
	if !slices.Equal(got, want) {
		e.t.Fatalf("queue of %d: %v, want %v", id, got, want)
	}
}

func tell(q store.Queued) string {
	if q.Released {
		return fmt.Sprintf("%d:released", q.Seq)
	}
	return fmt.Sprintf("%d:%s", q.Seq, q.Message.Payload)
}

func (e *engine) expectStats(want store.Stats) {
	e.t.Helper()
	if got := e.Stats(); got != want {
		e.t.Fatalf("Stats = %+v, want %+v", got, want)
	}
}

// dump is what Load tells, in a fixed order.
type dump struct {
	sessions []store.Recovered
	retained []mqtt.Message
}

func (d dump) String() string {
	var b strings.Builder
	for _, r := range d.sessions {
		fmt.Fprintf(&b, "\n  %+v", r)
		if w := r.Session.Will; w != nil {
			fmt.Fprintf(&b, " will %+v %+v", *w, *w.Message)
		}
	}
	for _, m := range d.retained {
		fmt.Fprintf(&b, "\n  retained %s = %s %+v", m.Topic, m.Payload, m)
	}
	return b.String()
}

// sort brings a dump into its fixed order; what is empty becomes nil.
func (d *dump) sort() {
	slices.SortFunc(d.sessions, func(a, b store.Recovered) int { return cmp.Compare(a.Session.ID, b.Session.ID) })
	slices.SortFunc(d.retained, func(a, b mqtt.Message) int { return slices.Compare(a.Topic, b.Topic) })
	for i := range d.sessions {
		r := &d.sessions[i]
		slices.SortFunc(r.Subscriptions, func(a, b store.Subscription) int { return cmp.Compare(a.Filter, b.Filter) })
		slices.Sort(r.Received)
		r.Subscriptions = nilIfEmpty(r.Subscriptions)
		r.Received = nilIfEmpty(r.Received)
		if w := r.Session.Will; w != nil {
			m := plain(w.Message)
			r.Session.Will = &store.Will{Message: &m, Delay: w.Delay}
		}
	}
	for i := range d.retained {
		d.retained[i] = plain(&d.retained[i])
	}
}

// plain is a message in a form that compares: empty and nil are the same, and whether it is kept is nothing of it.
func plain(m *mqtt.Message) mqtt.Message {
	return mqtt.Message{
		Topic: nilIfEmpty(m.Topic), Payload: nilIfEmpty(m.Payload), Forward: nilIfEmpty(m.Forward),
		Publisher: m.Publisher, Expires: m.Expires, QoS: m.QoS, Retain: m.Retain,
	}
}

func nilIfEmpty[S ~[]E, E any](s S) S {
	if len(s) == 0 {
		return nil
	}
	return s
}

// load calls Load and demands that sessions come before retained messages.
func (e *engine) load() dump {
	e.t.Helper()
	var d dump
	err := e.Load(func(r *store.Recovered) error {
		if len(d.retained) > 0 {
			return errors.New("a session after a retained message")
		}
		d.sessions = append(d.sessions, *r)
		return nil
	}, func(m *mqtt.Message) error {
		d.retained = append(d.retained, *m)
		return nil
	})
	if err != nil {
		e.t.Fatalf("Load: %v", err)
	}
	d.sort()
	return d
}

// reopen restarts an engine that survives it and demands that it holds want. It
// does nothing with another.
func (e *engine) reopen(want dump) {
	e.t.Helper()
	r, ok := e.Store.(Reopener)
	if !ok {
		return
	}
	before := e.Stats()
	e.Store = r.Reopen(e.t)
	if got := e.load(); !reflect.DeepEqual(got, want) {
		e.t.Fatalf("after reopen:%v\nwant:%v", got, want)
	}
	e.expectStats(before)
}

// Words to write batches with.

func message(topic, payload string) *mqtt.Message {
	return &mqtt.Message{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, Publisher: "publisher"}
}

func put(id store.SessionID) store.Record {
	return store.Record{Op: store.PutSession, Session: id, Meta: &store.Session{
		ID: id, ClientID: fmt.Sprint("client ", id), Version: 5, Expiry: math.MaxUint32,
	}}
}

func end(id store.SessionID) store.Record {
	return store.Record{Op: store.EndSession, Session: id}
}

func subscribe(id store.SessionID, filter string, o mqtt.SubOptions) store.Record {
	return store.Record{Op: store.Subscribe, Session: id, Subscription: store.Subscription{Filter: filter, Options: o}}
}

func unsubscribe(id store.SessionID, filter string) store.Record {
	return store.Record{Op: store.Unsubscribe, Session: id, Subscription: store.Subscription{Filter: filter}}
}

func enqueue(m *mqtt.Message, ids ...store.SessionID) store.Record {
	r := store.Record{Op: store.Enqueue, Message: m}
	for _, id := range ids {
		r.Targets = append(r.Targets, store.Target{Session: id, Delivery: store.Delivery{QoS: 1}})
	}
	return r
}

func settle(id store.SessionID, seq uint64) store.Record {
	return store.Record{Op: store.Settle, Session: id, Seq: seq}
}

func release(id store.SessionID, seq uint64) store.Record {
	return store.Record{Op: store.Release, Session: id, Seq: seq}
}

func receive(id store.SessionID, pid uint16) store.Record {
	return store.Record{Op: store.Receive, Session: id, PacketID: pid}
}

func complete(id store.SessionID, pid uint16) store.Record {
	return store.Record{Op: store.Complete, Session: id, PacketID: pid}
}

func retain(m *mqtt.Message) store.Record {
	return store.Record{Op: store.Retain, Message: m}
}

func unretain(topic string) store.Record {
	return store.Record{Op: store.Unretain, Message: &mqtt.Message{Topic: []byte(topic)}}
}

// group waits for goroutines.
func group(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

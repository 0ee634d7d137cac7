package broker

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Spans has the way of some messages told: one step for the PUBLISH, and one for each receiver. A PUBLISH of MQTT 5 with a
// W3C traceparent among its user properties is told if that says it is sampled, and never if it says it is not.
type Spans struct {
	Ratio      float64     // part of the other messages, 0 to 1
	PerSecond  int         // most messages in a second; what exceeds it is not traced
	Deliveries int         // most receivers told of a message
	Inject     bool        // receivers of MQTT 5 get a traceparent with a traced message that came without one
	Tell       func(*Step) // on event loops: must neither block nor hold on to it
}

// Step is a part of a message's way.
type Step struct {
	Trace      [16]byte
	ID, Parent [8]byte // a Parent of zeros: the trace begins here
	State      string  // tracestate
	Deliver    bool    // to a receiver; else from the publisher
	Start, End time.Time
	Routed     time.Time // of a PUBLISH
	Stored     time.Time // of a PUBLISH, when what depends on it was kept; zero = nothing had to be
	Receivers  int       // of a PUBLISH
	Client     string    // that published, or that receives
	Version    mqtt.Version
	Topic      string
	PacketID   uint16
	QoS        mqtt.QoS
	Retain     bool
	Size       int // of the payload, in bytes
	Reason     string
	Failed     bool
}

// spans belongs to a shard. Methods of nil do nothing.
type spans struct {
	sh      *shard
	o       *Spans
	gap     int64 // messages to pass over before the next is traced
	second  int64 // the one that left is of
	left    int   // messages that may be traced in it
	step    Step
	forward []byte   // of a message with an injected traceparent
	waiting []waiter // for the store, in the order of their batches
}

// waiter is a step whose acknowledgement waits for a batch.
type waiter struct {
	step  Step
	span  *mqtt.Span
	batch uint64
}

func newSpans(sh *shard) *spans {
	o := sh.b.opts.Spans
	if o == nil {
		return nil
	}
	s := &spans{sh: sh, o: o}
	s.gap = s.next()
	return s
}

// next draws how many messages are passed over.
func (s *spans) next() int64 {
	switch {
	case s.o.Ratio >= 1:
		return 0
	case s.o.Ratio <= 0:
		return math.MaxInt64
	}
	n := math.Log(1-rand.Float64()) / math.Log1p(-s.o.Ratio)
	return int64(min(n, 1<<62))
}

// begin decides whether a message is traced.
func (s *spans) begin(c *client, m *mqtt.Message) {
	if s != nil {
		s.sample(c, m)
	}
}

func (s *spans) sample(c *client, m *mqtt.Message) {
	var context traceContext
	given := len(m.Forward) > 0 && context.read(m.Forward)
	switch {
	case given && !context.sampled:
		return
	case !given && s.gap > 0:
		s.gap--
		return
	case !given:
		s.gap = s.next()
	}
	if now := s.sh.now / 1000; now != s.second {
		s.second, s.left = now, max(s.o.PerSecond/max(len(s.sh.b.shards), 1), 1)
	}
	if s.left == 0 {
		return
	}
	s.left--
	now := time.Now()
	span := &mqtt.Span{ID: newSpanID(), From: now.UnixNano(), Left: int32(min(s.o.Deliveries, math.MaxInt32))}
	if given {
		span.Trace, span.State = context.trace, string(context.state)
	} else {
		binary.NativeEndian.PutUint64(span.Trace[:], rand.Uint64()|1)
		binary.NativeEndian.PutUint64(span.Trace[8:], rand.Uint64())
	}
	m.Span = span
	s.step = Step{
		Trace: span.Trace, ID: span.ID, Parent: context.parent, State: span.State, Start: now, Client: c.id, Version: c.s.Version(),
		Topic: string(m.Topic), PacketID: s.sh.packet.Publish.ID, QoS: m.QoS, Retain: m.Retain, Size: len(m.Payload),
	}
	if !given && s.o.Inject && !context.unclear {
		s.forward = appendTraceparent(append(s.forward[:0], m.Forward...), span)
		m.Forward = s.forward
	}
}

// newSpanID returns a random id that is not zero.
func newSpanID() (id [8]byte) {
	binary.NativeEndian.PutUint64(id[:], max(rand.Uint64(), 1))
	return id
}

// routed tells of a message that has its verdict, or has it wait for the store.
func (s *spans) routed(m *mqtt.Message, v verdict) {
	if s != nil && m.Span != nil {
		s.routedTraced(m.Span, v)
	}
}

func (s *spans) routedTraced(span *mqtt.Span, v verdict) {
	x := &s.step
	x.Routed = time.Now()
	x.Reason, x.Failed = v.reason.String(), v.reason.Failed() || v.why != ""
	if !v.reason.Failed() {
		x.Receivers = len(s.sh.router.found)
	}
	if v.batch != 0 {
		s.waiting = append(s.waiting, waiter{*x, span, v.batch})
		return
	}
	x.End = x.Routed
	s.o.Tell(x)
}

// stored notes that a batch has its outcome: from here on receivers get what waited for it.
func (s *spans) stored(b *batch) {
	if s == nil || len(s.waiting) == 0 {
		return
	}
	now := time.Now()
	for i := range s.waiting {
		w := &s.waiting[i]
		if w.batch > b.number {
			return
		}
		w.step.Stored = now
		atomic.StoreInt64(&w.span.From, now.UnixNano()) // who gets it as a retained message may read it
	}
}

// answered tells of the messages whose publishers know by now what became of them.
func (s *spans) answered(b *batch) {
	if s == nil || len(s.waiting) == 0 {
		return
	}
	now, n := time.Now(), 0
	for ; n < len(s.waiting) && s.waiting[n].batch <= b.number; n++ {
		x := &s.waiting[n].step
		x.End = now
		if b.err != nil {
			x.Stored, x.Failed, x.Reason = time.Time{}, true, refusal(b.err).String()
		}
		s.o.Tell(x)
	}
	kept := copy(s.waiting, s.waiting[n:])
	clear(s.waiting[kept:])
	s.waiting = s.waiting[:kept]
}

// delivered tells that a PUBLISH was written to a receiver for the first time.
func (s *spans) delivered(c *client, e *session.Effect) {
	if s != nil && e.Msg.Span != nil {
		s.deliveredTraced(c, e)
	}
}

func (s *spans) deliveredTraced(c *client, e *session.Effect) {
	if !e.Dup {
		s.receiver(c, e.Msg, Step{PacketID: e.ID, QoS: e.QoS, Retain: e.Retain, Reason: mqtt.Success.String()})
	}
}

// dropped tells that a receiver, perhaps one of another shard, does not get a message.
func (s *spans) dropped(c *client, m *mqtt.Message, why session.Why) {
	if s != nil && m != nil && m.Span != nil {
		s.receiver(c, m, Step{QoS: m.QoS, Retain: m.Retain, Reason: why.String(), Failed: true})
	}
}

func (s *spans) receiver(c *client, m *mqtt.Message, x Step) {
	span := m.Span
	if atomic.AddInt32(&span.Left, -1) < 0 {
		atomic.AddInt32(&span.Left, 1) // as a retained message it may be delivered any number of times
		return
	}
	x.Trace, x.ID, x.Parent, x.State, x.Deliver = span.Trace, newSpanID(), span.ID, span.State, true
	x.Start, x.End = time.Unix(0, atomic.LoadInt64(&span.From)), time.Now()
	x.Topic, x.Size = string(m.Topic), len(m.Payload)
	x.Client = c.id
	if c.shard == s.sh {
		x.Version = c.s.Version()
	}
	s.o.Tell(&x)
}

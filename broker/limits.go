package broker

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/flapping"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// The bounds of what clients may ask for, and how messages reach their receivers.
type (
	Limits   = limit.Limits
	Delivery = limit.Delivery
	Strategy = limit.Strategy
	Overlap  = limit.Overlap
	Overflow = limit.Overflow
)

// DefaultLimits returns the defaults.
func DefaultLimits() Limits { return limit.Defaults() }

// DefaultDelivery returns the defaults.
func DefaultDelivery() Delivery { return limit.DefaultDelivery() }

// The settings of Delivery.
const (
	LeastLoaded        = limit.LeastLoaded
	RoundRobin         = limit.RoundRobin
	StickyPublisher    = limit.StickyPublisher
	StickyTopic        = limit.StickyTopic
	OverlapEach        = limit.OverlapEach
	OverlapMerge       = limit.OverlapMerge
	OverflowRefuse     = limit.OverflowRefuse
	OverflowDropOldest = limit.OverflowDropOldest
	OverflowDisconnect = limit.OverflowDisconnect
)

// legislate puts what Options say in force.
func (b *Broker) legislate() error {
	l, d, r := DefaultLimits(), DefaultDelivery(), limit.DefaultRates()
	if b.opts.Limits != nil {
		l = *b.opts.Limits
	}
	if b.opts.Delivery != nil {
		d = *b.opts.Delivery
	}
	if b.opts.Rates != nil {
		r = *b.opts.Rates
	}
	w, err := newLaw(&l, &d, &r)
	if err != nil {
		return err
	}
	b.laws.now.Store(w)
	b.laws.lowWater = min(64<<10, l.MaxOutgoingBytes/2)
	if b.entrance.bans = b.opts.Bans; b.entrance.bans == nil {
		b.entrance.bans = ban.New(nil)
	}
	if f := b.opts.Flapping; f != nil {
		if err := f.Verify(); err != nil {
			return err
		}
		b.entrance.flapping = flapping.New(*f)
	}
	if o := b.opts.Overload; o != nil {
		if err := o.Verify(); err != nil {
			return err
		}
		b.burden.config.Store(o)
	}
	return nil
}

// law is what is in force: replaced as a whole, never changed.
type law struct {
	limits    Limits
	delivery  Delivery
	rates     limit.Rates
	rules     *session.Rules
	classes   []*session.Rules // of rates.Classes
	admission *session.Admission
	pool      *limit.Pool // nil = no rate is limited
}

// laws are the law in force, and what it is replaced by.
type laws struct {
	now      atomic.Pointer[law]
	mu       sync.Mutex // held while now is replaced
	lowWater int        // of outputs, in bytes: what the first one said
}

func newLaw(l *Limits, d *Delivery, r *limit.Rates) (*law, error) {
	if err := errors.Join(l.Verify(), d.Verify(), r.Verify()); err != nil {
		return nil, err
	}
	w := &law{limits: *l, delivery: *d, rates: *r, rules: rulesOf(l, d)}
	w.admission = admissionOf(l, w.rules)
	for i := range r.Classes {
		own := r.Classes[i].Of(*l)
		w.classes = append(w.classes, rulesOf(&own, d))
	}
	if !r.Off() {
		w.pool = limit.NewPool(&w.rates)
	}
	return w, nil
}

// ruled is what holds for a client of the class at a place, -1 = of none.
func (w *law) ruled(class int) *session.Rules {
	if class < 0 {
		return w.rules
	}
	return w.classes[class]
}

func (b *Broker) limits() *Limits     { return &b.laws.now.Load().limits }
func (b *Broker) delivery() *Delivery { return &b.laws.now.Load().delivery }

// SetLimits replaces the limits while the broker runs; what it cannot be changes nothing and is the error. What is asked for
// each packet or message holds at once: sizes, time limits, totals, outputs, retained messages, Delivery. What belongs to a session (queue,
// inflight, subscriptions, aliases, what CONNACK tells) holds for those that are away at once, for those connected when they
// connect anew. MaxOutgoingBytes stays at 128 KiB at least, if it began there.
func (b *Broker) SetLimits(l Limits, d Delivery) error {
	b.laws.mu.Lock()
	defer b.laws.mu.Unlock()
	was := b.laws.now.Load()
	l.MaxOutgoingBytes = max(l.MaxOutgoingBytes, 2*b.laws.lowWater)
	w, err := newLaw(&l, &d, &was.rates)
	if err != nil {
		return err
	}
	w.pool = was.pool
	b.enact(w)
	return nil
}

// SetRates replaces the rates while the broker runs; what they cannot be changes nothing and is the error. They hold at once, with
// full buckets; the numbers of classes as those of SetLimits.
func (b *Broker) SetRates(r limit.Rates) error {
	b.laws.mu.Lock()
	defer b.laws.mu.Unlock()
	was := b.laws.now.Load()
	w, err := newLaw(&was.limits, &was.delivery, &r)
	if err != nil {
		return err
	}
	b.enact(w)
	return nil
}

// enact puts a law in force. It does not wait for the shards.
func (b *Broker) enact(w *law) {
	b.laws.now.Store(w)
	b.retained.limit(w.limits.MaxRetained, w.limits.MaxRetainedBytes)
	for _, sh := range b.shards {
		sh.loop.Post(func() {
			sh.tick(sh.loop.Now())
			for _, c := range sh.byID {
				func() {
					defer sh.rescue(c)
					sh.paces.set(c, !c.s.Connected())
					sh.measure(c)
				}()
			}
		})
	}
}

func rulesOf(l *Limits, d *Delivery) *session.Rules {
	overflow := session.RefuseNewest
	switch d.Overflow {
	case OverflowDropOldest:
		overflow = session.DropOldest
	case OverflowDisconnect:
		overflow = session.Disconnect
	}
	return &session.Rules{
		ReceiveMaximum: uint16(l.ReceiveMaximum), Inflight: uint16(l.MaxInflight),
		TopicAliases: uint16(l.MaxTopicAliases), SendAliases: uint16(l.MaxSendAliases),
		TopicBytes: l.MaxTopicBytes, TopicLevels: l.MaxTopicLevels,
		FiltersPerSubscribe: l.MaxFilters, Subscriptions: l.MaxSubscriptions,
		QueuedMessages: l.MaxQueuedMessages, QueuedBytes: l.MaxQueuedBytes,
		SessionExpiry: sessionExpiry(l), MaximumQoS: mqtt.QoS(l.MaximumQoS),
		RetainAvailable: l.RetainAvailable, SharedAvailable: l.SharedAvailable, WildcardAvailable: l.WildcardsAvailable,
		ValidateUTF8Payloads: l.ValidateUTF8, Overflow: overflow,
		AuthTime: l.ConnectTimeout.Milliseconds(),
	}
}

func sessionExpiry(l *Limits) uint32 {
	if s := l.MaxSessionExpiry / time.Second; s > 0 && s < session.Never {
		return uint32(s)
	}
	return session.Never
}

func admissionOf(l *Limits, r *session.Rules) *session.Admission {
	return &session.Admission{
		ClientIDBytes: l.MaxClientIDBytes,
		KeepAlive:     uint16(min(l.MaxKeepAlive/time.Second, 65535)),
		SessionExpiry: sessionExpiry(l),
		Rules:         r, MinimumVersion: mqtt.V31, MaximumVersion: mqtt.V5,
		WillPayloadSize: l.MaxWillPayload,
	}
}

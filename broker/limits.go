package broker

import (
	"context"
	"errors"
	"time"

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

// law is what is in force: replaced as a whole, never changed.
type law struct {
	limits    Limits
	delivery  Delivery
	rates     limit.Rates
	rules     *session.Rules
	admission *session.Admission
}

func newLaw(l *Limits, d *Delivery, r *limit.Rates) (*law, error) {
	if err := errors.Join(l.Validate(), d.Validate(), r.Validate()); err != nil {
		return nil, err
	}
	w := &law{limits: *l, delivery: *d, rates: *r, rules: rulesOf(l, d)}
	w.admission = admissionOf(l, w.rules)
	return w, nil
}

func (b *Broker) limits() *Limits     { return &b.law.Load().limits }
func (b *Broker) delivery() *Delivery { return &b.law.Load().delivery }

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

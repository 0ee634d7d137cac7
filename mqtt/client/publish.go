package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// flight is a QoS 1 or 2 message on its way to the server. All of it belongs to
// Client.mu until done is closed.
type flight struct {
	pub      mqtt.Publish // a copy
	seq      uint64       // the order of sending; once released, of the PUBRECs
	tried    bool         // was sent before: sent again it is a duplicate
	onWire   bool         // was sent on this connection; only then an answer counts
	counted  bool         // holds a place in this connection's quota
	released bool         // PUBREC is in: PUBREL from here on
	reason   mqtt.ReasonCode
	err      error
	done     chan struct{}
}

// Delivery is a message that Start took.
type Delivery struct {
	c      *Client
	flight *flight // nil at QoS 0
}

// Publish is Start and Wait.
func (c *Client) Publish(ctx context.Context, p *mqtt.Publish) (mqtt.ReasonCode, error) {
	d, err := c.Start(ctx, p)
	if reason := mqtt.Success; err != nil {
		errors.As(err, &reason)
		return reason, err
	}
	return d.Wait(ctx)
}

// Start sends a message and returns when it waits to be written, or, at QoS 1
// and 2, has its place in the order of sending. It blocks while there is no
// connection (QoS 0) or no room within MaxInflight. ID and Dup are the client's
// and ignored; p is the caller's again on return.
//
// A TopicAlias is a wish: the first message of a connection with it sends topic
// and alias, later ones the alias alone; beyond what the server allows it is left
// out. A message that the server's Maximum QoS, Retain Available or Maximum
// Packet Size forbids is not sent and fails with that reason code.
func (c *Client) Start(ctx context.Context, p *mqtt.Publish) (*Delivery, error) {
	if len(p.Topic) == 0 || len(p.Topic) > math.MaxUint16 || bytes.ContainsAny(p.Topic, "+#\x00") {
		return nil, fmt.Errorf("publish: %w", mqtt.TopicNameInvalid)
	}
	if p.QoS == 0 {
		return &Delivery{c: c}, c.publish0(ctx, p)
	}
	if p.QoS > 2 {
		return nil, fmt.Errorf("publish: %w", mqtt.QoSNotSupported)
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ended:
		return nil, c.Err()
	}
	f, err := c.launch(p)
	return &Delivery{c, f}, err
}

// Wait returns when the server has taken the message over (PUBACK, PUBCOMP),
// with the reason code of its answer and, from 0x80 on, a *ReasonError; at QoS 0
// at once. Until then a lost connection only delays it (Reconnect);
// ErrSessionLost says that the outcome is unknown. When ctx ends, a message that
// was never sent is dropped, any other may yet be delivered.
func (d *Delivery) Wait(ctx context.Context) (mqtt.ReasonCode, error) {
	f := d.flight
	if f == nil {
		return mqtt.Success, nil
	}
	select {
	case <-f.done:
		return f.reason, f.err
	case <-ctx.Done():
		d.c.abandon(f, ctx.Err())
		return 0, ctx.Err()
	}
}

func (c *Client) publish0(ctx context.Context, p *mqtt.Publish) error {
	for {
		l, err := c.live(ctx)
		if err != nil {
			return err
		}
		c.mu.Lock()
		drained, full := l.drained, l.full()
		if err = c.ending; err == nil && !full {
			_, err = l.sendPublish(p, 0, false)
		}
		c.mu.Unlock()
		if err != nil || !full {
			return err
		}
		select {
		case <-drained:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// launch takes a copy of p into the session and sends it when its turn comes.
func (c *Client) launch(p *mqtt.Publish) (*flight, error) {
	f := &flight{pub: *p, done: make(chan struct{})}
	f.pub.Topic, f.pub.Payload = bytes.Clone(p.Topic), bytes.Clone(p.Payload)
	f.pub.Props.Forward = bytes.Clone(p.Props.Forward)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != nil || c.err != nil {
		<-c.slots
		return nil, cmp.Or(c.err, c.ending)
	}
	if f.pub.ID = c.newID(); f.pub.ID == 0 {
		<-c.slots
		return nil, fmt.Errorf("publish: %w", errNoID)
	}
	c.lastSeq++
	f.seq = c.lastSeq
	c.flights[f.pub.ID] = f
	c.queue = append(c.queue, f)
	if c.link != nil {
		c.pump(c.link)
	}
	return f, nil
}

// abandon gives up on a message that was never sent; one that was has to run
// its course, by the protocol.
func (c *Client) abandon(f *flight, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.queue, f); i >= 0 && !f.tried {
		c.queue = slices.Delete(c.queue, i, i+1)
		c.complete(f, 0, err)
	}
}

// pump sends from the queue what the quota allows. With the lock held.
func (c *Client) pump(l *link) {
	for len(c.queue) > 0 && !l.full() && !l.closing {
		f := c.queue[0]
		if !f.released && l.quota == 0 {
			return
		}
		c.queue[0] = nil
		c.queue = c.queue[1:]
		if f.released {
			f.onWire = true
			l.sendAck(mqtt.PUBREL, f.pub.ID, mqtt.Success)
			continue
		}
		if reason, err := l.sendPublish(&f.pub, f.pub.ID, f.tried); err != nil {
			c.complete(f, reason, err)
			continue
		}
		f.tried, f.onWire, f.counted = true, true, true
		l.quota--
	}
}

// sendPublish puts a PUBLISH into out if the server may have it.
func (l *link) sendPublish(p *mqtt.Publish, id uint16, dup bool) (mqtt.ReasonCode, error) {
	q := *p
	q.ID, q.Dup = id, dup
	alias := q.Props.TopicAlias
	if alias > l.limits.topicAlias || l.version < mqtt.V5 {
		alias = 0
	}
	q.Props.TopicAlias = alias
	known := alias != 0 && l.sent[alias] == string(p.Topic)
	if known {
		q.Topic = nil
	}
	reason := mqtt.Success
	switch {
	case q.QoS > l.limits.maxQoS:
		reason = mqtt.QoSNotSupported
	case q.Retain && !l.limits.retain:
		reason = mqtt.RetainNotSupported
	case !l.emit(func(dst []byte) []byte { return q.AppendTo(dst, l.version) }):
		reason = mqtt.PacketTooLarge
	}
	if reason != mqtt.Success {
		return reason, fmt.Errorf("publish: the server does not take it: %w", reason)
	}
	if alias != 0 && !known {
		l.sent[alias] = string(p.Topic)
	}
	return mqtt.Success, nil
}

func (l *link) sendAck(t mqtt.Type, id uint16, reason mqtt.ReasonCode) {
	ack := mqtt.Ack{ID: id, Reason: reason}
	l.emit(func(dst []byte) []byte { return ack.AppendTo(dst, t, l.version, l.limits.maxPacket) })
}

// acknowledged takes PUBACK, PUBREC and PUBCOMP.
func (c *Client) acknowledged(l *link, t mqtt.Type, a *mqtt.Ack) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flights[a.ID]
	if f == nil || !f.onWire || (t == mqtt.PUBACK) != (f.pub.QoS == 1) {
		if t == mqtt.PUBREC {
			l.sendAck(mqtt.PUBREL, a.ID, mqtt.PacketIDNotFound)
		}
		return nil // of a message that has run its course; nothing waits for it
	}
	var err error
	if a.Reason.Failed() {
		err = reasonError(t, a.Reason, &a.Props)
	}
	switch {
	case t == mqtt.PUBACK, t == mqtt.PUBREC && err != nil && !f.released:
		c.complete(f, a.Reason, err)
	case t == mqtt.PUBREC:
		if !f.released {
			c.lastSeq++
			f.released, f.seq, f.reason = true, c.lastSeq, a.Reason
			f.pub.Payload, f.pub.Props = nil, mqtt.MessageProperties{}
		}
		l.sendAck(mqtt.PUBREL, a.ID, mqtt.Success)
	case !f.released:
		return violation(mqtt.ProtocolError, "PUBCOMP before PUBREC")
	default: // a PUBCOMP that does not know the id still says that it is over
		c.complete(f, f.reason, nil)
	}
	c.pump(l)
	return nil
}

// complete ends a flight and frees what it holds. With the lock held.
func (c *Client) complete(f *flight, reason mqtt.ReasonCode, err error) {
	if f.counted && c.link != nil {
		c.link.quota++
	}
	f.reason, f.err = reason, err
	delete(c.flights, f.pub.ID)
	<-c.slots
	close(f.done)
}

// requeue lines up for a new connection what the last one left: after a resumed
// session the releases and then the messages, each in their order (MQTT5
// 4.4, 4.6); after a lost one what may be sent as new. With the lock held.
func (c *Client) requeue(resumed bool) {
	left := make([]*flight, 0, len(c.flights))
	for _, f := range c.flights {
		f.onWire, f.counted = false, false
		switch {
		case resumed || !f.tried:
		case f.released: // the server had taken it over
			c.complete(f, f.reason, nil)
			continue
		case f.pub.QoS == 2:
			c.complete(f, 0, ErrSessionLost)
			continue
		default:
			f.tried = false
		}
		left = append(left, f)
	}
	slices.SortFunc(left, func(a, b *flight) int {
		if a.released != b.released {
			return map[bool]int{true: -1, false: 1}[a.released]
		}
		return cmp.Compare(a.seq, b.seq)
	})
	c.queue = left
}

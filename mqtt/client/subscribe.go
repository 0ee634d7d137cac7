package client

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// request is a SUBSCRIBE or UNSUBSCRIBE waiting for its answer.
type request struct {
	answer  mqtt.Type
	filters []mqtt.Subscription
	subID   uint32
	reply   chan mqtt.Suback // one place; closed when the connection is lost
	again   bool             // resubscribing: nobody waits
}

// subscription is one that the server granted, to be made again when it forgot.
type subscription struct {
	filter  string
	options mqtt.SubOptions
	id      uint32
}

// Subscribe makes subscriptions and waits for the server's answer, one reason
// code per filter in their order: whether each was granted is for the caller to
// see. s.ID is ignored. A lost connection only delays it (Reconnect). What is
// granted is made again whenever the server lost the session.
func (c *Client) Subscribe(ctx context.Context, s mqtt.Subscribe) (mqtt.Suback, error) {
	r := &request{answer: mqtt.SUBACK, filters: cloneFilters(s.Filters), subID: s.Props.SubscriptionID}
	return c.ask(ctx, r, func(dst []byte, v mqtt.Version, id uint16) []byte {
		s.ID = id
		return s.AppendTo(dst, v)
	})
}

// Unsubscribe ends subscriptions and waits for the server's answer, which before
// v5 holds no reason codes. u.ID is ignored.
func (c *Client) Unsubscribe(ctx context.Context, u mqtt.Unsubscribe) (mqtt.Suback, error) {
	r := &request{answer: mqtt.UNSUBACK}
	for _, f := range u.Filters {
		r.filters = append(r.filters, mqtt.Subscription{Filter: bytes.Clone(f)})
	}
	return c.ask(ctx, r, func(dst []byte, v mqtt.Version, id uint16) []byte {
		u.ID = id
		return u.AppendTo(dst, v)
	})
}

// refused tells what of r the server said it does not have (MQTT5 3.2.2.3).
func (r *request) refused(server *mqtt.Properties) error {
	if r.answer != mqtt.SUBACK {
		return nil
	}
	lacks := func(id mqtt.PropertyID, available bool) bool { return server.Has.Has(id) && !available }
	reason := mqtt.Success
	if r.subID != 0 && lacks(mqtt.PropSubIDAvailable, server.SubIDAvailable) {
		reason = mqtt.SubIDsNotSupported
	}
	for _, f := range r.filters {
		if bytes.ContainsAny(f.Filter, "+#") && lacks(mqtt.PropWildcardSubAvailable, server.WildcardSubAvailable) {
			reason = mqtt.WildcardSubsNotSupported
		}
		if bytes.HasPrefix(f.Filter, []byte("$share/")) && lacks(mqtt.PropSharedSubAvailable, server.SharedSubAvailable) {
			reason = mqtt.SharedSubsNotSupported
		}
	}
	if reason != mqtt.Success {
		return fmt.Errorf("subscribe: the server does not take it: %w", reason)
	}
	return nil
}

// encoder appends a request with its packet identifier.
type encoder func(dst []byte, v mqtt.Version, id uint16) []byte

// ask sends a request, once per connection until one lives to the answer.
func (c *Client) ask(ctx context.Context, r *request, encode encoder) (mqtt.Suback, error) {
	for {
		l, err := c.live(ctx)
		if err != nil {
			return mqtt.Suback{}, err
		}
		c.mu.Lock()
		err = c.send(l, r, encode)
		reply := r.reply
		c.mu.Unlock()
		if err != nil {
			return mqtt.Suback{}, err
		}
		select {
		case answer, ok := <-reply:
			if ok {
				return answer, nil
			}
		case <-ctx.Done(): // the answer is still due, and will count
			return mqtt.Suback{}, ctx.Err()
		}
	}
}

// send sends a request on l. With the lock held.
func (c *Client) send(l *link, r *request, encode encoder) error {
	if c.ending != nil {
		return c.ending
	}
	r.reply = make(chan mqtt.Suback, 1)
	if c.link != l { // lost in between
		close(r.reply)
		return nil
	}
	if err := r.refused(&l.connack.Props); err != nil {
		return err
	}
	id := c.newID()
	if id == 0 {
		return errNoID
	}
	if !l.emit(func(dst []byte) []byte { return encode(dst, l.version, id) }) {
		return fmt.Errorf("the server does not take it: %w", mqtt.PacketTooLarge)
	}
	c.requests[id] = r
	return nil
}

// resubscribe makes the subscriptions again after the server lost the session.
// With the lock held.
func (c *Client) resubscribe(l *link) {
	for rest := c.subs; len(rest) > 0; {
		s := mqtt.Subscribe{}
		if id := rest[0].id; id != 0 {
			s.Props.Has = s.Props.Has.With(mqtt.PropSubscriptionID)
			s.Props.SubscriptionID = id
		}
		size := 32 // of everything but the filters, at most
		for _, sub := range rest {
			size += len(sub.filter) + 3
			if len(s.Filters) > 0 && (sub.id != rest[0].id || uint32(size) > l.limits.maxPacket || len(s.Filters) == 100) {
				break
			}
			s.Filters = append(s.Filters, mqtt.Subscription{Filter: []byte(sub.filter), Options: sub.options})
		}
		rest = rest[len(s.Filters):]
		r := &request{answer: mqtt.SUBACK, filters: s.Filters, subID: s.Props.SubscriptionID, again: true}
		err := c.send(l, r, func(dst []byte, v mqtt.Version, id uint16) []byte {
			s.ID = id
			return s.AppendTo(dst, v)
		})
		if err != nil {
			l.fail(fmt.Errorf("resubscribe: %w", err))
		}
	}
}

// answered takes SUBACK and UNSUBACK.
func (c *Client) answered(t mqtt.Type, a *mqtt.Suback) error {
	c.mu.Lock()
	r := c.requests[a.ID]
	if r == nil || r.answer != t {
		c.mu.Unlock()
		return violation(mqtt.ProtocolError, t.String()+" that nobody asked for")
	}
	if len(a.Reasons) != len(r.filters) && (t == mqtt.SUBACK || c.opt.Version == mqtt.V5) {
		c.mu.Unlock()
		return violation(mqtt.ProtocolError, t.String()+" with another number of reason codes")
	}
	delete(c.requests, a.ID)
	var refused []Event
	for i, f := range r.filters {
		if len(a.Reasons) > i && a.Reasons[i].Failed() {
			err := reasonError(t, a.Reasons[i], &a.Props)
			refused = append(refused, Event{Kind: SubscriptionRefused, Filter: string(f.Filter), Err: err})
		} else {
			c.subs.remember(f, r.subID, t == mqtt.SUBACK)
		}
	}
	c.mu.Unlock()
	r.reply <- mqtt.Suback{ID: a.ID, Reasons: slices.Clone(a.Reasons), Props: cloneProperties(a.Props)}
	if r.again {
		for _, e := range refused {
			c.opt.tell(e)
		}
	}
	return nil
}

// subscriptions are those granted, in the order of the first granting.
type subscriptions []subscription

// remember notes that a subscription is there, or is not any more.
func (s *subscriptions) remember(f mqtt.Subscription, id uint32, there bool) {
	at := slices.IndexFunc(*s, func(one subscription) bool { return one.filter == string(f.Filter) })
	one := subscription{string(f.Filter), f.Options, id}
	switch {
	case there && at >= 0:
		(*s)[at] = one
	case there:
		*s = append(*s, one)
	case at >= 0:
		*s = slices.Delete(*s, at, at+1)
	}
}

func cloneFilters(in []mqtt.Subscription) []mqtt.Subscription {
	out := slices.Clone(in)
	for i := range out {
		out[i].Filter = bytes.Clone(out[i].Filter)
	}
	return out
}

// cloneProperties is p without views into a buffer.
func cloneProperties(p mqtt.Properties) mqtt.Properties {
	for _, field := range []*[]byte{
		&p.AssignedClientID, &p.ResponseInfo, &p.ServerReference,
		&p.ReasonString, &p.AuthMethod, &p.AuthData,
	} {
		*field = bytes.Clone(*field)
	}
	p.User = slices.Clone(p.User)
	for i, u := range p.User {
		p.User[i] = mqtt.UserProperty{Name: bytes.Clone(u.Name), Value: bytes.Clone(u.Value)}
	}
	return p
}

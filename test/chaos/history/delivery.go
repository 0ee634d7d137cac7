package history

import "slices"

// inbox is what a receiver knows of the identifiers and messages that came, as it goes through its history.
type inbox struct {
	held  map[uint16]held // by identifier: not yet acknowledged, or not yet completed
	acked map[Message]*ack
	fresh []*ack // of this connection, not yet known to be on disk
	gone  bool   // a new session was asked for, and nobody knows whether it was made: what is held may be forgotten
	call  int    // the last SUBSCRIBE or UNSUBSCRIBE
	ping  int    // the last PINGREQ
}

// held is a message whose exchange is open.
type held struct {
	message  Message
	topic    string
	at       int
	recorded int  // PUBREC
	released bool // PUBREL came, PUBCOMP did not go yet
}

func (h *held) is(e *Event) bool { return h.message == e.Message && h.topic == e.Topic }

// ack is a PUBACK that went out.
type ack struct {
	at        int
	processed bool // the broker has answered something that was sent after it
	kept      int  // when the broker answered something that it had to store after it
}

func newInbox() *inbox {
	return &inbox{held: map[uint16]held{}, acked: map[Message]*ack{}, call: never, ping: never}
}

// processed notes at moment now that the broker has dealt with all that went out before moment i; kept, that it stored it.
func (in *inbox) processed(now, i int, kept bool) {
	in.fresh = slices.DeleteFunc(in.fresh, func(a *ack) bool {
		if a.at >= i {
			return false
		}
		a.processed = true
		if kept {
			a.kept = now
		}
		return kept
	})
}

// receive goes through what a client received and tells resends from what is new to it.
func (c *check) receive(cl *client) {
	in := newInbox()
	for _, i := range cl.events {
		e := &c.events[i]
		switch e.Kind {
		case Connecting:
			in.fresh, in.call, in.ping = nil, never, never
			in.gone = in.gone || e.Clean
		case Connected:
			if e.Clean {
				in = newInbox()
			}
		case Received:
			c.arrive(cl, in, i, e)
		case Acking:
			if h, ok := in.held[e.ID]; ok {
				a := &ack{at: i, kept: never}
				in.acked[h.message] = a
				in.fresh = append(in.fresh, a)
				delete(in.held, e.ID)
			}
		case Recording:
			if h, ok := in.held[e.ID]; ok {
				h.recorded = i
				in.held[e.ID] = h
			}
		case Released:
			if h, ok := in.held[e.ID]; ok {
				in.processed(i, h.recorded, true)
				h.released = true
				in.held[e.ID] = h
			}
		case Completing:
			delete(in.held, e.ID)
		case Pinging:
			in.ping = i
		case Pinged:
			if in.ping != never {
				in.processed(i, in.ping, false)
			}
		case Subscribe, Unsubscribe:
			in.call = i
		case Subscribed, Unsubscribed:
			if in.call != never {
				in.processed(i, in.call, true)
			}
		}
	}
}

func (c *check) arrive(cl *client, in *inbox, i int, e *Event) {
	c.content(i, e)
	if e.Retain {
		if e.QoS > 0 {
			in.held[e.ID] = held{e.Message, e.Topic, i, never, false}
		}
		return
	}
	fresh := true
	if h, busy := in.held[e.ID]; busy && e.QoS > 0 {
		same := h.is(e)
		switch {
		case !same && in.gone && c.events[h.at].Conn != e.Conn:
		case !same:
			c.say(PacketID, []Message{h.message, e.Message}, []int{h.at, i}, "%s got %s under #%d, which belonged to %s still", cl.id, e.Message, e.ID, h.message)
		case h.released:
		case c.events[h.at].Conn == e.Conn:
			c.say(Doubled, []Message{e.Message}, []int{h.at, i}, "%s got %s twice on one connection before it had answered", cl.id, e.Message)
			fresh = false
		default:
			fresh = false
			if !e.Dup {
				c.say(NoDup, []Message{e.Message}, []int{h.at, i}, "%s got %s again, not marked as sent again", cl.id, e.Message)
			}
		}
	} else if a := in.acked[e.Message]; a != nil && e.QoS == 1 && c.events[a.at].Conn != e.Conn {
		// A disk that failed may have kept what came after the acknowledgement, and not that.
		fresh = a.kept != never && !c.faulty(a.at, a.kept) || a.processed && !c.down(a.at, i)
	}
	if e.QoS > 0 {
		in.held[e.ID] = held{e.Message, e.Topic, i, never, false}
	}
	cl.receipts = append(cl.receipts, receipt{i, fresh})
}

// content: what comes was published, on this topic, before it came.
func (c *check) content(i int, e *Event) {
	m := c.messages[e.Message]
	first, deleted := c.deletions[e.Topic]
	switch {
	case e.Fault != "":
		c.say(Content, nil, []int{i}, "%s got something on %s: %s", e.Client, e.Topic, e.Fault)
	case e.Message == Message{}:
		if !deleted || first > i {
			c.say(Content, nil, []int{i}, "%s got an empty message on %s, and nobody had published one", e.Client, e.Topic)
		}
	case m == nil || m.sends[0] > i:
		c.say(Content, []Message{e.Message}, []int{i}, "%s got %s before anybody published it", e.Client, e.Message)
	case m.topic != e.Topic:
		c.say(Content, []Message{e.Message}, []int{m.sends[0], i}, "%s got %s on %s, and it was published on %s", e.Client, e.Message, e.Topic, m.topic)
	case e.QoS > m.qos:
		c.say(Content, []Message{e.Message}, []int{m.sends[0], i}, "%s got %s at QoS %d, and it was published at %d", e.Client, e.Message, e.QoS, m.qos)
	}
}

// strays: nothing comes without a subscription that may have been in force.
func (c *check) strays() {
	for _, name := range c.names {
		cl := c.clients[name]
		for _, i := range cl.events {
			e := &c.events[i]
			m := c.messages[e.Message]
			if e.Kind != Received || m == nil && e.Message != (Message{}) {
				continue
			}
			w := window{0, i}
			if m != nil {
				w = m.routed()
				w.to = min(w.to, i)
				if e.Retain {
					w.to = i
				}
			}
			if slices.ContainsFunc(cl.spans, func(s *span) bool { return s.mayMatch(e.Topic, w) }) {
				continue
			}
			proof := []int{w.from, i}
			for _, s := range slices.Backward(cl.spans) {
				if s.plainly(e.Topic) && s.calling < i {
					proof = append(proof, s.calling, s.sure, s.ending, s.over)
					break
				}
			}
			c.say(Ghost, []Message{e.Message}, proof, "%s got %s, for which it had no subscription", cl.id, e.Message)
		}
	}
}

// lost: what was acknowledged while a subscription was in force reaches it.
func (c *check) lost(cl *client) {
	got := map[Message]bool{}
	for _, r := range cl.receipts {
		got[c.events[r.at].Message] = true
	}
	for _, s := range cl.spans {
		if s.group != "" || s.qos == 0 {
			continue
		}
		due := c.due(s)
		missing := func(m *message) bool { return !got[m.name] }
		tail := len(due)
		for tail > 0 && missing(due[tail-1]) {
			tail--
		}
		if n := len(due) - tail; n >= 3 {
			all := names(due[tail:])
			c.say(LostSubscription, all, []int{s.calling, s.sure, due[tail].sends[0], due[tail].taken, due[len(due)-1].taken},
				"of the subscription of %s to %s nothing came any more: %d acknowledged messages from %s to %s", cl.id, s.filter, n, all[0], all[n-1])
			due = due[:tail]
		}
		for _, m := range due {
			if missing(m) {
				c.say(Lost, []Message{m.name}, []int{s.sure, m.sends[0], m.taken}, "%s was acknowledged and %s, subscribed to %s, never got it", m.name, cl.id, s.filter)
			}
		}
	}
}

// due lists what has to reach a subscription.
func (c *check) due(s *span) (due []*message) {
	for _, m := range c.sent {
		if m.qos > 0 && !m.deleted && m.taken != never && s.holds(m.sends[0]) && s.plainly(m.topic) {
			due = append(due, m)
		}
	}
	return due
}

func names(list []*message) (out []Message) {
	for _, m := range list {
		out = append(out, m.name)
	}
	return out
}

// doubled: a message comes once for each subscription, but for what is sent again because the broker cannot know
// that it has arrived.
func (c *check) doubled(cl *client) {
	fresh := map[Message][]int{}
	for _, r := range cl.receipts {
		if m := c.events[r.at].Message; r.fresh && c.messages[m] != nil {
			fresh[m] = append(fresh[m], r.at)
		}
	}
	for _, m := range c.sent {
		at := fresh[m.name]
		if len(at) < 2 {
			continue
		}
		allowed := 0
		for _, s := range cl.spans {
			if s.mayMatch(m.topic, m.routed()) {
				allowed++
			}
		}
		if allowed = max(allowed, 1) * m.times(); len(at) > allowed {
			c.say(Doubled, []Message{m.name}, append(slices.Clone(at), m.sends...), "%s got %s, published at QoS %d, %d times instead of %d at most", cl.id, m.name, m.qos, len(at), allowed)
		}
	}
}

// times is how often a broker may take the message for a new one.
func (m *message) times() int {
	if m.qos == 2 {
		return 1
	}
	return len(m.sends)
}

// order: messages of one publisher on one topic come in the order in which they were published, the first time and,
// on one connection, again.
func (c *check) order(cl *client) {
	type stream struct{ publisher, topic string }
	seen := map[Message]bool{}
	first, again := map[stream]int{}, map[stream]int{}
	conn := 0
	for _, r := range cl.receipts {
		e := &c.events[r.at]
		m := c.messages[e.Message]
		if m == nil || e.QoS == 0 || slices.ContainsFunc(cl.spans, func(s *span) bool { return s.group != "" && s.plainly(e.Topic) }) {
			continue
		}
		if e.Conn != conn {
			conn = e.Conn
			clear(again)
		}
		key := stream{m.name.Publisher, m.topic}
		last := again
		switch {
		case !seen[m.name]:
			seen[m.name] = true
			last = first
		case len(m.sends) > 1:
			continue
		}
		before, ok := last[key]
		if prior := c.events[before].Message; ok && prior.Number > m.name.Number {
			if !c.reordered(cl, m, c.messages[prior]) {
				c.say(Order, []Message{prior, m.name}, []int{c.messages[prior].sends[0], m.sends[0], before, r.at}, "%s got %s after %s, which was published later on the same topic", cl.id, m.name, prior)
			}
			continue
		}
		last[key] = r.at
		again[key] = r.at
	}
}

// reordered tells whether the publisher itself may have changed the order, by sending the earlier message again after
// the later one: a failing disk had refused it, or the client was not yet subscribed when it came first.
func (c *check) reordered(cl *client, earlier, later *message) bool {
	last := earlier.sends[len(earlier.sends)-1]
	if last < later.sends[0] {
		return false
	}
	return c.faulty(earlier.sends[0], last) || !slices.ContainsFunc(cl.spans, func(s *span) bool {
		return s.sure < earlier.sends[0] && last < s.ending && s.plainly(earlier.topic)
	})
}

// groups: what a shared subscription gets reaches one of its members, at QoS 2 exactly one.
func (c *check) groups() {
	members := map[string][]*client{}
	var filters []string
	for _, name := range c.names {
		for _, s := range c.clients[name].spans {
			if s.group != "" && !slices.Contains(members[s.group], c.clients[name]) {
				if members[s.group] == nil {
					filters = append(filters, s.group)
				}
				members[s.group] = append(members[s.group], c.clients[name])
			}
		}
	}
	for _, filter := range filters {
		c.group(filter, members[filter])
	}
}

func (c *check) group(filter string, members []*client) {
	got := map[Message][]int{}
	var spans []*span
	for _, cl := range members {
		for _, r := range cl.receipts {
			if m := c.events[r.at].Message; r.fresh {
				got[m] = append(got[m], r.at)
			}
		}
		for _, s := range cl.spans {
			if s.group == filter {
				spans = append(spans, s)
			}
		}
	}
	for _, m := range c.sent {
		if m.qos == 0 || m.deleted || !spans[0].plainly(m.topic) {
			continue
		}
		at := got[m.name]
		// Whoever was a member when it came may have been given it: it has to have stayed one.
		lasting := slices.ContainsFunc(spans, func(s *span) bool { return s.holds(m.sends[0]) }) &&
			!slices.ContainsFunc(spans, func(s *span) bool { return s.ending != never && s.mayMatch(m.topic, m.routed()) })
		switch {
		case len(at) == 0 && m.taken != never && lasting:
			c.say(Lost, []Message{m.name}, []int{m.sends[0], m.taken}, "%s was acknowledged and no member of %s ever got it", m.name, filter)
		case len(at) > 1 && m.qos == 2 && c.events[at[0]].QoS == 2 && c.events[at[0]].Client != c.events[at[1]].Client:
			c.say(Doubled, []Message{m.name}, at, "%s, published at QoS 2, came to %d members of %s", m.name, len(at), filter)
		}
	}
}

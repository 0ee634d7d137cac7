package history

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// write is a retained message set or deleted, or an attempt at it.
type write struct {
	value Message // the zero value: deleted
	name  Message
	sure  bool // it certainly took effect
	window
}

// read is what a client found.
type read struct {
	value Message
	window
	settled bool
}

// register is what happened to the retained message of one topic.
type register struct {
	topic  string
	writes []write
	reads  []read
}

// retained: what a new subscription gets is the last acknowledged write, or one that was under way at the same time, or
// one that was never acknowledged.
func (c *check) retained() {
	for _, r := range c.registers() {
		for _, rd := range r.reads {
			if !r.possible(rd) {
				c.say(Retained, []Message{rd.value}, append(r.sure(rd), rd.from, rd.to), "the retained message of %s was %s, which later acknowledged writes had replaced", r.topic, describe(rd.value))
			}
		}
		c.linearizable(r)
	}
}

// registers sorts writes and reads by topic.
func (c *check) registers() (list []*register) {
	at := map[string]*register{}
	of := func(topic string) *register {
		r := at[topic]
		if r == nil {
			r = &register{topic: topic}
			at[topic] = r
			list = append(list, r)
		}
		return r
	}
	for _, m := range c.sent {
		if m.retain {
			r := of(m.topic)
			r.writes = append(r.writes, c.writes(m)...)
		}
	}
	asked := map[string]int{} // by client and topic
	for i := range c.events {
		switch e := &c.events[i]; e.Kind {
		case Reading:
			asked[e.Client+" "+e.Topic] = i
		case Read:
			if e.Fault != "" {
				c.say(Retained, nil, []int{i}, "%s was given something retained on %s: %s", e.Client, e.Topic, e.Fault)
				continue
			}
			r := of(e.Topic)
			r.reads = append(r.reads, read{e.Message, window{asked[e.Client+" "+e.Topic], i}, e.Settled})
		}
	}
	return list
}

// writes are the writes that a message may have become: at QoS 2 one, at QoS 1 one for each time it was sent.
func (c *check) writes(m *message) (list []write) {
	w := write{name: m.name}
	if !m.deleted {
		w.value = m.name
	}
	for i, at := range m.sends {
		last := i == len(m.sends)-1
		if m.qos == 2 && !last {
			continue
		}
		w.window, w.sure = window{at, c.gone(at)}, false
		if m.qos == 2 {
			w.from = m.sends[0]
		}
		if last && m.taken != never {
			w.to, w.sure = m.taken, true
		} else if last && m.refused != never {
			w.to = m.refused
		}
		list = append(list, w)
	}
	return list
}

// gone is when what was on its way at a moment can have no effect any more: the broker's next end.
func (c *check) gone(at int) int {
	for _, d := range c.downs {
		if d > at {
			return d
		}
	}
	return len(c.events)
}

// possible tells whether a read may have seen what it saw, for itself: no acknowledged write lies wholly between the
// write that it saw and the read.
func (r *register) possible(rd read) bool {
	visible := func(to int) bool {
		return !slices.ContainsFunc(r.writes, func(w write) bool { return w.sure && to < w.from && w.to < rd.from })
	}
	if rd.value == (Message{}) && visible(-1) {
		return true
	}
	return slices.ContainsFunc(r.writes, func(w write) bool { return w.value == rd.value && w.from < rd.to && visible(w.to) })
}

// sure are the moments of the last write that was acknowledged before a read.
func (r *register) sure(rd read) []int {
	last := write{}
	for _, w := range r.writes {
		if w.sure && w.to < rd.from && w.to > last.to {
			last = w
		}
	}
	return []int{last.from, last.to}
}

// patience bounds the search for an order of a register's writes.
const patience = 20 * time.Second

// linearizable: there is an order of all writes in which every settled read saw the last one.
func (c *check) linearizable(r *register) {
	model := registerModel()
	for _, rd := range r.reads {
		if !rd.settled {
			continue
		}
		switch porcupine.CheckOperationsTimeout(model, r.operations(rd.to, len(c.events)), patience) {
		case porcupine.Illegal:
			c.say(Retained, []Message{rd.value}, append(r.sure(rd), rd.from, rd.to), "the retained message of %s was %s, which no order of the writes explains", r.topic, describe(rd.value))
			return
		case porcupine.Unknown:
			c.say(Retained, nil, []int{rd.from, rd.to}, "whether the retained message of %s was right could not be decided in %v", r.topic, patience)
			return
		}
	}
}

// operations are the writes begun and the settled reads ended by a moment.
func (r *register) operations(until, end int) (list []porcupine.Operation) {
	for i := range r.writes {
		if w := &r.writes[i]; w.from <= until {
			list = append(list, porcupine.Operation{ClientId: len(list), Input: w, Call: int64(w.from), Return: int64(min(w.to, end))})
		}
	}
	for i := range r.reads {
		if rd := &r.reads[i]; rd.settled && rd.to <= until {
			list = append(list, porcupine.Operation{ClientId: len(list), Output: rd.value, Call: int64(rd.from), Return: int64(rd.to)})
		}
	}
	return list
}

// registerModel is one value that is written, perhaps, and read.
func registerModel() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{Message{}} },
		Step: func(state, input, output any) []any {
			w, isWrite := input.(*write)
			switch {
			case !isWrite && state == output:
				return []any{state}
			case !isWrite:
				return nil
			case w.sure:
				return []any{w.value}
			}
			return []any{state, w.value}
		},
		Equal: func(a, b any) bool { return a == b },
	}
	return model.ToModel()
}

func describe(m Message) string {
	if m == (Message{}) {
		return "none"
	}
	return fmt.Sprint(m)
}

package acl

import (
	"slices"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

// rule is an auth.Rule ready to be asked.
type rule struct {
	*auth.Rule
	order   int // its place among all, to tell equals apart
	qos     uint8
	filters [][]level // until they are in the tree
}

// before tells whether r decides rather than o.
func (r *rule) before(o *rule) bool {
	switch {
	case r.Priority != o.Priority:
		return r.Priority > o.Priority
	case r.Deny != o.Deny:
		return r.Deny
	}
	return r.order < o.order
}

// fits tells whether a rule about the topic is one about the rest of the question.
func (r *rule) fits(q *auth.Question) bool {
	switch {
	case !r.Actions.Has(q.Action):
		return false
	case q.Action != auth.Receive && r.qos != 0 && r.qos&(1<<q.QoS) == 0:
		return false
	}
	return q.Action != auth.Publish || r.Retain == nil || *r.Retain == q.Retain
}

// end is a filter that ends at a node, with its rule.
type end struct {
	rule   *rule
	filter int // in rule.Topics
}

// node is a place in the tree of all filters of an audience; once built it is never changed.
type node struct {
	few   []edge
	many  map[string]*node // instead of few, when there are many
	plus  *node
	masks []mask // levels with placeholders
	ends  []end  // the best first, as below
	below []end  // filters whose last level is "#"
}

type edge struct {
	level string
	to    *node
}

type mask struct {
	parts   []part
	grouped bool // {group} is among them
	to      *node
}

// fewEdges is up to how many edges are looked through one by one.
const fewEdges = 8

func (n *node) to(level string) *node {
	if n.many != nil {
		return n.many[level]
	}
	for i := range n.few {
		if n.few[i].level == level {
			return n.few[i].to
		}
	}
	return nil
}

// towards is to for a view, which takes no memory.
func (n *node) towards(level []byte) *node {
	if n.many != nil {
		return n.many[string(level)]
	}
	for i := range n.few {
		if n.few[i].level == string(level) {
			return n.few[i].to
		}
	}
	return nil
}

func (n *node) add(l level) *node {
	switch {
	case l.parts != nil:
		for i := range n.masks {
			if slices.Equal(n.masks[i].parts, l.parts) {
				return n.masks[i].to
			}
		}
		grouped := slices.ContainsFunc(l.parts, func(p part) bool { return p.what == group })
		n.masks = append(n.masks, mask{l.parts, grouped, new(node)})
		return n.masks[len(n.masks)-1].to
	case l.text == "+":
		if n.plus == nil {
			n.plus = new(node)
		}
		return n.plus
	}
	next := n.to(l.text)
	if next != nil {
		return next
	}
	next = new(node)
	switch {
	case n.many != nil:
		n.many[l.text] = next
	case len(n.few) < fewEdges:
		n.few = append(n.few, edge{l.text, next})
	default:
		n.many = make(map[string]*node, 4*fewEdges)
		for _, e := range n.few {
			n.many[e.level] = e.to
		}
		n.many[l.text] = next
		n.few = nil
	}
	return next
}

// put adds a filter. Rules come the best first.
func (n *node) put(levels []level, e end) {
	for _, l := range levels {
		if l.parts == nil && l.text == "#" {
			n.below = append(n.below, e)
			return
		}
		n = n.add(l)
	}
	n.ends = append(n.ends, e)
}

// search looks for the rule that decides.
type search struct {
	who  *auth.Principal
	q    *auth.Question
	best end
}

// allows is the answer.
func (s search) allows() bool { return s.best.rule != nil && !s.best.rule.Deny }

func (s *search) try(ends []end) {
	for _, e := range ends {
		if s.best.rule != nil && !e.rule.before(s.best.rule) {
			return
		}
		if e.rule.fits(s.q) {
			s.best = e
			return
		}
	}
}

// walk goes through all filters that match the topic name from byte at on or, of a subscription, cover the filter. chosen is
// the group that {group} stands for in this filter.
func (s *search) walk(n *node, at, chosen int) {
	name := s.q.Topic
	if at > len(name) {
		s.try(n.ends)
		s.try(n.below) // "a/#" matches "a"
		return
	}
	hidden := at == 0 && len(name) > 0 && name[0] == '$' // [MQTT-4.7.2-1]
	if !hidden {
		s.try(n.below)
	}
	to := cut(name, at)
	text := name[at:to]
	if s.q.Action == auth.Subscribe && len(text) == 1 && (text[0] == '+' || text[0] == '#') {
		s.cover(n, text[0], at, chosen)
		return
	}
	if next := n.towards(text); next != nil {
		s.walk(next, to+1, chosen)
	}
	if n.plus != nil && !hidden {
		s.walk(n.plus, to+1, chosen)
	}
	for i := range n.masks {
		m := &n.masks[i]
		if !m.grouped || chosen != noGroup {
			if is(m.parts, s.who, chosen, text, at == 0) {
				s.walk(m.to, to+1, chosen)
			}
			continue
		}
		for g := range s.who.Groups {
			if is(m.parts, s.who, g, text, at == 0) {
				s.walk(m.to, to+1, g)
			}
		}
	}
}

// cover goes on behind a wildcard of a filter that is asked for: only a wildcard covers it.
func (s *search) cover(n *node, wildcard byte, at, chosen int) {
	switch {
	case n.plus == nil:
	case wildcard == '+':
		s.walk(n.plus, at+2, chosen)
	case at == 0: // "+/#" is all that "#" is
		s.try(n.plus.below)
	}
}

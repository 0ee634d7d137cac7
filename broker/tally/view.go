package tally

import (
	"iter"
	"math"
	"strings"
)

// Sum is what all loops have counted of one topic, or of a branch with all that is below it. It has no pointer.
type Sum struct {
	Counts
	Rates Rates
}

// Counts are what only grows, but for Copies: see Topics.Anew.
type Counts struct {
	Messages uint64
	Assured  [2]uint64 // those of them with QoS 1 and 2
	Bytes    uint64
	Copies   uint64
	Sent     uint64 // copies written for the first time
	Dropped  uint64 // copies
	Unheard  uint64
	Last     int64  // ms, steady clock; 0 = none
	Denied   uint32 // messages
	Refused  uint32
	Largest  uint32
	Topics   uint32 // published to, or kept, in a branch
}

// QoS are the messages by QoS.
func (c *Counts) QoS() [3]uint64 {
	return [3]uint64{c.Messages - c.Assured[0] - c.Assured[1], c.Assured[0], c.Assured[1]}
}

// Fed tells that there was a message.
func (c *Counts) Fed() bool { return c.Messages > 0 }

// By is the weight.
func (c *Counts) By(w Weight) uint64 {
	switch w {
	case ByBytes:
		return c.Bytes
	case ByCopies:
		return c.Copies
	case ByDrops:
		return c.Dropped
	}
	return c.Messages
}

// change adds what a topic has more than before. Differences may be below nothing: sums of them wrap around to what they should be.
func (c *Counts) change(now, before *Counts) {
	c.Messages += now.Messages - before.Messages
	for i := range c.Assured {
		c.Assured[i] += now.Assured[i] - before.Assured[i]
	}
	c.Bytes += now.Bytes - before.Bytes
	c.Copies += now.Copies - before.Copies
	c.Sent += now.Sent - before.Sent
	c.Dropped += now.Dropped - before.Dropped
	c.Unheard += now.Unheard - before.Unheard
	c.Last = max(c.Last, now.Last)
	c.Denied += now.Denied - before.Denied
	c.Refused += now.Refused - before.Refused
	c.Largest = max(c.Largest, now.Largest)
	c.Topics += now.Topics - before.Topics
}

// View is what all loops have counted by topic, with the sums of all branches: a copy that an Update brings up to date by what has changed since the
// one before. It takes 120 bytes a name or branch. Who calls it sees to it that nobody reads it meanwhile; there is one at a time.
type View struct {
	Names *Names
	Heavy [Weights][]Heavy
	// Misses is how heavy a name may be, at most, that has no number of its own and is not in Heavy.
	Misses [Weights]uint64

	slot   uint32
	end    Topic // what is below it is in the view
	sums   paged[Counts]
	rates  paged[Rates]
	kin    paged[kin]
	own    map[Topic]*Sum // of branches that something was counted of by their own name
	listed []Topic        // that something was counted of by their own name
	fresh  touched        // what an Update has to read
	recent touched        // what has changed in this slot: its rate does with the next
	kept   touched        // what counts as a topic whatever was counted of it, see Keep
	faded  bool           // the rates of branches are to be summed up
}

// kin are the levels right below a branch.
type kin struct {
	first, next Topic // the first below it; the next below the same branch
	children    uint32
}

// paged is a list by Topic that grows without being copied.
type paged[T any] []*[pageSize]T

func (p paged[T]) at(t Topic) *T { return &p[t>>pageBits][t&(pageSize-1)] }

func (p *paged[T]) grow(end Topic) {
	for Topic(len(*p))<<pageBits < end {
		*p = append(*p, new([pageSize]T))
	}
}

// NewView returns an empty view: its first Update reads everything.
func NewView(n *Names) *View {
	return &View{Names: n, end: Root, own: make(map[Topic]*Sum), fresh: newTouched(n), recent: newTouched(n), kept: newTouched(n)}
}

// Begin begins an update, as of the five seconds slot. Each loop is asked what is Touched, then Changed is gone through.
func (v *View) Begin(slot uint32) {
	from := max(v.end, Root+1)
	if v.end == Root {
		v.slot, v.faded = slot, true
	}
	v.end = Topic(v.Names.Len())
	v.sums.grow(v.end)
	v.rates.grow(v.end)
	v.kin.grow(v.end)
	for t := from; t < v.end; t++ { // a branch comes before what is below it
		p := v.Names.Parent(t)
		above := v.kin.at(p)
		if above.children == 0 && p != Root {
			if s := v.sums.at(p); *s != (Counts{}) {
				v.own[p] = &Sum{*s, *v.rates.at(p)}
			}
		}
		above.children++
		v.kin.at(t).next, above.first = above.first, t
		v.fresh.add(t) // what was counted of it may have been given to a view before this one
	}
	if gone := slot - v.slot; int32(gone) > 0 {
		v.fade(gone)
		v.slot = slot
	}
}

// fade has rates go on for some slots without messages. Those of branches are made anew by End.
func (v *View) fade(slots uint32) {
	var keep [3]float32
	for i, m := range minutes {
		keep[i] = float32(math.Exp(-slotTime / 60_000.0 / m * float64(slots)))
	}
	for i, w := range v.recent {
		v.fresh[i] |= w
		v.recent[i] = 0
	}
	for t := Root; t < v.end; t++ {
		r := v.rates.at(t)
		switch {
		case v.kin.at(t).children == 0:
			r.fade(&keep)
		case len(v.own) == 0:
			*r = Rates{}
		default:
			if own := v.own[t]; own != nil {
				own.Rates.fade(&keep)
			}
			*r = Rates{}
		}
	}
	v.faded = true
}

// Changed gives what has to be read, some at a time, with a place for the sums, which Topics.Read of each loop adds to. Then the view has them.
func (v *View) Changed(most int) iter.Seq2[[]Topic, []Sum] {
	return func(yield func([]Topic, []Sum) bool) {
		all := v.fresh.list(nil)
		sums := make([]Sum, min(most, len(all)))
		for len(all) > 0 {
			some := all[:min(most, len(all))]
			clear(sums)
			if !yield(some, sums[:len(some)]) {
				return
			}
			for i, t := range some {
				v.take(t, &sums[i])
			}
			all = all[len(some):]
		}
	}
}

// take replaces what is known of a topic.
func (v *View) take(t Topic, now *Sum) {
	var before Counts
	if v.kept.has(t) {
		now.Topics = 1
	}
	if v.kin.at(t).children == 0 {
		before = *v.sums.at(t)
		*v.rates.at(t) = now.Rates
	} else {
		own := v.own[t]
		if own == nil {
			if *now == (Sum{}) {
				return
			}
			own = new(Sum)
			v.own[t] = own
		}
		before = own.Counts
		*own = *now
	}
	if now.Counts == before {
		return
	}
	if before == (Counts{}) {
		v.listed = append(v.listed, t)
	}
	v.recent.add(t)
	for ; t != 0; t = v.Names.Parent(t) {
		v.sums.at(t).change(&now.Counts, &before)
	}
}

// End ends an update.
func (v *View) End(heavy [Weights][][]Heavy) {
	for by := range heavy {
		v.Heavy[by], v.Misses[by] = Heaviest(heavy[by])
	}
	if !v.faded {
		return
	}
	v.faded = false
	for t := v.end - 1; t > Root; t-- { // what is below a branch comes before it
		r := v.rates.at(t)
		if len(v.own) > 0 && v.kin.at(t).children > 0 {
			if own := v.own[t]; own != nil {
				r.add(own.Rates)
			}
		}
		if *r != (Rates{}) {
			v.rates.at(v.Names.Parent(t)).add(*r)
		}
	}
}

// Len is how many numbers the view may have: all are below it.
func (v *View) Len() int { return int(v.end) }

// Has tells whether a topic or branch is in the view.
func (v *View) Has(t Topic) bool { return t >= Root && t < v.end }

// Own are the counts of a topic alone, without what is below it. They are not to be changed.
func (v *View) Own(t Topic) (*Counts, *Rates) {
	if v.kin.at(t).children == 0 {
		return v.Branch(t)
	}
	if own := v.own[t]; own != nil {
		return &own.Counts, &own.Rates
	}
	return new(Counts), new(Rates)
}

// Branch are the counts of a topic and all that is below it. They are not to be changed.
func (v *View) Branch(t Topic) (*Counts, *Rates) { return v.sums.at(t), v.rates.at(t) }

// Listed are the topics that something was counted of by their own name, in no order. They are not to be changed.
func (v *View) Listed() []Topic { return v.listed }

// Children is how many levels are right below a branch.
func (v *View) Children(t Topic) int { return int(v.kin.at(t).children) }

// Below are the levels right below a branch, in no order.
func (v *View) Below(t Topic) iter.Seq[Topic] {
	return func(yield func(Topic) bool) {
		for c := v.kin.at(t).first; c != 0 && yield(c); {
			c = v.kin.at(c).next
		}
	}
}

// Matching are the topics that were published to and that a filter matches. Only the branches that it may match are looked at.
func (v *View) Matching(filter string) iter.Seq[Topic] {
	return func(yield func(Topic) bool) { v.match(Root, filter, yield) }
}

// match gives what is below a branch and matches the rest of a filter; false = it is enough.
func (v *View) match(branch Topic, filter string, yield func(Topic) bool) bool {
	level, rest, more := strings.Cut(filter, "/")
	if level == "#" {
		return v.within(branch, yield)
	}
	is := func(t Topic) bool {
		if more {
			return v.match(t, rest, yield)
		}
		own, _ := v.Own(t)
		return !own.Fed() || yield(t)
	}
	if level != "+" {
		t := v.Names.Below(branch, []byte(level))
		return t == 0 || t >= v.end || is(t)
	}
	for t := range v.Below(branch) {
		if !v.reserved(t) && !is(t) {
			return false
		}
	}
	return true
}

// within gives a topic and what is below it.
func (v *View) within(t Topic, yield func(Topic) bool) bool {
	if !v.sums.at(t).Fed() {
		return true
	}
	if own, _ := v.Own(t); t != Root && own.Fed() && !yield(t) {
		return false
	}
	for c := range v.Below(t) {
		if !v.reserved(c) && !v.within(c, yield) {
			return false
		}
	}
	return true
}

// reserved tells whether it is a first level that no wildcard stands for.
func (v *View) reserved(t Topic) bool {
	level := v.Names.Level(t)
	return len(level) > 0 && level[0] == '$' && v.Names.Parent(t) == Root
}

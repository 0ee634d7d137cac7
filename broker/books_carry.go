package broker

import (
	"context"

	"github.com/sapwood-mqtt/sapwood/broker/tally"
)

// Carry is how the counts by topic and by client go from one run to the next: they are read in slices, as a View does, and added to what a
// new broker has counted. The rows of another run may have come from another number of loops: what is carried is counted by the first.
type Carry struct{ reach }

// Carry returns it.
func (b *Broker) Carry() *Carry { return &Carry{reach{b}} }

// Names are the names and branches of all topics.
func (x *Carry) Names() *tally.Names { return x.b.topics.names }

// Topics gives what was counted of each name and branch that there is when it is called, in order: a branch before what is below it. What
// each gets is not there any more when it is back. After Close it is what there is at the end.
func (x *Carry) Topics(ctx context.Context, each func(tally.Topic, *tally.Detail) error) error {
	details := make([]tally.Detail, topicRows)
	end := tally.Topic(x.b.topics.names.Len())
	for from := tally.Root + 1; from < end; from += topicRows {
		some := details[:min(end-from, topicRows)]
		clear(some)
		for _, sh := range x.b.shards {
			if err := x.within(ctx, sh, func() {
				for i := range some {
					sh.books.topics.Account(from+tally.Topic(i), &sh.books.publishers, &some[i])
				}
			}); err != nil {
				return err
			}
		}
		for i := range some {
			if err := each(from+tally.Topic(i), &some[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Heavy are the heaviest of the names that have no number.
func (x *Carry) Heavy(ctx context.Context) (all [tally.Weights][]tally.Heavy, err error) {
	var lists [tally.Weights][][]tally.Heavy
	for _, sh := range x.b.shards {
		if err := x.within(ctx, sh, func() {
			for by := range lists {
				lists[by] = append(lists[by], sh.books.topics.Heavy(tally.Weight(by)))
			}
		}); err != nil {
			return all, err
		}
	}
	for by := range lists {
		all[by], _ = tally.Heaviest(lists[by])
	}
	return all, nil
}

// Session is what was counted of a client whose session the store has.
type Session struct {
	Client string
	Number uint64 // by which the store knows it
	Tally  tally.Client
}

// Sessions gives what was counted of each client that has a stored session, in no order.
func (x *Carry) Sessions(ctx context.Context, each func(*Session) error) error {
	for _, sh := range x.b.shards {
		var clients []*client
		some := make([]Session, 0, slice)
		if err := x.within(ctx, sh, func() {
			for _, c := range sh.byID {
				if c.stored != 0 && c.tally != nil {
					clients = append(clients, c)
				}
			}
		}); err != nil {
			return err
		}
		for len(clients) > 0 {
			part := clients[:min(len(clients), slice)]
			clients = clients[len(part):]
			some = some[:0]
			if err := x.within(ctx, sh, func() {
				for _, c := range part {
					if t := c.account(); t != nil && sh.byID[c.id] == c {
						some = append(some, Session{c.id, uint64(c.stored), t.Copy()})
					}
				}
			}); err != nil {
				return err
			}
			for i := range some {
				if err := each(&some[i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Counted is what was counted of a topic before.
type Counted struct {
	Topic tally.Topic
	tally.Detail
}

// AddTopics adds what was counted of topics before.
func (x *Carry) AddTopics(ctx context.Context, all []Counted) error {
	for len(all) > 0 {
		some := all[:min(len(all), topicRows)]
		all = all[len(some):]
		if err := x.in(ctx, x.b.shards[0], func() {
			k := &x.b.shards[0].books
			for i := range some {
				k.topics.Carry(some[i].Topic, &k.publishers, &some[i].Detail)
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// AddHeavy adds names without a number that were found heavy before, the heaviest first.
func (x *Carry) AddHeavy(ctx context.Context, by tally.Weight, names []tally.Heavy) error {
	return x.in(ctx, x.b.shards[0], func() { x.b.shards[0].books.topics.CarryHeavy(by, names) })
}

// AddSessions adds what was counted of clients before, of those that still have the session; clean tells that the run before was stopped.
func (x *Carry) AddSessions(ctx context.Context, all []Session, clean bool) error {
	byShard := make([][]*Session, len(x.b.shards))
	for i := range all {
		at := x.b.shardOf(all[i].Client).index
		byShard[at] = append(byShard[at], &all[i])
	}
	for i, part := range byShard {
		sh := x.b.shards[i]
		if err := x.in(ctx, sh, func() {
			for _, s := range part {
				if c := sh.byID[s.Client]; c != nil && uint64(c.stored) == s.Number {
					c.settle()
					sh.books.of(c).Carry(&s.Tally, clean)
				}
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

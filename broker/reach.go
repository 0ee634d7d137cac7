package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// reach is how others have something done on the broker's loops, and wait for it. What they do or see there comes after everything that was
// acknowledged before they asked: see abreast.
type reach struct{ b *Broker }

// abreast brings a shard up to date before somebody outside of its turn looks at it. An acknowledgement is written at the end of the turn in which
// it was earned, behind the mail of that turn (Turn, loop.turn): whoever has it finds the message either here or in the inbox.
func (x *mailbox) abreast() {
	x.sh.tick(x.sh.loop.Now())
	x.collect()
	x.sh.books.settleAll()
}

// slice is how many clients are looked at before a loop goes on with its work.
const slice = 1000

// onAll runs do for every client, on the loops of their shards, and counts those for which it is true. Of those who are no
// clients yet the news, nil = none, is not lost.
func (r reach) onAll(ctx context.Context, told *news, do func(*shard, *client) bool) (int, error) {
	n := 0
	for _, sh := range r.b.shards {
		var clients []*client
		err := r.in(ctx, sh, func() {
			clients = slices.Collect(maps.Values(sh.byID))
			if told != nil {
				told.tell(sh)
			}
		})
		for err == nil && len(clients) > 0 {
			part := clients[:min(len(clients), slice)]
			clients = clients[len(part):]
			err = r.in(ctx, sh, func() {
				for _, c := range part {
					if c.s.Ended() {
						continue
					}
					func() {
						defer sh.rescue(c)
						if do(sh, c) {
							n++
						}
					}()
				}
			})
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// in runs do on a shard's loop.
func (r reach) in(ctx context.Context, sh *shard, do func()) error {
	done := make(chan error, 1)
	sh.loop.Post(func() {
		sh.mail.abreast()
		defer func() { done <- nil }()
		do()
	})
	return r.wait(ctx, done)
}

// turns runs next on a shard's loop, once in each of its turns, for as long as there is more to do.
func (r reach) turns(ctx context.Context, sh *shard, next func() (more bool)) error {
	done := make(chan error, 1)
	var turn func()
	turn = func() {
		sh.mail.abreast()
		more := false
		defer func() {
			switch {
			case !more:
				done <- nil
			case ctx.Err() == nil: // else nobody waits
				sh.loop.Post(turn)
			}
		}()
		more = next()
	}
	sh.loop.Post(turn)
	return r.wait(ctx, done)
}

// kept is in, and returns when what do gave the store is kept too, or why it is not.
func (r reach) kept(ctx context.Context, sh *shard, do func()) error {
	done := make(chan error, 1)
	sh.loop.Post(func() {
		sh.mail.abreast()
		b := sh.commits.batch // of this turn: it goes to the store when the turn ends
		was := len(b.Records)
		defer func() {
			if len(b.Records) == was {
				done <- nil
				return
			}
			b.answers = append(b.answers, answer(done))
		}()
		do()
	})
	return r.wait(ctx, done)
}

// answer sends what became of a batch to one who waits for it.
func answer(done chan<- error) func(error) {
	return func(err error) {
		if err != nil {
			err = fmt.Errorf("the store did not keep it: %w", err)
		}
		done <- err
	}
}

// on runs do on the loop of the shard that owns a client id.
func (r reach) on(ctx context.Context, id string, do func(*shard, *client)) error {
	sh := r.b.shardOf(id)
	done := make(chan error, 1)
	sh.loop.Post(func() {
		sh.mail.abreast()
		c := sh.byID[id]
		if c == nil {
			done <- ErrNoClient
			return
		}
		defer func() { done <- nil }()
		defer sh.rescue(c)
		do(sh, c)
	})
	return r.wait(ctx, done)
}

func (r reach) wait(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-r.b.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// within runs do on a shard's loop, or here when no loop runs any more.
func (r reach) within(ctx context.Context, sh *shard, do func()) error {
	err := r.in(ctx, sh, do)
	if err == ErrClosed {
		sh.books.settleAll()
		do()
		return nil
	}
	return err
}

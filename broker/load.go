package broker

import (
	"sync"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// loadSlice is how many sessions or messages are handed on at a time while a store is loaded, loadAhead how many slices
// may wait for one shard.
const (
	loadSlice = 256
	loadAhead = 16
)

// load takes over what the store kept: the store reads, each shard makes its clients, and one goroutine more the
// retained messages, all at once.
func (b *Broker) load() error {
	now := b.clock(b.started)
	highest := b.store.Past().Session
	var work sync.WaitGroup
	sessions := make([]*relay[*store.Recovered], len(b.shards))
	for i, sh := range b.shards {
		sessions[i] = newRelay(&work, func(r *store.Recovered) { sh.restore(r, now) })
	}
	// What has expired meanwhile leaves the store as it would have.
	retained := newRelay(&work, b.retained.set)
	err := b.store.Load(func(r *store.Recovered) error {
		highest = max(highest, r.Session.ID)
		sessions[b.shardOf(r.Session.ClientID).index].add(r)
		return nil
	}, func(m *mqtt.Message) error {
		retained.add(m)
		return nil
	})
	for _, s := range sessions {
		s.end()
	}
	retained.end()
	work.Wait()
	b.nextSession.Store(uint64(highest))
	return err
}

// relay hands values on to a goroutine of their own, many at a time.
type relay[T any] struct {
	filling []T
	full    chan []T
}

// newRelay has do called for each value in the order in which they are added; work ends once end was called.
func newRelay[T any](work *sync.WaitGroup, do func(T)) *relay[T] {
	s := &relay[T]{full: make(chan []T, loadAhead)}
	work.Go(func() {
		for values := range s.full {
			for _, v := range values {
				do(v)
			}
		}
	})
	return s
}

func (s *relay[T]) add(v T) {
	if s.filling = append(s.filling, v); len(s.filling) == loadSlice {
		s.full <- s.filling
		s.filling = make([]T, 0, loadSlice)
	}
}

func (s *relay[T]) end() {
	s.full <- s.filling
	close(s.full)
}

// Package memory keeps facts for as long as the process lives, for a broker that keeps nothing on disk. It looks through all of them
// for an answer, so it is for few.
package memory

import (
	"context"
	"slices"
	"sort"
	"sync"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// Store is a fact.Store. The zero value is empty and ready.
type Store struct {
	mu    sync.RWMutex
	facts []fact.Fact // ids grow
	bytes int64
	last  uint64
}

var _ fact.Store = (*Store)(nil)

// Append implements fact.Store.
func (s *Store) Append(_ context.Context, facts []fact.Fact) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range facts {
		s.bytes += int64(facts[i].Size())
		s.last = facts[i].ID
	}
	s.facts = append(s.facts, facts...)
	return nil
}

// Query implements fact.Store.
func (s *Store) Query(_ context.Context, q fact.Query) (p fact.Page, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	part := s.facts[s.after(q.After):]
	if q.Before != 0 {
		part = part[:max(0, s.after(q.Before-1)-s.after(q.After))]
	}
	for i := range part {
		f := &part[i]
		if !q.Oldest {
			f = &part[len(part)-1-i]
		}
		if q.Match(f) && !p.Take(&q, f) {
			break
		}
	}
	return p, nil
}

// after is the place of the first fact whose id is above one.
func (s *Store) after(id uint64) int {
	return sort.Search(len(s.facts), func(i int) bool { return s.facts[i].ID > id })
}

// Trim implements fact.Store.
func (s *Store) Trim(_ context.Context, below uint64, bytes int64, step int) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n < step && n < len(s.facts) && (s.facts[n].ID < below || bytes > 0 && s.bytes > bytes) {
		s.bytes -= int64(s.facts[n].Size())
		n++
	}
	clear(s.facts[:n]) // what they hold is free before the array is
	s.facts = s.facts[n:]
	if cap(s.facts) > 4*len(s.facts)+1024 {
		s.facts = slices.Clone(s.facts)
	}
	return n, nil
}

// Size implements fact.Store.
func (s *Store) Size(context.Context) (fact.Size, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	z := fact.Size{Bytes: s.bytes}
	if len(s.facts) > 0 {
		z.Oldest = s.facts[0].ID
	}
	return z, nil
}

// Last implements fact.Store.
func (s *Store) Last(context.Context) (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last, nil
}

// Close implements fact.Store.
func (s *Store) Close() error { return nil }

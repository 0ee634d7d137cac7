package accounts

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a Store that lasts as long as the process. Make one with NewMemory.
type Memory struct {
	mu     sync.Mutex
	closed bool
	batch  Revision
	state  memory
}

// memory is what is kept. A batch works on a copy of it.
type memory struct {
	users  map[string]User
	groups map[string]Group
	rules  map[string]Rule
	bans   map[string]Ban
}

var _ Store = (*Memory)(nil)

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{state: memory{map[string]User{}, map[string]Group{}, map[string]Rule{}, map[string]Ban{}}}
}

// progressEvery is after how many changes progress is told.
const progressEvery = 1000

// Apply is Store's. It copies all that is there first.
func (m *Memory) Apply(ctx context.Context, changes []Change, progress func(done int)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	next := memory{maps.Clone(m.state.users), maps.Clone(m.state.groups), maps.Clone(m.state.rules), maps.Clone(m.state.bans)}
	now := time.Now().UTC().Truncate(time.Millisecond)
	for i := range changes {
		c := &changes[i]
		if err := next.apply(c, Stamp{m.batch + 1, now, now}); err != nil {
			return &ChangeError{i, c.Item(), err}
		}
		if done := i + 1; done%progressEvery == 0 || done == len(changes) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if progress != nil {
				progress(done)
			}
		}
	}
	if i, err := next.check(changes); err != nil {
		return &ChangeError{i, changes[i].Item(), err}
	}
	m.state = next
	m.batch++
	return nil
}

func (m *memory) apply(c *Change, s Stamp) error {
	c.Was = nil
	switch {
	case c.User != nil:
		was, there := m.users[c.User.Name]
		if there {
			was = was.clone()
			c.Was = &was
		}
		return change(c, m.users, c.User.Name, c.User, &c.User.Stamp, was.Stamp, s, User.clone)
	case c.Group != nil:
		return change(c, m.groups, c.Group.Name, c.Group, &c.Group.Stamp, m.groups[c.Group.Name].Stamp, s, self)
	case c.Rule != nil:
		return change(c, m.rules, c.Rule.ID, c.Rule, &c.Rule.Stamp, m.rules[c.Rule.ID].Stamp, s, self)
	}
	return change(c, m.bans, c.Ban.ID, c.Ban, &c.Ban.Stamp, m.bans[c.Ban.ID].Stamp, s, self)
}

func change[T any](c *Change, in map[string]T, key string, item *T, stamp *Stamp, was, s Stamp, clone func(T) T) error {
	if err := c.Judge(was.Revision); err != nil {
		return err
	}
	if c.Delete {
		delete(in, key)
		return nil
	}
	if was.Revision != 0 {
		s.Created = was.Created
	}
	*stamp = s
	in[key] = clone(*item)
	return nil
}

func self[T any](v T) T { return v }

func (u User) clone() User {
	u.Groups, u.Keys = slices.Clone(u.Groups), slices.Clone(u.Keys)
	return u
}

// check finds the change that leaves a user in a group that is not there.
func (m *memory) check(changes []Change) (int, error) {
	gone := map[string]int{}
	for i, c := range changes {
		switch {
		case c.User != nil:
			for _, g := range m.users[c.User.Name].Groups {
				if _, there := m.groups[g]; !there {
					return i, ErrNoGroup
				}
			}
		case c.Group != nil && c.Delete:
			gone[c.Group.Name] = i
		}
	}
	if len(gone) == 0 {
		return 0, nil
	}
	for _, u := range m.users {
		for _, g := range u.Groups {
			if i, lost := gone[g]; lost {
				if _, back := m.groups[g]; !back {
					return i, ErrInUse
				}
			}
		}
	}
	return 0, nil
}

// User is Store's.
func (m *Memory) User(ctx context.Context, name string) (User, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.open(ctx); err != nil {
		return User{}, err
	}
	u, there := m.state.users[name]
	if !there {
		return User{}, ErrNotFound
	}
	return u.clone(), nil
}

func (m *Memory) open(ctx context.Context) error {
	if m.closed {
		return ErrClosed
	}
	return ctx.Err()
}

// Users is Store's.
func (m *Memory) Users(ctx context.Context, page Page) ([]User, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.open(ctx); err != nil {
		return nil, err
	}
	var list []User
	for name, u := range m.state.users {
		if strings.HasPrefix(name, page.Prefix) && name > page.After && (page.Group == "" || slices.Contains(u.Groups, page.Group)) {
			list = append(list, u.clone())
		}
	}
	slices.SortFunc(list, func(a, b User) int { return cmp.Compare(a.Name, b.Name) })
	return list[:min(len(list), page.Size())], nil
}

// Groups is Store's.
func (m *Memory) Groups(ctx context.Context) ([]Group, error) {
	return sorted(ctx, m, func(s *memory) map[string]Group { return s.groups })
}

// Rules is Store's.
func (m *Memory) Rules(ctx context.Context) ([]Rule, error) {
	return sorted(ctx, m, func(s *memory) map[string]Rule { return s.rules })
}

// Bans is Store's.
func (m *Memory) Bans(ctx context.Context) ([]Ban, error) {
	return sorted(ctx, m, func(s *memory) map[string]Ban { return s.bans })
}

func sorted[T any](ctx context.Context, m *Memory, of func(*memory) map[string]T) ([]T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.open(ctx); err != nil {
		return nil, err
	}
	in := of(&m.state)
	var list []T
	for _, key := range slices.Sorted(maps.Keys(in)) {
		list = append(list, in[key])
	}
	return list, nil
}

// Close is Store's.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

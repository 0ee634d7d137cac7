package access

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Store keeps what outlives the process: records by kind and name, and the audit log. Records are few; they are read once, at the
// start. What a method did is on the disk when it returns nil, if the store is on one. The methods are called from any goroutine.
type Store interface {
	// Records are all of a kind, by name.
	Records(ctx context.Context, kind string) (map[string][]byte, error)
	// PutRecord makes a record or replaces it; a nil body removes it, if it is there.
	PutRecord(ctx context.Context, kind, name string, body []byte) error
	// AppendAudit adds an entry. Ids grow, also over those that were removed.
	AppendAudit(ctx context.Context, at time.Time, body []byte) (id int64, err error)
	// Audit gives entries with ids below before, the newest first, until each returns false; 0 = from the newest on.
	Audit(ctx context.Context, before int64, each func(id int64, body []byte) bool) error
	// TrimAudit removes all but the newest keep, and those that are older than a time.
	TrimAudit(ctx context.Context, keep int, older time.Time) error
}

// The kinds of records.
const (
	operatorKind = "operator"
	keyKind      = "key"
)

// Memory is a Store that lasts as long as the process.
type Memory struct {
	mu      sync.Mutex
	records map[[2]string][]byte // by kind and name
	audit   []kept
	last    int64
}

type kept struct {
	id   int64
	at   time.Time
	body []byte
}

// NewMemory is an empty one.
func NewMemory() *Memory { return &Memory{records: map[[2]string][]byte{}} }

// Records implements Store.
func (m *Memory) Records(_ context.Context, kind string) (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string][]byte{}
	for k, body := range m.records {
		if k[0] == kind {
			found[k[1]] = body
		}
	}
	return found, nil
}

// PutRecord implements Store.
func (m *Memory) PutRecord(_ context.Context, kind, name string, body []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if body == nil {
		delete(m.records, [2]string{kind, name})
		return nil
	}
	m.records[[2]string{kind, name}] = slices.Clone(body)
	return nil
}

// AppendAudit implements Store.
func (m *Memory) AppendAudit(_ context.Context, at time.Time, body []byte) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	m.audit = append(m.audit, kept{m.last, at, slices.Clone(body)})
	return m.last, nil
}

// Audit implements Store.
func (m *Memory) Audit(_ context.Context, before int64, each func(id int64, body []byte) bool) error {
	m.mu.Lock()
	all := slices.Clone(m.audit)
	m.mu.Unlock()
	for _, e := range slices.Backward(all) {
		if (before == 0 || e.id < before) && !each(e.id, e.body) {
			return nil
		}
	}
	return nil
}

// TrimAudit implements Store.
func (m *Memory) TrimAudit(_ context.Context, keep int, older time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if over := len(m.audit) - keep; over > 0 {
		m.audit = slices.Delete(m.audit, 0, over)
	}
	m.audit = slices.DeleteFunc(m.audit, func(e kept) bool { return e.at.Before(older) })
	return nil
}

// sorted are the keys of a map, in order.
func sorted[T any](of map[string]T) []string { return slices.Sorted(maps.Keys(of)) }

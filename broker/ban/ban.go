// Package ban is the table of those who are kept out, or apart: by client id, user, address or network, for a time or for
// ever. It knows no connection: whoever has one asks, and does what the answer says.
package ban

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Subject is what a ban is about.
type Subject string

// The subjects.
const (
	Client  Subject = "client"  // a client id
	User    Subject = "user"    // the name of an identity; * stands for any characters
	Address Subject = "address" // an address, or a network such as 192.0.2.0/24
	Pattern Subject = "pattern" // client ids, in which * stands for any characters
)

// Ban keeps somebody out, or apart. There is one for each subject and value.
type Ban struct {
	Subject    Subject
	Value      string
	Quarantine bool      // may connect, but is kept apart
	Reason     string    // for the one it is about
	By         string    // who said so
	Until      time.Time // zero = for ever
}

// Text is what the one it is about is told.
func (b *Ban) Text() string {
	text := "banned"
	if b.Quarantine {
		text = "quarantined"
	}
	if !b.Until.IsZero() {
		text += " until " + b.Until.UTC().Format(time.RFC3339)
	}
	if b.Reason != "" {
		text += ": " + b.Reason
	}
	return text
}

func (b *Ban) over(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }

// Store keeps bans beyond the process.
type Store interface {
	PutBan(ctx context.Context, b Ban) error
	RemoveBan(ctx context.Context, b Ban) error
}

// Table holds bans, many thousands of them. Looking up takes no longer for more of them, but for patterns. Its methods may be
// called from any goroutine. The zero value is empty and keeps nothing beyond the process.
type Table struct {
	store Store
	count atomic.Int64 // so that a table without bans costs nothing

	mu       sync.RWMutex
	exact    map[key]*Ban
	networks map[netip.Prefix]*Ban
	lengths  map[length]int // of networks: how many there are
	patterns map[key]*Ban   // with a *
	ended    []Ban          // their time is over; Sweep tells
}

type key struct {
	subject Subject
	value   string
}

// length is a length of prefixes that occurs in a family.
type length struct {
	bits int
	is4  bool
}

// New makes a table whose changes are kept in store, nil = nowhere.
func New(store Store) *Table { return &Table{store: store} }

// ErrUnknown says that there is no such ban.
var ErrUnknown = errors.New("no such ban")

// Load puts in bans that the store has.
func (t *Table) Load(bans []Ban) error {
	var errs []error
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range bans {
		errs = append(errs, t.put(b))
	}
	return errors.Join(errs...)
}

// Add puts a ban in the place of what was there for the same subject and value, and returns that. It is in force when it is kept.
func (t *Table) Add(ctx context.Context, b Ban) (was *Ban, err error) {
	if b.Value, err = canonical(b.Subject, b.Value); err != nil {
		return nil, err
	}
	if t.store != nil {
		if err := t.store.PutBan(ctx, b); err != nil {
			return nil, fmt.Errorf("keep the ban of %s %q: %w", b.Subject, b.Value, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	was = t.find(b.Subject, b.Value)
	return was, t.put(b)
}

// ErrOutlasts says that there is a ban that holds longer.
var ErrOutlasts = errors.New("there is a ban that holds longer")

// AddNow is Add without the store: for a ban that is not meant to outlive the process, by whoever must not wait. It takes
// the place of none that holds longer: that would be a way out of it.
func (t *Table) AddNow(b Ban) (err error) {
	if b.Value, err = canonical(b.Subject, b.Value); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if was := t.find(b.Subject, b.Value); was != nil && (was.Until.IsZero() || !b.Until.IsZero() && was.Until.After(b.Until)) {
		return ErrOutlasts
	}
	return t.put(b)
}

// Remove takes a ban out and returns it, or ErrUnknown.
func (t *Table) Remove(ctx context.Context, subject Subject, value string) (Ban, error) {
	value, err := canonical(subject, value)
	if err != nil {
		return Ban{}, err
	}
	t.mu.RLock()
	was := t.find(subject, value)
	t.mu.RUnlock()
	if was == nil {
		return Ban{}, ErrUnknown
	}
	if t.store != nil {
		if err := t.store.RemoveBan(ctx, *was); err != nil {
			return Ban{}, fmt.Errorf("lift the ban of %s %q: %w", subject, value, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(was)
	return *was, nil
}

// List returns the bans in force, by subject and value, and forgets those whose time is over.
func (t *Table) List(now time.Time) []Ban {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	list := make([]Ban, 0, t.count.Load())
	for _, m := range []map[key]*Ban{t.exact, t.patterns} {
		for b := range maps.Values(m) {
			list = append(list, *b)
		}
	}
	for b := range maps.Values(t.networks) {
		list = append(list, *b)
	}
	slices.SortFunc(list, func(a, b Ban) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Value, b.Value))
	})
	return list
}

// Client is the ban in force for a client id, nil = none. What keeps out comes before what keeps apart, here and below.
func (t *Table) Client(now time.Time, id string) *Ban { return t.named(now, Client, Pattern, id) }

// User is the ban in force for the name of an identity, nil = none, as for "".
func (t *Table) User(now time.Time, name string) *Ban {
	if name == "" {
		return nil
	}
	return t.named(now, User, User, name)
}

// Address is the ban in force for an address, nil = none.
func (t *Table) Address(now time.Time, addr netip.Addr) *Ban {
	if t.count.Load() == 0 || !addr.IsValid() {
		return nil
	}
	addr = addr.Unmap().WithZone("")
	t.mu.RLock()
	defer t.mu.RUnlock()
	var worst *Ban
	for l := range t.lengths {
		if l.is4 != addr.Is4() {
			continue
		}
		if network, err := addr.Prefix(l.bits); err == nil {
			worst = worse(now, worst, t.networks[network])
		}
	}
	return worst
}

// Any is the ban in force for any of the three, nil = none.
func (t *Table) Any(now time.Time, client, user string, addr netip.Addr) *Ban {
	if t.count.Load() == 0 {
		return nil
	}
	return worse(now, worse(now, t.Client(now, client), t.User(now, user)), t.Address(now, addr))
}

func (t *Table) named(now time.Time, subject, pattern Subject, name string) *Ban {
	if t.count.Load() == 0 {
		return nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	worst := worse(now, nil, t.exact[key{subject, name}])
	for k, b := range t.patterns {
		if k.subject == pattern && (worst == nil || worst.Quarantine) && topic.Like(k.value, name) {
			worst = worse(now, worst, b)
		}
	}
	return worst
}

// worse is the one of two bans that counts.
func worse(now time.Time, a, b *Ban) *Ban {
	if b == nil || b.over(now) || a != nil && (!a.Quarantine || b.Quarantine) {
		return a
	}
	return b
}

// canonical is the one way to write a value.
func canonical(subject Subject, value string) (string, error) {
	switch subject {
	case Client, User, Pattern:
		if value == "" {
			return "", fmt.Errorf("a ban of a %s needs its name", subject)
		}
		return value, nil
	case Address:
		network, err := NetworkOf(value)
		if err != nil {
			return "", err
		}
		if network.IsSingleIP() {
			return network.Addr().String(), nil
		}
		return network.String(), nil
	}
	return "", fmt.Errorf("a ban is about a client, user, address or pattern, not about a %q", string(subject))
}

// NetworkOf reads an address or a network; a mapped one (::ffff:192.0.2.1) is the one that it stands for.
func NetworkOf(value string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(value)
	if err != nil {
		addr, err := netip.ParseAddr(value)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network such as 192.0.2.0/24", value)
		}
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if network.Addr().Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	return network.Masked(), nil
}

// find is the ban of a canonical value.
func (t *Table) find(subject Subject, value string) *Ban {
	if subject == Address {
		network, err := NetworkOf(value)
		if err != nil {
			return nil
		}
		return t.networks[network]
	}
	if k := (key{subject, value}); t.exact[k] != nil {
		return t.exact[k]
	}
	return t.patterns[key{subject, value}]
}

func (t *Table) put(b Ban) (err error) {
	if b.Value, err = canonical(b.Subject, b.Value); err != nil {
		return err
	}
	if t.exact == nil {
		t.exact, t.patterns = make(map[key]*Ban), make(map[key]*Ban)
		t.networks, t.lengths = make(map[netip.Prefix]*Ban), make(map[length]int)
	}
	if was := t.find(b.Subject, b.Value); was != nil {
		t.drop(was)
	}
	switch {
	case b.Subject == Address:
		network, err := NetworkOf(b.Value)
		if err != nil {
			return err
		}
		t.networks[network] = &b
		t.lengths[length{network.Bits(), network.Addr().Is4()}]++
	case b.Subject == Pattern, b.Subject == User && strings.Contains(b.Value, "*"):
		t.patterns[key{b.Subject, b.Value}] = &b
	default:
		t.exact[key{b.Subject, b.Value}] = &b
	}
	t.count.Add(1)
	return nil
}

// drop takes out a ban, if it is still there.
func (t *Table) drop(b *Ban) {
	k := key{b.Subject, b.Value}
	network, err := NetworkOf(b.Value)
	switch {
	case b.Subject == Address && err == nil && t.networks[network] == b:
		delete(t.networks, network)
		l := length{network.Bits(), network.Addr().Is4()}
		if t.lengths[l]--; t.lengths[l] == 0 {
			delete(t.lengths, l)
		}
	case t.exact[k] == b:
		delete(t.exact, k)
	case t.patterns[k] == b:
		delete(t.patterns, k)
	default:
		return
	}
	t.count.Add(-1)
}

// Sweep forgets the bans whose time is over, and returns those that were forgotten since it was last called.
func (t *Table) Sweep(now time.Time) (ended []Ban) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	ended, t.ended = t.ended, nil
	return ended
}

func (t *Table) sweep(now time.Time) {
	for _, m := range []map[key]*Ban{t.exact, t.patterns} {
		for _, b := range m {
			if b.over(now) {
				t.drop(b)
				t.ended = append(t.ended, *b)
			}
		}
	}
	for _, b := range t.networks {
		if b.over(now) {
			t.drop(b)
			t.ended = append(t.ended, *b)
		}
	}
}

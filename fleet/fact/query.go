package fact

import (
	"net"
	"slices"
	"strings"
	"time"
)

// The limits of a page.
const (
	DefaultLimit = 100
	MaxLimit     = 10_000
)

// Page is what a Query found, in the order that it asked for.
type Page struct {
	Facts []Fact
	Next  uint64 // for Before, with Oldest for After, of the Query for the next page; 0 = there is no more. A page may have fewer facts than the limit, even none, and still a next one.
}

// Normal is the query with what its zero values stand for, and with names cut as Record cuts them. Stores are asked normal queries only.
func (q Query) Normal() Query {
	if q.Limit <= 0 {
		q.Limit = DefaultLimit
	}
	q.Limit = min(q.Limit, MaxLimit)
	q.Clients = slices.Clone(q.Clients)
	for i, c := range q.Clients {
		q.Clients[i] = clip(c, maxName)
	}
	q.Topic, q.User = clip(q.Topic, maxName), clip(q.User, maxName)
	q.Text = lower(q.Text)
	return q
}

// Match tells whether a normal query asks for a fact.
func (q *Query) Match(f *Fact) bool {
	switch {
	case len(q.Clients) > 0 && !slices.Contains(q.Clients, f.Client),
		len(q.Kinds) > 0 && !slices.Contains(q.Kinds, f.Kind),
		q.User != "" && q.User != f.User,
		q.Reason != "" && q.Reason != f.Reason,
		q.Before != 0 && f.ID >= q.Before,
		f.ID <= q.After,
		!q.From.IsZero() && f.At.Before(q.From),
		!q.To.IsZero() && !f.At.Before(q.To),
		q.Address != "" && q.Address != Host(f.Address),
		q.Topic != "" && !Overlap(q.Topic, f.Topic),
		q.Text != "" && !strings.Contains(lower(f.Text), q.Text):
		return false
	}
	return true
}

// lower writes the letters of ASCII small, and leaves others: as databases do.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Host is an address without its port.
func Host(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// IDAt is the lowest id that a fact of a time can have: ids are microseconds since 1970, or above where several came at once.
func IDAt(t time.Time) uint64 { return uint64(max(t.UnixMicro(), 0)) }

// Take appends a fact that a store has found to a page, unless the page is full: then it sets Next, and the search is over.
func (p *Page) Take(q *Query, f *Fact) (more bool) {
	if len(p.Facts) == q.Limit {
		p.Next = p.Facts[q.Limit-1].ID
		return false
	}
	p.Facts = append(p.Facts, *f)
	return true
}

// The lengths in bytes at which what others wrote is cut: a name may be 65,535 bytes long, and a filter as well.
const (
	maxName = 1024
	maxText = 2048
)

// clip cuts a text before the rune that does not fit.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}

// trim cuts what is too long in a fact.
func (f *Fact) trim() {
	f.Client, f.User, f.Topic = clip(f.Client, maxName), clip(f.User, maxName), clip(f.Topic, maxName)
	f.Address, f.Listener, f.Reason = clip(f.Address, maxName), clip(f.Listener, maxName), clip(f.Reason, maxName)
	f.Text = clip(f.Text, maxText)
	long := false
	for k, v := range f.Detail {
		long = long || len(k) > maxName || len(v) > maxText
	}
	if !long {
		return
	}
	short := make(map[string]string, len(f.Detail)) // the caller's is not ours to change
	for k, v := range f.Detail {
		short[clip(k, maxName)] = clip(v, maxText)
	}
	f.Detail = short
}

// Size is about what a fact takes in memory, in bytes.
func (f *Fact) Size() int {
	n := 240 + len(f.Client) + len(f.User) + len(f.Address) + len(f.Listener) + len(f.Topic) + len(f.Reason) + len(f.Text)
	if f.Detail != nil {
		n += 200
		for k, v := range f.Detail {
			n += len(k) + len(v)
		}
	}
	return n
}

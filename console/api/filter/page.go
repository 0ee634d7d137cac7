package filter

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"iter"
	"math"
	"strings"
	"time"
)

// The bounds of a page.
const (
	MaxLimit     = 1000
	DefaultLimit = 100
	MaxSkip      = 10_000_000
	maxSorts     = 4
	maxCursor    = 8 << 10
	// cutKey is how many bytes of a text count for the order, so that a cursor holds no more; keys that are longer are told apart by a hash.
	cutKey = 512
)

// Query is what of a list is asked for.
type Query struct {
	Filter string
	Sort   string // fields, separated by commas; "-" before one = the greatest first
	Cursor string // Page.Next of the page before; "" = from the beginning
	Skip   int    // so many from the beginning are left out, at most MaxSkip; not with a cursor
	Limit  int    // 0 = DefaultLimit
}

// Page is a part of a list.
type Page[T any] struct {
	Items   []*T
	Total   int    // of the whole list
	Matched int    // that pass the filter
	Next    string // cursor of what follows, "" = nothing does
}

// sorting is one field to sort by.
type sorting[T any] struct {
	field *Field[T]
	down  bool
}

// place is where an item stands in an order: what a cursor holds of it.
type place struct {
	Numbers []float64 `json:"n,omitempty"` // of the fields to sort by: the numbers and the texts among them
	Texts   []string  `json:"t,omitempty"`
	Key     string    `json:"k"`
	Hash    uint64    `json:"h,omitempty"` // of the key, where it was cut
}

// cursor is a place in the order of one query.
type cursor struct {
	Of    uint32 `json:"q"` // sum of the filter and the sorting that it belongs to
	Place place  `json:"p"`
}

// Page returns what of the items is asked for. A cursor names the place of an item, not its number: what is added and what
// goes meanwhile neither repeats nor hides what stays in its place. The error is for who asked.
func (s *Schema[T]) Page(items []T, q Query, now time.Time) (Page[T], error) {
	return s.PageOf(Each(items), q, now)
}

// Each gives items one by one, as they are in their slice.
func Each[T any](items []T) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := range items {
			if !yield(&items[i]) {
				return
			}
		}
	}
}

// PageOf is Page of items that are given one by one: with Skip up to four times, each time the same ones.
func (s *Schema[T]) PageOf(items iter.Seq[*T], q Query, now time.Time) (Page[T], error) {
	p := Page[T]{Items: []*T{}}
	match, err := s.Parse(q.Filter, now)
	if err != nil {
		return p, err
	}
	best := selection[T]{s: s, limit: q.Limit}
	if best.order, err = s.order(q.Sort); err != nil {
		return p, err
	}
	of := sum(q.Filter, q.Sort)
	if best.after, err = openCursor(q.Cursor, of, best.order); err != nil {
		return p, err
	}
	if best.limit <= 0 {
		best.limit = DefaultLimit
	}
	best.limit = min(best.limit, MaxLimit)
	skip := 0
	switch {
	case q.Skip < 0 || q.Skip > MaxSkip:
		return p, fmt.Errorf("skip: %d is not from 0 to %d", q.Skip, MaxSkip)
	case q.Skip > 0 && q.Cursor != "":
		return p, fmt.Errorf("skip counts from the beginning of the list: it does not go with a cursor")
	case q.Skip > 0:
		before := 0
		best.after, before = s.nearly(best.order, filtered(items, match), q.Skip)
		skip = q.Skip - before
		best.limit += skip
	}
	for v := range items {
		if p.Total++; match(v) {
			p.Matched++
			best.offer(v)
		}
	}
	best.cut()
	for i := skip; i < len(best.items); i++ {
		p.Items = append(p.Items, best.items[i].v)
	}
	if best.more && len(p.Items) > 0 {
		p.Next, err = writeCursor(cursor{of, s.placeOf(best.order, p.Items[len(p.Items)-1])})
	}
	return p, err
}

// Select returns all items that pass, in the order of the list.
func (s *Schema[T]) Select(items []T, expr string, now time.Time) ([]*T, error) {
	match, err := s.Parse(expr, now)
	if err != nil {
		return nil, err
	}
	var found []*T
	for i := range items {
		if match(&items[i]) {
			found = append(found, &items[i])
		}
	}
	return found, nil
}

// order reads what to sort by.
func (s *Schema[T]) order(spec string) ([]sorting[T], error) {
	if spec == "" {
		return nil, nil
	}
	names := strings.Split(spec, ",")
	if len(names) > maxSorts {
		return nil, fmt.Errorf("sort: more than %d fields", maxSorts)
	}
	order := make([]sorting[T], 0, len(names))
	for _, name := range names {
		name, down := strings.CutPrefix(strings.TrimSpace(name), "-")
		f := s.field(name)
		if f == nil {
			return nil, fmt.Errorf("sort: there is no field %q; there are %s", name, strings.Join(s.Names(), ", "))
		}
		order = append(order, sorting[T]{f, down})
	}
	return order, nil
}

// compare orders two items. Texts that have to be put together are so in *x and *y.
func (s *Schema[T]) compare(order []sorting[T], a, b *T, x, y *[]byte) int {
	for i := range order {
		o := &order[i]
		var c int
		if o.ofText() {
			c = strings.Compare(cut(o.field.text(a, x)), cut(o.field.text(b, y)))
		} else {
			c = cmp.Compare(o.field.Number(a), o.field.Number(b))
		}
		if o.down {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	k, l := s.key.text(a, x), s.key.text(b, y)
	if c := strings.Compare(cut(k), cut(l)); c != 0 || len(k) <= cutKey && len(l) <= cutKey {
		return c
	}
	return cmp.Compare(hashOf(k), hashOf(l))
}

// against orders an item and a place.
func (s *Schema[T]) against(order []sorting[T], v *T, p *place, b *[]byte) int {
	numbers, texts := 0, 0
	for i := range order {
		o := &order[i]
		var c int
		if o.ofText() {
			c = strings.Compare(cut(o.field.text(v, b)), p.Texts[texts])
			texts++
		} else {
			c = cmp.Compare(o.field.Number(v), p.Numbers[numbers])
			numbers++
		}
		if o.down {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	key := s.key.text(v, b)
	if c := strings.Compare(cut(key), p.Key); c != 0 || len(key) <= cutKey && p.Hash == 0 {
		return c
	}
	return cmp.Compare(hashOf(key), p.Hash)
}

func (o *sorting[T]) ofText() bool { return o.field.Kind == Text || o.field.Kind == Texts }

func (s *Schema[T]) placeOf(order []sorting[T], v *T) place {
	var b []byte
	key := s.key.text(v, &b)
	p := place{Key: strings.Clone(cut(key))}
	if len(p.Key) < len(key) {
		p.Hash = hashOf(key)
	}
	for i := range order {
		o := &order[i]
		if o.ofText() {
			p.Texts = append(p.Texts, strings.Clone(cut(o.field.text(v, &b))))
			continue
		}
		n := o.field.Number(v)
		if math.IsNaN(n) || math.IsInf(n, 0) { // JSON has none
			n = 0
		}
		p.Numbers = append(p.Numbers, n)
	}
	return p
}

func cut(s string) string {
	if len(s) > cutKey {
		return s[:cutKey]
	}
	return s
}

func hashOf(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64() | 1
}

func sum(parts ...string) uint32 {
	h := fnv.New32a()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return h.Sum32()
}

func writeCursor(c cursor) (string, error) {
	// Texts that are no UTF-8 have to come back as they were.
	for i, t := range c.Place.Texts {
		c.Place.Texts[i] = base64.RawStdEncoding.EncodeToString([]byte(t))
	}
	c.Place.Key = base64.RawStdEncoding.EncodeToString([]byte(c.Place.Key))
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("write cursor: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(text), nil
}

// openCursor reads a cursor back; nil for none.
func openCursor[T any](text string, of uint32, order []sorting[T]) (*place, error) {
	if text == "" {
		return nil, nil
	}
	bad := fmt.Errorf("the cursor is not one that this list gave")
	if len(text) > maxCursor {
		return nil, bad
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, bad
	}
	var c cursor
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, bad
	}
	if c.Of != of {
		return nil, fmt.Errorf("the cursor belongs to another filter or another order; begin again without it")
	}
	texts := 0
	for i := range order {
		if order[i].ofText() {
			texts++
		}
	}
	if len(c.Place.Texts) != texts || len(c.Place.Numbers) != len(order)-texts {
		return nil, bad
	}
	for i := range c.Place.Texts {
		if c.Place.Texts[i], err = decode(c.Place.Texts[i]); err != nil {
			return nil, bad
		}
	}
	if c.Place.Key, err = decode(c.Place.Key); err != nil {
		return nil, bad
	}
	return &c.Place, nil
}

func decode(s string) (string, error) {
	b, err := base64.RawStdEncoding.DecodeString(s)
	return string(b), err
}

package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

const (
	// firstWindow is how much time the first look covers; each further one covers twice as much, unless it takes long.
	firstWindow = 10 * time.Minute
	// soon is how long a look may take for the next to be wider.
	soon = 50 * time.Millisecond
	// enough is after how long a page ends with what there is, and the rest is for the next page.
	enough = 2 * time.Second
	// rare is how many facts below a branch are sorted; where there are more, the facts in order have them soon enough.
	rare = 5000
	// maxArms is how many keys are looked for each by itself, which gives them in order; SQLite joins no more than 500 parts.
	maxArms = 100
)

// Query implements fact.Store. It looks at one stretch of time after the other, so that it can end after a while and say how far it came.
func (f *Facts) Query(ctx context.Context, q fact.Query) (p fact.Page, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ask for facts: %w", err)
		}
	}()
	s := &search{f: f, q: &q, page: &p}
	if err := s.plan(ctx); err != nil {
		return p, err
	}
	low, high, err := s.bounds(ctx)
	if err != nil || low >= high {
		return p, err
	}
	began, width := time.Now(), int64(firstWindow/time.Microsecond)
	if s.sorted {
		width = high - low
	}
	for {
		from, to := low, high
		if q.Oldest {
			to = min(high, low+width)
		} else {
			from = max(low, high-width)
		}
		looked := time.Now()
		more, err := s.look(ctx, from, to)
		if err != nil || !more {
			return p, err
		}
		if q.Oldest {
			low = to
		} else {
			high = from
		}
		if low >= high {
			return p, nil
		}
		if time.Since(began) > enough {
			p.Next = uint64(high)
			if q.Oldest {
				p.Next = uint64(low - 1)
			}
			return p, nil
		}
		if time.Since(looked) < soon {
			width *= 2
		}
	}
}

// search is one query on its way.
type search struct {
	f      *Facts
	q      *fact.Query
	page   *fact.Page
	arms   []cond // each row is found by one of them
	common []cond
	sorted bool   // the arms find few, which are sorted: one look is enough
	from   string // how to find them, where that is not left to the database
}

// cond is a condition in SQL.
type cond struct {
	text string
	args []any
}

// plan chooses the index that finds the least.
func (s *search) plan(ctx context.Context) error {
	q := s.q
	is := func(column, value string) {
		if value != "" {
			s.common = append(s.common, cond{"+" + column + " = ?", []any{value}})
		}
	}
	is("user", q.User)
	is("reason", q.Reason)
	if q.Address != "" {
		s.common = append(s.common, cond{"instr(address, ?) > 0", []any{q.Address}})
	}
	if q.Text != "" {
		s.common = append(s.common, cond{"instr(lower(text), ?) > 0", []any{q.Text}})
	}
	kinds, none := s.kinds()
	if none {
		s.arms = []cond{{"0", nil}}
		return nil
	}
	switch {
	case len(q.Clients) > 0:
		seen := map[string]bool{}
		for _, c := range q.Clients {
			if !seen[c] {
				seen[c] = true
				s.arms = append(s.arms, cond{"client = ?", []any{c}})
			}
		}
	case q.Topic != "":
		if err := s.byTopic(ctx); err != nil {
			return err
		}
	case q.Address != "" && len(q.Kinds) > 0 && !slices.ContainsFunc(q.Kinds, func(k fact.Kind) bool { return !slices.Contains(arrivals[:], k) }):
		if err := s.byAddress(ctx); err != nil {
			return err
		}
	}
	switch {
	case len(s.arms) == 0 && len(kinds) == 0:
		s.arms = []cond{{"1", nil}}
	case len(s.arms) == 0:
		for _, k := range kinds {
			s.arms = append(s.arms, cond{"kind = ?", []any{k}})
		}
	case len(kinds) > 0:
		c := cond{"+kind IN (?" + strings.Repeat(",?", len(kinds)-1) + ")", nil}
		for _, k := range kinds {
			c.args = append(c.args, k)
		}
		s.common = append(s.common, c)
	}
	return nil
}

// kinds are the numbers of the kinds that are asked for; none: there are no facts of them.
func (s *search) kinds() (ids []int64, none bool) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	seen := map[int64]bool{}
	for _, k := range s.q.Kinds {
		if id, ok := s.f.kinds[k]; ok && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids, len(ids) == 0 && len(s.q.Kinds) > 0
}

// byTopic plans by the index of topics, unless there are too many facts below the branch.
func (s *search) byTopic(ctx context.Context) error {
	keys, branch := fact.Keys(s.q.Topic)
	if branch != nil {
		below := cond{"key >= ?", []any{*branch}}
		if *branch != "" { // it ends in /, and 0 comes next
			below = cond{"key >= ? AND key < ?", []any{*branch, strings.TrimSuffix(*branch, "/") + "0"}}
		}
		n, err := s.count(ctx, "facts_key", below)
		if err != nil || n == rare {
			return err
		}
		s.arms, s.sorted = append(s.arms, below), true
	}
	s.from = " INDEXED BY facts_key"
	if len(keys) > maxArms {
		in := cond{text: "key IN (?" + strings.Repeat(",?", len(keys)-1) + ")"}
		for _, k := range keys {
			in.args = append(in.args, k)
		}
		s.arms = append(s.arms, in)
		return nil
	}
	for _, k := range keys {
		s.arms = append(s.arms, cond{"key = ?", []any{k}})
	}
	return nil
}

// arrivals are the kinds whose facts are indexed by their address: what came from there. Those about clients that got in are found by the client.
var arrivals = [...]fact.Kind{fact.Connected, fact.Refused}

// indexAddresses makes the index of addresses, and says of which facts it is: a condition that a question has to repeat as it is.
func (f *Facts) indexAddresses(ctx context.Context) error {
	var ids [len(arrivals)]int64
	for i, k := range arrivals {
		if _, err := f.write.ExecContext(ctx, "INSERT INTO kinds (name) VALUES (?) ON CONFLICT DO NOTHING", string(k)); err != nil {
			return err
		}
		if err := f.write.QueryRowContext(ctx, "SELECT id FROM kinds WHERE name = ?", string(k)).Scan(&ids[i]); err != nil {
			return err
		}
	}
	f.arrived = fmt.Sprintf("kind IN (%d, %d)", ids[0], ids[1])
	_, err := f.write.ExecContext(ctx, "CREATE INDEX IF NOT EXISTS facts_address ON facts (address) WHERE "+f.arrived)
	return err
}

// byAddress plans by the index of addresses, unless there are too many facts about this one.
func (s *search) byAddress(ctx context.Context) error {
	host := s.q.Address
	arms := []cond{{"address = ?", []any{host}}, beginning(host + ":")}
	if strings.Contains(host, ":") {
		arms = append(arms, beginning("["+host+"]:"))
	}
	n := 0
	for i := range arms {
		arms[i].text += " AND " + s.f.arrived
		some, err := s.count(ctx, "facts_address", arms[i])
		if n += some; err != nil || n >= rare {
			return err
		}
	}
	s.arms, s.sorted, s.from = arms, true, " INDEXED BY facts_address"
	return nil
}

// beginning are the addresses that begin with a text that ends in a colon: a semicolon comes next.
func beginning(text string) cond {
	return cond{"address >= ? AND address < ?", []any{text, strings.TrimSuffix(text, ":") + ";"}}
}

// count counts facts by an index, up to rare.
func (s *search) count(ctx context.Context, index string, c cond) (n int, err error) {
	err = s.f.read.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM facts INDEXED BY "+index+" WHERE "+c.text+" LIMIT ?)", append(c.args, rare)...).Scan(&n)
	return n, err
}

// bounds are the ids from and below which facts can be asked for.
func (s *search) bounds(ctx context.Context) (low, high int64, err error) {
	q := s.q
	var oldest, newest sql.NullInt64
	if err := s.f.read.QueryRowContext(ctx, "SELECT (SELECT min(id) FROM facts), (SELECT max(id) FROM facts)").Scan(&oldest, &newest); err != nil || !oldest.Valid {
		return 0, 0, err
	}
	low, high = max(oldest.Int64, int64(q.After)+1), newest.Int64+1
	if q.Before != 0 {
		high = min(high, int64(q.Before))
	}
	if !q.From.IsZero() {
		low = max(low, int64(fact.IDAt(q.From)))
	}
	if !q.To.IsZero() {
		s.f.mu.Lock()
		late := s.f.late
		s.f.mu.Unlock()
		high = min(high, q.To.UnixMicro()+late+1)
	}
	return low, high, nil
}

const factColumns = "id, at, kind, client, user, address, listener, topic, key, reason, code, count, text, detail"

// look takes the facts with ids from and below into the page; more tells whether there is room for others.
func (s *search) look(ctx context.Context, from, below int64) (more bool, err error) {
	var text strings.Builder
	var args []any
	for i, arm := range s.arms {
		if i > 0 {
			text.WriteString(" UNION ALL ")
		}
		text.WriteString("SELECT " + factColumns + " FROM facts" + s.from + " WHERE " + arm.text + " AND id >= ? AND id < ?")
		args = append(append(args, arm.args...), from, below)
		for _, c := range s.common {
			text.WriteString(" AND " + c.text)
			args = append(args, c.args...)
		}
	}
	text.WriteString(" ORDER BY id")
	if !s.q.Oldest {
		text.WriteString(" DESC")
	}
	rows, err := s.f.read.QueryContext(ctx, text.String(), args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		x, err := s.f.scan(rows)
		if err != nil {
			return false, err
		}
		if s.q.Match(&x) && !s.page.Take(s.q, &x) {
			return false, nil
		}
	}
	return true, rows.Err()
}

// scan reads a row.
func (f *Facts) scan(r row) (x fact.Fact, err error) {
	var id, kind int64
	var at, code, count sql.NullInt64
	var client, user, address, listener, topic, key, reason, text, detail sql.NullString
	if err := r.Scan(&id, &at, &kind, &client, &user, &address, &listener, &topic, &key, &reason, &code, &count, &text, &detail); err != nil {
		return x, err
	}
	if !at.Valid {
		at.Int64 = id
	}
	if !topic.Valid {
		topic = key
	}
	x = fact.Fact{
		ID: uint64(id), At: time.UnixMicro(at.Int64).UTC(), Kind: f.name(kind), Client: client.String, User: user.String, Address: address.String,
		Listener: listener.String, Topic: topic.String, Reason: reason.String, Code: uint8(code.Int64), Count: uint64(count.Int64), Text: text.String,
	}
	if detail.Valid {
		err = json.Unmarshal([]byte(detail.String), &x.Detail)
	}
	return x, err
}

func (f *Facts) name(kind int64) fact.Kind {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.names[kind]
}

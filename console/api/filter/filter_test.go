package filter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

type thing struct {
	id, user string
	groups   []string
	n, age   float64
	at       float64
	on       bool
}

func schema() *Schema[thing] {
	yes := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	return New(Field[thing]{Text: func(v *thing) string { return v.id }},
		Field[thing]{Name: "id", Text: func(v *thing) string { return v.id }, Word: true},
		Field[thing]{Name: "size", Text: func(v *thing) string { return fmt.Sprint(v.n) }, Within: func(value string) func(*thing) bool {
			if value != "large" {
				return nil
			}
			return func(v *thing) bool { return v.n > 1000 }
		}},
		Field[thing]{Name: "user", Append: func(b []byte, v *thing) []byte { return append(b, v.user...) }, Word: true},
		Field[thing]{Name: "groups", Kind: Texts, Texts: func(v *thing) []string { return v.groups }},
		Field[thing]{Name: "queue_bytes", Kind: Number, Number: func(v *thing) float64 { return v.n }},
		Field[thing]{Name: "age", Kind: Duration, Number: func(v *thing) float64 { return v.age }},
		Field[thing]{Name: "since", Kind: Time, Number: func(v *thing) float64 { return v.at }},
		Field[thing]{Name: "connected", Kind: Bool, Number: func(v *thing) float64 { return yes(v.on) }},
	)
}

var now = time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)

func TestMatch(t *testing.T) {
	v := thing{id: "Press-07/ä", user: "plant a", groups: []string{"line", "press"}, n: 2048, age: 90, at: float64(now.Unix() - 600), on: true}
	f := func(expr string, want bool) {
		t.Helper()
		match, err := schema().Parse(expr, now)
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		if match(&v) != want {
			t.Errorf("%s: %v", expr, !want)
		}
	}
	f("", true)
	f("  ", true)
	f("press", true)
	f("PRESS-0", true)
	f("Ä", true)
	f("nothing", false)
	f("!nothing press", true)
	f("id:Press-07/ä", true)
	f("id:press-07/ä", false)
	f("id:Press*", true)
	f("id:*07*ä", true)
	f("id:*07*07*", false)
	f("id:P*ä*ä", false)
	f(`user:"plant a"`, true)
	f(`user:plant`, false)
	f(`"plant a"`, true)
	f(`user:"plant \"a"`, false)
	f("user:", false)
	f("!user:", true)
	f("groups:press", true)
	f("groups:pr", false)
	f("queue_bytes>2047", true)
	f("queue_bytes>=2Ki", true)
	f("queue_bytes>2Ki", false)
	f("queue_bytes<=2k", false)
	f("queue_bytes<1M connected:true", true)
	f("queue_bytes:2048", true)
	f("size:large", true)
	f("!size:large", false)
	f("size:2048", true)
	f("size:2*", true)
	f("size:larg", false)
	f("age>1m age<2m", true)
	f("age>90", false)
	f("since>5m", true)
	f("since>1d", false)
	f("since<2027-01-31T11:55:00Z", true)
	f("since>2027-01-31", true)
	f("!connected:yes", false)
	v.at = 0
	f("since>1s", false)
	f("since<1s", false)
}

func TestErrors(t *testing.T) {
	f := func(expr string, at int, want string) {
		t.Helper()
		_, err := schema().Parse(expr, now)
		var e *Error
		if !errors.As(err, &e) || e.At != at || !strings.Contains(e.Text, want) {
			t.Errorf("%s: %v", expr, err)
		}
	}
	f("press colour:red", 7, `no field "colour"; there are id, size, user`)
	f("id>3", 3, "id is text")
	f("http://x", 1, `no field "http"`)
	f("queue_bytes>many", 13, `"many" is no number`)
	f("queue_bytes>0x10", 13, "no number")
	f("queue_bytes>", 13, "a value has to follow >")
	f("age<soon", 5, "no duration")
	f("since:5m", 6, "takes >, <")
	f("since>soon", 7, "neither an age")
	f("connected:maybe", 11, "true or false")
	f("connected>1", 10, "yes or no")
	f(`id:"x`, 4, "not closed")
	f(`id:"x"y`, 7, "a space has to follow")
	f("x !", 3, "nothing follows !")
	f(strings.Repeat("a ", 33), 65, "more than 32 terms")
	f(strings.Repeat("a", 5000), 4097, "longer than 4096")
	p, err := schema().Page(nil, Query{Sort: "-colour"}, now)
	if err == nil || !strings.Contains(err.Error(), `no field "colour"`) {
		t.Error(p, err)
	}
}

// TestPages walks lists by cursors while they change: what stays is seen once, in order.
func TestPages(t *testing.T) {
	s := schema()
	long := strings.Repeat("x", 600)
	for _, order := range []string{"", "-queue_bytes", "user,-queue_bytes", "groups", "-since,user"} {
		all := make([]thing, 300)
		for i := range all {
			all[i] = thing{id: fmt.Sprintf("%s%03d", []string{"", "a", long, "\xff"}[i%4], i), user: string(rune('a' + i%3)), n: float64(i % 7), at: float64(i % 5), groups: []string{"g", fmt.Sprint(i % 2)}}
		}
		stays := slices.Clone(all)
		var seen []string
		for q := (Query{Sort: order, Limit: 7}); ; {
			p, err := s.Page(all, q, now)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range p.Items {
				if v.id[:1] != "n" {
					seen = append(seen, v.id)
				}
			}
			if q.Cursor = p.Next; p.Next == "" {
				break
			}
			if len(p.Next) > 4<<10 {
				t.Fatalf("a cursor of %d bytes", len(p.Next))
			}
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			if len(all) < 500 {
				all = append(all, thing{id: fmt.Sprintf("new%d", len(all)), n: float64(rand.IntN(9))})
			}
		}
		slices.SortFunc(stays, func(a, b thing) int { o, _ := s.order(order); return s.compare(o, &a, &b, new([]byte), new([]byte)) })
		want := make([]string, len(stays))
		for i := range stays {
			want[i] = stays[i].id
		}
		if !slices.Equal(seen, want) {
			t.Errorf("sort %q: saw %d of %d, or in another order", order, len(seen), len(want))
		}
	}
}

func TestCursorOfAnother(t *testing.T) {
	s := schema()
	all := []thing{{id: "a"}, {id: "b"}, {id: "c"}}
	p, err := s.Page(all, Query{Limit: 1}, now)
	if err != nil || p.Next == "" || p.Total != 3 || p.Matched != 3 {
		t.Fatal(p, err)
	}
	for _, q := range []Query{{Cursor: p.Next, Sort: "user"}, {Cursor: p.Next, Filter: "a"}, {Cursor: "!"}, {Cursor: "bm8"}, {Cursor: strings.Repeat("a", 9000)}} {
		if _, err := s.Page(all, q, now); err == nil || !strings.Contains(err.Error(), "cursor") {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{`id:a* queue_bytes>2Ki !x "y z"`, `since>5m age<1d`, `id:"\"`, "\xff:", "user:\x00*"} {
		f.Add(seed, "-queue_bytes,user", "")
	}
	s := schema()
	all := []thing{{id: "a", user: "\xff", n: 1}, {id: "b", groups: []string{"x"}}, {id: "c", at: 5, on: true}}
	f.Fuzz(func(t *testing.T, expr, order, cursor string) {
		p, err := s.Page(all, Query{Filter: expr, Sort: order, Cursor: cursor, Limit: 1}, now)
		if err != nil {
			var e *Error
			if errors.As(err, &e) && (e.At < 1 || e.At > len(expr)+1) {
				t.Fatalf("%q: the error is at %d", expr, e.At)
			}
			return
		}
		n := len(p.Items)
		for p.Next != "" {
			p, err = s.Page(all, Query{Filter: expr, Sort: order, Cursor: p.Next, Limit: 1}, now)
			if err != nil {
				t.Fatalf("%q by %q: %v", expr, order, err)
			}
			if n += len(p.Items); n > 3 {
				t.Fatalf("%q by %q does not end", expr, order)
			}
		}
		if cursor == "" && n != p.Matched {
			t.Fatalf("%q by %q: %d of %d", expr, order, n, p.Matched)
		}
	})
}

func BenchmarkPage(b *testing.B) {
	all := make([]thing, 100_000)
	for i := range all {
		all[i] = thing{id: fmt.Sprintf("client-%06d", i), user: fmt.Sprint("user", i%100), n: float64(i * 7919 % 100_003)}
	}
	for _, q := range []Query{{}, {Sort: "-queue_bytes"}, {Sort: "-user"}, {Filter: "99", Sort: "user,-queue_bytes"}, {Filter: "id:*9*9 queue_bytes>20k !user:user7"}} {
		b.Run(q.Filter+" by "+q.Sort, func(b *testing.B) {
			for b.Loop() {
				if _, err := schema().Page(all, q, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

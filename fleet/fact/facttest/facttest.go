// Package facttest is what every fact.Store has to pass.
package facttest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// Epoch is when the suite's facts begin.
func Epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// Facts makes n facts of a small fleet, a tenth of a second apart, the ids of which are above after.
func Facts(n int, after uint64, seed uint64) []fact.Fact {
	r := rand.New(rand.NewPCG(seed, 1))
	topics := []string{
		"", "plant", "plant/a", "plant/a/temp", "plant/a/#", "plant/b/#", "plant/+/temp", "#", "+/a/temp", "$SYS/broker/uptime",
		"$share/g/plant/a/#", "/", "/plant", "plant/", "plants/a", "plant/a/temp/x", "other/x",
	}
	kinds := []fact.Kind{fact.Connected, fact.Disconnected, fact.Subscribed, fact.Dropped, fact.Denied}
	all := make([]fact.Fact, n)
	for i := range all {
		at := Epoch().Add(time.Duration(i) * 100 * time.Millisecond)
		id := max(after+1, fact.IDAt(at))
		after = id
		client := fmt.Sprintf("press-%02d", r.IntN(20))
		f := fact.Fact{ID: id, At: at, Kind: kinds[r.IntN(len(kinds))], Client: client, Address: fmt.Sprintf("192.0.2.%d:%d", r.IntN(5), 1024+i%1000), Text: "It was " + client + "."}
		f.Topic = topics[r.IntN(len(topics))]
		switch r.IntN(4) {
		case 0:
			f.User, f.Listener, f.Reason, f.Code = "ann", "plain", "queue_full", 0x97
		case 1:
			f.Count, f.Detail = uint64(i), map[string]string{"rule": "no", "ä": "\r\n\x00"}
		case 2:
			f.At = at.Add(-time.Duration(r.IntN(3000)) * time.Second) // told late
			f.Address = "[2001:db8::7]:9"
		}
		all[i] = f
	}
	return all
}

// Run tests a store; open gives a new, empty one each time.
func Run(t *testing.T, open func(t *testing.T) fact.Store) {
	t.Run("queries", func(t *testing.T) { queries(t, open(t)) })
	t.Run("pages", func(t *testing.T) { pages(t, open(t)) })
	t.Run("trim by age", func(t *testing.T) { trimByAge(t, open(t)) })
	t.Run("trim by bytes", func(t *testing.T) { trimByBytes(t, open(t)) })
	t.Run("empty", func(t *testing.T) {
		s := open(t)
		p, err := s.Query(t.Context(), fact.Query{}.Normal())
		z, err2 := s.Size(t.Context())
		last, err3 := s.Last(t.Context())
		n, err4 := s.Trim(t.Context(), 1<<62, 1, 10)
		if err != nil || err2 != nil || err3 != nil || err4 != nil || len(p.Facts) > 0 || p.Next != 0 || z.Oldest != 0 || last != 0 || n != 0 {
			t.Errorf("%v %v %v %v %v %v %v %v", p, z, last, n, err, err2, err3, err4)
		}
	})
}

func fill(t *testing.T, s fact.Store, n int) []fact.Fact {
	t.Helper()
	all := Facts(n, 0, 7)
	for chunk := range slices.Chunk(all, 137) {
		if err := s.Append(t.Context(), chunk); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// read asks page by page until there is no more.
func read(t *testing.T, s fact.Store, q fact.Query) (got []fact.Fact, pages int) {
	t.Helper()
	for {
		p, err := s.Query(t.Context(), q.Normal())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.Facts...)
		if pages++; p.Next == 0 {
			return got, pages
		}
		if pages > 10_000 {
			t.Fatalf("%+v: no end of pages", q)
		}
		if q.Oldest {
			q.After = p.Next
		} else {
			q.Before = p.Next
		}
	}
}

func queries(t *testing.T, s fact.Store) {
	all := fill(t, s, 3000)
	at := func(i int) time.Time { return Epoch().Add(time.Duration(i) * 100 * time.Millisecond) }
	for _, q := range []fact.Query{
		{},
		{Oldest: true},
		{Clients: []string{"press-01"}},
		{Clients: []string{"press-01", "press-07", "press-01", "none"}, Oldest: true},
		{Kinds: []fact.Kind{fact.Denied}},
		{Kinds: []fact.Kind{fact.Denied, fact.Dropped, "never"}},
		{Clients: []string{"press-03"}, Kinds: []fact.Kind{fact.Connected, fact.Dropped}},
		{User: "ann"},
		{Address: "192.0.2.3"},
		{Address: "2001:db8::7"},
		{Address: "192.0.2.3", Kinds: []fact.Kind{fact.Connected, fact.Refused}},
		{Address: "192.0.2.3", Kinds: []fact.Kind{fact.Refused}, Limit: 3},
		{Address: "2001:db8::7", Kinds: []fact.Kind{fact.Connected}},
		{Address: "192.0.2.99", Kinds: []fact.Kind{fact.Connected}},
		{Reason: "queue_full", Kinds: []fact.Kind{fact.Dropped}},
		{Text: "WAS PRESS-1"},
		{Text: "100 %_"},
		{From: at(1000)},
		{To: at(1000)},
		{From: at(500), To: at(2500), Clients: []string{"press-05"}},
		{From: at(500), To: at(600), Oldest: true},
		{Before: all[100].ID},
		{After: all[2900].ID},
		{After: all[100].ID, Before: all[200].ID, Oldest: true},
		{Topic: "plant"},
		{Topic: "plant/a"},
		{Topic: "plant/a/temp"},
		{Topic: "plant/a/temp/x"},
		{Topic: "plant/a/#"},
		{Topic: "plant/b/c/d"},
		{Topic: "plant/#", Oldest: true},
		{Topic: "#"},
		{Topic: "+"},
		{Topic: "+/+/temp"},
		{Topic: "plant/+/temp"},
		{Topic: "$SYS/#"},
		{Topic: "$SYS/broker/uptime"},
		{Topic: "$share/x/plant/a/#"},
		{Topic: "/"},
		{Topic: "plant/"},
		{Topic: "nowhere/at/all"},
		{Topic: "plant/a" + strings.Repeat("/", 60_000)},
		{Topic: "plant/a/" + strings.Repeat("x/", 500) + "#", Oldest: true},
		{Topic: "plant/a/#", Clients: []string{"press-09"}, Kinds: []fact.Kind{fact.Subscribed}},
	} {
		for _, limit := range []int{0, 41, fact.MaxLimit} {
			q.Limit = limit
			n := q.Normal()
			var want []fact.Fact
			for i := range all {
				if n.Match(&all[i]) {
					want = append(want, all[i])
				}
			}
			if !q.Oldest {
				slices.Reverse(want)
			}
			got, _ := read(t, s, q)
			if len(got) != len(want) {
				t.Errorf("%+v: %d facts, want %d", q, len(got), len(want))
				continue
			}
			for i := range got {
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Errorf("%+v: fact %d\n%+v, want\n%+v", q, i, got[i], want[i])
					break
				}
			}
		}
	}
}

func pages(t *testing.T, s fact.Store) {
	all := fill(t, s, 100)
	p, err := s.Query(t.Context(), fact.Query{Limit: 10}.Normal())
	if err != nil || len(p.Facts) != 10 || p.Next != all[90].ID {
		t.Errorf("%d facts, next %d, %v", len(p.Facts), p.Next, err)
	}
	for _, oldest := range []bool{false, true} {
		if _, n := read(t, s, fact.Query{Limit: 10, Oldest: oldest}); n != 10 {
			t.Errorf("%d pages of ten for a hundred", n)
		}
	}
	if last, err := s.Last(t.Context()); err != nil || last != all[99].ID {
		t.Errorf("%d %v", last, err)
	}
	if z, err := s.Size(t.Context()); err != nil || z.Oldest != all[0].ID || z.Bytes <= 0 {
		t.Errorf("%+v %v", z, err)
	}
}

func trimByAge(t *testing.T, s fact.Store) {
	all := fill(t, s, 1000)
	below := all[250].ID
	for _, want := range []int{100, 100, 50, 0} {
		if n, err := s.Trim(t.Context(), below, 0, 100); err != nil || n != want {
			t.Fatalf("%d dropped, want %d, %v", n, want, err)
		}
	}
	got, _ := read(t, s, fact.Query{Oldest: true})
	if len(got) != 750 || got[0].ID != below {
		t.Errorf("%d are left", len(got))
	}
	if got, _ := read(t, s, fact.Query{Topic: "plant/a/#", Before: below}); len(got) != 0 {
		t.Errorf("%d of what was dropped", len(got))
	}
	if n, err := s.Trim(t.Context(), 1<<62, 0, 10_000); err != nil || n != 750 {
		t.Errorf("%d dropped, %v", n, err)
	}
	if last, err := s.Last(t.Context()); err != nil || last != all[999].ID {
		t.Errorf("the last id is forgotten: %d %v", last, err)
	}
}

func trimByBytes(t *testing.T, s fact.Store) {
	fill(t, s, 5000)
	z, err := s.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for {
		n, err := s.Trim(t.Context(), 0, z.Bytes/2, 100)
		if err != nil {
			t.Fatal(err)
		}
		if n < 100 {
			break
		}
	}
	half, err := s.Size(t.Context())
	if err != nil || half.Bytes > z.Bytes/2 || half.Bytes < z.Bytes/3 {
		t.Errorf("%d bytes of %d, %v", half.Bytes, z.Bytes, err)
	}
	if got, _ := read(t, s, fact.Query{}); len(got) < 1500 || len(got) > 3500 {
		t.Errorf("%d facts of 5000", len(got))
	}
}

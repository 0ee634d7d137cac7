package api

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/console/api/filter"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// many are so many clients, from an address each.
func many(n int) []Client {
	rows := make([]Client, n)
	for i := range rows {
		n := i * 7919 % n // so that they come in no order
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), uint16(1024+n%60_000))
		rows[i] = Client{ID: fmt.Sprintf("dev%06d", n), Version: mqtt.V5, Who: &auth.Principal{Identity: &auth.Identity{Name: "sapwood"}, Peer: auth.Peer{Address: at}}, Queued: n, Connected: i%3 == 0}
	}
	return rows
}

// queries are what a list of clients is asked, in every order and by filters of every kind.
func queries() []filter.Query {
	all := []filter.Query{{}, {Filter: "0999"}, {Filter: "id:dev0009*"}, {Filter: "address:10.0.9.*"}, {Filter: "queued>10 !connected:true"}, {Filter: "nothing is like that"}}
	for _, name := range clientSchema().Names() {
		all = append(all, filter.Query{Sort: name}, filter.Query{Sort: "-" + name})
	}
	return all
}

// A page of a list allocates for what is on it, not for what it is chosen from.
func TestListsAllocate(t *testing.T) {
	const n = 5000
	s, rows := clientSchema(), many(n)
	up := make([]Client, n) // each better than those before it, or the other way round
	for i := range rows {
		up[i*7919%n] = rows[i]
	}
	down := slices.Clone(up)
	slices.Reverse(down)
	for name, rows := range map[string][]Client{"in no order": rows, "ascending": up, "descending": down} {
		for _, q := range queries() {
			if allocs := testing.AllocsPerRun(2, func() {
				if _, err := s.Page(rows, q, time.Now()); err != nil {
					t.Fatal(err)
				}
			}); allocs > 1500 {
				t.Errorf("%s, %+v: %v allocations", name, q, allocs)
			}
		}
	}
}

// BenchmarkThousand is the largest page.
func BenchmarkThousand(b *testing.B) {
	s, rows := clientSchema(), many(100_000)
	for _, sort := range []string{"id", "-address", "-queued", "protocol"} {
		b.Run(sort, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Page(rows, filter.Query{Sort: sort, Limit: filter.MaxLimit}, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkClients(b *testing.B) {
	s, rows := clientSchema(), many(100_000)
	for _, q := range queries() {
		b.Run(q.Filter+" by "+q.Sort, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Page(rows, q, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

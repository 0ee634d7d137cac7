package ban

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// noon is the time of these tests.
var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func table(t testing.TB, bans ...Ban) *Table {
	t.Helper()
	tb := &Table{}
	for _, b := range bans {
		if _, err := tb.Add(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	return tb
}

func TestLookup(t *testing.T) {
	tb := table(t,
		Ban{Subject: Client, Value: "c1", Reason: "exact"},
		Ban{Subject: Client, Value: "c*", Reason: "a star in a client id is a star"},
		Ban{Subject: Pattern, Value: "dev-*-x", Reason: "pattern"},
		Ban{Subject: User, Value: "ann", Reason: "user"},
		Ban{Subject: User, Value: "guest*", Reason: "guests", Quarantine: true},
		Ban{Subject: User, Value: "guest-7", Reason: "guest 7"},
		Ban{Subject: Address, Value: "192.0.2.1", Reason: "one"},
		Ban{Subject: Address, Value: "198.51.100.77/24", Reason: "net"},
		Ban{Subject: Address, Value: "198.51.100.8", Reason: "apart", Quarantine: true},
		Ban{Subject: Address, Value: "2001:db8::/32", Reason: "six"},
		Ban{Subject: Address, Value: "::ffff:203.0.113.0/120", Reason: "mapped"},
		Ban{Subject: Client, Value: "late", Reason: "over", Until: noon},
		Ban{Subject: Client, Value: "soon", Reason: "not yet over", Until: noon.Add(1)},
	)
	f := func(got *Ban, want string) {
		t.Helper()
		if got == nil && want != "" || got != nil && got.Reason != want {
			t.Errorf("got %+v, want %q", got, want)
		}
	}
	f(tb.Client(noon, "c1"), "exact")
	f(tb.Client(noon, "c2"), "")
	f(tb.Client(noon, "c*"), "a star in a client id is a star")
	f(tb.Client(noon, "dev-1-x"), "pattern")
	f(tb.Client(noon, "dev-1-y"), "")
	f(tb.Client(noon, "ann"), "")
	f(tb.User(noon, "ann"), "user")
	f(tb.User(noon, "guest-1"), "guests")
	f(tb.User(noon, "guest-7"), "guest 7") // what keeps out comes before what keeps apart
	f(tb.User(noon, ""), "")
	f(tb.Client(noon, "late"), "")
	f(tb.Client(noon, "soon"), "not yet over")
	addr := netip.MustParseAddr
	f(tb.Address(noon, addr("192.0.2.1")), "one")
	f(tb.Address(noon, addr("::ffff:192.0.2.1")), "one")
	f(tb.Address(noon, addr("192.0.2.2")), "")
	f(tb.Address(noon, addr("198.51.100.200")), "net")
	f(tb.Address(noon, addr("198.51.100.8")), "net")
	f(tb.Address(noon, addr("2001:db8:1::2")), "six")
	f(tb.Address(noon, addr("fe80::1%eth0")), "")
	f(tb.Address(noon, addr("203.0.113.9")), "mapped")
	f(tb.Address(noon, netip.Addr{}), "") // a Unix socket
	f(tb.Any(noon, "x", "guest", addr("192.0.2.1")), "one")
	f(tb.Any(noon, "x", "guest", addr("192.0.2.2")), "guests")
	f(tb.Any(noon, "x", "y", netip.Addr{}), "")
}

func TestAddListRemove(t *testing.T) {
	ctx := t.Context()
	tb := table(t, Ban{Subject: Address, Value: "192.0.2.0/24"}, Ban{Subject: User, Value: "b"}, Ban{Subject: User, Value: "a", Until: noon})
	was, err := tb.Add(ctx, Ban{Subject: Address, Value: "192.0.2.9/24", Reason: "again"})
	if err != nil || was == nil || was.Reason != "" {
		t.Errorf("got %v, %v", was, err)
	}
	want := []Ban{{Subject: Address, Value: "192.0.2.0/24", Reason: "again"}, {Subject: User, Value: "b"}}
	if got := tb.List(noon); !reflect.DeepEqual(got, want) || tb.count.Load() != 2 {
		t.Errorf("got %+v", got)
	}
	for _, b := range want {
		if got, err := tb.Remove(ctx, b.Subject, b.Value); err != nil || got != b {
			t.Errorf("got %v, %v", got, err)
		}
		if _, err := tb.Remove(ctx, b.Subject, b.Value); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v", err)
		}
	}
	if len(tb.List(noon)) != 0 || len(tb.lengths) != 0 || tb.count.Load() != 0 {
		t.Error("something is left")
	}
	for _, b := range []Ban{{}, {Subject: Client}, {Subject: "topic", Value: "a"}, {Subject: Address, Value: "192.0.2"}, {Subject: Address, Value: "1.2.3.4/33"}} {
		if _, err := tb.Add(ctx, b); err == nil {
			t.Errorf("%+v is a ban", b)
		}
	}
}

// kept is a store that may fail.
type kept struct {
	err  error
	bans map[string]Ban
}

func (k *kept) PutBan(_ context.Context, b Ban) error {
	if k.err == nil {
		k.bans[b.Value] = b
	}
	return k.err
}

func (k *kept) RemoveBan(_ context.Context, b Ban) error {
	if k.err == nil {
		delete(k.bans, b.Value)
	}
	return k.err
}

// TestStore: what could not be kept is not in force, and what could not be lifted is.
func TestStore(t *testing.T) {
	ctx := t.Context()
	k := &kept{bans: map[string]Ban{}}
	tb := New(k)
	b := Ban{Subject: Client, Value: "c"}
	if _, err := tb.Add(ctx, b); err != nil || k.bans["c"] != b {
		t.Error(err)
	}
	k.err = errors.New("the disk is full")
	if _, err := tb.Add(ctx, Ban{Subject: Client, Value: "d"}); !errors.Is(err, k.err) || tb.Client(noon, "d") != nil {
		t.Error(err)
	}
	if _, err := tb.Remove(ctx, Client, "c"); !errors.Is(err, k.err) || tb.Client(noon, "c") == nil {
		t.Error(err)
	}
	k.err = nil
	again := New(k)
	if err := again.Load([]Ban{b, {Subject: "nonsense"}}); err == nil || again.Client(noon, "c") == nil {
		t.Error("load:", err)
	}
}

func TestText(t *testing.T) {
	f := func(b Ban, want string) {
		t.Helper()
		if got := b.Text(); got != want {
			t.Errorf("got %q", got)
		}
	}
	f(Ban{}, "banned")
	f(Ban{Reason: "too loud", Until: noon}, "banned until 2030-01-01T12:00:00Z: too loud")
	f(Ban{Quarantine: true, Reason: "old firmware"}, "quarantined: old firmware")
}

// BenchmarkAny asks tables of different sizes about somebody who is in none.
func BenchmarkAny(b *testing.B) {
	for _, n := range []int{0, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tb := &Table{}
			for i := range n {
				_ = tb.AddNow(Ban{Subject: Client, Value: fmt.Sprint("client", i)})
				_ = tb.AddNow(Ban{Subject: Address, Value: fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)})
			}
			addr := netip.MustParseAddr("192.0.2.1")
			b.ReportAllocs()
			for b.Loop() {
				tb.Any(noon, "somebody", "ann", addr)
			}
		})
	}
}

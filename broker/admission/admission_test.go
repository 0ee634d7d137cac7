package admission

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func prefix(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
}

func TestRates(t *testing.T) {
	var v Visitors
	v.Set(&Limits{ConnectRate: 10, ConnectBurst: 20, AddressConnectRate: 2})
	now := time.Now()
	come := func(from, n int) (welcome int, why Reason) {
		why = Welcome
		for range n {
			if r := v.Come(prefix(from), false, now); r == Welcome {
				welcome++
			} else {
				why = r
			}
		}
		return welcome, why
	}
	if n, why := come(1, 5); n != 2 || why != AddressRate {
		t.Errorf("%d, then %v", n, why)
	}
	for i := 2; i <= 9; i++ {
		come(i, 2)
	}
	if n, why := come(10, 3); n != 2 || why != AddressRate {
		t.Errorf("%d, then %v", n, why)
	}
	if n, why := come(11, 1); n != 0 || why != ListenerRate {
		t.Errorf("%d, then %v", n, why)
	}
	now = now.Add(500 * time.Millisecond)
	if n, why := come(1, 2); n != 1 || why != AddressRate {
		t.Errorf("after half a second: %d, then %v", n, why)
	}
	if v.Knock(prefix(1), now) {
		t.Error("a proxied address has no tokens of its own")
	}
	if !v.Knock(prefix(77), now) {
		t.Error("another proxied address is turned away")
	}
}

// Memory is bounded: idle addresses are forgotten, and those beyond maxVisitors share an account that no count closes.
func TestManyAddresses(t *testing.T) {
	var v Visitors
	v.Set(&Limits{MaxConnectionsPerAddress: 1, MaxHalfOpenPerAddress: 1})
	now := time.Now()
	for i := range 10_000 {
		v.Come(prefix(i), false, now)
		v.Settle(prefix(i))
		v.Leave(prefix(i))
	}
	if f := v.Figures(); f.Connections != 0 || f.Addresses > 1025 {
		t.Errorf("%+v", f)
	}
	for i := range maxVisitors + 1000 {
		if why := v.Come(prefix(i), false, now); why != Welcome {
			t.Fatalf("%d: %v", i, why)
		}
	}
	if f := v.Figures(); f.Addresses != maxVisitors {
		t.Errorf("%+v", f)
	}
	if v.Come(prefix(5), false, now) != AddressFull || v.Come(prefix(maxVisitors+5), false, now) != Welcome {
		t.Error("an account of its own is judged by its counts, the common one is not")
	}
}

func TestReasons(t *testing.T) {
	seen := map[string]bool{}
	for r := range Welcome + 1 {
		if seen[r.String()] || r.String() == "" {
			t.Errorf("%d: %s", r, r)
		}
		seen[r.String()] = true
	}
}

func TestCheck(t *testing.T) {
	l := DefaultLimits()
	l.Check(func(key, message, fix string) { t.Errorf("%s %s; %s", key, message, fix) })
	var bad []string
	(&Limits{MaxConnections: -1}).Check(func(key, _, _ string) { bad = append(bad, key) })
	if got := strings.Join(bad, " "); got != "max_connections max_handshakes max_handshakes_per_address" {
		t.Error(got)
	}
}

// BenchmarkCome is what a connection costs here.
func BenchmarkCome(b *testing.B) {
	var v Visitors
	v.Set(&Limits{MaxHalfOpenPerAddress: 100, AddressConnectRate: 1 << 30, ConnectRate: 1 << 30})
	now := time.Now()
	b.ReportAllocs()
	for i := range b.N {
		p := prefix(i & 1023)
		v.Come(p, false, now)
		v.Settle(p)
		v.Leave(p)
	}
}

// TestFullTable: when more addresses come than are told apart, and leave again, those that come later are told apart again.
func TestFullTable(t *testing.T) {
	var v Visitors
	v.Set(&Limits{MaxConnectionsPerAddress: 1})
	now := time.Now()
	for i := range maxVisitors + 10 {
		if why := v.Come(prefix(i), false, now); why != Welcome {
			t.Fatalf("%d: %v", i, why)
		}
	}
	for i := range maxVisitors + 10 {
		v.Settle(prefix(i))
		v.Leave(prefix(i))
	}
	now = now.Add(time.Minute)
	late := prefix(maxVisitors + 100)
	if v.Come(late, false, now) != Welcome || v.Come(late, false, now) != AddressFull {
		t.Error("an address that comes later has no limit")
	}
	if n := v.Figures().Addresses; n != 1 {
		t.Errorf("%d addresses", n)
	}
}

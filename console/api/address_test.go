package api

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
)

// TestWithin: the filter address:NETWORK passes exactly those whom a ban of that network is about, so that it tells how many a ban meets.
func TestWithin(t *testing.T) {
	schema, now := clientSchema(), time.Now()
	f := func(value, address string, want bool) {
		t.Helper()
		at := netip.MustParseAddrPort(address)
		table := ban.New(nil)
		if _, err := table.Add(t.Context(), ban.Ban{Subject: ban.Address, Value: value}); err != nil {
			t.Fatal(err)
		}
		c := &Client{Who: new(auth.Principal)}
		c.Who.Peer.Address = at
		match, err := schema.Parse("address:"+value, now)
		if err != nil {
			t.Fatal(err)
		}
		if got, banned := match(c), table.Address(now, at.Addr()) != nil; got != want || banned != want {
			t.Errorf("address:%s and %s: %t, a ban %t, want %t", value, address, got, banned, want)
		}
	}
	f("10.0.4.0/22", "10.0.7.255:1", true)
	f("10.0.4.0/22", "10.0.8.0:1", false)
	f("10.0.5.6/22", "10.0.4.1:1", true)
	f("192.0.2.7", "192.0.2.7:1883", true)
	f("192.0.2.7", "192.0.2.70:1883", false)
	f("::ffff:192.0.2.0/120", "192.0.2.7:1", true)
	f("192.0.2.0/24", "[::ffff:192.0.2.7]:1", true)
	f("2001:db8::/33", "[2001:db8:7fff::1]:1", true)
	f("2001:db8::/33", "[2001:db8:8000::1]:1", false)
	f("fe80::/10", "[fe80::1%eth0]:1", true)
	f("0.0.0.0/0", "[2001:db8::1]:1", false)
	for range 1000 {
		n := rand.Uint32N(1 << 16)
		at := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
		bits := 16 + rand.IntN(17)
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(rand.Uint32N(256)), byte(rand.Uint32N(256))}), bits)
		f(network.String(), fmt.Sprintf("%v:7", at), network.Contains(at))
	}
	match, err := schema.Parse("address:10.0.0.1:* !address:10.0.0.1:7", now)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Who: new(auth.Principal)}
	if c.Who.Peer.Address = netip.MustParseAddrPort("10.0.0.1:70"); !match(c) {
		t.Error("a pattern is not what it was")
	}
	if c.Who.Peer.Address = netip.MustParseAddrPort("10.0.0.1:7"); match(c) {
		t.Error("an address with its port is not what it was")
	}
}

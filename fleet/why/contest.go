package why

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// A client id that is taken over again and again belongs to two devices, or to one that connects anew while its old connection is still open. The
// broker sees neither; it sees who comes back, how alike they are, and whether the old connection was still alive:
//
//   - by turns from two addresses, or with two sets of settings: two, unless whoever was taken over had been silent for longer than its
//     keep-alive allows: then it was dead, and one device changes between two networks
//   - always from another address: one, which moves
//   - alike, from one address, and the old connection had been silent: one, whose link breaks without a word
//   - alike, from one address, and the old connection had been in use for a while, up to the end: two
//   - alike, from one address, and too quickly to tell: one that does not wait; but two where it has no end, as programs go on that connect again
//     whenever they are taken over
const (
	fights  = 3                // takeovers that are looked into, and below which a device may just have come back
	silent  = 10 * time.Second // nothing was heard for so long: the old connection was likely dead
	inUse   = 5 * time.Second  // heard so shortly before: it was alive
	settled = 10 * time.Second // a connection that lasted so long was no mere try
	endless = 20               // quick takeovers
)

// contest is what takeovers tell.
type contest struct {
	addresses []string // one after the other
	manners   []string // how they connected
	quiet     int      // the old connection had been silent
	dead      int      // and longer than its keep-alive allows
	used      int      // it was in use, and had been for a while
	longest   time.Duration
}

// contested says who takes a client id from whom.
func (c *look) contested(over history) {
	x := newContest(over, c.h.since(over[len(over)-1].At.Add(-recent), fact.Connected))
	often, window, since := times(over.count()), span(recent), over[len(over)-1].At
	mostly := func(n int) bool { return 2*n > len(over) }
	a, b, turns := byTurns(x.addresses)
	here := x.addresses[len(x.addresses)-1]
	distinct := len(slices.Compact(slices.Sorted(slices.Values(x.addresses))))
	one, other, unlike := byTurns(x.manners)
	c.prove(over...)
	const apart = "If two programs have the client id after all, give each one of its own."
	switch {
	case turns && !mostly(x.dead):
		c.say(Flapping, "client_id_fight", since, "Two devices use the client id: they took it from each other %s in the last %s, by turns from %s and %s.", often, window, a, b)
		c.suggest("Give each device a client id of its own; the evidence names both addresses.")
	case distinct > 1:
		c.say(Flapping, "reconnects", since, "One device connects again while its old connection is still open, and moves between networks: %s in the last %s, from %d addresses, now %s.", often, window, distinct, here)
		c.suggest("Its connections end without the broker being told, as they do when a mobile device changes its network; a shorter keep-alive has the broker notice it sooner. " + apart)
	case unlike:
		mine, its := difference(one, other)
		c.say(Flapping, "client_id_fight", since, "Two programs at %s use the client id: they took it from each other %s in the last %s, by turns with %s and %s.", here, often, window, mine, its)
		c.suggest("Give each program a client id of its own.")
	case mostly(x.quiet):
		c.say(Flapping, "reconnects", since, "One device at %s connects again while its old connection is still open: %s in the last %s; the old one had been silent for up to %s.", here, often, window, span(x.longest))
		c.suggest("Its link breaks without either side being told (a bad network, a NAT that forgets connections, a device that loses power); a shorter keep-alive has the broker notice it sooner. " + apart)
	case mostly(x.used), len(over) >= endless:
		c.say(Flapping, "client_id_fight", since, "Two programs at %s most likely use the client id: it was taken over %s in the last %s, and %s.", here, often, window, alive(mostly(x.used)))
		c.suggest("Give each program a client id of its own. If there is only one, it opens new connections without closing its old ones.")
	default:
		c.say(Flapping, "reconnects", since, "One device at %s most likely connects again before its old connection is closed: %s in the last %s, and nothing tells of a second one.", here, often, window)
		c.suggest("It gives up too soon, or does not close a connection before it opens the next: look at the connect timeout and the reconnect delay of its client. " + apart)
	}
}

func newContest(over, connected history) *contest {
	x := &contest{}
	for i := range slices.Backward(over) {
		f := &over[i]
		x.addresses = append(x.addresses, f.Address, cmp.Or(f.Detail["by_address"], f.Address))
		lasted, told := detailed(f, "for_seconds")
		unheard, _ := detailed(f, "silent_seconds")
		limit, _ := detailed(f, "keep_alive_seconds")
		switch {
		case !told:
		case unheard >= silent:
			x.quiet++
			x.longest = max(x.longest, unheard)
		case unheard <= inUse && lasted >= settled:
			x.used++
		}
		if limit > 0 && unheard > limit {
			x.dead++
		}
	}
	for i := range slices.Backward(connected) {
		x.manners = append(x.manners, manner(&connected[i]))
	}
	return x
}

// alive says what tells that both live: that connections were in use, or that there is no end of it.
func alive(inUse bool) string {
	if inUse {
		return "the connection that was taken over was in use each time, or nearly"
	}
	return "each time at once, as by programs that connect again whenever they are taken over"
}

// detailed is a number of seconds of a fact; false = it does not tell.
func detailed(f *fact.Fact, name string) (time.Duration, bool) {
	n, err := strconv.ParseFloat(f.Detail[name], 64)
	return time.Duration(n * float64(time.Second)), err == nil
}

// byTurns tells whether something comes back after something else was in its place, and which two.
func byTurns(all []string) (a, b string, ok bool) {
	left := map[string]bool{}
	for i := 1; i < len(all); i++ {
		if all[i] == all[i-1] {
			continue
		}
		if left[all[i-1]] = true; left[all[i]] {
			return all[i], all[i-1], true
		}
	}
	return "", "", false
}

// manner is how a client connects, as far as two programs may differ in it.
func manner(f *fact.Fact) string {
	var b strings.Builder
	for _, name := range []string{"software", "protocol", "keep_alive_seconds", "clean_start", "session_expiry_seconds", "will", "tls", "certificate"} {
		if v := f.Detail[name]; v != "" {
			fmt.Fprintf(&b, "%s %s\n", strings.ReplaceAll(strings.TrimSuffix(name, "_seconds"), "_", " "), v)
		}
	}
	fmt.Fprintf(&b, "user %s\nlistener %s\n", f.User, f.Listener)
	return b.String()
}

// difference is the first line of two texts that the other has not.
func difference(a, b string) (ofA, ofB string) {
	first := func(of, not string) string {
		for line := range strings.Lines(of) {
			if !strings.Contains("\n"+not, "\n"+line) {
				return strings.TrimSpace(line)
			}
		}
		return "something else"
	}
	return first(a, b), first(b, a)
}

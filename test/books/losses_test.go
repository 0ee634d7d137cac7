package books

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// lossCase induces one kind of loss with n messages; it returns what the books of the broker have to say.
type lossCase struct {
	name   string
	config string
	run    func(b *broker, n int) count
}

// away makes a session with a subscription whose client is not there.
func (b *broker) away(words, filters string) {
	b.t.Helper()
	c := b.join(words)
	c.subscribe(filters)
	c.leave("")
}

// TestLosses induces every kind of loss, so many times as chance wants it: each line of the books of the broker, of the clients and of the topics is
// what was counted here, and no other line moves.
func TestLosses(t *testing.T) {
	t.Parallel()
	for _, x := range append(losses, ends...) {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, x.config)
			b.books(x.run(b, 50+rand.IntN(400)))
			b.Stop()
		})
	}
}

// restrict is a policy under which everything is allowed but what deny is about.
func restrict(actions, topics, client string) string {
	return `authorization: {rules: [{name: all, allow: [publish, subscribe, receive, retain], topics: ["#"]}, {name: not, deny: [` + actions + `], topics: ["` + topics + `"], clients: [` + client + `]}]}` + "\n"
}

var losses = []lossCase{
	{name: "nothing lost", run: func(b *broker, n int) count {
		a, c := b.join("a receive-max=60000"), b.join("c receive-max=60000")
		a.subscribe("x/# qos=2")
		c.subscribe("x/+ qos=1, x/y/z qos=0")
		pub := b.join("pub")
		pub.give(n, 0, "x/y", "")
		pub.give(n+1, 1, "x/y", "")
		pub.give(n+2, 2, "x/y/z", "")
		a.received(n, 0)
		a.received(n+1, 1)
		a.received(n+2, 2)
		c.received(n+n+2, 0)
		c.received(n+1, 1)
		m, z := int64(3*n+3), int64(n)
		b.client("a", count{"copies": m, "sent": z, "acknowledged": 2*z + 3, "out": m})
		b.client("c", count{"copies": m, "sent": 2*z + 2, "acknowledged": z + 1, "out": m})
		b.client("pub", count{"in": m})
		b.topic("x", count{"messages": m, "copies": 2 * m})
		b.topic("x/y/z", count{"messages": z + 2, "copies": 2*z + 4})
		b.detail("x/y", count{"QoS 0": z, "QoS 1": z + 1})
		return count{"received": m, "routed": m, "copies": 2 * m, "sent": 3*z + 2, "acknowledged": 3*z + 4}
	}},
	{name: "no subscriber", run: func(b *broker, n int) count {
		b.join("other").subscribe("a/+/c qos=1")
		pub := b.join("pub")
		for qos := range 3 {
			pub.give(n, qos, "a/b", "")
		}
		m := int64(3 * n)
		b.client("pub", count{"in": m})
		b.topic("a", count{"messages": m, "unheard": m})
		return count{"received": m, "unheard": m}
	}},
	{name: "QoS 0 to a client that is away", run: func(b *broker, n int) count {
		b.away("a expiry=100", "t qos=2")
		b.join("pub").give(n, 0, "t", "")
		m := int64(n)
		b.client("a", count{"copies": m}.drops("offline", n))
		b.topic("t", count{"messages": m, "copies": m, "dropped": m})
		b.detail("t", count{"QoS 0": m, "dropped: offline": m})
		return count{"received": m, "routed": m, "copies": m}.drops("offline", n)
	}},
	{name: "slow consumer", config: "limits: {max_outgoing_messages: 50}\n", run: func(b *broker, n int) count {
		a := b.dial("a")
		a.send("SUBSCRIBE id=1 t qos=0")
		pub := b.join("pub")
		b.subscribed("t")
		n += 1000
		pub.give(n, 0, "t", `"`+strings.Repeat("x", 20_000)+`"`)
		a.begin()
		a.idle() // and with it all that was written before
		got := a.got[0]
		if got == n {
			b.t.Fatal("nothing was dropped")
		}
		m := int64(n)
		b.client("a", count{"copies": m, "sent": int64(got), "out": int64(got)}.drops("slow_consumer", n-got))
		b.topic("t", count{"messages": m, "copies": m, "dropped": int64(n - got)})
		return count{"received": m, "routed": m, "copies": m, "sent": int64(got)}.drops("slow_consumer", n-got)
	}},
	{name: "queue full, newest refused", config: "limits: {max_queued_messages: 7}\n", run: func(b *broker, n int) count {
		b.away("a expiry=100", "t qos=1")
		pub := b.join("pub")
		no := 0
		for range n { // one by one: the queue is found full once it is
			no += pub.give(1, 1, "t", "")
		}
		if no < n-9 || no > n-7 { // the answer may be there before the queue knows
			b.t.Errorf("%d were refused of %d", no, n)
		}
		m := int64(n)
		b.client("a", count{"copies": m, "queued": 7}.drops("queue_full", n-7))
		b.topic("t", count{"messages": m, "copies": m, "dropped": m - 7})
		return count{"received": m, "routed": m, "copies": m, "queued": 7}.drops("queue_full", n-7)
	}},
	{name: "queue full, oldest dropped", config: "limits: {max_queued_messages: 7}\ndelivery: {overflow: drop_oldest}\n", run: func(b *broker, n int) count {
		b.away("a expiry=100", "t qos=1")
		b.join("pub").give(n, 1, "t", "")
		m := int64(n)
		b.client("a", count{"copies": m, "queued": 7}.drops("queue_full", n-7))
		b.topic("t", count{"messages": m, "copies": m})
		b.topic(notKnown, count{"dropped": m - 7}) // the oldest are in the store, unread
		return count{"received": m, "routed": m, "copies": m, "queued": 7}.drops("queue_full", n-7)
	}},
	{name: "queue full, client disconnected", config: "limits: {max_queued_messages: 20}\ndelivery: {overflow: disconnect}\n", run: func(b *broker, n int) count {
		a := b.join("a expiry=100 receive-max=10").silent()
		a.subscribe("t qos=1")
		pub := b.join("pub")
		no := 0
		for range n {
			no += pub.give(1, 1, "t", "")
		}
		a.until("end", func() bool { return a.ended })
		const kept = 10 + 20              // in flight, and waiting
		if no < n-kept-5 || no > n-kept { // the answer may be there before the queue knows
			b.t.Errorf("%d of %d were refused", no, n)
		}
		a = b.join("a expiry=100")
		a.received(kept, 1)
		m := int64(n)
		b.client("a", count{"copies": m, "acknowledged": kept, "out": kept + 10}.drops("queue_full", n-kept))
		return count{"received": m, "routed": m, "copies": m, "acknowledged": kept, "sent again": 10}.drops("queue_full", n-kept)
	}},
	{name: "expired", run: func(b *broker, n int) count {
		b.away("a expiry=100", "t qos=2")
		pub := b.join("pub")
		pub.give(n, 1, "t", "expiry=1")
		pub.give(n, 2, "t", "expiry=1")
		pub.give(7, 1, "t", "")
		over := time.Now().Add(1100 * time.Millisecond)
		reached(func() bool { return time.Now().After(over) })
		a := b.join("a expiry=100")
		a.received(7, 1)
		m := int64(2*n + 7)
		b.client("a", count{"copies": m, "acknowledged": 7, "out": 7}.drops("expired", 2*n))
		b.topic("t", count{"messages": m, "copies": m, "dropped": m - 7})
		b.detail("t", count{"QoS 1": int64(n + 7), "QoS 2": int64(n), "dropped: expired": m - 7})
		return count{"received": m, "routed": m, "copies": m, "acknowledged": 7}.drops("expired", 2*n)
	}},
	{name: "too large for the client", run: func(b *broker, n int) count {
		a := b.join("a max-packet=40")
		a.subscribe("t qos=1")
		pub := b.join("pub")
		long := `"` + strings.Repeat("x", 50) + `"`
		pub.give(n, 0, "t", long)
		pub.give(n, 1, "t", long)
		pub.give(3, 1, "t", "")
		a.received(3, 1)
		m := int64(2*n + 3)
		b.client("a", count{"copies": m, "acknowledged": 3, "out": 3}.drops("too_large", 2*n))
		b.topic("t", count{"messages": m, "copies": m, "dropped": m - 3})
		return count{"received": m, "routed": m, "copies": m, "acknowledged": 3}.drops("too_large", 2*n)
	}},
	{name: "publish denied by rule", config: restrict("publish", "no/#", "pub"), run: func(b *broker, n int) count {
		b.join("a").subscribe("# qos=0")
		b.join("another").give(3, 0, "no/t", "") // else the topic is not known, and denials make none
		pub := b.join("pub")
		if no := pub.give(n, 1, "no/t", "") + pub.give(n, 2, "no/t", ""); no != 2*n {
			b.t.Errorf("%d of %d were refused", no, 2*n)
		}
		pub.give(n, 0, "no/u", "")
		pub.give(2, 0, "yes", "")
		m := int64(3 * n)
		b.client("pub", count{"in": m + 2, "why: denied_by_rule": m})
		b.topic("no", count{"messages": 3, "copies": 3, "denied": m})
		b.detail("no/t", count{"QoS 0": 3, "denied: rule": 2 * m / 3})
		return count{"received": m + 5, "denied": m, "why: denied_by_rule": m, "routed": 5, "copies": 5, "sent": 5}
	}},
	{name: "receive denied by rule", config: restrict("receive", "s/#", "a"), run: func(b *broker, n int) count {
		b.join("a").subscribe("# qos=1")
		pub := b.join("pub")
		pub.give(n, 1, "s/t", "")
		pub.give(n, 0, "s/t", "")
		pub.give(5, 0, "t", "")
		m := int64(2 * n)
		b.client("a", count{"copies": m + 5, "sent": 5, "out": 5}.drops("denied", 2*n))
		b.topic("s", count{"messages": m, "copies": m, "dropped": m})
		return count{"received": m + 5, "routed": m + 5, "copies": m + 5, "sent": 5}.drops("denied", 2*n)
	}},
	{name: "publisher rate limited", config: "rates: {answer: refuse, burst: 10s, client: {publish_messages: 1}}\n", run: func(b *broker, n int) count {
		pub := b.join("pub")
		no := int64(pub.give(n, 1, "t", ""))
		if no == 0 {
			b.t.Error("nothing was refused")
		}
		m := int64(n)
		b.client("pub", count{"in": m, "why: refused_rate_limited": no})
		return count{"received": m, "refused": no, "why: refused_rate_limited": no, "unheard": m - no}
	}},
	{name: "receiver rate limited", config: "rates: {burst: 10s, client: {deliver_messages: 1}}\n", run: func(b *broker, n int) count {
		a := b.join("a")
		a.subscribe("t qos=0")
		b.join("pub").give(n, 0, "t", "")
		a.idle()
		got := a.got[0]
		if got == n {
			b.t.Error("nothing was dropped")
		}
		m := int64(n)
		b.client("a", count{"copies": m, "sent": int64(got), "out": int64(got)}.drops("rate_limited", n-got))
		return count{"received": m, "routed": m, "copies": m, "sent": int64(got)}.drops("rate_limited", n-got)
	}},
	{name: "quarantined", run: func(b *broker, n int) count {
		pub := b.join("pub")
		b.does(http.MethodPost, "/bans", map[string]any{"subject": "client", "value": "pub", "quarantine": true}, nil)
		pub.give(n, 0, "t", "")
		pub.give(n, 1, "t", "")
		m := int64(2 * n)
		b.client("pub", count{"in": m, "why: denied_by_quarantine": m})
		return count{"received": m, "denied": m, "why: denied_by_quarantine": m}
	}},
	{name: "server full", config: "limits: {max_total_queued_bytes: 3000}\n", run: func(b *broker, n int) count {
		b.away("a expiry=100", "t qos=1")
		pub := b.join("pub")
		no := 0
		for range n + 50 {
			no += pub.give(1, 1, "t", `"0123456789012345678901234567890123456789"`)
		}
		if no == 0 {
			b.t.Error("nothing was refused")
		}
		m := int64(n + 50)
		b.client("a", count{"copies": m, "queued": m - int64(no)}.drops("server_full", no))
		return count{"received": m, "routed": m, "copies": m, "queued": m - int64(no)}.drops("server_full", no)
	}},
	{name: "retained limit", config: "limits: {max_retained: 9}\n", run: func(b *broker, n int) count {
		pub := b.join("pub")
		no := 0
		for i := range n {
			no += pub.give(1, 1, fmt.Sprintf("r/%d", i), "retain")
		}
		if no != n-9 {
			b.t.Errorf("%d of %d were refused", no, n)
		}
		a := b.join("a")
		a.subscribe("r/# qos=1")
		a.received(9, 1)
		b.client("a", count{"copies": 9, "acknowledged": 9, "out": 9})
		b.topic("r", count{"messages": int64(n), "unheard": int64(n), "copies": 9})
		return count{"received": int64(n), "unheard": int64(n), "copies": 9, "acknowledged": 9, "not retained: retained_full": int64(no)}
	}},
	{name: "store refuses", config: "storage: {segment_size: 1MiB, reserve: 1MiB, max_bytes: 8MiB}\ndurability: process\n", run: func(b *broker, n int) count {
		b.away("a expiry=100", "t qos=1")
		pub := b.join("pub")
		no, sent := 0, 0
		for long := `"` + strings.Repeat("x", 10_000) + `"`; no < n; sent++ {
			no += pub.give(1, 1, "t", long)
		}
		// The store may have failed with some before the broker knew that it takes nothing: they were on their way already.
		var p page
		b.does(http.MethodGet, "/books", nil, &p)
		failed := p.Reasons["store_failed"]
		m, kept, refused := int64(sent), int64(sent-no), int64(no)-failed
		b.client("a", count{"copies": kept + failed, "queued": kept}.drops("store_failed", int(failed)).tidy())
		b.client("pub", count{"in": m, "why: refused_store_unwell": refused})
		b.topic("t", count{"messages": kept + failed, "copies": kept + failed, "dropped": failed})
		return count{"received": m, "routed": kept + failed, "copies": kept + failed, "queued": kept, "refused": refused, "why: refused_store_unwell": refused}.drops("store_failed", int(failed))
	}},
	{name: "messages of the API and wills", run: func(b *broker, n int) count {
		a := b.join("a")
		a.subscribe("api qos=1, will qos=1")
		n = n%20 + 5
		for range n {
			b.does(http.MethodPost, "/publish", map[string]any{"topic": "api", "payload": "x", "qos": 1}, nil)
		}
		for i := range n {
			b.join(fmt.Sprintf(`w%d will=will will-qos=1 "gone"`, i)).cut()
		}
		a.received(2*n, 1)
		m := int64(n)
		b.client("a", count{"copies": 2 * m, "acknowledged": 2 * m, "out": 2 * m})
		return count{"own": m, "wills": m, "routed": 2 * m, "copies": 2 * m, "acknowledged": 2 * m}
	}},
}

// notKnown is the row of what was dropped unread.
const notKnown = "(topic not known)"

// subscribed waits until somebody has a subscription.
func (b *broker) subscribed(filter string) {
	b.t.Helper()
	if !reached(func() bool {
		var list struct{ Matched int }
		_, err := b.call(http.MethodGet, "/subscriptions?filter=filter:"+filter, nil, &list)
		return err == nil && list.Matched > 0
	}) {
		b.t.Fatal("nobody has subscribed to " + filter)
	}
}

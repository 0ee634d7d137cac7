package books

import (
	"fmt"
	"net/http"
)

// ends are what becomes of messages whose session, or broker, ends while they wait.
var ends = []lossCase{
	{name: "session ended", run: func(b *broker, n int) count {
		b.away("admin expiry=100", "t qos=1")
		b.away("expires expiry=1", "t qos=1")
		b.away("clean expiry=100", "t qos=1")
		left := b.join("left expiry=100 receive-max=3").silent()
		left.subscribe("t qos=2")
		b.join("pub").give(n, 2, "t", "")
		left.received(3, 2)
		b.does(http.MethodDelete, "/sessions/admin", nil, nil)
		b.join("clean clean expiry=0")
		left.leave("expiry=0")
		m := int64(n)
		b.client("clean", count{})
		b.topic("t", count{"messages": m, "copies": 4 * m, "dropped": 4*m - 3})
		return count{"received": m, "routed": m, "copies": 4 * m, "unacknowledged": 3}.drops("session_ended", 4*n-3)
	}},
	{name: "come back", run: func(b *broker, n int) count {
		a := b.join("a expiry=100 receive-max=20").silent()
		a.subscribe("t qos=1")
		pub := b.join("pub")
		pub.give(n, 1, "t", "")
		a.received(20, 1)
		a.cut()
		a = b.join("a expiry=100")
		a.received(n, 1)
		m := int64(n)
		if a.again != 20 {
			b.t.Errorf("%d came again", a.again)
		}
		b.client("a", count{"copies": m, "acknowledged": m, "out": m + 20})
		return count{"received": m, "routed": m, "copies": m, "acknowledged": m, "sent again": 20}
	}},
	{name: "moved on within a group", run: func(b *broker, n int) count {
		first := b.join("first receive-max=60000").silent()
		first.subscribe("$share/g/t qos=1")
		b.join("pub").give(n, 1, "t", "")
		first.received(n, 1)
		second := b.join("second receive-max=60000")
		second.subscribe("$share/g/t qos=1")
		first.leave("expiry=0")
		second.received(n, 1)
		m := int64(n)
		b.client("second", count{"copies": m, "acknowledged": m, "out": m})
		b.topic("t", count{"messages": m, "copies": 2 * m})
		return count{"received": m, "routed": m, "copies": 2 * m, "moved on": m, "acknowledged": m}
	}},
	{name: "killed", config: "durability: process\n", run: func(b *broker, n int) count {
		b.away("a expiry=1000", "t qos=1")
		b.join("pub").give(n, 1, "t", "")
		m := int64(n)
		b.books(count{"received": m, "routed": m, "copies": m, "queued": m})
		b.Kill()
		b.begin()
		// The books were saved as the broker started, and since then only it knew what it did.
		b.books(count{"recovered after a crash": -m, "queued": m})
		b.client("a", count{"queued at the start": m, "queued": m})
		b.join("a expiry=1000").received(n, 1)
		b.client("a", count{"queued at the start": m, "acknowledged": m, "out": m})
		return count{"recovered after a crash": -m, "acknowledged": m}
	}},
	{name: "stopped and started", config: "durability: process\n", run: func(b *broker, n int) count {
		b.away("a expiry=1000", "t qos=2")
		held := b.join("held expiry=1000 receive-max=9").silent()
		held.subscribe("t qos=1")
		pub := b.join("pub")
		pub.give(n, 0, "t", "") // first: it would wait behind what waits
		pub.give(n, 1, "t", "")
		pub.leave("")
		held.received(9, 1)
		m := int64(n)
		b.Stop()
		lines := func() count {
			return count{"received": 2 * m, "routed": 2 * m, "copies": 4 * m, "queued": 2 * m, "sent": m}.drops("offline", n)
		}
		b.begin()
		b.books(lines())
		b.Stop()
		b.begin()
		b.books(lines())
		a := b.join("a expiry=1000")
		a.received(n, 1)
		held = b.join("held expiry=1000")
		held.received(n, 1)
		if held.again != 9 {
			b.t.Errorf("%d came again", held.again)
		}
		want := lines()
		want["queued"], want["acknowledged"], want["sent again"] = 0, 2*m, 9
		return want
	}},
	{name: "many at once", config: "limits: {max_queued_messages: 100}\ndelivery: {overflow: drop_oldest}\nrates: {classes: [{name: here, clients: [here], max_queued_messages: 100000}]}\n", run: func(b *broker, n int) count {
		const clients = 10
		for i := range clients {
			b.away(fmt.Sprintf("away%d expiry=1000", i), "t/+ qos=1")
		}
		here := b.join("here receive-max=60000")
		here.subscribe("t/# qos=1")
		done := make(chan bool)
		for i := range 4 {
			pub := b.join(fmt.Sprintf("pub%d", i))
			go func() {
				defer func() { done <- true }()
				pub.give(n+500, 1, fmt.Sprintf("t/%d", i), "")
			}()
		}
		for range 4 {
			<-done
		}
		m := 4 * (n + 500)
		here.received(m, 1)
		for i := range clients {
			b.client(fmt.Sprintf("away%d", i), count{"copies": int64(m), "queued": 100}.drops("queue_full", m-100))
		}
		b.topic("t", count{"messages": int64(m), "copies": int64(m) * (clients + 1)})
		b.topic(notKnown, count{"dropped": int64(m-100) * clients})
		return count{"received": int64(m), "routed": int64(m), "copies": int64(m) * (clients + 1), "acknowledged": int64(m), "queued": 100 * clients}.drops("queue_full", (m-100)*clients)
	}},
}

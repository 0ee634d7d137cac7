package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
)

// TestQueueLimit: what waits for a session is limited, connected or not, by each policy.
func TestQueueLimit(t *testing.T) {
	for _, shards := range []int{1, 4} {
		for _, expiry := range []string{"expiry=100", "receive-max=1"} { // in the store and not
			for _, policy := range []broker.Overflow{broker.OverflowRefuse, broker.OverflowDropOldest, broker.OverflowDisconnect} {
				t.Run(fmt.Sprint(shards, expiry, policy), func(t *testing.T) {
					queueLimit(t, shards, expiry, policy)
				})
			}
		}
	}
}

func queueLimit(t *testing.T, shards int, words string, policy broker.Overflow) {
	o := with(func(l *broker.Limits, d *broker.Delivery) { l.MaxQueuedMessages, d.Overflow = 3, policy })
	o.Shards = shards
	s := serve(t, o)
	sub := s.client("id=sub " + words)
	sub.subscribe("t qos=1")
	durable := strings.HasPrefix(words, "expiry")
	pub := s.client("id=pub")
	if durable {
		sub.leave(s, 1)
	}
	for i := range 5 {
		pub.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=t "%d"`, i+1, i))
		code := "0x00"
		if i >= 3 && (policy == broker.OverflowRefuse || policy == broker.OverflowDisconnect && durable) {
			code = "0x97"
		}
		if i == 4 && policy == broker.OverflowDisconnect && !durable {
			code = "0x10" // the client is gone
		}
		pub.expect(fmt.Sprintf("PUBACK id=%d %s", i+1, strings.TrimPrefix(code, "0x00")))
		s.until("it is delivered", func(st broker.Stats) bool {
			waits := st.QueuedBytes / 130
			return waits+int64(st.Dropped[session.QueueFull]) >= int64(i+1) || st.Sessions == 1
		})
	}
	st := s.stats()
	if policy == broker.OverflowDisconnect && !durable {
		sub.expect(`PUBLISH qos=1 topic=t "0"`, "DISCONNECT 0x97", "closed")
		if st.QueuedBytes != 0 {
			t.Errorf("%d bytes queued for nobody", st.QueuedBytes)
		}
		return
	}
	if n := st.Dropped[session.QueueFull]; n != 2 {
		t.Errorf("%d dropped as queue_full, want 2", n)
	}
	first := 0
	if policy == broker.OverflowDropOldest {
		first = 2
	}
	if durable {
		sub = s.client("id=sub " + words)
	} else {
		sub.expect(`PUBLISH qos=1 id=1 topic=t "0"`)
		sub.send("PUBACK id=1")
		if first++; policy != broker.OverflowDropOldest {
			first = 1
		}
	}
	for i := first; i < 5 && (i < 3 || policy == broker.OverflowDropOldest); i++ {
		sub.expect(fmt.Sprintf(`PUBLISH qos=1 topic=t "%d"`, i))
		sub.send(fmt.Sprintf("PUBACK id=%d", i+1))
	}
	sub.idle()
	s.until("nothing is queued", func(st broker.Stats) bool { return st.QueuedBytes == 0 })
}

// TestSubscriptionIDsOfQueued: what waits keeps the subscription identifiers it came with.
func TestSubscriptionIDsOfQueued(t *testing.T) {
	for _, shards := range []int{1, 4} {
		s := serve(t, broker.Options{Shards: shards})
		sub := s.client("id=sub receive-max=1")
		for i := range 5 {
			sub.subscribe(fmt.Sprintf("subid=%d t/%d qos=1", i+1, i))
		}
		pub := s.client("id=pub")
		for i := range 5 {
			pub.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=t/%d "x"`, i+1, i))
			pub.expect(fmt.Sprintf("PUBACK id=%d", i+1))
		}
		for i := range 5 {
			sub.expect(fmt.Sprintf("PUBLISH topic=t/%d subid=%d", i, i+1))
			sub.send(fmt.Sprintf("PUBACK id=%d", i+1))
		}
	}
}

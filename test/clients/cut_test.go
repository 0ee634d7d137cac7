package clients

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestCut has a publisher and a subscriber lose their connections in every way while a stream runs.
// What was acknowledged arrives in order: with QoS 1 at least once, with QoS 2 exactly once. A witness
// whose connection holds tells what the broker took from the publisher from what it gave to the subscriber.
func TestCut(t *testing.T) {
	plan := []fault{{1500, cut}, {2107, reset}, {1811, stall}, {2203, deaf}, {1907, mute}, {997, deaf}, {1709, reset}}
	reconnects := func(k *kind) bool { return k.reconnects }
	eachOf(t, reconnects, func(t *testing.T, b *bench) {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
				b := &bench{t, b.kind, b.door, b.broker}
				pub := b.dial(options{id: fmt.Sprintf("pub%d", qos), keep: true, reconnect: true}, plan...)
				sub := b.dial(options{id: fmt.Sprintf("sub%d", qos), keep: true, reconnect: true}, plan...)
				witness := b.dial(options{id: "witness"})
				topic := fmt.Sprintf("stream/%d", qos)
				witness.subscribed(topic, qos)
				sub.subscribed(topic, qos)
				messages := 400
				if b.door != "tcp" {
					messages = 800 // the doors' own bytes are no faults' business
				}
				taken, given := stream(pub, witness, sub, numbered(topic, messages, func(int) byte { return qos }))

				if at := difference(taken.order, given.order); at >= 0 {
					t.Errorf("from the %dth on, the witness got %.6q, the subscriber %.6q", at,
						taken.order[at:min(at+10, len(taken.order))], given.order[at:min(at+10, len(given.order))])
				}
				if sorted := slices.Sorted(slices.Values(taken.order)); b.orderly {
					if at := difference(sorted, taken.order); at >= 0 {
						t.Errorf("from the %dth on, the publisher sent %.6q, the witness got %.6q", at,
							sorted[at:min(at+10, len(sorted))], taken.order[at:min(at+10, len(taken.order))])
					}
				}
				for payload, n := range given.times {
					if qos == 2 && n != taken.times[payload] {
						t.Errorf("%s arrived %d times at the subscriber, %d at the witness", payload, n, taken.times[payload])
					}
					if qos == 2 && b.orderly && n != 1 {
						t.Errorf("%s arrived %d times", payload, n)
					}
				}
				for _, c := range []*conn{pub, sub} {
					if c.by.faults() != len(plan) {
						t.Errorf("%s met %d of %d faults", c.id, c.by.faults(), len(plan))
					}
				}
			})
		}
	})
}

// difference is the first index at which a and b differ, -1 when they are equal.
func difference(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) == len(b) {
		return -1
	}
	return min(len(a), len(b))
}

// arrivals are the payloads that a receiver got: in the order of their first arrival, and how often.
type arrivals struct {
	order []string
	times map[string]int
}

func (a *arrivals) add(payload string) {
	if a.times[payload]++; a.times[payload] == 1 {
		a.order = append(a.order, payload)
	}
}

// stream has messages under way to two receivers, a few at a time, until every one that was acknowledged
// has arrived at both. A client may give up a message that was being written when the connection broke;
// that one may arrive or not. A last message, which the receivers do not look beyond, ends it for both.
func stream(pub, witness, sub *conn, messages []message) (taken, given arrivals) {
	const window = 40
	last := message{Topic: messages[0].Topic, Payload: "end", QoS: messages[0].QoS}
	taken.times, given.times = map[string]int{}, map[string]int{}
	results := make(chan func(), len(messages))
	acked, underway := map[string]bool{}, map[string]bool{}
	timeout := time.After(patience)
	for len(messages) > 0 || len(underway) > 0 {
		if len(messages) > 0 && len(underway) < window {
			m := messages[0]
			messages = messages[1:]
			underway[m.Payload] = true
			done := pub.publish(m)
			go func() {
				r := <-done
				results <- func() {
					acked[m.Payload] = true
					if r.err != nil || r.code >= 0x80 {
						delete(underway, m.Payload)
					}
				}
			}()
			continue
		}
		select {
		case m := <-witness.in:
			taken.add(m.Payload)
		case m := <-sub.in:
			given.add(m.Payload)
		case note := <-results:
			note()
		case <-timeout:
			pub.t.Fatalf("%d messages left, %d under way, %d arrived at the witness and %d at the subscriber",
				len(messages), len(underway), len(taken.order), len(given.order))
		}
		for payload := range underway {
			if acked[payload] && taken.times[payload] > 0 && given.times[payload] > 0 {
				delete(underway, payload)
			}
		}
	}
	pub.published(last)
	for m := witness.next(); m.Payload != last.Payload; m = witness.next() {
		taken.add(m.Payload)
	}
	for m := sub.next(); m.Payload != last.Payload; m = sub.next() {
		given.add(m.Payload)
	}
	return taken, given
}

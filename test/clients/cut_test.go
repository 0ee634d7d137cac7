package clients

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestCut has a publisher and a subscriber lose their connections in every way, while a stream runs.
// What was acknowledged arrives in order: with QoS 1 at least once, with QoS 2 exactly once.
func TestCut(t *testing.T) {
	plan := []fault{{1500, cut}, {2107, reset}, {1811, stall}, {2203, deaf}, {1907, mute}, {997, deaf}, {1709, reset}}
	const messages = 400
	reconnects := func(k kind) bool { return k.reconnects }
	eachOf(t, reconnects, func(t *testing.T, b *bench) {
		for qos := byte(1); qos <= 2; qos++ {
			topic := fmt.Sprintf("stream/%d", qos)
			pub := b.dial(options{id: "pub", keep: true, reconnect: true}, plan...)
			sub := b.dial(options{id: "sub", keep: true, reconnect: true}, plan...)
			sub.subscribed(topic, qos)
			order, times := stream(pub, sub, numbered(topic, messages, func(int) byte { return qos }))
			if !slices.IsSorted(order) {
				t.Errorf("QoS %d: out of order: %v", qos, outOfOrder(order))
			}
			for payload, n := range times {
				if qos == 2 && n != 1 {
					t.Errorf("QoS 2: %s arrived %d times", payload, n)
				}
			}
			for who, p := range map[string]*proxy{"publisher": pub.by, "subscriber": sub.by} {
				if p.faults() != len(plan) {
					t.Errorf("QoS %d: the %s met %d of %d faults", qos, who, p.faults(), len(plan))
				}
			}
			pub.closed()
			sub.closed()
		}
	})
}

// stream has messages under way from one client to the other, a few at a time, until every one that was
// acknowledged has arrived. A client may give up a message that was being written when the connection
// broke; that one may arrive or not. It returns the payloads in the order of their first arrival, and
// how often each arrived.
func stream(pub, sub *conn, messages []message) (order []string, times map[string]int) {
	const window = 40
	type result struct {
		payload string
		outcome
	}
	results := make(chan result, len(messages))
	times = map[string]int{}
	acked, underway, given := map[string]bool{}, map[string]bool{}, 0
	timeout := time.After(patience)
	for len(messages) > 0 || len(underway) > 0 {
		if len(messages) > 0 && len(underway) < window {
			m := messages[0]
			messages = messages[1:]
			underway[m.Payload] = true
			done := pub.publish(m)
			go func() { results <- result{m.Payload, <-done} }()
			continue
		}
		payload := ""
		select {
		case m := <-sub.in:
			payload = m.Payload
			if times[payload]++; times[payload] == 1 {
				order = append(order, payload)
			}
		case r := <-results:
			payload = r.payload
			acked[payload] = true
			if r.err != nil || r.code >= 0x80 {
				delete(underway, payload)
				given++
			}
		case <-timeout:
			pub.t.Fatalf("%d messages left, %d under way, %d arrived", len(messages), len(underway), len(order))
		}
		if acked[payload] && times[payload] > 0 {
			delete(underway, payload)
		}
	}
	if given > 20 {
		pub.t.Errorf("%s gave up %d messages", pub.id, given)
	}
	pub.t.Logf("%d given up", given)
	return order, times
}

func outOfOrder(order []string) (pairs []string) {
	for i := 1; i < len(order); i++ {
		if order[i] < order[i-1] {
			pairs = append(pairs, order[i-1][:6]+" before "+order[i][:6])
		}
	}
	return pairs
}

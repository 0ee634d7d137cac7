package clients

import (
	"fmt"
	"testing"
	"time"
)

// TestQoS sends each QoS to a subscription of each QoS: the lower one arrives.
func TestQoS(t *testing.T) {
	eachDoor(t, func(t *testing.T, b *bench) {
		sub, pub := b.dial(options{id: "sub"}), b.dial(options{id: "pub"})
		if sub.present() || pub.present() {
			t.Error("a new client has a session")
		}
		for granted := range byte(3) {
			topic := fmt.Sprintf("qos/%d", granted)
			sub.subscribed(topic, granted)
			sent := numbered(topic, 30, func(i int) byte { return byte(i % 3) })
			pub.published(sent...)
			for i := range sent {
				sent[i].QoS = min(sent[i].QoS, granted)
			}
			sub.gets(sent...)
			if err := sub.unsubscribe(topic); err != nil {
				t.Error(err)
			}
			pub.published(message{Topic: topic, Payload: "to nobody", QoS: 1})
		}
		sub.subscribed("end", 0)
		pub.published(message{Topic: "end"})
		sub.gets(message{Topic: "end"})
	})
}

// TestRetained sets, gets and clears a retained message.
func TestRetained(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		live, pub := b.dial(options{id: "live"}), b.dial(options{id: "pub"})
		live.subscribed("state/+", 2)
		pub.published(
			message{Topic: "state/a", Payload: "old", QoS: 1, Retain: true},
			message{Topic: "state/a", Payload: "new", QoS: 2, Retain: true},
			message{Topic: "state/b", Payload: "b", QoS: 1, Retain: true})
		live.gets(
			message{Topic: "state/a", Payload: "old", QoS: 1},
			message{Topic: "state/a", Payload: "new", QoS: 2},
			message{Topic: "state/b", Payload: "b", QoS: 1})

		late := b.dial(options{id: "late"})
		late.subscribed("state/a", 1)
		late.gets(message{Topic: "state/a", Payload: "new", QoS: 1, Retain: true})

		pub.published(message{Topic: "state/a", QoS: 1, Retain: true})
		live.gets(message{Topic: "state/a", QoS: 1})
		late.gets(message{Topic: "state/a", QoS: 1})

		later := b.dial(options{id: "later"})
		later.subscribed("state/#", 1)
		later.gets(message{Topic: "state/b", Payload: "b", QoS: 1, Retain: true})
		pub.published(message{Topic: "state/end", QoS: 1})
		later.gets(message{Topic: "state/end", QoS: 1})
	})
}

// TestWill ends clients with and without DISCONNECT.
func TestWill(t *testing.T) {
	eachDoor(t, func(t *testing.T, b *bench) {
		sub := b.dial(options{id: "sub"})
		sub.subscribed("will/#", 2)
		for qos := range byte(3) {
			will := message{Topic: fmt.Sprintf("will/%d", qos), Payload: "gone", QoS: qos, Retain: qos > 0}
			b.dial(options{id: "polite", will: &will}).closed()
			b.dial(options{id: "cut", will: &will}).lost()
			live := will
			live.Retain = false
			sub.gets(live)
		}
		late := b.dial(options{id: "late"})
		late.subscribed("will/1", 1)
		late.gets(message{Topic: "will/1", Payload: "gone", QoS: 1, Retain: true})
		late.published(message{Topic: "will/end", QoS: 1})
		sub.gets(message{Topic: "will/end", QoS: 1})
	})
}

// TestResume queues for a client that is away, and has it come back twice: to its session, and clean.
func TestResume(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		pub := b.dial(options{id: "pub"})
		sub := b.dial(options{id: "sub", keep: true})
		sub.subscribed("queue/+", 2)
		sub.closed()

		sent := numbered("queue/a", 60, func(i int) byte { return byte(1 + i%2) })
		pub.published(sent...)
		sub = b.dial(options{id: "sub", keep: true})
		if !sub.present() && b.version > 3 { // CONNACK of MQTT 3.1 does not say
			t.Error("the session is not there")
		}
		sub.gets(sent...)
		more := numbered("queue/b", 5, func(int) byte { return 1 })
		pub.published(more...)
		sub.gets(more...)
		sub.lost()

		pub.published(numbered("queue/c", 5, func(int) byte { return 1 })...)
		sub = b.dial(options{id: "sub"})
		if sub.present() {
			t.Error("a clean start found a session")
		}
		sub.subscribed("queue/end", 1)
		pub.published(message{Topic: "queue/end", QoS: 1})
		sub.gets(message{Topic: "queue/end", QoS: 1})
	})
}

// TestShared spreads messages over a group: each arrives at one member.
func TestShared(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		const members, messages = 3, 300
		type arrival struct{ member, payload string }
		in := make(chan arrival, 2*messages)
		for i := range members {
			id := fmt.Sprintf("member%d", i)
			member := b.dial(options{id: id, receive: func(m message) { in <- arrival{id, m.Payload} }})
			member.subscribed("$share/group/job/+", byte(1+i%2))
			member.subscribed("end", 0)
		}
		pub, all := b.dial(options{id: "pub"}), b.dial(options{id: "all"})
		all.subscribed("job/+", 2)
		sent := numbered("job/a", messages, func(i int) byte { return byte(1 + i%2) })
		pub.published(sent...)
		all.gets(sent...)

		times, share := map[string]int{}, map[string]int{}
		for ended := 0; ended < members; {
			select {
			case a := <-in:
				if a.payload == "end" {
					ended++
					continue
				}
				times[a.payload]++
				share[a.member]++
				if len(times) == messages && times[a.payload] == 1 {
					pub.published(message{Topic: "end", Payload: "end", QoS: 1})
				}
			case <-time.After(patience):
				t.Fatalf("%d of %d messages arrived, so many at each: %v", len(times), messages, share)
			}
		}
		for payload, n := range times {
			if n != 1 {
				t.Errorf("%q arrived %d times", payload, n)
			}
		}
		if len(share) != members {
			t.Errorf("not every member got something: %v", share)
		}
	})
}

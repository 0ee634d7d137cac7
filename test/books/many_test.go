package books

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

var messages = flag.Int("messages", 1_000_000, "of TestMany")

// crowd is what the publishers of TestMany did.
type crowd struct {
	mu                     sync.Mutex
	heard, large           [3]int64 // by QoS
	unheard, denied, first int64    // first: heard/0, of QoS 1 and 2
	zeros                  int64    // heard/0 at QoS 0
}

const publishers = 4

// TestMany sends a million messages, or as many as -messages says, of all kinds at once: the books are exact afterwards.
func TestMany(t *testing.T) {
	t.Parallel()
	b := start(t, "durability: process\nstorage: {}\n"+restrict("publish", "denied/#", "p*")+
		"limits: {max_queued_messages: 1000, max_outgoing_messages: 100000000, max_outgoing_bytes: 1GiB}\ndelivery: {overflow: drop_oldest}\n"+
		"rates: {classes: [{name: all, clients: [all], max_queued_messages: 100000000, max_queued_bytes: 4GiB}]}\n")
	none, all, small := b.join("none"), b.join("all receive-max=60000"), b.join("small max-packet=60")
	none.subscribe("heard/# qos=0")
	all.subscribe("heard/# qos=1")
	small.subscribe("large/# qos=1")
	b.away("away expiry=1000", "heard/0 qos=1")
	b.join("another").give(1, 0, "denied/x", "")
	began := time.Now()
	var c crowd
	var done sync.WaitGroup
	for i := range publishers {
		p := b.join(fmt.Sprintf("p%d", i))
		done.Go(func() { c.publish(p, *messages/publishers, rand.New(rand.NewPCG(uint64(i), 1))) })
	}
	done.Wait()
	heard, large := c.heard[0]+c.heard[1]+c.heard[2], c.large[0]+c.large[1]+c.large[2]
	all.received(int(c.heard[1]+c.heard[2]), 1)
	for _, p := range []*peer{none, all, small} {
		p.idle()
	}
	took := time.Since(began)
	if int64(none.got[0]) != heard || int64(all.got[0]) != c.heard[0] {
		t.Fatalf("%d and %d messages at QoS 0 came of %d and %d: nobody is slow here", none.got[0], all.got[0], heard, c.heard[0])
	}
	t.Logf("%d messages, %d copies in %v", *messages, 2*heard+large+c.first+c.zeros, took.Round(time.Millisecond))
	sent, copies := int64(publishers*(*messages/publishers)), 2*heard+large+c.first+c.zeros
	want := count{
		"received": sent + 1, "unheard": c.unheard + 1, "denied": c.denied, "why: denied_by_rule": c.denied, "routed": heard + large, "copies": copies,
		"sent": heard + c.heard[0], "acknowledged": c.heard[1] + c.heard[2], "queued": 1000,
	}
	b.books(want.drops("offline", int(c.zeros)).drops("queue_full", int(c.first-1000)).drops("too_large", int(large)))
	b.client("away", count{"copies": c.first + c.zeros, "queued": 1000}.drops("offline", int(c.zeros)).drops("queue_full", int(c.first-1000)))
	b.client("none", count{"copies": heard, "sent": heard, "out": heard})
	b.client("small", count{"copies": large}.drops("too_large", int(large)))
	b.topic("heard", count{"messages": heard, "copies": 2*heard + c.first + c.zeros, "dropped": c.zeros})
	b.topic(notKnown, count{"dropped": c.first - 1000})
	b.topic("large", count{"messages": large, "copies": large, "dropped": large})
	b.topic("lonely", count{"messages": c.unheard, "unheard": c.unheard})
	b.topic("denied", count{"messages": 1, "unheard": 1, "denied": c.denied})
	b.Stop()
}

// publish sends n messages of all kinds in chance's order.
func (c *crowd) publish(p *peer, n int, chance *rand.Rand) {
	long := []byte(strings.Repeat("x", 60))
	for n > 0 {
		part := min(n, window)
		n -= part
		p.mu.Lock()
		answered, want := p.yes+p.no, 0
		p.mu.Unlock()
		var out []byte
		c.mu.Lock()
		for i := range part {
			m := mqtt.Publish{QoS: mqtt.QoS(chance.IntN(10) / 4), Payload: long[:10]}
			if m.QoS > 0 {
				want++
				m.ID = uint16(i + 1)
			}
			c.choose(&m, chance, long)
			out = m.AppendTo(out, mqtt.V5)
		}
		c.mu.Unlock()
		p.raw(out)
		if n == 0 {
			p.idle()
		}
		p.until("answers", func() bool { return p.yes+p.no == answered+want })
	}
}

// choose gives a message its kind and counts it.
func (c *crowd) choose(m *mqtt.Publish, chance *rand.Rand, long []byte) {
	switch k := chance.IntN(100); {
	case k < 70:
		i := chance.IntN(100)
		m.Topic = fmt.Appendf(nil, "heard/%d", i)
		c.heard[m.QoS]++
		if i == 0 && m.QoS > 0 {
			c.first++
		} else if i == 0 {
			c.zeros++
		}
	case k < 80:
		m.Topic = fmt.Appendf(nil, "lonely/%d/x", chance.IntN(1000))
		c.unheard++
	case k < 90:
		m.Topic = fmt.Appendf(nil, "denied/%d", chance.IntN(1000))
		c.denied++
	default:
		m.Topic, m.Payload = fmt.Appendf(nil, "large/%d", chance.IntN(10)), long
		c.large[m.QoS]++
	}
}

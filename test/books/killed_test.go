package books

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// kinds are what the publishers of TestKilled send, and how many of a hundred are of each.
var kinds = []struct {
	name  string
	of100 int
}{{"heard", 55}, {"shared", 10}, {"lonely", 8}, {"denied", 7}, {"large", 8}, {"kept", 7}, {"short", 5}}

// sum is what the publishers of TestKilled did, by kind and QoS.
type sum struct {
	mu   sync.Mutex
	of   map[string]*[3]int64
	away [3]int64 // heard/0
}

func (s *sum) all(kind string) int64     { return s.of[kind][0] + s.durable(kind) }
func (s *sum) durable(kind string) int64 { return s.of[kind][1] + s.of[kind][2] }

// stand are the clients of TestKilled that are there.
type stand struct{ none, all, small, one, two *peer }

func (b *broker) stand() (s stand) {
	s = stand{b.join("none"), b.join("all receive-max=60000"), b.join("small max-packet=60"), b.join("one receive-max=60000"), b.join("two receive-max=60000")}
	s.none.subscribe("heard/+ qos=0")
	s.all.subscribe("heard/# qos=1")
	s.small.subscribe("large/# qos=1")
	s.one.subscribe("$share/g/shared/# qos=1")
	s.two.subscribe("$share/g/shared/+ qos=1, $share/g/shared/# qos=1")
	s.two.send("UNSUBSCRIBE id=2 $share/g/shared/+")
	s.two.expect("UNSUBACK")
	return s
}

// TestKilled sends as many messages as -messages says, of all kinds and QoS at once, with wildcards, a shared subscription, retained messages, message
// expiry and sessions whose clients are away. In the middle, while more comes, the broker is killed with kill -9: its books balance at once, nothing that was
// acknowledged is missing from a queue, and from there on every line is exact.
func TestKilled(t *testing.T) {
	b := start(t, "durability: process\nstorage: {}\n"+restrict("publish", "denied/#", "p*")+
		"limits: {max_queued_messages: 1000, max_outgoing_messages: 100000000, max_outgoing_bytes: 1GiB, max_total_queued_bytes: 8GiB}\ndelivery: {overflow: drop_oldest}\n"+
		"rates: {classes: [{name: all, clients: [all, one, two, brief, torn], max_queued_messages: 100000000, max_queued_bytes: 4GiB}]}\n")
	began, half := time.Now(), *messages/2
	here := b.stand()
	b.away("away expiry=100000", "heard/0 qos=1")
	b.away("brief expiry=100000", "short/# qos=2")
	b.away("torn expiry=100000", "torn/# qos=1")
	before := b.crowd(half)
	here.check(t, before)
	sent, acked := b.torrent()
	b.Kill()
	b.begin()
	var p page
	b.does(http.MethodGet, "/books", nil, &p)
	base, wrong := p.lines()
	waited := min(before.away[1]+before.away[2], 1000)
	found := base["queued"] - waited - before.durable("short")
	if wrong != "" || found < int64(acked()) || found > int64(sent()) {
		t.Fatalf("after kill -9 the books say%s\n%s: %d of %d to %d messages of the torrent", base, wrong, found, acked(), sent())
	}
	t.Logf("killed amid %d acknowledged messages of %d; %d are there", acked(), sent(), found)

	here = b.stand()
	after := b.crowd(half)
	here.check(t, after)
	take := func(words string, n int64) {
		t.Helper()
		b.join(words).received(int(n), 1)
	}
	first := after.away[1] + after.away[2]
	waits := min(waited+first, 1000)
	take("away expiry=100000", waits)
	take("torn expiry=100000", found)
	over := time.Now().Add(1100 * time.Millisecond)
	reached(func() bool { return time.Now().After(over) })
	b.join("brief expiry=100000").idle()
	late := b.join("late")
	late.subscribe("kept/# qos=0")
	late.received(publishers*keptTopics, 0)

	heard, large := after.all("heard"), after.all("large")
	copies := 2*heard + large + after.all("shared") + after.all("short") + after.away[0] + first + publishers*keptTopics
	want := count{
		"received": int64(half / publishers * publishers), "unheard": after.all("lonely") + after.all("kept"), "denied": after.all("denied"), "why: denied_by_rule": after.all("denied"),
		"routed": heard + large + after.all("shared") + after.all("short"), "copies": copies, "sent": heard + after.of["heard"][0] + after.of["shared"][0] + publishers*keptTopics,
		"acknowledged": after.durable("heard") + after.durable("shared") + waits + found, "queued": -base["queued"],
	}
	want.drops("offline", int(after.away[0]+after.of["short"][0])).drops("queue_full", int(waited+first-waits)).drops("too_large", int(large))
	want.drops("expired", int(before.durable("short")+after.durable("short")))
	for k, n := range base {
		want[k] += n
	}
	b.books(maps.Clone(want))
	b.client("away", count{
		"queued at the start": waited, "copies": first + after.away[0], "acknowledged": waits, "out": waits,
	}.drops("offline", int(after.away[0])).drops("queue_full", int(waited+first-waits)))
	b.Stop()
	b.begin() // and a start brings it all back, but for what is under way
	b.books(want)
	b.Stop()
	t.Logf("%d messages in %v", 2*(half/publishers*publishers)+sent(), time.Since(began).Round(time.Millisecond))
}

// keptTopics is how many retained messages each publisher leaves.
const keptTopics = 50

// crowd has the publishers send n messages, and counts.
func (b *broker) crowd(n int) *sum {
	s := &sum{of: make(map[string]*[3]int64)}
	for _, k := range kinds {
		s.of[k.name] = new([3]int64)
	}
	var done sync.WaitGroup
	for i := range publishers {
		p := b.join(fmt.Sprintf("p%d", i))
		chance := rand.New(rand.NewPCG(uint64(i), uint64(n)))
		for k := range keptTopics { // each is there, whatever chance says
			p.raw((&mqtt.Publish{Topic: fmt.Appendf(nil, "kept/%d/%d", i, k), Retain: true, Payload: []byte("x")}).AppendTo(nil, mqtt.V5))
		}
		s.mu.Lock()
		s.of["kept"][0] += keptTopics
		s.mu.Unlock()
		done.Go(func() { p.mixed(n/publishers-keptTopics, func(m *mqtt.Publish) { s.choose(m, i, chance) }) })
	}
	done.Wait()
	return s
}

// mixed publishes n messages that choose makes, and waits for the answers.
func (p *peer) mixed(n int, choose func(*mqtt.Publish)) {
	for n > 0 {
		part, want := min(n, window), 0
		n -= part
		p.mu.Lock()
		answered := p.yes + p.no
		p.mu.Unlock()
		var out []byte
		for i := range part {
			var m mqtt.Publish
			choose(&m)
			if m.QoS > 0 {
				want++
				m.ID = uint16(i + 1)
			}
			out = m.AppendTo(out, mqtt.V5)
		}
		p.raw(out)
		p.until("answers", func() bool { return p.yes+p.no == answered+want })
	}
	p.idle()
}

var long = []byte(strings.Repeat("x", 60))

// choose makes one message and counts it.
func (s *sum) choose(m *mqtt.Publish, publisher int, chance *rand.Rand) {
	k, left := 0, chance.IntN(100)
	for left >= kinds[k].of100 {
		left -= kinds[k].of100
		k++
	}
	kind, i := kinds[k].name, chance.IntN(100)
	m.QoS, m.Payload = mqtt.QoS(chance.IntN(10)/4), long[:10]
	switch kind {
	case "large":
		m.Payload = long
	case "kept":
		m.Retain, i = true, i%keptTopics
		m.Topic = fmt.Appendf(nil, "kept/%d/%d", publisher, i)
	case "short":
		m.Props.HasExpiry, m.Props.Expiry = true, 1
	}
	if m.Topic == nil {
		m.Topic = fmt.Appendf(nil, "%s/%d", kind, i)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[kind][m.QoS]++
	if kind == "heard" && i == 0 {
		s.away[m.QoS]++
	}
}

// check waits for what those who are there have to get, to the message.
func (here *stand) check(t *testing.T, s *sum) {
	t.Helper()
	here.all.received(int(s.durable("heard")), 1)
	for _, p := range []*peer{here.none, here.all, here.small, here.one, here.two} {
		p.idle()
	}
	shared := func() (n [2]int64) {
		for _, p := range []*peer{here.one, here.two} {
			p.mu.Lock()
			n[0], n[1] = n[0]+int64(p.got[0]), n[1]+int64(p.got[1])
			p.mu.Unlock()
		}
		return n
	}
	if want := [2]int64{s.of["shared"][0], s.durable("shared")}; !reached(func() bool { return shared() == want }) {
		t.Fatalf("the members of the shared subscription got %v of %v", shared(), want)
	}
	if n, z := int64(here.none.got[0]), int64(here.all.got[0]); n != s.all("heard") || z != s.of["heard"][0] {
		t.Fatalf("%d and %d messages at QoS 0 came of %d and %d: nobody is slow here", n, z, s.all("heard"), s.of["heard"][0])
	}
}

// torrent publishes without end until the connection is gone; it returns amid it. sent and acked are final once the broker is.
func (b *broker) torrent() (sent, acked func() int) {
	p := b.join("torrent")
	n, ended := 0, make(chan struct{})
	go func() {
		defer close(ended)
		for over := false; !over; {
			p.mu.Lock()
			answered := p.yes
			p.mu.Unlock()
			var out []byte
			for i := range window {
				out = (&mqtt.Publish{Topic: []byte("torn/x"), QoS: 1, ID: uint16(i + 1), Payload: long[:10]}).AppendTo(out, mqtt.V5)
			}
			n += window
			p.raw(out)
			p.until("answers, or the end", func() bool { over = p.ended; return over || p.yes == answered+window })
		}
	}()
	p.until("a torrent", func() bool { return p.yes > 20*window })
	return func() int { <-ended; return n }, func() int { <-ended; return p.yes }
}

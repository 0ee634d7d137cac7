package conformance

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// The guarantee: what one publisher sends reaches one subscriber in the order in which it was sent, across topics
// and QoS levels, whatever the subscriber's Receive Maximum, its reconnects and what it acknowledges when; QoS 1
// at least once and QoS 2 once. Messages sent again (DUP) come before new ones, in order among themselves.
//
// [MQTT5 MQTT-4.6.0-5] [MQTT5 MQTT-4.6.0-6] [MQTT311 MQTT-4.6.0-5] [MQTT311 MQTT-4.6.0-6] [MQTT5 MQTT-4.3.3-6] F105 F106 F108
func TestOrder(t *testing.T) {
	for _, shards := range []int{1, 4} {
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			t.Run(fmt.Sprintf("%d shards, %v", shards, v), func(t *testing.T) {
				t.Parallel()
				orderOver(t, v, with(t, fmt.Sprintf("shards=%d", shards)))
			})
		}
	}
}

const (
	orderPublishers  = 3
	orderSubscribers = 4
	orderMessages    = 400 // of each publisher
)

func orderOver(t *testing.T, v mqtt.Version, o broker.Options) {
	b := serve(t, o)
	var subscribed, publishing, receiving sync.WaitGroup
	sent := &sync.Map{} // publisher and number -> QoS
	subscribed.Add(orderSubscribers)
	for i := range orderSubscribers {
		s := &orderSubscriber{
			t: t, b: b, v: v, name: fmt.Sprintf("s%d", i), qos: i % 3, random: rand.New(rand.NewPCG(uint64(i), 7)),
			sent: sent, last: map[string]int{}, seen: map[string]bool{}, ended: map[string]bool{},
		}
		switch i {
		case 0: // at QoS 0 who is away misses the end
			s.steady = true
		case 3: // one at a time
			s.qos, s.steady, s.window = 2, true, 1
		}
		receiving.Go(func() { s.run(subscribed.Done) })
	}
	subscribed.Wait()
	for i := range orderPublishers {
		publishing.Go(func() { publishInOrder(t, b, v, sent, fmt.Sprintf("p%d", i), rand.New(rand.NewPCG(uint64(i), 3))) })
	}
	publishing.Wait()
	receiving.Wait()
}

// publishInOrder sends numbered messages, some at a time, at any QoS to any of some topics.
func publishInOrder(t *testing.T, b *served, v mqtt.Version, sent *sync.Map, name string, random *rand.Rand) {
	c := dial(t, b.addr, name, v)
	c.exchange("CONNECT id="+name+" clean", "CONNACK 0x00")
	for n := 1; n <= orderMessages+1; n++ {
		qos, what := random.IntN(3), strconv.Itoa(n)
		if n > orderMessages {
			qos, what = 2, "end"
		}
		sent.Store(name+" "+what, qos)
		line := fmt.Sprintf(`PUBLISH qos=%d id=%d topic=order/%d/%s "%s %s"`, qos, n, random.IntN(5), name, name, what)
		switch qos {
		case 0:
			c.send(line)
		case 1:
			c.exchange(line, fmt.Sprintf("PUBACK id=%d", n))
		case 2:
			c.exchange(line, fmt.Sprintf("PUBREC id=%d", n))
			c.exchange(fmt.Sprintf("PUBREL id=%d", n), fmt.Sprintf("PUBCOMP id=%d", n))
		}
	}
}

// orderSubscriber receives until every publisher has said that it ends.
type orderSubscriber struct {
	t      *testing.T
	b      *served
	v      mqtt.Version
	name   string
	qos    int
	window int
	steady bool
	random *rand.Rand

	sent  *sync.Map
	last  map[string]int  // by publisher: the number of its last message that was no duplicate
	seen  map[string]bool // publisher and number
	ended map[string]bool
}

func (s *orderSubscriber) run(subscribed func()) {
	first := true
	for len(s.ended) < orderPublishers && !s.t.Failed() {
		c := dial(s.t, s.b.addr, s.name, s.v)
		window := s.window
		if window == 0 {
			window = 1 + s.random.IntN(5)
		}
		c.send(fmt.Sprintf("CONNECT id=%s expiry=300 receive-max=%d", s.name, window))
		if _, err := c.next(); err != nil {
			s.t.Errorf("%s: %v", s.name, err)
			return
		}
		if first {
			c.exchange(fmt.Sprintf("SUBSCRIBE id=1 order/# qos=%d", s.qos), fmt.Sprintf("SUBACK id=1 0x%02x", s.qos))
			subscribed()
			first = false
		}
		s.receive(c)
		if s.random.IntN(2) == 0 {
			c.drop()
		} // else the next connection takes over
	}
	// Who was never away has missed nothing, not even at QoS 0.
	for p := range orderPublishers {
		for n := 1; n <= orderMessages; n++ {
			id := fmt.Sprintf("p%d %d", p, n)
			if qos, _ := s.sent.Load(id); !s.seen[id] && (s.steady || qos.(int) > 0) {
				s.t.Errorf("%s: %s, QoS %d, is missing", s.name, id, qos)
				return
			}
		}
	}
}

// receive takes messages until all publishers have ended or this connection has lasted long enough.
func (s *orderSubscriber) receive(c *client) {
	fresh := map[string]int{} // by publisher: the highest number received on this connection
	for left := 20 + s.random.IntN(80); len(s.ended) < orderPublishers; left-- {
		if left == 0 && !s.steady {
			return
		}
		a, err := c.next()
		if err != nil {
			s.t.Errorf("%s: %v; ended %v", s.name, err, s.ended)
			return
		}
		p := words(a.line)
		id := func() string { return p[2] }
		switch p[0] {
		case "PUBREL":
			c.send("PUBCOMP " + p[1])
			continue
		case "PUBLISH":
		default:
			s.t.Errorf("%s: got %s", s.name, a.line)
			return
		}
		s.check(a.line, fresh)
		switch {
		case p[1] == "qos=1":
			c.send("PUBACK " + id())
		case p[1] == "qos=2":
			c.send("PUBREC " + id())
		}
	}
}

func (s *orderSubscriber) check(line string, fresh map[string]int) {
	payload := line[strings.Index(line, `"`)+1 : len(line)-1]
	from, number, _ := strings.Cut(payload, " ")
	dup := strings.Contains(line, " dup ")
	if number == "end" {
		s.ended[from] = true
		return
	}
	n, err := strconv.Atoi(number)
	switch {
	case err != nil:
		s.t.Errorf("%s: got %s", s.name, line)
	case n <= fresh[from]:
		s.t.Errorf("%s: %s after %d of %s", s.name, line, fresh[from], from)
	case !dup && n <= s.last[from]:
		s.t.Errorf("%s: %s, no duplicate, after %d of %s on an earlier connection", s.name, line, s.last[from], from)
	case s.seen[payload] && !dup:
		s.t.Errorf("%s: %s twice", s.name, line)
	}
	fresh[from] = n
	s.last[from] = max(s.last[from], n)
	s.seen[payload] = true
}

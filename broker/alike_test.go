package broker_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
)

// TestAlike: what is alike is told to the books of client and topic, to the look-back and to events as sums. Whatever the order in
// which messages come, and whenever somebody looks, each of them says what was sent, neither more nor less.
func TestAlike(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		var mu sync.Mutex
		told := 0 // messages that events say did not reach who is away
		s := serve(t, broker.Options{Shards: shards, Events: func(e broker.Event) {
			if d, ok := e.(broker.Dropped); ok && d.ClientID == "away" && d.Why == session.Offline {
				mu.Lock()
				defer mu.Unlock()
				told += int(d.Count)
			}
		}})
		s.away("id=away expiry=100", "a/# qos=0")
		here, far := s.client("id=here"), s.client("id=far")
		here.subscribe("a/# qos=1")
		want := make(map[string]int)
		for range 25 {
			publishAlike(here, []*peer{here, far}[rand.IntN(2)], want)
			switch rand.IntN(4) {
			case 0:
				s.back("here")
			case 1:
				s.figuresOf("away")
			case 2:
				s.stats()
			}
		}
		if !reached(func() bool {
			mu.Lock()
			defer mu.Unlock()
			return told == want["away dropped"]
		}) {
			t.Errorf("events tell of %d, not %d", told, want["away dropped"])
		}
		got := make(map[string]int)
		if !reached(func() bool {
			for _, id := range []string{"here", "far", "away"} {
				maps.Copy(got, s.figuresOf(id))
			}
			for _, name := range []string{"a/x", "a/y", "a/z"} {
				maps.Copy(got, s.figuresOfTopic(name))
			}
			maps.DeleteFunc(got, func(_ string, n int) bool { return n == 0 })
			return maps.Equal(got, want)
		}) {
			t.Errorf("counted %v,\nsent %v", got, want)
		}
	})
}

// publishAlike has who publish some messages, of which several are often alike, and to take them, and counts.
func publishAlike(to, who *peer, want map[string]int) {
	to.t.Helper()
	id := "far"
	if who == to {
		id = "here"
	}
	var lines []string
	topic, qos := "a/x", 0
	n := 1 + rand.IntN(60)
	for i := range n {
		if rand.IntN(4) == 0 {
			topic, qos = "a/"+string("xyz"[rand.IntN(3)]), rand.IntN(2)
		}
		size := 1 + rand.IntN(100)
		line := fmt.Sprintf("PUBLISH topic=%s %q", topic, strings.Repeat("p", size))
		if qos > 0 {
			line = fmt.Sprintf("PUBLISH qos=1 id=%d topic=%s %q", i+1, topic, strings.Repeat("p", size))
		}
		lines = append(lines, line)
		for _, what := range []string{id + fmt.Sprintf(" in %d", qos), id + " looked back in", fmt.Sprintf("here out %d", qos), "here looked back out", "away dropped", "away looked back dropped", topic + " messages", topic + " dropped"} {
			want[what]++
		}
		for _, what := range []string{id + " in bytes", "here out bytes", topic + " bytes"} {
			want[what] += size
		}
		want[topic+" copies"] += 2
	}
	who.send(lines...)
	for n > 0 {
		switch got := to.next(); {
		case strings.HasPrefix(got, "PUBACK"): // of its own
		case strings.Contains(got, "qos=1"):
			at := strings.Index(got, "id=")
			to.send("PUBACK " + strings.Fields(got[at:])[0])
			n--
		case strings.HasPrefix(got, "PUBLISH"):
			n--
		default:
			to.t.Fatalf("got %s", got)
		}
	}
}

// figuresOf are a client's, from its page and from what is kept to look back at.
func (s *served) figuresOf(id string) map[string]int {
	s.t.Helper()
	c, err := s.View().Tally(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	found, err := s.View().LookBack(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	got := map[string]int{
		id + " in bytes": int(c.InBytes), id + " out bytes": int(c.OutBytes), id + " dropped": int(c.Dropped()),
		id + " in 0": int(c.Client.In[0]), id + " in 1": int(c.Client.In[1]), id + " out 0": int(c.Client.Out[0]), id + " out 1": int(c.Client.Out[1]),
		id + " looked back in": 0, id + " looked back out": 0, id + " looked back dropped": 0,
	}
	for _, e := range found.Entries {
		switch {
		case e.First>>4 == 3 && e.Dir == trace.In:
			got[id+" looked back in"] += e.Count
		case e.First>>4 == 3:
			got[id+" looked back out"] += e.Count
		case strings.HasPrefix(e.Topic, "dropped, "):
			got[id+" looked back dropped"] += e.Count
		}
	}
	return got
}

func (s *served) figuresOfTopic(name string) map[string]int {
	s.t.Helper()
	d, err := s.View().Topic(s.t.Context(), name, 0)
	if err != nil {
		return nil
	}
	return map[string]int{
		name + " messages": int(d.Sum.Messages), name + " bytes": int(d.Sum.Bytes), name + " copies": int(d.Sum.Copies),
		name + " dropped": int(d.Dropped[session.Offline]),
	}
}

package broker_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// each runs a test with one shard and with several.
func each(t *testing.T, f func(t *testing.T, shards int)) {
	for _, shards := range []int{1, 4} {
		t.Run(fmt.Sprint("shards=", shards), func(t *testing.T) { f(t, shards) })
	}
}

// TestTakeoverStorm: a hundred sockets with one client id at the same time: one survives, the others are told or
// refused, nothing is left behind.
func TestTakeoverStorm(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		for _, words := range []string{"clean", "expiry=100", "expiry=1", "v3.1.1"} {
			s := serve(t, broker.Options{Shards: shards})
			before := runtime.NumGoroutine()
			var peers []*peer
			v := mqtt.V5
			if words == "v3.1.1" {
				v = mqtt.V311
			}
			for range 100 {
				peers = append(peers, s.dial(v))
			}
			var all sync.WaitGroup
			for _, p := range peers {
				all.Go(func() { p.send("CONNECT id=one "+words, "SUBSCRIBE id=1 t qos=1") })
			}
			all.Wait()
			s.until("99 takeovers", func(st broker.Stats) bool {
				return st.Takeovers == 99 && st.Connected == 1 && st.Sessions == 1 && st.Sockets == 1 && st.Subscriptions == 1
			})
			s.client("id=pub").send(`PUBLISH topic=t "x"`)
			survivors := 0
			for _, p := range peers {
				last := ""
				p.mu.Lock()
				p.wait(func() bool {
					return p.err != nil || len(p.got) > 0 && strings.HasPrefix(p.got[len(p.got)-1], "PUBLISH")
				})
				if len(p.got) > 0 {
					last = p.got[len(p.got)-1]
				}
				alive := p.err == nil
				p.mu.Unlock()
				if alive {
					survivors++
				} else if v == mqtt.V5 && !strings.HasPrefix(last, "DISCONNECT 0x8E") && last != "CONNACK 0x88" {
					t.Fatalf("%s: taken over with %q", words, last)
				}
			}
			if survivors != 1 {
				t.Fatalf("%s: %d survive", words, survivors)
			}
			for _, p := range peers {
				p.conn.Close()
			}
			if !reached(func() bool { return runtime.NumGoroutine() <= before+5 }) {
				t.Errorf("%s: %d goroutines, %d before", words, runtime.NumGoroutine(), before)
			}
		}
	})
}

// shared makes members a, b, c ... of the group g on "work/#".
func shared(s *served, words ...string) []*peer {
	var members []*peer
	for i, w := range words {
		p := s.client(fmt.Sprintf("id=%c %s", 'a'+i, w))
		p.subscribe("$share/g/work/# qos=2")
		members = append(members, p)
	}
	return members
}

// take counts what members got until there are n messages together; which maps payload to member.
func take(t *testing.T, n int, members ...*peer) (counts []int, which map[string]int) {
	t.Helper()
	counts, which = make([]int, len(members)), map[string]int{}
	ok := reached(func() bool {
		total := 0
		for i, p := range members {
			p.mu.Lock()
			for _, line := range p.got {
				if strings.HasPrefix(line, "PUBLISH") {
					counts[i]++
					words := strings.Fields(line)
					which[words[len(words)-1]] = i
				}
			}
			p.got = nil
			p.mu.Unlock()
			total += counts[i]
		}
		return total >= n
	})
	if !ok {
		t.Fatalf("%v of %d messages came", counts, n)
	}
	return counts, which
}

func TestSharedStrategies(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		for _, strategy := range []broker.Strategy{broker.LeastLoaded, broker.RoundRobin, broker.StickyPublisher, broker.StickyTopic} {
			o := with(func(_ *broker.Limits, d *broker.Delivery) { d.Shared = strategy })
			o.Shards = shards
			s := serve(t, o)
			members := shared(s, "", "", "")
			byPublisher := map[string][]int{}
			total := make([]int, 3)
			for p := range 10 {
				pub := s.client(fmt.Sprint("id=p", p))
				for i := range 30 {
					pub.send(fmt.Sprintf(`PUBLISH topic=work/%d "%d"`, i%10, i%10))
				}
				pub.idle()
				counts, which := take(t, 30, members...)
				for i, n := range counts {
					total[i] += n
				}
				for topic, m := range which {
					key := topic
					if strategy == broker.StickyPublisher {
						key = "p" + fmt.Sprint(p)
					}
					if !slices.Contains(byPublisher[key], m) {
						byPublisher[key] = append(byPublisher[key], m)
					}
				}
			}
			switch strategy {
			case broker.RoundRobin, broker.LeastLoaded:
				if slices.Min(total) < 90 || slices.Max(total) > 110 {
					t.Errorf("%s: %v", strategy, total)
				}
			default:
				for key, members := range byPublisher {
					if len(members) != 1 {
						t.Errorf("%s: %s went to %v", strategy, key, members)
					}
				}
				if slices.Max(total) == 300 {
					t.Errorf("%s: all went to one member", strategy)
				}
			}
		}
	})
}

// TestSharedOffline: a member that is away gets nothing while another is there; what waits for it goes to those that
// are, or that come to be the last; QoS 2 that was sent stays.
func TestSharedOffline(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		s := serve(t, broker.Options{Shards: shards})
		m := shared(s, "expiry=100", "expiry=100 receive-max=2", "expiry=100")
		pub := s.client("id=pub")
		publish := func(from, to int) {
			t.Helper()
			for i := from; i < to; i++ {
				pub.send(fmt.Sprintf(`PUBLISH qos=%d id=%d topic=work/x "%d"`, 1+i%2, i+1, i))
				if i%2 == 0 {
					pub.expect(fmt.Sprintf("PUBACK id=%d", i+1))
				} else {
					pub.expect(fmt.Sprintf("PUBREC id=%d", i+1))
					pub.send(fmt.Sprintf("PUBREL id=%d", i+1))
					pub.expect(fmt.Sprintf("PUBCOMP id=%d", i+1))
				}
			}
		}
		m[0].leave(s, 3)
		m[2].leave(s, 2)
		publish(0, 6) // all to b, which takes two
		counts, which := take(t, 2, m[1])
		if counts[0] != 2 || len(which) != 2 {
			t.Fatalf("b got %v", which)
		}
		m[1].leave(s, 1)
		publish(6, 8) // nobody is there: they wait
		if n := s.stats().Dropped[session.Offline]; n != 0 {
			t.Errorf("%d dropped", n)
		}
		// c comes back and gets what waited for it alone, not b's.
		m[2] = s.client("id=c expiry=100")
		s.until("b's or a's messages wait", func(st broker.Stats) bool { return st.QueuedBytes >= 6*128 })
		// b comes back and leaves: what it never sent goes to c, what it sent stays.
		m[1] = s.client("id=b expiry=100 receive-max=2")
		_, sent := take(t, 2, m[1])
		m[1].leave(s, 2)
		// Ending b and a brings the rest, without QoS 2 that b had.
		for _, id := range []string{"a", "b"} {
			if err := s.Control().EndSession(t.Context(), id, "test"); err != nil {
				t.Fatal(err)
			}
		}
		_, got := take(t, 7, m[2])
		for i := range 8 {
			_, c := got[fmt.Sprintf("%q", fmt.Sprint(i))]
			_, b := sent[fmt.Sprintf("%q", fmt.Sprint(i))]
			if want := !b || i%2 == 0; c != want {
				t.Errorf("message %d: c has it: %v, b had it: %v", i, c, b)
			}
		}
		m[2].idle()
	})
}

// TestOverlapping: one copy for each subscription, or one with the highest QoS and every identifier.
func TestOverlapping(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		for _, expiry := range []string{"", "expiry=100"} {
			for _, overlap := range []broker.Overlap{broker.OverlapEach, broker.OverlapMerge} {
				o := with(func(_ *broker.Limits, d *broker.Delivery) { d.Overlapping = overlap })
				o.Shards = shards
				s := serve(t, o)
				var subs []*peer
				for i := range 5 {
					p := s.client(fmt.Sprint("id=s", i, " ", expiry))
					p.subscribe("subid=1 t/# qos=0 rap")
					p.subscribe("subid=2 t/+ qos=2")
					p.subscribe("subid=3 t/a qos=1")
					p.subscribe("subid=4 $share/g/t/a qos=1")
					subs = append(subs, p)
				}
				pub := s.client("id=pub")
				for i := range 20 {
					pub.send(fmt.Sprintf(`PUBLISH qos=2 id=%d topic=t/a "%d"`, i+1, i))
					pub.expect(fmt.Sprintf("PUBREC id=%d", i+1))
				}
				want, sharedOnes := []string{"qos=0 subid=1", "qos=1 subid=3", "qos=2 subid=2"}, 0
				if overlap == broker.OverlapMerge {
					want = []string{"qos=2 subid=1 subid=2 subid=3"}
				}
				for _, p := range subs {
					for range 20 {
						var got []string
						for range want {
							line := p.next()
							for alike(line, "PUBLISH subid=4") {
								sharedOnes++
								line = p.next()
							}
							got = append(got, shape(line))
						}
						slices.Sort(got)
						if !slices.Equal(got, want) {
							t.Fatalf("%s: got %q, want %q", overlap, got, want)
						}
					}
					p.send("PINGREQ")
					for line := p.next(); line != "PINGRESP"; line = p.next() {
						if !alike(line, "PUBLISH subid=4") {
							t.Fatalf("%s: %s came, too", overlap, line)
						}
						sharedOnes++
					}
				}
				if sharedOnes != 20 {
					t.Errorf("%s: %d by the shared subscription", overlap, sharedOnes)
				}
			}
		}
	})
}

// shape is the QoS and the sorted subscription identifiers of a PUBLISH.
func shape(line string) string {
	qos, ids := "qos=0", []string(nil)
	for _, w := range strings.Fields(line) {
		if strings.HasPrefix(w, "qos=") {
			qos = w
		} else if strings.HasPrefix(w, "subid=") {
			ids = append(ids, w)
		}
	}
	slices.Sort(ids)
	return qos + " " + strings.Join(ids, " ")
}

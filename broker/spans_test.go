package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// journey gathers what a broker tells of messages.
type journey struct {
	mu  sync.Mutex
	all []broker.Step
}

func (g *journey) tell(s *broker.Step) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, *s)
}

// wait takes out the steps once there are n.
func (g *journey) wait(t *testing.T, n int) []broker.Step {
	t.Helper()
	var got []broker.Step
	if !reached(func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		got = slices.Clone(g.all)
		return len(got) >= n
	}) || len(got) != n {
		t.Fatalf("%d steps, want %d: %+v", len(got), n, got)
	}
	g.mu.Lock()
	g.all = nil
	g.mu.Unlock()
	return got
}

func spans(g *journey, ratio float64) *broker.Spans {
	return &broker.Spans{Ratio: ratio, PerSecond: 1_000_000, Deliveries: 3, Tell: g.tell}
}

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"

// A message that its publisher's trace has sampled is told from its publication to each receiver, at any QoS and across shards.
func TestSpans(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		g := &journey{}
		s := serve(t, broker.Options{Shards: shards, Spans: spans(g, 0)})
		pub := s.client("id=pub")
		var subs []*peer
		for i := range 2 {
			subs = append(subs, s.client(fmt.Sprintf("id=sub%d expiry=100", i)))
			subs[i].subscribe("t qos=2")
		}
		old := s.client("id=old v3.1.1")
		old.subscribe("t qos=0")
		for qos := range 3 {
			id := ""
			if qos > 0 {
				id = fmt.Sprintf(" id=%d", qos)
			}
			pub.send(fmt.Sprintf(`PUBLISH qos=%d%s topic=t user=traceparent=%s1 user=tracestate="a=1" "abc"`, qos, id, parent))
			steps := g.wait(t, 4)
			i := slices.IndexFunc(steps, func(x broker.Step) bool { return !x.Deliver })
			p := steps[i]
			if fmt.Sprintf("%x %x %s", p.Trace, p.Parent, p.State) != "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 a=1" {
				t.Errorf("%+v", p)
			}
			if p.Client != "pub" || p.Topic != "t" || int(p.QoS) != qos || p.Size != 3 || p.Receivers != 3 || p.Failed || p.Version != mqtt.V5 || int(p.PacketID) != qos {
				t.Errorf("%+v", p)
			}
			if (qos > 0) == p.Stored.IsZero() || p.Routed.Before(p.Start) || p.End.Before(p.Routed) {
				t.Errorf("QoS %d: %v %v %v %v", qos, p.Start, p.Routed, p.Stored, p.End)
			}
			var who []string
			for _, d := range slices.Delete(steps, i, i+1) {
				who = append(who, d.Client)
				if d.Trace != p.Trace || d.Parent != p.ID || d.ID == p.ID || d.Topic != "t" || d.Failed || d.Start.Before(p.Start) || d.End.Before(d.Start) {
					t.Errorf("%+v", d)
				}
			}
			slices.Sort(who)
			if strings.Join(who, " ") != "old sub0 sub1" {
				t.Errorf("delivered to %v", who)
			}
		}
		// Not sampled, or no context: nothing is told.
		pub.send("PUBLISH topic=t user=traceparent="+parent+`0 "n"`, `PUBLISH topic=t user=traceparent=nonsense "n"`, `PUBLISH topic=t "n"`)
		pub.send(`PUBLISH qos=1 id=9 topic=nobody user=traceparent=` + parent + "1")
		if got := g.wait(t, 1)[0]; got.Reason != mqtt.NoMatchingSubscribers.String() || got.Receivers != 0 || got.Failed {
			t.Errorf("%+v", got)
		}
	})
}

// What is refused, and what a receiver does not get, is told with its reason; of a fan-out only so much is told.
func TestSpansOfLosses(t *testing.T) {
	g := &journey{}
	s := serve(t, broker.Options{Shards: 2, Spans: spans(g, 1)})
	pub := s.client("id=pub")
	pub.send(`PUBLISH qos=1 id=1 topic=$SYS/x "a"`)
	if got := g.wait(t, 1)[0]; !got.Failed || got.Reason != mqtt.NotAuthorized.String() {
		t.Errorf("%+v", got)
	}
	small := s.client("id=small max-packet=40")
	small.subscribe("t qos=0")
	pub.send(`PUBLISH topic=t "` + strings.Repeat("x", 100) + `"`)
	for _, x := range g.wait(t, 2) {
		if x.Deliver && (!x.Failed || x.Client != "small" || x.Reason == "") {
			t.Errorf("%+v", x)
		}
	}
	for i := range 5 {
		s.client(fmt.Sprint("id=many", i)).subscribe("many qos=0")
	}
	pub.send(`PUBLISH topic=many "a"`)
	g.wait(t, 1+3)
}

// A traceparent is added only where that is wished, and where there is none.
func TestInject(t *testing.T) {
	g := &journey{}
	o := spans(g, 1)
	o.Inject = true
	s := serve(t, broker.Options{Spans: o})
	sub, pub := s.client("id=sub"), s.client("id=pub")
	sub.subscribe("t qos=0")
	pub.send(`PUBLISH topic=t user=a=b "x"`)
	got := g.wait(t, 2)
	p := got[slices.IndexFunc(got, func(x broker.Step) bool { return !x.Deliver })]
	sub.expect(fmt.Sprintf(`PUBLISH user=a=b user=traceparent=00-%x-%x-01 "x"`, p.Trace, p.ID))
	pub.send(`PUBLISH topic=t user=traceparent=` + parent + `1 "x"`)
	if got := sub.next(); strings.Count(got, "traceparent") != 1 || !strings.Contains(got, parent) {
		t.Errorf("altered: %s", got)
	}
	pub.send(`PUBLISH topic=t user=traceparent=bad "x"`)
	if got := sub.next(); strings.Count(got, "traceparent") != 1 {
		t.Errorf("altered: %s", got)
	}
}

// TestUntracedAllocates: tracing that passes a message over allocates nothing.
func TestUntracedAllocates(t *testing.T) {
	if raced {
		t.Log("the race detector allocates")
		return
	}
	for _, shards := range []int{1, 4} {
		if got := publishAllocs(t, 0, broker.Options{Shards: shards, Spans: spans(&journey{}, 0)}); got > 0.01 {
			t.Errorf("%d shards: %.3f allocations per message", shards, got)
		}
	}
}

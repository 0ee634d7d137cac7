package broker_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
)

// said are the lines of books that are not zero, by a short name.
func said(l *tally.Lines) map[string]int {
	all := map[string]int{
		"received": int(l.Received), "wills": int(l.Wills), "own": int(l.Own), "routed": int(l.Routed), "unheard": int(l.Unheard),
		"start": int(l.Start), "found": int(l.Found), "copies": int(l.Copies), "sent": int(l.Sent0), "acked": int(l.Acknowledged),
		"unacked": int(l.Unacknowledged), "requeued": int(l.Requeued), "taken back": int(l.TakenBack),
		"not copied": int(l.AllNotKept()), "queued": int(l.Queued), "waiting": int(l.Waiting), "ending": int(l.Ending), "travelling": int(l.Moving()),
	}
	for i, n := range l.Dropped {
		if n > 0 {
			all[session.Why(i).String()] = int(n)
		}
	}
	for i, n := range l.Ended {
		if n > 0 {
			all["end: "+tally.End(i).String()] = int(n)
		}
	}
	maps.DeleteFunc(all, func(_ string, n int) bool { return n == 0 })
	return all
}

// books waits until the books are as the generator counted, every line of them.
func (s *served) books(want map[string]int) {
	s.t.Helper()
	maps.DeleteFunc(want, func(_ string, n int) bool { return n == 0 })
	var got map[string]int
	if !reached(func() bool {
		b, err := s.View().Books(context.Background())
		if err != nil {
			s.t.Fatal(err)
		}
		got = said(&b.Total)
		return maps.Equal(got, want)
	}) {
		s.t.Fatalf("the books say %v; the generator counted %v", got, want)
	}
}

// messages are so many of a QoS to a topic, in one write.
func messages(n, qos int, topic, more string) (lines []string) {
	for i := range n {
		if qos == 0 {
			lines = append(lines, fmt.Sprintf(`PUBLISH topic=%s %s "%d"`, topic, more, i))
		} else {
			lines = append(lines, fmt.Sprintf(`PUBLISH qos=%d id=%d topic=%s %s "%d"`, qos, i+1, topic, more, i))
		}
	}
	return lines
}

// give sends and takes the acknowledgements, of which so many say no.
func (p *peer) give(n, qos int, topic, more string) (refused int) {
	p.t.Helper()
	p.send(messages(n, qos, topic, more)...)
	for range n * min(qos, 1) {
		got := p.next()
		if !strings.HasPrefix(got, "PUB") {
			p.t.Fatalf("got %s", got)
		}
		if strings.Contains(got, "0x8") || strings.Contains(got, "0x97") {
			refused++
		}
		if qos == 2 && !strings.Contains(got, "0x") {
			p.send(strings.Replace(strings.Fields(got)[0], "PUBREC", "PUBREL", 1) + " " + strings.Fields(got)[1])
			p.expect("PUBCOMP")
		}
	}
	if qos == 0 {
		p.idle()
	}
	return refused
}

// TestLosses induces every way in which a message may get lost, so many times as chance wants it: each line of the books is what was
// counted outside, and no other line moves.
func TestLosses(t *testing.T) {
	t.Parallel()
	receive := auth.ActionsOf(auth.Receive)
	for _, x := range []struct {
		name string
		o    func() broker.Options
		run  func(t *testing.T, s *served, n int) map[string]int
	}{
		{name: "delivered", run: func(t *testing.T, s *served, n int) map[string]int {
			a, b := s.client("id=a"), s.client("id=b")
			a.subscribe("t qos=0")
			b.subscribe("t qos=1")
			pub := s.client("id=pub")
			pub.give(n, 0, "t", "")
			pub.give(n, 1, "t", "")
			for i := range 2 * n {
				a.expect("PUBLISH")
				b.expect("PUBLISH")
				if i >= n {
					b.send(fmt.Sprintf("PUBACK id=%d", i-n+1))
				}
			}
			return map[string]int{"received": 2 * n, "routed": 2 * n, "copies": 4 * n, "sent": 3 * n, "acked": n}
		}},
		{name: "no subscriber", run: func(t *testing.T, s *served, n int) map[string]int {
			s.client("id=pub").give(n, 1, "t", "")
			return map[string]int{"received": n, "unheard": n}
		}},
		{name: "QoS 0 offline", run: func(t *testing.T, s *served, n int) map[string]int {
			s.away("id=a expiry=100", "t qos=1")
			s.client("id=pub").give(n, 0, "t", "")
			return map[string]int{"received": n, "routed": n, "copies": n, "offline": n}
		}},
		{name: "slow consumer", o: func() broker.Options {
			return with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxOutgoing = 50 })
		}, run: func(t *testing.T, s *served, n int) map[string]int {
			a := s.dialSlow("a", "t")
			pub := s.client("id=pub")
			more := strings.Repeat("x", 20_000)
			for range 20 {
				for i := range messages(n, 0, "t", "") {
					pub.send(fmt.Sprintf(`PUBLISH topic=t "%d%s"`, i, more))
				}
				pub.idle()
			}
			got := a.drain(t, func() int { return int(s.stats().PublishSent) })
			return map[string]int{"received": 20 * n, "routed": 20 * n, "copies": 20 * n, "sent": got, "slow_consumer": 20*n - got}
		}},
		{name: "queue full", o: func() broker.Options {
			return with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxQueuedMessages = 5 })
		}, run: func(t *testing.T, s *served, n int) map[string]int {
			s.away("id=a expiry=100", "t qos=1")
			pub := s.client("id=pub")
			for i := range n { // one by one: the queue is found full once its shard has said so
				pub.give(1, 1, "t", "")
				s.queues("a", min(i+1, 5))
			}
			return map[string]int{"received": n, "routed": n, "copies": n, "queue_full": n - 5, "queued": 5}
		}},
		{name: "oldest dropped", o: func() broker.Options {
			return with(func(l *broker.Limits, d *broker.Delivery) {
				l.MaxQueuedMessages, d.Overflow = 5, broker.OverflowDropOldest
			})
		}, run: func(t *testing.T, s *served, n int) map[string]int {
			s.away("id=a expiry=100", "t qos=1")
			s.client("id=pub").give(n, 1, "t", "")
			return map[string]int{"received": n, "routed": n, "copies": n, "queue_full": n - 5, "queued": 5}
		}},
		{name: "expired", run: func(t *testing.T, s *served, n int) map[string]int {
			s.away("id=a expiry=100", "t qos=1")
			pub := s.client("id=pub")
			pub.give(n, 1, "t", "expiry=1")
			pub.give(7, 1, "t", "")
			until := time.Now().Add(1100 * time.Millisecond)
			reached(func() bool { return time.Now().After(until) })
			a := s.client("id=a expiry=100")
			for range 7 {
				a.expect("PUBLISH")
			}
			return map[string]int{"received": n + 7, "routed": n + 7, "copies": n + 7, "expired": n, "queued": 7}
		}},
		{name: "too large", run: func(t *testing.T, s *served, n int) map[string]int {
			a := s.client("id=a max-packet=40")
			a.subscribe("t qos=1")
			pub := s.client("id=pub")
			long := `"` + strings.Repeat("x", 50) + `" `
			for range n {
				pub.send(`PUBLISH topic=t ` + long)
			}
			pub.give(3, 0, "t", "")
			return map[string]int{"received": n + 3, "routed": n + 3, "copies": n + 3, "too_large": n, "sent": 3}
		}},
		{name: "denied publish", o: func() broker.Options {
			return broker.Options{Authz: policy(t, auth.Rule{Name: "all", Actions: everything, Topics: []string{"yes/#"}})}
		}, run: func(t *testing.T, s *served, n int) map[string]int {
			pub := s.client("id=pub")
			if no := pub.give(n, 1, "no/t", ""); no != n {
				t.Errorf("%d refused", no)
			}
			pub.give(n, 0, "no/t", "")
			pub.give(2, 1, "yes/t", "")
			return map[string]int{"received": 2*n + 2, "end: rule": 2 * n, "unheard": 2}
		}},
		{name: "denied receive", o: func() broker.Options {
			return broker.Options{Authz: policy(t, auth.Rule{Name: "all", Actions: everything, Topics: []string{"#"}},
				auth.Rule{Name: "not", Deny: true, Actions: receive, Topics: []string{"s/#"}})}
		}, run: func(t *testing.T, s *served, n int) map[string]int {
			s.client("id=a").subscribe("# qos=1")
			pub := s.client("id=pub")
			pub.give(n, 1, "s/t", "")
			pub.give(n, 0, "s/t", "")
			return map[string]int{"received": 2 * n, "routed": 2 * n, "copies": 2 * n, "denied": 2 * n}
		}},
		{name: "rate limited", o: func() broker.Options {
			r := limit.DefaultRates()
			r.Client.PublishMessages, r.Burst, r.Answer = 1, 10*time.Second, limit.Refuse
			return broker.Options{Rates: &r}
		}, run: func(t *testing.T, s *served, n int) map[string]int {
			pub := s.client("id=pub")
			begin := time.Now()
			no := pub.give(10+n, 1, "t", "")
			if no < n-1-int(time.Since(begin).Seconds()) || no > n {
				t.Errorf("%d of %d were refused", no, 10+n)
			}
			return map[string]int{"received": 10 + n, "end: rate_limited": no, "unheard": 10 + n - no}
		}},
		{name: "rate limited, QoS 0", o: func() broker.Options {
			r := limit.DefaultRates()
			r.Client.PublishMessages, r.Burst, r.Answer = 1, 10*time.Second, limit.Refuse
			return broker.Options{Rates: &r}
		}, run: func(t *testing.T, s *served, n int) map[string]int {
			s.client("id=pub").give(10+n, 0, "t", "")
			no := int(s.stats().Dropped[session.RateLimited])
			if no < n-10 || no > n {
				t.Errorf("%d of %d were refused", no, 10+n)
			}
			return map[string]int{"received": 10 + n, "end: rate_limited": no, "unheard": 10 + n - no}
		}},
		{name: "retained full", o: func() broker.Options {
			return with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxRetained = 3 })
		}, run: func(t *testing.T, s *served, n int) map[string]int {
			pub := s.client("id=pub")
			for i := range n + 3 {
				pub.give(1, 0, fmt.Sprint("t/", i), "retain")
			}
			return map[string]int{"received": n + 3, "unheard": n + 3, "not copied": n}
		}},
		{name: "removed", run: func(t *testing.T, s *served, n int) map[string]int {
			s.away("id=a expiry=100", "t qos=1")
			s.client("id=pub").give(n, 1, "t", "")
			if err := s.Control().RemoveQueued(t.Context(), "a", 2); err != nil {
				t.Error(err)
			}
			return map[string]int{"received": n, "routed": n, "copies": n, "removed": 1, "queued": n - 1}
		}},
		{name: "quarantined", run: func(t *testing.T, s *served, n int) map[string]int {
			pub := s.client("id=pub")
			if _, err := s.Control().Ban(t.Context(), ban.Ban{Subject: ban.Client, Value: "pub", Quarantine: true}); err != nil {
				t.Fatal(err)
			}
			pub.give(n, 0, "t", "")
			return map[string]int{"received": n, "end: quarantine": n}
		}},
		{name: "session ended", run: func(t *testing.T, s *served, n int) map[string]int {
			s.away("id=a expiry=100", "t qos=1")
			b := s.client("id=b receive-max=3")
			b.subscribe("t qos=1")
			s.client("id=pub").give(n, 1, "t", "")
			b.expect("PUBLISH", "PUBLISH", "PUBLISH")
			if err := s.Control().EndSession(t.Context(), "a", "test"); err != nil {
				t.Fatal(err)
			}
			b.leave(s, 1)
			return map[string]int{"received": n, "routed": n, "copies": 2 * n, "session_ended": 2*n - 3, "unacked": 3}
		}},
		{name: "server full", o: func() broker.Options {
			return with(func(l *broker.Limits, _ *broker.Delivery) { l.MaxTotalQueued = 1000 })
		}, run: func(t *testing.T, s *served, n int) map[string]int {
			s.away("id=a expiry=100", "t qos=1")
			pub := s.client("id=pub")
			no := 0
			for i := range n + 10 { // one by one: there is room until the shard of the queue has said what it took
				no += pub.give(1, 1, "t", "")
				s.queues("a", i+1-no)
			}
			if no < n {
				t.Errorf("%d of %d were refused", no, n+10)
			}
			return map[string]int{"received": n + 10, "routed": n + 10, "copies": n + 10, "server_full": no, "queued": n + 10 - no}
		}},
		{name: "moved on", run: func(t *testing.T, s *served, n int) map[string]int {
			a := s.client("id=a receive-max=65535")
			a.subscribe("$share/g/t qos=1")
			s.client("id=pub").give(n, 1, "t", "")
			for range n {
				a.expect("PUBLISH")
			}
			b := s.client("id=b")
			b.subscribe("$share/g/t qos=1")
			a.leave(s, 2)
			for range n {
				b.expect("PUBLISH")
			}
			return map[string]int{"received": n, "routed": n, "copies": 2 * n, "requeued": n, "queued": n}
		}},
	} {
		for _, shards := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s/shards=%d", x.name, shards), func(t *testing.T) {
				t.Parallel()
				o := broker.Options{}
				if x.o != nil {
					o = x.o()
				}
				var tale tale
				o.Shards, o.Events = shards, tale.tell
				s := serve(t, o)
				traced := s.noting()
				s.books(x.run(t, s, 20+rand.IntN(80)))
				s.once(&tale, traced)
			})
		}
	}
}

// noted counts what a trace says of losses, by its text.
type noted struct {
	mu sync.Mutex
	n  map[string]int
}

// noting reads a trace of everybody until the test ends.
func (s *served) noting() *noted {
	x := &noted{n: make(map[string]int)}
	tap := s.tap(trace.Filter{Network: netip.MustParsePrefix("127.0.0.0/8")})
	go func() {
		for {
			list, err := tap.Next(context.Background(), nil)
			x.mu.Lock()
			for i := range list {
				switch what, why, _ := strings.Cut(list[i].Text, ": "); what {
				case "dropped":
					x.n[why]++
				case "denied":
					x.n["a publication"]++
				}
			}
			x.n["missed"] = int(tap.Missed())
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return x
}

func (x *noted) all() map[string]int {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := maps.Clone(x.n)
	maps.DeleteFunc(m, func(_ string, n int) bool { return n == 0 })
	return m
}

// once checks that each message that got lost or was denied was counted, booked, told and traced, and once.
func (s *served) once(x *tale, traced *noted) {
	s.t.Helper()
	b, err := s.View().Books(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	denied, refused := b.Total.AllEnded()
	counted := make(map[string]int)
	st := s.stats()
	unrouted := st.TotalDropped() - b.Total.AllDropped() - b.Total.AllNotKept() // of QoS 0: told as dropped, not as denied
	for why, n := range st.Dropped {
		counted[session.Why(why).String()] = int(n)
	}
	counted["a publication"] = int(denied + refused - unrouted)
	maps.DeleteFunc(counted, func(_ string, n int) bool { return n == 0 })
	var saying map[string]int
	if !reached(func() bool {
		saying = make(map[string]int)
		early := uint64(0)
		for _, e := range told[broker.Dropped](x) {
			if saying[e.Why.String()] += int(e.Count); e.Incoming && (e.Why == session.RateLimited || e.Why == session.Overloaded) {
				early += e.Count
			}
		}
		for _, e := range told[broker.Denied](x) {
			saying["a publication"] += int(e.Count)
		}
		return maps.Equal(saying, counted) && maps.Equal(traced.all(), counted) && early == unrouted
	}) {
		s.t.Errorf("counted %v\ntold    %v\ntraced  %v", counted, saying, traced.all())
	}
}

// away makes a session with a subscription whose client is not connected.
func (s *served) away(words, filters string) {
	s.t.Helper()
	c := s.client(words)
	c.subscribe(filters)
	c.leave(s, s.stats().Connected-1)
}

// slow is a connection that nobody reads from until drain.
type slow struct{ wire }

// dialSlow connects a client that subscribes and does not read.
func (s *served) dialSlow(id, filter string) slow {
	w := connect(s.t, s.addr, id)
	w.subscribe(filter)
	return slow{w}
}

// drain reads so many messages as the broker has sent by the end, and counts them.
func (w slow) drain(t *testing.T, sent func() int) int {
	t.Helper()
	n := 0
	for n < sent() {
		head := make([]byte, 1)
		if _, err := io.ReadFull(w, head); err != nil {
			t.Fatal(err)
		}
		length, shift := 0, 0
		for more := true; more; shift += 7 {
			if _, err := io.ReadFull(w, head); err != nil {
				t.Fatal(err)
			}
			length |= int(head[0]&0x7F) << shift
			more = head[0]&0x80 != 0
		}
		if _, err := io.CopyN(io.Discard, w, int64(length)); err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// TestBooksAfterRestart: what was queued is there again, and becomes of it what becomes of it.
func TestBooksAfterRestart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		st := mem.New()
		s := serve(t, broker.Options{Shards: shards, Store: st})
		s.away("id=a expiry=100", "t qos=2")
		pub := s.client("id=pub")
		pub.give(30, 1, "t", "")
		pub.give(10, 0, "t", "")
		s.books(map[string]int{"received": 40, "routed": 40, "copies": 40, "queued": 30, "offline": 10})
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		s = serve(t, broker.Options{Shards: shards, Store: st})
		s.books(map[string]int{"start": 30, "queued": 30})
		a := s.client("id=a expiry=100")
		for i := range 30 {
			a.expect("PUBLISH")
			a.send(fmt.Sprintf("PUBACK id=%d", i+1))
		}
		s.books(map[string]int{"start": 30, "acked": 30})
	})
}

// TestTopicBooks: the tree, the list and the detail say what was published.
func TestTopicBooks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		s := serve(t, broker.Options{Shards: shards})
		k := s.View()
		a := s.client("id=a")
		a.subscribe("a/# qos=1, never/+ qos=0")
		pub, other := s.client("id=pub"), s.client("id=other")
		pub.give(5, 0, "a/b/c", "")
		for range 5 { // so that it is the other's that come last
			a.expect("PUBLISH")
		}
		other.give(3, 1, "a/b/c", "retain")
		other.give(2, 1, "a/d", "")
		pub.give(4, 0, "x/y", "")
		for range 5 {
			a.expect("PUBLISH")
		}
		ctx := t.Context()
		look := func(use func(*tally.View)) {
			t.Helper()
			if err := k.Topics(ctx, use); err != nil {
				t.Fatal(err)
			}
		}
		branch := func(name string) (c tally.Counts, children int) {
			t.Helper()
			reached(func() bool {
				look(func(v *tally.View) {
					if n := v.Names.Find([]byte(name)); v.Has(n) {
						sum, _ := v.Branch(n)
						c, children = *sum, v.Children(n)
					}
				})
				return c.Messages > 0 && c.Sent == c.Copies
			})
			return c, children
		}
		if c, children := branch("a"); c.Messages != 10 || c.Copies != 10 || c.Topics != 2 || children != 2 || c.Unheard != 0 {
			t.Errorf("a: %+v", c)
		}
		if c, children := branch("a/b/c"); c.Messages != 8 || c.Bytes != 8 || children != 0 {
			t.Errorf("a/b/c: %+v", c)
		}
		if c, _ := branch("x/y"); c.Messages != 4 || c.Unheard != 4 {
			t.Errorf("x/y: %+v", c)
		}
		look(func(v *tally.View) {
			if n := len(v.Listed()); n != 3 {
				t.Errorf("%d are listed", n)
			}
			for range v.Matching("never/+") {
				t.Error("nothing was published there")
			}
		})
		d, err := k.Topic(ctx, "a/b/c", 10)
		last := d.Publisher == "other" || d.Publisher == "pub" // of two loops none knows who was last within a millisecond
		if err != nil || d.Sum.QoS() != [3]uint64{5, 3} || d.Payload == nil || (string(d.Payload.Kept) != "2" && string(d.Payload.Kept) != "4") || len(d.Subscribers) != 1 || d.Subscribers[0].Filter != "a/#" || d.Retained == nil || d.Sum.Messages != 8 || !last {
			t.Errorf("%+v, %v", d, err)
		}
		c, err := k.Tally(ctx, "other")
		if err != nil || c.Client.In != [3]uint64{0, 5} {
			t.Errorf("other: %+v, %v", c, err)
		}
	})
}

// TestManyTopics: beyond the bound messages are counted with their branch, and a sketch names the heaviest.
func TestManyTopics(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{Shards: 1, Books: &broker.Bookkeeping{Topics: 100}})
	k := s.View()
	pub := s.client("id=pub")
	for i := range 300 {
		pub.send(fmt.Sprintf(`PUBLISH topic=many/%d "x"`, i))
	}
	pub.give(200, 0, "many/heavy", "")
	if err := k.Topics(t.Context(), func(v *tally.View) {
		if sum, _ := v.Branch(tally.Root); sum.Messages != 500 {
			t.Errorf("%+v", sum)
		}
		if top := v.Heavy[tally.ByMessages]; len(top) == 0 || v.Misses[tally.ByMessages] != 0 || top[0] != (tally.Heavy{Name: "many/heavy", Weight: 200}) {
			t.Errorf("%+v", top)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestTopicsShared: those who look at the same time share one view while messages come, and it is up to date a second later.
func TestTopicsShared(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{Shards: 2})
	k := s.View()
	pub := s.client("id=pub")
	var lookers sync.WaitGroup
	var seen sync.Map
	for range 4 {
		lookers.Go(func() {
			for range 20 {
				if err := k.Topics(t.Context(), func(v *tally.View) {
					seen.Store(v, true)
					sum, _ := v.Branch(tally.Root)
					below := uint64(0)
					for n := range v.Below(tally.Root) {
						s, _ := v.Branch(n)
						below += s.Messages
					}
					if below != sum.Messages {
						t.Errorf("%d of %d", below, sum.Messages)
					}
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 200 {
		pub.give(1, 0, fmt.Sprintf("t/%d", i), "")
	}
	lookers.Wait()
	n := 0
	for range seen.Range {
		n++
	}
	if n != 1 {
		t.Errorf("%d views", n)
	}
	if !reached(func() (all bool) {
		err := k.Topics(t.Context(), func(v *tally.View) { sum, _ := v.Branch(tally.Root); all = sum.Messages == 200 })
		return err == nil && all
	}) {
		t.Error("it is not brought up to date")
	}
}

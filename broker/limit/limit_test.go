package limit

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// start is any time, in ms.
const start = 1_900_000_000_000

// TestBucket plays clients that send as fast as they may for ten seconds: what passes is the rate, and at once no more than
// the burst.
func TestBucket(t *testing.T) {
	f := func(rate int64, burst time.Duration, size, atOnce int64) {
		t.Helper()
		b := newBucket(rate, burst)
		now, sent, first := int64(start), int64(0), int64(0)
		for now < start+10_000 {
			if w := b.Wait(now, size); w > 0 {
				if first == 0 {
					first = sent
				}
				now += w
				continue
			}
			b.Take(now, size)
			sent += size
		}
		if first != atOnce {
			t.Errorf("%d/s in portions of %d: %d at once, want %d", rate, size, first, atOnce)
		}
		if want := 10*rate + atOnce; sent < want-rate/50-size || sent > want+size {
			t.Errorf("%d/s in portions of %d: %d in ten seconds, want %d", rate, size, sent, want)
		}
	}
	f(10, time.Second, 1, 10)
	f(1, 10*time.Millisecond, 1, 1)
	f(1000, time.Second, 1, 1000)
	f(1_000_000, 100*time.Millisecond, 1000, 100_000)
	f(1000, time.Second, 2000, 2000) // larger than the bucket: one at a time
	f(100_000_000_000, time.Second, 268_435_460, 268_435_460*372)
	if newBucket(0, time.Second) != nil {
		t.Error("no rate is a rate")
	}
}

// TestShared: goroutines share a bucket without a lock, and together get no more than there is, but for one each.
func TestShared(t *testing.T) {
	b := newBucket(1000, time.Second)
	const workers = 4
	got := make(chan int, workers)
	for range workers {
		go func() {
			n := 0
			for b.Wait(start, 1) == 0 {
				b.Take(start, 1)
				n++
			}
			got <- n
		}()
	}
	sum := 0
	for range workers {
		sum += <-got
	}
	if sum < 1000 || sum > 1000+workers {
		t.Errorf("%d of 1000 taken", sum)
	}
}

// rates has a limit of every kind.
func rates() *Rates {
	r := DefaultRates()
	r.Client = ClientRate{PublishMessages: 100, DeliverMessages: 50}
	r.User = UserRate{PublishMessages: 150, Connects: 3}
	r.Listener = Rate{PublishMessages: 400}
	r.Total = Rate{PublishMessages: 500, PublishBytes: 1_000_000}
	r.Classes = []Class{
		{Name: "free", Users: []string{"root"}, Unlimited: true, Answer: Disconnect},
		{Name: "small", Clients: []string{"tiny-*"}, Groups: []string{"sensors"}, Client: ClientRate{PublishMessages: 10}, Together: Rate{PublishMessages: 15}, Answer: Refuse, MaxInflight: 5, MaxQueuedBytes: 7},
		{Name: "outside", Listeners: []string{"tls"}, Client: ClientRate{PublishMessages: 20}},
	}
	return &r
}

// TestPace: the narrowest rate is the one that is told, and shared buckets are shared.
func TestPace(t *testing.T) {
	r := rates()
	if err := r.Verify(); err != nil {
		t.Fatal(err)
	}
	p := NewPool(r)
	enter := func(w Who) *Pace { return p.Enter(start, &w, r.ClassOf(&w)) }
	until := func(pace *Pace, size int) string {
		n := 0
		for ; n < 10_000; n++ {
			if why, wait := pace.Publish(start, size); why != None {
				return fmt.Sprint(n, " ", why, " ", wait > 0)
			}
		}
		return fmt.Sprint(n)
	}
	f := func(pace *Pace, size int, want string) {
		t.Helper()
		if got := until(pace, size); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(enter(Who{User: "ann", Client: "a", Listener: "x"}), 1, "100 client_publish_messages true")
	f(enter(Who{User: "ann", Client: "b", Listener: "x"}), 1, "50 user_publish_messages true")
	f(enter(Who{Client: "tiny-1", Groups: []string{"sensors"}, Listener: "x"}), 1, "10 client_publish_messages true")
	f(enter(Who{Client: "tiny-2", Groups: []string{"sensors"}, Listener: "x"}), 1, "5 class_publish_messages true")
	f(enter(Who{Client: "tiny-3", Listener: "x"}), 1, "100 client_publish_messages true") // not in the group
	f(enter(Who{Client: "o", Listener: "tls"}), 1, "20 client_publish_messages true")
	f(enter(Who{User: "root", Client: "r", Listener: "x"}), 1, "135 listener_publish_messages true")
	f(enter(Who{User: "root", Client: "r", Listener: "y"}), 900, "80 total_publish_messages true")
	q := NewPool(r)
	w := Who{User: "root", Client: "r", Listener: "y"}
	f(q.Enter(start, &w, 0), 10_000, "100 total_publish_bytes true")
	pace := enter(w)
	if pace.Delivers() || pace.Answer != Disconnect {
		t.Errorf("root: %+v", pace)
	}
	pace = enter(Who{Client: "c", Listener: "x"})
	n := 0
	for wait := int64(0); wait == 0; n++ {
		_, wait = pace.Delivered(start, 100)
	}
	if n != 50 || pace.Answer != Delay {
		t.Errorf("%d delivered", n)
	}
	if l := r.Classes[1].Of(Defaults()); l.MaxInflight != 5 || l.MaxQueuedBytes != 7 || l.MaxSubscriptions != Defaults().MaxSubscriptions {
		t.Errorf("the limits of a class: %+v", l)
	}
	none := DefaultRates()
	if NewPool(&none).Enter(start, &w, -1) != nil || !none.Off() || r.Off() {
		t.Error("nothing is something")
	}
}

// TestConnects: a user's connections are counted by the minute, and root is free.
func TestConnects(t *testing.T) {
	r := rates()
	p := NewPool(r)
	in := 0
	for s := range int64(120) {
		if p.Connect(start+s*1000, "ann", -1) {
			in++
		}
		if !p.Connect(start+s*1000, "", -1) || !p.Connect(start+s*1000, "root", 0) {
			t.Fatal("refused")
		}
	}
	if in < 8 || in > 9 { // 3 at once, and 3 a minute
		t.Errorf("%d connections in two minutes", in)
	}
}

// TestAccountsLeave: what is known of a user is forgotten when it does not matter any more.
func TestAccountsLeave(t *testing.T) {
	p := NewPool(rates())
	here := p.Enter(start, &Who{User: "here"}, -1)
	for i := range 100_000 {
		now := start + int64(i)*10
		user := fmt.Sprint("u", i)
		p.Connect(now, user, -1)
		p.Leave(p.Enter(now, &Who{User: user}, -1))
	}
	if n := len(p.users); n > 20_000 { // as many as 6,000 come in a minute
		t.Errorf("%d accounts", n)
	}
	if p.users["here"] == nil || p.users["here"].clients != 1 {
		t.Error("who is here was forgotten")
	}
	p.Leave(here)
	p.Leave(nil)
}

func TestVerifyRates(t *testing.T) {
	bad := Rates{Answer: "shout", Client: ClientRate{PublishBytes: -1}, Classes: []Class{{Answer: "no", MaxInflight: 70_000, User: UserRate{Connects: -2}}}}
	err := bad.Verify()
	for _, word := range []string{"rates.answer", "rates.burst", "rates.client", "classes[0].answer", "classes[0] has a rate of -2", "classes[0] has a number"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

// TestWheel: everything comes up, not before its time unless that is far away, and not much later.
func TestWheel(t *testing.T) {
	var w Wheel[int64]
	now := int64(start)
	for i := range int64(500) {
		w.Add(now, now+i*7, now+i*7)
	}
	seen, again := 0, 0
	for ; w.n > 0; now += 5 {
		w.Due(now, func(at int64) {
			if at > now {
				again++
				w.Add(now, at, at)
				return
			}
			seen++
			if now-at > 2*grain {
				t.Errorf("%d ms late", now-at)
			}
		})
		if next, any := w.Next(); any && (next <= now || next > now+2*grain) {
			t.Fatalf("next in %d ms", next-now)
		}
	}
	if seen != 500 || again == 0 || again > 2000 {
		t.Errorf("%d seen, %d again", seen, again)
	}
}

// BenchmarkPublish is what a PUBLISH costs a client with limits: of its own, and with all that are shared.
func BenchmarkPublish(b *testing.B) {
	own := DefaultRates()
	own.Client = ClientRate{PublishMessages: maxRate, PublishBytes: maxRate}
	all := own
	all.User = UserRate{PublishMessages: maxRate, PublishBytes: maxRate}
	all.Listener, all.Total = Rate{maxRate, maxRate}, Rate{maxRate, maxRate}
	for name, r := range map[string]*Rates{"own": &own, "all": &all} {
		b.Run(name, func(b *testing.B) {
			p := NewPool(r).Enter(start, &Who{User: "ann", Client: "c"}, -1)
			now := int64(start)
			b.ReportAllocs()
			for b.Loop() {
				now++
				if why, _ := p.Publish(now, 100); why != None {
					b.Fatal(why)
				}
			}
		})
	}
}

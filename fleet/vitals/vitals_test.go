package vitals

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/fleet/history"
	"github.com/sapwood-mqtt/sapwood/fleet/load"
)

// process is one whose figures a test sets.
type process struct {
	mu    sync.Mutex // guards stats
	stats broker.Stats
	state State
	store *Store
	back  []Backend
	doors []Door
	cpu   float64
}

func (p *process) options(h *history.History) Options {
	return Options{
		Stats: func() (broker.Stats, bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.stats, true
		},
		Loops: func() ([]broker.LoopFigures, bool) { return make([]broker.LoopFigures, 2), true },
		Store: func() *Store { return p.store }, Queued: func() int { return 7 },
		Doors: func() []Door { return p.doors }, Backends: func() []Backend { return p.back },
		State: func() State { return p.state }, History: h,
		Read: func(time.Time) load.Load { return load.Load{CPU: &p.cpu, Cores: 2} },
	}
}

func TestRatesAndDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := history.Open(history.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p := &process{}
		v := New(p.options(h))
		if _, ok := v.Now(); ok {
			t.Error("an answer before the first reading")
		}
		ctx, end := context.WithCancel(t.Context())
		go v.Run(ctx)
		synctest.Wait()
		first := v.Latest()
		for range 90 * 60 {
			p.mu.Lock()
			p.stats.PublishReceived += 100
			p.stats.Connected = 42
			p.mu.Unlock()
			time.Sleep(time.Second)
			synctest.Wait()
		}
		s, err := v.Next(ctx, first)
		if err != nil || s.Stats.Rates.InMessages != 100 || s.Stats.Queued.Messages != 7 {
			t.Errorf("%+v, %v", s.Stats.Rates, err)
		}
		n, _ := v.Now()
		if !n.OK || !strings.HasPrefix(n.Text, "All is well: 42 clients are connected") || len(n.Dropped) != 0 || n.Clients.Normal != nil {
			t.Errorf("%+v", n)
		}
		p.mu.Lock()
		p.stats.Dropped[session.QueueFull] = 5
		p.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n, _ = v.Now(); n.OK || n.Dropped["queue_full"] != 5 || n.Text != "5 messages were dropped in the last hour at a limit: 5 queue full." {
			t.Errorf("%+v", n)
		}
		time.Sleep(62 * time.Minute)
		synctest.Wait()
		if n, _ = v.Now(); !n.OK || len(n.Dropped) != 0 {
			t.Errorf("an hour later: %+v", n)
		}
		end()
		synctest.Wait()
		found, _ := h.Query(history.Query{Match: func(m, _ string) bool { return m == "messages_received" }, From: time.Now().Add(-3 * time.Hour), To: time.Now(), Step: time.Hour})
		if len(found) != 1 || found[0].Sum < 90*60*100*0.88 {
			t.Errorf("%+v", found)
		}
	})
}

// TestRestart: what was dropped in the last hour is told by the processes after the one that dropped it, and only for an hour.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p, began := &process{}, time.Now()
		live := func(d time.Duration, change func(), see func(n Now)) {
			t.Helper()
			h, err := history.Open(history.Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			p.mu.Lock()
			p.stats = broker.Stats{}
			p.mu.Unlock()
			v := New(p.options(h))
			ctx, end := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { v.Run(ctx); close(done) }()
			synctest.Wait()
			time.Sleep(d)
			p.mu.Lock()
			change()
			p.mu.Unlock()
			time.Sleep(1500 * time.Millisecond)
			synctest.Wait()
			n, ok := v.Now()
			if !ok {
				t.Fatal("no answer")
			}
			see(n)
			end()
			<-done
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
		}
		want := func(what string, dropped map[string]uint64, ok bool) func(Now) {
			return func(n Now) {
				t.Helper()
				if !maps.Equal(n.Dropped, dropped) || n.OK != ok || ok != strings.Contains(n.Text, "none was dropped") {
					t.Errorf("%s: %v since %v: %s", what, n.Dropped, n.Since.Sub(began), n.Text)
				}
			}
		}
		nothing := func() {}
		live(time.Minute, func() { p.stats.Dropped[session.QueueFull] = 331 }, want("the first process", map[string]uint64{"queue_full": 331}, false))
		time.Sleep(3 * time.Second)
		live(4*time.Second, nothing, want("after a restart", map[string]uint64{"queue_full": 331}, false))
		live(20*time.Minute, func() { p.stats.Dropped[session.QueueFull] = 4 }, want("its own, too", map[string]uint64{"queue_full": 335}, false))
		live(15*time.Minute, nothing, want("once more", map[string]uint64{"queue_full": 335}, false))
		live(26*time.Minute, nothing, want("an hour after the first", map[string]uint64{"queue_full": 4}, false))
		live(25*time.Minute, nothing, want("an hour after the last", nil, true))
	})
}

// TestUsual: after a day it is known what is usual at this hour, and half of it is a problem.
func TestUsual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := history.Open(history.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 * 24 * 360 {
			h.Append(time.Now(), []history.Sample{{Metric: "clients_connected", Value: 42}})
			time.Sleep(10 * time.Second)
		}
		p := &process{}
		v := New(p.options(h))
		f := func(connected int64, want string, ok bool) {
			t.Helper()
			p.stats.Connected = connected
			v.sample(time.Now())
			if n, _ := v.Now(); n.OK != ok || !strings.Contains(n.Text, want) || n.Clients.Normal == nil || *n.Clients.Normal != 42 || n.Clients.Days != 2 {
				t.Errorf("%+v", n)
			}
			time.Sleep(time.Second)
		}
		f(43, "43 clients are connected, as usual at this hour", true)
		f(60, "60 clients are connected, usually 42 at this hour", true)
		f(30, "30 clients are connected, usually it is 42", false)
		f(15, "15 clients are connected, usually it is 42", false)
	})
}

func TestProblems(t *testing.T) {
	f := func(want string, severity Severity, change func(p *process)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			p := &process{store: &Store{Health: "ok", Free: 100 << 30, Bytes: 1}}
			change(p)
			v := New(p.options(nil))
			v.sample(time.Now())
			n, ok := v.Now()
			if !ok || len(n.Problems) != 1 || !strings.Contains(n.Problems[0].Text, want) || n.Problems[0].Severity != severity || n.OK != (severity == Info) {
				t.Errorf("%s: %+v", want, n)
			}
		})
	}
	f("not ready: no", Critical, func(p *process) { p.state.Ready = errors.New("no") })
	f("overloaded: much", Critical, func(p *process) { p.state.Overload, p.state.OverloadWhy = 1, "much" })
	f("takes nothing new: gone", Critical, func(p *process) { p.store.Health = "gone" })
	f("found damaged", Critical, func(p *process) { p.store.Damaged = 1 })
	f("could not be kept", Critical, func(p *process) { p.stats.StoreErrors = 1 })
	f("store is slow: one of a hundred commits took longer than 700ms", Warning, func(p *process) { p.store.CommitP99, p.store.Commits = 700*time.Millisecond, 5 })
	f("the disk of the store is full", Critical, func(p *process) { p.store.Free = 0 })
	f("300 MiB are free", Critical, func(p *process) { p.store.Free = 300 << 20 })
	f("2.0 GiB are free", Warning, func(p *process) { p.store.Free = 2 << 30 })
	f("faults of the program", Critical, func(p *process) { p.stats.Panics = 1 })
	f("backend ldap fails", Critical, func(p *process) { p.back = []Backend{{Name: "ldap", Open: true}} })
	f("the processor: 85 %", Warning, func(p *process) { p.cpu = 1.7 })
	f("the number of connections: 96 %", Critical, func(p *process) { p.state.MaxConnections, p.stats.Connected = 100, 96 })
	// F130, F132: alarms before the limits are reached.
	f("the number of retained messages: 80 %", Warning, func(p *process) { p.state.Kept.Retained, p.stats.Retained = 100, 80 })
	f("retained messages: 85 %", Warning, func(p *process) { p.state.Kept.RetainedBytes, p.stats.RetainedBytes = 100, 85 })
	f("what waits in queues: 97 %", Critical, func(p *process) { p.state.Kept.QueuedBytes, p.stats.QueuedBytes = 100, 97 })
	f("open to all", Info, func(p *process) { p.state.Warnings = []string{"open to all"} })
}

// TestHealthAtOnce: what the store says of itself is told at once, not with the next reading; also that it is well again.
func TestHealthAtOnce(t *testing.T) {
	p := &process{store: &Store{Health: "ok", Free: -1}}
	var health error
	o := p.options(nil)
	o.Health = func() error { return health }
	v := New(o)
	check := func(want string) {
		t.Helper()
		n, _ := v.Now()
		texts := ""
		for _, x := range n.Problems {
			texts += x.Text + ";"
		}
		if texts != want || n.OK != (want == "") {
			t.Errorf("%q, want %q", texts, want)
		}
	}
	v.sample(time.Now())
	check("")
	health = errors.New("no space left")
	check("the store takes nothing new: no space left;")
	p.store, p.state.Ready = &Store{Health: "no space left", Free: -1}, health
	v.sample(time.Now())
	health = nil
	check("")
}

// TestFullDisk: a disk without any free space is at its limit, one of which nothing is known has none.
func TestFullDisk(t *testing.T) {
	p := &process{store: &Store{Health: "ok", Bytes: 1}}
	v := New(p.options(nil))
	v.sample(time.Now())
	if h := v.Latest().Load.Headroom; h.Nearest != "disk" || h.Percent != 100 {
		t.Errorf("%+v", h)
	}
	if s := v.Latest().Series; !slices.ContainsFunc(s, func(x Series) bool { return x.Name == "disk_free_bytes" && x.Value == 0 }) {
		t.Error("the free space is not among the figures")
	}
	p.store = &Store{Health: "ok", Bytes: 1, Free: -1}
	v.sample(time.Now())
	if h := v.Latest().Load.Headroom; slices.ContainsFunc(h.Resources, func(r Resource) bool { return r.Name == "disk" }) {
		t.Errorf("%+v", h)
	}
	if s := v.Latest().Series; slices.ContainsFunc(s, func(x Series) bool { return x.Name == "disk_free_bytes" }) {
		t.Error("free space that is not known is among the figures")
	}
}

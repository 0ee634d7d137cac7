package canary

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

func TestRecord(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var r record
	for range 98 {
		r.arrived(now, 150*time.Microsecond)
	}
	r.arrived(now, 3*time.Millisecond)
	r.lost(now)
	f := r.figures(1, now.Add(59*time.Minute))
	if f.Sent != 100 || f.Delivered != 99 || f.Lost != 1 || f.HourRatio != 0.99 || f.DayRatio != 0.99 {
		t.Errorf("%+v", f)
	}
	if f.P50 != 0.0002 || f.P99 != 0.0032 {
		t.Errorf("p50 %v, p99 %v", f.P50, f.P99)
	}
	total := uint64(0)
	for _, b := range f.Histogram {
		total += b.Count
	}
	if total != f.Delivered || f.Histogram[1].Count != 98 || f.Histogram[1].UpTo != 0.0002 {
		t.Errorf("%+v", f.Histogram)
	}
	if later := r.figures(1, now.Add(25*time.Hour)); later.HourRatio != 1 || later.DayRatio != 1 || later.Sent != 100 {
		t.Errorf("a day later: %+v", later)
	}
}

// TestRecall: what earlier processes lost is in the ratios, and the report says since when it knows.
func TestRecall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Config: DefaultConfig()})
		if r := c.Report(); r.DayRatio != 1 || !r.Met || !strings.HasSuffix(r.Text, "since 2000-01-01 00:00 UTC.") {
			t.Errorf("knows nothing: %+v", r)
		}
		c.Recall(0, time.Now().Add(-25*time.Hour), 100, 100) // too old
		c.Recall(0, time.Now().Add(-3*time.Hour), 900, 10)
		c.Recall(0, time.Now().Add(-5*time.Second), 100, 0)
		r := c.Report()
		if r.DayRatio != 0.99 || r.Met || r.Canaries[0].HourRatio != 1 || r.Canaries[0].Sent != 0 || !r.DaySince.Equal(time.Now().Add(-3*time.Hour)) {
			t.Errorf("%+v", r)
		}
		if want := "The broker delivered 99 % of its own test messages since 1999-12-31 21:00 UTC; the objective is 99.9 %."; r.Text != want {
			t.Errorf("got %q, want %q", r.Text, want)
		}
		time.Sleep(21 * time.Hour)
		if r := c.Report(); !strings.Contains(r.Text, "in the last 24 hours") {
			t.Errorf("a day later: %q", r.Text)
		}
	})
}

func TestBucketOf(t *testing.T) {
	f := func(took time.Duration, want int) {
		t.Helper()
		got := bucketOf(took)
		if got != want {
			t.Errorf("bucketOf(%v) = %d, want %d", took, got, want)
		}
		if got < buckets-1 && took > upTo(got) || got > 0 && took <= upTo(got-1) {
			t.Errorf("%v is not within bucket %d", took, got)
		}
	}
	f(0, 0)
	f(100*time.Microsecond, 0)
	f(100*time.Microsecond+1, 1)
	f(200*time.Microsecond, 1)
	f(401*time.Microsecond, 3)
	f(time.Hour, buckets-1)
}

// link connects a canary to a broker, until it is cut.
type link struct {
	listener net.Listener

	mu   sync.Mutex
	open []net.Conn
	cut  bool
}

func (l *link) dial(context.Context) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, errors.New("cut")
	}
	c, err := net.Dial("tcp", l.listener.Addr().String())
	l.open = append(l.open, c)
	return c, err
}

func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for _, c := range l.open {
		if cut {
			c.Close()
		}
	}
}

// An outage has the length that it had, and is told once when it begins and once when it ends.
func TestOutage(t *testing.T) {
	b, err := broker.New(broker.Options{Store: mem.New()})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	door := broker.NewDoor(broker.Listener{Name: "inside", Own: true})
	go func() { served <- b.ServeDoor(listener, door) }()
	l := &link{listener: listener}
	told := make(chan fact.Fact, 10)
	const interval = 100 * time.Millisecond
	c := New(Options{Config: Config{Interval: interval, Timeout: time.Minute}, Dial: l.dial, Record: func(f fact.Fact) { told <- f }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	until(t, func() bool {
		r := c.Report()
		return !slices.ContainsFunc(r.Canaries, func(f Figures) bool { return f.Delivered < 2 })
	})
	if s, _ := b.Stats(); s.Connected != 0 || s.Sessions != 0 || s.Connects != 1 {
		t.Errorf("the canary counts as a client: %d connected, %d sessions, %d connects", s.Connected, s.Sessions, s.Connects)
	}
	before := time.Now().Add(-interval) // the last probe may be on its way
	l.set(true)
	if f := <-told; f.Kind != fact.CanaryFailed || !strings.HasPrefix(f.Text, "The broker did not deliver") {
		t.Errorf("told %+v", f)
	}
	failed := time.Now()
	if r := c.Report(); r.Delivers || len(r.Outages) != 1 || !r.Outages[0].To.IsZero() {
		t.Errorf("in the outage: %+v", r)
	}
	until(t, func() bool { return c.Report().Outages[0].Lost >= 12 })
	mended := time.Now()
	l.set(false)
	if f := <-told; f.Kind != fact.CanaryBack {
		t.Errorf("told %+v", f)
	}
	r := c.Report()
	x := r.Outages[0]
	if x.From.Before(before) || x.From.After(failed) || x.To.Before(mended) || x.To.After(time.Now()) {
		t.Errorf("the outage began between %v and %v and ended after %v, it is told as %v to %v", before, failed, mended, x.From, x.To)
	}
	if !slices.Equal(x.QoS, []mqtt.QoS{0, 1, 2}) || !r.Delivers || r.DayRatio == 1 {
		t.Errorf("after the outage: %+v", r)
	}
	cancel()
	<-done
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, broker.ErrClosed) {
		t.Error(err)
	}
	if len(told) != 0 {
		t.Errorf("that the broker stops is told as an outage: %+v", <-told)
	}
}

// An outage that begins with a round of all QoS has the reason of the first that was lost: there is no time left for the others.
func TestWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := func(context.Context) (net.Conn, error) { // a broker that answers CONNECT and SUBSCRIBE, and then nothing
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				b := make([]byte, 1<<10)
				for _, answer := range []string{"\x20\x03\x00\x00\x00", "\x90\x04\x00\x01\x00\x02"} {
					if _, err := theirs.Read(b); err != nil {
						t.Error(err)
					}
					if _, err := theirs.Write([]byte(answer)); err != nil {
						t.Error(err)
					}
				}
				_, _ = io.Copy(io.Discard, theirs)
			}()
			return ours, nil
		}
		told := make(chan fact.Fact, 10)
		c := New(Options{Config: Config{Interval: time.Second, Timeout: 5 * time.Second}, Dial: dial, Record: func(f fact.Fact) { told <- f }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.Run(ctx) }()
		if f, want := <-told, "The broker did not deliver its own test message at QoS 0: nothing arrived within 5s."; f.Text != want {
			t.Errorf("told %q, want %q", f.Text, want)
		}
		if x := c.Report().Outages[0]; x.Why != "nothing arrived within 5s" || !slices.Equal(x.QoS, []mqtt.QoS{0, 1, 2}) {
			t.Errorf("told %+v", x)
		}
		cancel()
		<-done
	})
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("it does not come about")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

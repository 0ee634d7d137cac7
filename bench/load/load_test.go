package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// small makes a scenario short.
func small(scenario, address string) Options {
	o := Options{
		Scenario: scenario, Address: address, Clients: 4, Group: 2, Topics: 40, Messages: 400,
		Window: 8, Patience: time.Minute,
	}
	if scenario == "latency" {
		o.Rate = 4000
	}
	return o
}

// lossy is how long who loses messages is waited for; nobody can tell sooner that they will not come.
const lossy = time.Second

func TestEveryScenario(t *testing.T) {
	for _, s := range Scenarios() {
		for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
			for qos := range mqtt.QoS(3) {
				t.Run(fmt.Sprintf("%s/%s/QoS%d", s.Name, versionName(v), qos), func(t *testing.T) {
					t.Parallel()
					o := small(s.Name, startBroker(t, nil).address)
					o.Version, o.QoS = v, qos
					res, err := Run(context.Background(), o)
					if err != nil {
						t.Fatal(err)
					}
					owed := map[string]uint64{"fan-out": 1600, "retained": 40, "offline": 800, "idle": 0, "connect": 0, "session": 0}
					want, special := owed[s.Name]
					if !special {
						want = 400
					}
					if res.Tally.Received != want || res.Broken() {
						t.Errorf("received %d of %d: %+v", res.Tally.Received, want, res.Tally)
					}
				})
			}
		}
	}
}

// TestVerdict lets the broker break its promises, every way on its own.
func TestVerdict(t *testing.T) {
	var held []message
	for _, c := range []struct {
		name   string
		meddle func(n int, m message) []message
		want   Tally
		says   string
	}{
		{"lost", func(n int, m message) []message {
			if n == 100 {
				return nil
			}
			return []message{m}
		}, Tally{Lost: 1}, "1 lost"},
		{"repeated", func(n int, m message) []message {
			if n == 100 {
				return []message{m, m}
			}
			return []message{m}
		}, Tally{Duplicated: 1}, "1 duplicated"},
		{"swapped", func(n int, m message) []message {
			if n == 100 {
				held = append(held, m)
				return nil
			}
			out := append([]message{m}, held...)
			held = nil
			return out
		}, Tally{Reordered: 1}, "1 out of order"},
		{"invented", func(n int, m message) []message {
			if n == 100 {
				return []message{m, {topic: m.topic, payload: strings.Repeat("x", 64)}}
			}
			return []message{m}
		}, Tally{Foreign: 1}, "1 foreign"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := small("pairs", startBroker(t, c.meddle).address)
			o.Clients, o.Patience = 1, lossy
			res, err := Run(context.Background(), o)
			if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v, want one that says %q", err, c.says)
			}
			got := res.Tally
			got.Sent, got.Received = 0, 0
			if got != c.want {
				t.Errorf("tally %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestLossInAGroup: a shared subscription may spread messages as it likes, but each
// has to arrive once.
func TestLossInAGroup(t *testing.T) {
	o := small("shared", startBroker(t, func(n int, m message) []message {
		switch n {
		case 50:
			return nil
		case 60:
			return []message{m, m}
		}
		return []message{m}
	}).address)
	o.Patience = lossy
	res, err := Run(context.Background(), o)
	if !errors.Is(err, ErrBroken) || res.Tally.Lost != 1 || res.Tally.Duplicated != 1 {
		t.Errorf("%v, tally %+v", err, res.Tally)
	}
}

func TestSilentBroker(t *testing.T) {
	o := small("pairs", startBroker(t, func(int, message) []message { return nil }).address)
	o.Patience = lossy
	res, err := Run(context.Background(), o)
	if !errors.Is(err, ErrBroken) || res.Tally.Lost == 0 {
		t.Errorf("nothing arrived, and the run says %v, %+v", err, res.Tally)
	}
}

func TestWatchedProcess(t *testing.T) {
	o := small("pairs", startBroker(t, nil).address)
	o.PID = os.Getpid()
	res, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if cpu, ok := res.Value("cpu"); !ok || cpu <= 0 {
		t.Errorf("CPU per message %v", cpu)
	}
	var b strings.Builder
	if err := res.WriteTable(&b); err != nil || !strings.Contains(b.String(), "broker CPU per message delivered") {
		t.Errorf("table: %v\n%s", err, b.String())
	}
}

func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, small("pairs", startBroker(t, nil).address)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestFill(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		says   string
	}{
		{func(o *Options) { o.Scenario = "flood" }, `no scenario "flood"`},
		{func(o *Options) { o.Payload = 10 }, "payload of 10 bytes"},
		{func(o *Options) { o.QoS = 3 }, "QoS 3"},
		{func(o *Options) { o.Version = 6 }, "MQTT version 6"},
		{func(o *Options) { o.Window = 70_000 }, "window of 70000"},
		{func(o *Options) { o.Clients = -1 }, "out of range"},
		{func(o *Options) { o.Arrivals = "bursty" }, `arrivals "bursty"`},
	} {
		o := Options{Scenario: "pairs"}
		c.change(&o)
		if _, err := o.Fill(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("error %v, want one that says %q", err, c.says)
		}
	}
	o, err := Options{Scenario: "fan-in", Address: "mqtt://localhost"}.Fill()
	if err != nil || o.Address != "localhost:1883" || o.Clients != 100 || o.Payload != 64 {
		t.Errorf("%v, %+v", err, o)
	}
}

func TestArrivals(t *testing.T) {
	for _, kind := range []Arrivals{Uniform, Poisson} {
		a := newArrivals(kind, 10_000, 10, time.Second)
		perPublisher := make([]int, 10)
		var last time.Duration
		for range 100_000 {
			p, due := a.take()
			if due < last {
				t.Fatalf("%s: due %v after %v", kind, due, last)
			}
			last = due
			perPublisher[p]++
		}
		if span := last - time.Second; span < 9800*time.Millisecond || span > 10200*time.Millisecond {
			t.Errorf("%s: 100,000 messages at 10,000/s took %v", kind, span)
		}
		for p, n := range perPublisher {
			if n < 9500 || n > 10_500 {
				t.Errorf("%s: publisher %d got %d of 100,000", kind, p, n)
			}
		}
	}
}

func TestFrames(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 200, 16_384, 2_097_152} {
		p := mqtt.Publish{Topic: []byte("a/b"), Payload: make([]byte, size), QoS: 1, ID: 77}
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			b := p.AppendTo(nil, v)
			body, end := nextFrame(b)
			if end != len(b) {
				t.Fatalf("%d bytes of payload: frame ends at %d of %d", size, end, len(b))
			}
			id, payload, ok := publishParts(b[0], b[body:end], v == mqtt.V5)
			if !ok || id != 77 || len(payload) != size {
				t.Errorf("%d bytes of payload: id %d, %d bytes, %v", size, id, len(payload), ok)
			}
			for cut := range min(len(b), 5) {
				if _, end := nextFrame(b[:cut]); end != 0 && end != len(b) {
					t.Errorf("%d of %d bytes: frame ends at %d", cut, len(b), end)
				}
			}
		}
	}
	if _, end := nextFrame([]byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}); end >= 0 {
		t.Errorf("a remaining length of five bytes ends at %d", end)
	}
}

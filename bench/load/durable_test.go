package load

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestDurable: publishers wait for their acknowledgements, receivers get everything, there or later, but for
// what is for the session that stays away.
func TestDurable(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		sent uint64 // 0 = as many as there was time for
		rest string
	}{
		{"online", Options{Messages: 400}, 400, "rate"},
		{"two receivers for five publishers", Options{Clients: 5, Group: 2, Messages: 500}, 500, "rate"},
		{"window", Options{Messages: 400, Window: 20}, 400, "rate"},
		{"away", Options{Messages: 400, Away: true}, 400, "out_rate"},
		{"open loop", Options{Rate: 2000, WarmUp: 20 * time.Millisecond, Duration: 100 * time.Millisecond}, 0, "latency_p99"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := c.o
			o.Scenario, o.Address, o.Patience = "durable", startBroker(t, nil).address, time.Minute
			setDefault(&o.Clients, 4)
			setDefault(&o.Group, 4)
			res, err := Run(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if got := res.Tally; got.Received != got.Sent || c.sent > 0 && got.Sent != c.sent {
				t.Errorf("%+v", got)
			}
			for _, key := range []string{"acked_per_s", "ack_p50", "ack_p99", "ack_max", c.rest} {
				if v, ok := res.Value(key); !ok || v <= 0 {
					t.Errorf("%s is %v, %v", key, v, ok)
				}
			}
			if !res.From.Before(res.To) {
				t.Errorf("measured from %v to %v", res.From, res.To)
			}
		})
	}
}

func TestHeldMessagesHaveNoReceiver(t *testing.T) {
	o := Options{Scenario: "durable", Address: startBroker(t, nil).address, Clients: 4, Group: 4, Messages: 400, Held: 5, Patience: time.Minute}
	res, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	// 100 numbered messages of each of the 4, and every fifth of all for nobody.
	if res.Tally.Received != 400 || res.Tally.Sent != 400+4*24 && res.Tally.Sent != 400+4*25 {
		t.Errorf("%+v", res.Tally)
	}
}

// TestFillScenarios fills a broker from one run after the other, and checks what is there.
func TestFillScenarios(t *testing.T) {
	lose := false
	b := startBroker(t, func(_ int, m message) []message {
		if lose {
			lose = false
			return nil
		}
		return []message{m}
	})
	o := Options{Address: b.address, QoS: 1, Clients: 30, Messages: 300, Topics: 50, Patience: time.Minute}
	fill := func() error {
		for _, scenario := range []string{"fill-sessions", "fill-queues", "fill-retained", "fill-check"} {
			o.Scenario = scenario
			res, err := Run(context.Background(), o)
			if err != nil {
				return err
			}
			if scenario == "fill-check" && res.Tally.Received != 350 {
				t.Errorf("%+v", res.Tally)
			}
		}
		return nil
	}
	if err := fill(); err != nil {
		t.Fatal(err)
	}
	lose, o.Patience = true, lossy
	if err := fill(); !errors.Is(err, ErrBroken) {
		t.Errorf("with one lost: %v", err)
	}
}

package broker_test

import (
	"context"
	"errors"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
)

// hasty is the context of one who has something done and does not wait for it.
func hasty(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestEndSessionIsKept: who ends a session learns it when the store has forgotten it: also one of which messages have to go
// to others before, and one that lasts no longer than its connection, for which no store is asked.
func TestEndSessionIsKept(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, shards int) {
		s, h, st := ailing(t, broker.Options{Shards: shards})
		s.away("id=plain expiry=100", "t qos=1")
		s.client("id=brief")
		one := s.client("id=one expiry=100 receive-max=1")
		one.subscribe("$share/g/u qos=1")
		s.client("id=pub").give(3, 1, "u", "")
		one.expect("PUBLISH")
		two := s.client("id=two expiry=100")
		two.subscribe("$share/g/u qos=1")
		h.Hold()
		if err := s.Control().EndSession(t.Context(), "brief", "by order"); err != nil {
			t.Error(err)
		}
		for i, id := range []string{"plain", "one"} {
			h.Hold()
			done := make(chan error, 1)
			go func() { done <- s.Control().EndSession(t.Context(), id, "by order") }()
			h.Await(1)
			s.stats() // every loop has had a turn
			select {
			case err := <-done:
				t.Errorf("%s: it was told %v before the store knew it", id, err)
				done <- err
			default:
			}
			h.Pass()
			if err := <-done; err != nil {
				t.Errorf("%s: %v", id, err)
			}
			if n := st.Stats().Sessions; n != 2-i {
				t.Errorf("%s: the store has %d sessions, want %d", id, n, 2-i)
			}
		}
		two.expect("PUBLISH", "PUBLISH", "PUBLISH")
	})
}

// TestEndSessionIsNotKept: who ends a session that the store does not forget is told so; it is forgotten later.
func TestEndSessionIsNotKept(t *testing.T) {
	t.Parallel()
	s, h, st := ailing(t, broker.Options{Shards: 1})
	s.away("id=c expiry=100", "t qos=1")
	h.Hold()
	done := make(chan error, 1)
	go func() { done <- s.Control().EndSession(t.Context(), "c", "by order") }()
	h.Await(1)
	h.Fail(errDevice)
	if err := <-done; !errors.Is(err, errDevice) {
		t.Errorf("it was told %v", err)
	}
	h.Pass()
	s.until("it is told again", func(broker.Stats) bool { return st.Stats().Sessions == 0 })
}

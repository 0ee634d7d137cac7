package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
)

// shares begins a shared subscription with one member, who has n messages of 1 MiB, and another that comes.
func (s *served) shares(n int) (one, two *peer) {
	one = s.client("id=one expiry=100 receive-max=1")
	one.subscribe("$share/g/t qos=1")
	pub := s.client("id=pub")
	for i := range n {
		pub.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=t "%d %s"`, i+1, i, strings.Repeat("x", 1<<20)))
		pub.expect("PUBACK")
	}
	one.expect("PUBLISH")
	two = s.client("id=two expiry=100")
	two.subscribe("$share/g/t qos=1")
	return one, two
}

// roomy lets in the large messages of shares.
func roomy() broker.Options {
	o := with(func(l *broker.Limits, d *broker.Delivery) { l.MaxPacketSize, l.MaxQueuedBytes = 2<<20, 1<<30 })
	o.Shards = 1
	return o
}

// comesBack counts what a restarted broker has for a client.
func comesBack(t *testing.T, st *mem.Store, id string) int {
	t.Helper()
	s, _ := restart(t, st, roomy())
	return len(s.queued(id))
}

// TestHoldFull: what was to move to another member of a shared subscription, and finds neither the store well nor room to wait for it, is dropped in
// the books and in the store, or stays in both: a restart neither brings it back nor loses it.
func TestHoldFull(t *testing.T) {
	t.Parallel()
	const n = 20 // of which 15 are held: 16 MiB
	t.Run("batch fails", func(t *testing.T) {
		s, h, st := ailing(t, roomy())
		one, two := s.shares(n)
		h.Hold()
		one.leave(s, 2)
		const dropped = n - 1 - 15
		if !reached(func() bool { h.Fail(errDevice); return s.stats().Dropped[session.StoreUnwell] >= dropped }) {
			t.Fatal("too few are dropped")
		}
		h.Pass()
		if d := s.stats().Dropped[session.StoreUnwell]; d != dropped {
			t.Errorf("%d are dropped", d)
		}
		for range n - 1 - dropped {
			two.next()
		}
		two.idle()
		if !reached(func() bool { return st.Stats().Messages == n-dropped }) {
			t.Errorf("the store has %d messages", st.Stats().Messages)
		}
		if got := comesBack(t, st, "one"); got != 1 { // the one that was in flight
			t.Errorf("%d messages come back", got)
		}
	})
	t.Run("by order", func(t *testing.T) {
		s, h, st := ailing(t, roomy())
		s.shares(n)
		h.SetHealth(store.ErrFull)
		for at := uint64(2); at <= n; at++ {
			err := s.Control().RequeueQueued(t.Context(), "one", at)
			if at <= 16 && err != nil || at > 16 && !errors.Is(err, broker.ErrNobody) {
				t.Errorf("%d: %v", at, err)
			}
		}
		if got := s.queued("one"); len(got) != n-16 {
			t.Errorf("%v wait", got)
		}
		if got := s.stats().Dropped[session.StoreUnwell]; got != 0 {
			t.Errorf("%d are dropped", got)
		}
		if got := comesBack(t, st, "one"); got != n { // nothing of it was kept yet
			t.Errorf("%d messages come back", got)
		}
	})
}

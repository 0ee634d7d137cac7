package broker_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestReadYourWrites: who has an acknowledgement, of MQTT or of the API, sees what was acknowledged, on whichever loop it is.
func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	s := serve(t, broker.Options{Shards: 4})
	ctx := t.Context()
	var ids []string
	for i := range 4 {
		ids = append(ids, fmt.Sprintf("kept%d", i), fmt.Sprintf("brief%d", i))
	}
	for i, id := range ids {
		words, filters := "id="+id+" receive-max=1", "t qos=1"
		if i%2 == 0 {
			words += " expiry=100"
		}
		c := s.client(words)
		c.subscribe(filters)
		if i%4 == 0 {
			c.leave(s, int64(i-i/4))
		}
	}
	pub := s.client("id=pub")
	for i := 1; i <= 300; i++ {
		if i%2 == 0 {
			pub.give(1, 1, "t", "")
		} else if reason, err := s.Control().Publish(ctx, mqtt.Message{Topic: []byte("t"), QoS: 1}); reason != mqtt.Success || err != nil {
			t.Fatal(reason, err)
		}
		id := ids[i%len(ids)]
		x, err := s.View().Inspect(ctx, id)
		if err != nil || x.Queued+x.Inflight != i {
			t.Fatalf("%s has %d and %d of %d messages: %v", id, x.Queued, x.Inflight, i, err)
		}
		if n := len(s.queued(id)); n != x.Queued {
			t.Fatalf("%s: %d of %d messages are seen", id, n, x.Queued)
		}
	}
	for at := uint64(300); at > 280; at-- { // and what was taken out is not seen any more
		if err := s.Control().RemoveQueued(ctx, "kept0", at); err != nil {
			t.Fatal(err)
		}
		if n := len(s.queued("kept0")); n != int(at)-1 {
			t.Fatalf("%d messages are seen behind the removal of %d", n, at)
		}
	}
}

// TestAnsweredMeansKept: what the API is told has happened is in the store.
func TestAnsweredMeansKept(t *testing.T) {
	t.Parallel()
	s, held, _ := ailing(t, broker.Options{Shards: 2})
	ctx := t.Context()
	c := s.client("id=kept expiry=100")
	c.subscribe("t qos=1")
	c.leave(s, 0)
	say := func() (mqtt.ReasonCode, error) {
		return s.Control().Publish(ctx, mqtt.Message{Topic: []byte("t"), QoS: 1, Retain: true, Payload: []byte("x")})
	}
	for i, fails := range []error{nil, errors.New("no"), store.ErrFull} {
		held.Hold()
		type answer struct {
			reason mqtt.ReasonCode
			err    error
		}
		told := make(chan answer, 1)
		go func() {
			reason, err := say()
			told <- answer{reason, err}
		}()
		held.Await(1)
		select {
		case a := <-told:
			t.Fatalf("told %v before it is kept", a)
		default:
		}
		if fails == nil {
			held.Pass()
		} else if n := held.Fail(fails); n != 1 {
			t.Fatalf("%d batches failed", n)
		}
		want := []mqtt.ReasonCode{mqtt.Success, mqtt.ImplementationSpecificError, mqtt.QuotaExceeded}[i]
		if a := <-told; a.reason != want || a.err != nil {
			t.Errorf("%v: told %v", fails, a)
		}
	}
}

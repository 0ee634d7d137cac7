package load

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
)

// TestLoad runs the crowd against a broker that nothing happens to: nobody may find fault with it, and everybody must
// have had something to do.
func TestLoad(t *testing.T) {
	b, err := broker.New(broker.Options{Store: mem.New()})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(ln) }()
	log := history.NewLog()
	l := Start(Options{Dial: func() (net.Conn, error) { return net.Dial("tcp", ln.Addr().String()) }, Log: log, Seed: 1})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 {
		wait(ctx, 700*time.Millisecond)
		if err := l.Settle(ctx); err != nil {
			t.Error(err)
		}
		l.Resume()
	}
	if err := l.Settle(ctx); err != nil {
		t.Error(err)
	}
	log.Add(history.Event{Kind: history.End})
	l.Stop()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, broker.ErrClosed) {
		t.Error(err)
	}

	found := history.Check(log.Events())
	for _, v := range found {
		t.Error(v)
	}
	t.Logf("%+v", history.Count(log.Events(), found))
	did := map[history.Kind]map[string]bool{}
	for _, e := range log.Events() {
		if did[e.Kind] == nil {
			did[e.Kind] = map[string]bool{}
		}
		did[e.Kind][e.Client] = true
	}
	for kind, atLeast := range map[history.Kind]int{
		history.Publish: 5, history.Puback: 5, history.Pubcomp: 5, history.Received: 10, history.Acking: 10, history.Completing: 5,
		history.Subscribed: 10, history.Unsubscribed: 1, history.Pinged: 10, history.Read: 2, history.Disconnecting: 3,
	} {
		if n := len(did[kind]); n < atLeast {
			t.Errorf("%d clients did %s, want %d", n, kind, atLeast)
		}
	}
}

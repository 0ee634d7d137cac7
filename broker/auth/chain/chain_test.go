package chain

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// backend answers as it is told.
type backend struct {
	asked atomic.Int64
	do    func(ctx context.Context, a *auth.Attempt) (*auth.Identity, error)
}

func (b *backend) Authenticate(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
	b.asked.Add(1)
	return b.do(ctx, a)
}

func says(id *auth.Identity, err error) *backend {
	return &backend{do: func(context.Context, *auth.Attempt) (*auth.Identity, error) { return id, err }}
}

func open(t *testing.T, o Options, links ...Link) *Chain {
	t.Helper()
	c, err := Open(links, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ask(c auth.Authenticator, user, password string) (*auth.Identity, error) {
	return c.Authenticate(context.Background(), &auth.Attempt{
		Peer:     auth.Peer{Address: netip.MustParseAddrPort("192.0.2.1:1000")},
		Username: user, Password: []byte(password), HasUser: true, HasPass: true,
	})
}

var (
	errDown = errors.New("connection refused")
	refuses = &auth.Refusal{Reason: mqtt.NotAuthorized, Text: "no", By: "b"}
)

// TestOrder: who is unknown is shown to the next; everything else is final, so that a backend that fails lets nobody in by another
// one (F148).
func TestOrder(t *testing.T) {
	me := &auth.Identity{Name: "a", By: "two"}
	f := func(one, two *backend, want *auth.Identity, wantErr string, askedTwo int64) {
		t.Helper()
		c := open(t, Options{}, Link{Name: "one", Authn: one}, Link{Name: "two", Authn: two})
		id, err := ask(c, "a", "p")
		if id != want || wantErr == "" && err != nil || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)) {
			t.Errorf("got %v, %v, want %v, %q", id, err, want, wantErr)
		}
		if n := two.asked.Load(); n != askedTwo {
			t.Errorf("the second was asked %d times, want %d", n, askedTwo)
		}
	}
	f(says(nil, auth.ErrUnknown), says(me, nil), me, "", 1)
	f(says(nil, fmt.Errorf("wrapped: %w", auth.ErrUnknown)), says(me, nil), me, "", 1)
	f(says(nil, refuses), says(me, nil), nil, "b: no", 0)
	f(says(nil, errDown), says(me, nil), nil, "one: connection refused", 0)
	f(says(nil, auth.ErrUnknown), says(nil, errDown), nil, "two: connection refused", 1)
	f(says(nil, auth.ErrUnknown), says(nil, auth.ErrUnknown), nil, "no backend knows such credentials", 1)
	f(says(nil, nil), says(me, nil), nil, "vouched for nobody", 0)
	f(says(&auth.Identity{Name: "a", Expires: time.Unix(1, 0)}, nil), says(me, nil), nil, "expired", 0)

	by := func(authn auth.Authenticator, want string) {
		t.Helper()
		id, err := ask(open(t, Options{}, Link{Name: "one", Authn: authn}), "a", "p")
		if err != nil || id.By != want {
			t.Errorf("got %+v, %v, want by %s", id, err, want)
		}
	}
	by(says(&auth.Identity{Name: "a"}, nil), "one")
	by(says(&auth.Identity{Name: "a", By: "accounts"}, nil), "accounts") // who changes accounts looks for it
	by(struct {
		auth.Authenticator
		Refresher
	}{says(&auth.Identity{Name: "a", By: "accounts"}, nil), nil}, "one") // and Watch for this
	if id, err := ask(open(t, Options{}), "a", "p"); id != nil || err == nil {
		t.Error("a chain without links lets somebody in")
	}
}

// TestOf: a listener's own order shares the chain's links.
func TestOf(t *testing.T) {
	one, two := says(&auth.Identity{Name: "a"}, nil), says(&auth.Identity{Name: "b"}, nil)
	c := open(t, Options{}, Link{Name: "one", Authn: one}, Link{Name: "two", Authn: two})
	part, err := c.Of("two", "one")
	if err != nil {
		t.Fatal(err)
	}
	if id, err := ask(part, "x", "p"); err != nil || id.Name != "b" {
		t.Errorf("got %v, %v", id, err)
	}
	if n := c.Counts()[1].Accepted; n != 1 {
		t.Errorf("the chain counted %d", n)
	}
	if _, err := c.Of("three"); err == nil {
		t.Error("there is no three")
	}
	if _, err := Open([]Link{{Name: "one", Authn: one}, {Name: "one", Authn: one}}, Options{}); err == nil {
		t.Error("one stands twice")
	}
}

// TestPanic: a backend that panics refuses, and stays closed to nobody else (F149).
func TestPanic(t *testing.T) {
	b := &backend{do: func(_ context.Context, a *auth.Attempt) (*auth.Identity, error) {
		if a.Username == "evil" {
			panic("index out of range")
		}
		return &auth.Identity{Name: a.Username}, nil
	}}
	next := says(&auth.Identity{Name: "evil"}, nil)
	c := open(t, Options{Circuit: DefaultCircuit(), Cache: DefaultCache()}, Link{Name: "b", Authn: b, Cached: true}, Link{Name: "next", Authn: next})
	for range 20 {
		id, err := ask(c, "evil", "p")
		var no *auth.Refusal
		if id != nil || !errors.As(err, &no) || no.Reason != mqtt.ServerUnavailable {
			t.Fatalf("got %v, %v", id, err)
		}
	}
	if id, err := ask(c, "good", "p"); err != nil || id.Name != "good" {
		t.Errorf("got %v, %v", id, err)
	}
	if n := c.Counts()[0]; n.Failed != 20 || n.Accepted != 1 || next.asked.Load() != 0 {
		t.Errorf("got %+v, and the next was asked %d times", n, next.asked.Load())
	}
}

// TestSlow: who does not answer in time has failed, and is not asked on (F148).
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{do: func(ctx context.Context, _ *auth.Attempt) (*auth.Identity, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		c := open(t, Options{}, Link{Name: "slow", Authn: b, Timeout: 3 * time.Second})
		began := time.Now()
		_, err := ask(c, "a", "p")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// TestCircuit: what fails is asked less and less, and who needs it is refused at once (F148).
func TestCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		b := &backend{do: func(context.Context, *auth.Attempt) (*auth.Identity, error) {
			if down.Load() {
				return nil, errDown
			}
			return nil, auth.ErrUnknown
		}}
		c := open(t, Options{Circuit: Circuit{Failures: 3, Wait: time.Second, Longest: 3 * time.Second}}, Link{Name: "b", Authn: b})
		f := func(after time.Duration, asked int64, want string) {
			t.Helper()
			time.Sleep(after)
			before := b.asked.Load()
			_, err := ask(c, "a", "p")
			if n := b.asked.Load() - before; n != asked || !strings.Contains(err.Error(), want) {
				t.Errorf("asked %d times, want %d; got %v, want %q", n, asked, err, want)
			}
		}
		for range 3 {
			f(0, 1, "b: connection refused")
		}
		f(0, 0, "not asked for a while; it said: b: connection refused")
		f(999*time.Millisecond, 0, "not asked")
		f(time.Millisecond, 1, "b: connection refused") // the probe, and again
		f(1999*time.Millisecond, 0, "not asked")
		f(time.Millisecond, 1, "b: connection refused")
		f(2999*time.Millisecond, 0, "not asked") // no longer than the longest
		f(time.Millisecond, 1, "b: connection refused")
		if n := c.Counts()[0]; !n.Open || n.Opened != 4 || n.Failed != 10 || n.Asked != 10 {
			t.Errorf("got %+v", n)
		}
		down.Store(false)
		f(3*time.Second, 1, "no backend knows")
		f(0, 1, "no backend knows")
		if n := c.Counts()[0]; n.Open || n.Unknown != 2 {
			t.Errorf("got %+v", n)
		}
		down.Store(true)
		f(0, 1, "connection refused")
		f(0, 1, "connection refused")
		down.Store(false)
		f(0, 1, "no backend knows") // an answer between failures
		down.Store(true)
		f(0, 1, "connection refused")
		f(0, 1, "connection refused")
	})
}

// TestProbe: an open circuit lets one attempt try at a time; one that is given up decides nothing.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := false
		b := &backend{do: func(ctx context.Context, _ *auth.Attempt) (*auth.Identity, error) {
			if hold {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil, errDown
		}}
		c := open(t, Options{Circuit: Circuit{Failures: 1, Wait: time.Second, Longest: time.Second}}, Link{Name: "b", Authn: b})
		_, _ = ask(c, "a", "p")
		time.Sleep(time.Second)
		hold = true
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			_, err := c.Authenticate(ctx, &auth.Attempt{})
			done <- err
		}()
		synctest.Wait()
		if _, err := ask(c, "a", "p"); !strings.Contains(err.Error(), "not asked") {
			t.Errorf("a second probe: %v", err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		before := b.asked.Load()
		hold = false
		if _, err := ask(c, "a", "p"); b.asked.Load() != before+1 {
			t.Errorf("nobody tries any more: %v", err)
		}
	})
}

// TestConcurrent: no more questions at once than stated, a bounded number waits, the rest is told at once.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		b := &backend{do: func(context.Context, *auth.Attempt) (*auth.Identity, error) {
			n := now.Add(1)
			most.Store(max(most.Load(), n))
			time.Sleep(time.Second)
			now.Add(-1)
			return &auth.Identity{Name: "a"}, nil
		}}
		c := open(t, Options{Circuit: DefaultCircuit()}, Link{Name: "b", Authn: b, Concurrent: 2, Timeout: 5500 * time.Millisecond})
		var served, busy atomic.Int64
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				_, err := ask(c, "a", "p")
				var no *auth.Refusal
				switch {
				case err == nil:
					served.Add(1)
				case errors.As(err, &no) && no.Reason == mqtt.ServerBusy:
					busy.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if most.Load() != 2 || served.Load() != 12 || busy.Load() != 88 {
			t.Errorf("%d at once, %d served, %d sent away", most.Load(), served.Load(), busy.Load())
		}
		if n := c.Counts()[0]; n.Open || n.Failed != 88 {
			t.Errorf("busy is not down: %+v", n)
		}
	})
}

package app

import (
	"context"
	"fmt"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/fleet/canary"
	figures "github.com/sapwood-mqtt/sapwood/fleet/history"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// canaryDoor is what rules and counts call the door that only the canary comes in by.
const canaryDoor = "$canary"

// ownIdentity vouches for whoever comes by a door that is not open to others.
type ownIdentity string

// Authenticate implements auth.Authenticator.
func (n ownIdentity) Authenticate(context.Context, *auth.Attempt) (*auth.Identity, error) {
	return &auth.Identity{Name: string(n)}, nil
}

// openCanary has messages sent through the broker all the time, to see that they arrive.
func (a *App) openCanary(context.Context) error {
	cfg := a.cfg.Canaries
	if cfg.Interval == 0 {
		return nil
	}
	rule := auth.Rule{
		Name: "the canary's own", Actions: auth.ActionsOf(auth.Publish, auth.Subscribe, auth.Receive),
		Topics: []string{canary.Prefix + "#"}, Who: auth.Who{Listeners: []string{canaryDoor}}, Priority: 1 << 30,
	}
	if err := a.rules.policy.Set("canary", []auth.Rule{rule}); err != nil {
		return err
	}
	inside := a.openInside("canary", canaryDoor)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	a.canary = canary.New(canary.Options{Config: cfg, Dial: inside.dial, Record: a.facts.Record})
	go func() {
		defer close(done)
		a.canary.Run(ctx)
	}()
	a.open.add("canary", func(context.Context) error {
		cancel()
		<-done
		return inside.Close()
	})
	return nil
}

// recallCanaries has the canary know what earlier processes sent and lost, so that a restart makes no objective met.
func recallCanaries(a *App, now time.Time) {
	if a.canary == nil || a.kept == nil {
		return
	}
	found, step := a.kept.Query(figures.Query{
		Match: func(metric, _ string) bool { return metric == "canary_sent" || metric == "canary_lost" },
		From:  now.Add(2*time.Minute - 24*time.Hour), To: now, Step: time.Second, // the finest there is: a point is of all of its step
	})
	type counts struct{ sent, lost uint64 }
	for qos := range mqtt.QoS(3) {
		at := map[int64]*counts{}
		for _, s := range found {
			if s.Labels != fmt.Sprintf("{qos=%q}", strconv.Itoa(int(qos))) {
				continue
			}
			for _, p := range s.Points {
				c := at[p.At]
				if c == nil {
					c = &counts{}
					at[p.At] = c
				}
				if n := uint64(math.Round(p.Value * step.Seconds())); s.Metric == "canary_sent" {
					c.sent = n
				} else {
					c.lost = n
				}
			}
		}
		for second, c := range at {
			a.canary.Recall(qos, time.Unix(second, 0), c.sent, c.lost)
		}
	}
}

// openInside opens a door to the broker for the process itself; who comes in there is called as the door is.
func (a *App) openInside(what, name string) *inside {
	inside := newInside(name)
	door := broker.NewDoor(broker.Listener{Name: name, Own: true, Authn: ownIdentity(name)})
	go a.serve(what, func() error {
		if err := a.broker.ServeDoor(inside, door); err != nil {
			return err
		}
		return errMeant
	})
	return inside
}

// inside is a listener that only the process itself can reach.
type inside struct {
	name   insideAddr
	conns  chan net.Conn
	closed context.Context
	close  context.CancelFunc
}

func newInside(name string) *inside {
	l := &inside{name: insideAddr(name), conns: make(chan net.Conn)}
	l.closed, l.close = context.WithCancel(context.Background())
	return l
}

// dial connects to whoever accepts.
func (l *inside) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed.Done():
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *inside) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *inside) Close() error { l.close(); return nil }

// Addr implements net.Listener.
func (l *inside) Addr() net.Addr { return l.name }

type insideAddr string

// Network and String implement net.Addr.
func (insideAddr) Network() string  { return "inside" }
func (a insideAddr) String() string { return string(a) }

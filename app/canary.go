package app

import (
	"context"
	"net"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/fleet/canary"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
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
	inside := newInside()
	door := broker.NewDoor(broker.Listener{Name: canaryDoor, Own: true, Authn: ownIdentity(canaryDoor)})
	go a.serve("canary", func() error {
		if err := a.broker.ServeDoor(inside, door); err != nil {
			return err
		}
		return errMeant
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	a.canary = canary.New(canary.Options{Config: cfg, Dial: inside.dial, Record: a.record})
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

// record notes what happened.
func (a *App) record(f fact.Fact) { a.log.Warn(f.Text, "kind", string(f.Kind)) }

// inside is a listener that only the process itself can reach.
type inside struct {
	conns  chan net.Conn
	closed context.Context
	close  context.CancelFunc
}

func newInside() *inside {
	l := &inside{conns: make(chan net.Conn)}
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
func (l *inside) Addr() net.Addr { return insideAddr{} }

type insideAddr struct{}

// Network and String implement net.Addr.
func (insideAddr) Network() string { return "inside" }
func (insideAddr) String() string  { return canaryDoor }

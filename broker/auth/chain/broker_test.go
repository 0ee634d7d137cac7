package chain_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/chain"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// directory is a backend that can be taken away, and can forget users.
type directory struct {
	mu    sync.Mutex
	users map[string]bool
	err   error
}

func (d *directory) look(name string) (*auth.Identity, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.err != nil:
		return nil, d.err
	case name == "evil":
		panic("index out of range")
	case !d.users[name]:
		return nil, auth.ErrUnknown
	}
	return &auth.Identity{Name: name}, nil
}

func (d *directory) Authenticate(_ context.Context, a *auth.Attempt) (*auth.Identity, error) {
	return d.look(a.Username)
}

func (d *directory) Refresh(_ context.Context, p *auth.Principal) (*auth.Identity, error) {
	return d.look(p.Name)
}

func (d *directory) set(do func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	do()
}

// TestBroker: a chain before a real broker. A backend that panics or cannot be reached refuses (F148, F149), with the reason for the operator;
// who is withdrawn is disconnected within a second, however long answers are kept.
func TestBroker(t *testing.T) {
	d := &directory{users: map[string]bool{"meter-7": true, "meter-8": true}}
	c, err := chain.Open([]chain.Link{{Name: "directory", Authn: d, Cached: true}},
		chain.Options{Cache: chain.DefaultCache(), Circuit: chain.DefaultCircuit(), Refresh: chain.DefaultRefresh()})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan broker.Refused, 10)
	b, err := broker.New(broker.Options{Store: mem.New(), Events: func(e broker.Event) {
		if r, ok := e.(broker.Refused); ok {
			told <- r
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = b.ServeDoor(l, broker.NewDoor(broker.Listener{Name: "l", Authn: c})) })
	ctx, stop := context.WithCancel(t.Context())
	running.Go(func() { c.Watch(ctx, b.Control()) })
	defer func() {
		stop()
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
		running.Wait()
	}()

	connect := func(user string) (*client.Client, error) {
		return client.Dial(t.Context(), client.Options{Address: l.Addr().String(), ClientID: user, Username: user, Password: []byte("p"), CleanStart: true, Timeout: 10 * time.Second})
	}
	refused := func(user string, reason mqtt.ReasonCode, why string) {
		t.Helper()
		k, err := connect(user)
		if err == nil {
			_ = k.Close(t.Context())
		}
		var code *client.ReasonError
		if !errors.As(err, &code) || code.Reason != reason {
			t.Errorf("%s: got %v, want %v", user, err, reason)
		}
		if r := <-told; r.Reason != reason || !strings.Contains(r.Why, why) || strings.Contains(r.Text, why) {
			t.Errorf("%s: the operator was told %+v, want %q", user, r, why)
		}
	}
	refused("stranger", mqtt.BadUserNameOrPassword, "no backend knows")
	refused("evil", mqtt.ServerUnavailable, "panicked")
	d.set(func() { d.err = errors.New("connection refused") })
	refused("meter-8", mqtt.ServerUnavailable, "directory: connection refused")
	d.set(func() { d.err = nil })

	seven, err := connect("meter-7")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = seven.Close(context.Background()) }()
	eight, err := connect("meter-8")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = eight.Close(context.Background()) }()
	d.set(func() { delete(d.users, "meter-7") })
	c.Changed("meter-7")
	select {
	case <-seven.Done():
	case <-time.After(time.Minute):
		t.Fatal("who was withdrawn is still connected")
	}
	refused("meter-7", mqtt.BadUserNameOrPassword, "no backend knows")
	select {
	case <-eight.Done():
		t.Error("the other was disconnected as well")
	default:
	}
}

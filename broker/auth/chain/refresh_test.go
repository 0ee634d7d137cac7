package chain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// clients are those of a broker.
type clients struct {
	mu   sync.Mutex
	here []*auth.Principal
	gone []string
}

func (c *clients) Principals(_ context.Context, match func(*auth.Principal) bool) (list []*auth.Principal, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.here {
		if match(p) {
			list = append(list, p)
		}
	}
	return list, nil
}

func (c *clients) Reidentify(_ context.Context, change func(*auth.Principal) *auth.Identity) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, p := range c.here {
		if id := change(p); id != p.Identity {
			c.here[i] = &auth.Principal{Identity: id, ClientID: p.ClientID, Restored: p.Restored}
			n++
		}
	}
	return n, nil
}

func (c *clients) DisconnectAll(_ context.Context, match func(*auth.Principal) bool, _ mqtt.ReasonCode, why string) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.here {
		if match(p) && !slices.Contains(c.gone, p.ClientID) {
			c.gone = append(c.gone, p.ClientID)
			n++
		}
	}
	return n, nil
}

// left are the client ids that were disconnected.
func (c *clients) left() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.gone)
}

func (c *clients) identity(i int) *auth.Identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.here[i].Identity
}

// directory tells without a password what it knows.
type directory struct {
	backend
	mu     sync.Mutex
	groups map[string][]string
	asked  []string
	err    error
}

func (d *directory) Refresh(_ context.Context, p *auth.Principal) (*auth.Identity, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, p.Name)
	groups, ok := d.groups[p.Name]
	switch {
	case d.err != nil:
		return nil, d.err
	case !ok:
		return nil, auth.ErrUnknown
	}
	return &auth.Identity{Name: p.Name, By: "b", Groups: groups}, nil
}

func (d *directory) set(do func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = nil
	do()
}

func (d *directory) was() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.asked)
	return d.asked
}

// TestWatch: groups follow the backend by and by, at once when it says so; who is not there any more is disconnected.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &directory{groups: map[string][]string{"a": {"x"}, "b": {"y"}}}
		c := open(t, Options{Refresh: Refresh{Every: time.Minute, Stale: time.Hour}}, Link{Name: "b", Authn: d}, Link{Name: "other", Authn: says(nil, nil)})
		here := &clients{here: []*auth.Principal{
			{Identity: &auth.Identity{Name: "a", By: "b", Groups: []string{"x"}}, ClientID: "1"},
			{Identity: &auth.Identity{Name: "b", By: "b", Groups: []string{"x"}}, ClientID: "2"},
			{Identity: &auth.Identity{Name: "c", By: "other"}, ClientID: "3"},
			{Identity: &auth.Identity{Name: "d"}, ClientID: "4", Restored: true},
		}}
		ctx, cancel := context.WithCancel(context.Background())
		go c.Watch(ctx, here)
		defer func() { cancel(); synctest.Wait() }()
		same := here.identity(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := d.was(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("asked about %v", got)
		}
		if here.identity(0) != same || !slices.Equal(here.identity(1).Groups, []string{"y"}) {
			t.Errorf("got %+v, %+v", here.identity(0), here.identity(1))
		}
		d.set(func() { delete(d.groups, "a"); d.groups["b"] = nil })
		c.Changed("a")
		synctest.Wait()
		if got := d.was(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("asked about %v", got)
		}
		if !slices.Equal(here.left(), []string{"1"}) || here.identity(0).Groups != nil {
			t.Errorf("gone %v; the session of %+v", here.left(), here.identity(0))
		}
	})
}

// TestManyChanges: more changes at once than can be remembered make a question about everybody.
func TestManyChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &directory{groups: map[string][]string{"a": {"x"}}}
		c := open(t, Options{}, Link{Name: "b", Authn: d})
		here := &clients{here: []*auth.Principal{{Identity: &auth.Identity{Name: "a", By: "b"}, ClientID: "1"}}}
		for i := range 5000 {
			c.Changed(fmt.Sprint("n", i))
		}
		ctx, cancel := context.WithCancel(context.Background())
		go c.Watch(ctx, here)
		synctest.Wait()
		if here.identity(0).Groups == nil {
			t.Error("everybody is not asked about")
		}
		cancel()
		synctest.Wait()
	})
}

// TestStale: while the backend cannot be asked, what it said holds, but not for ever (F173).
func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &directory{groups: map[string][]string{"a": nil}, err: errDown}
		c := open(t, Options{Circuit: DefaultCircuit(), Refresh: Refresh{Every: time.Minute, Stale: 10 * time.Minute}}, Link{Name: "b", Authn: d})
		here := &clients{here: []*auth.Principal{
			{Identity: &auth.Identity{Name: "a", By: "b"}, ClientID: "1"},
			{Identity: &auth.Identity{Name: "a", By: "other"}, ClientID: "2"},
		}}
		ctx, cancel := context.WithCancel(context.Background())
		go c.Watch(ctx, here)
		defer func() { cancel(); synctest.Wait() }()
		time.Sleep(9*time.Minute + time.Second)
		d.set(func() { d.err = nil })
		time.Sleep(time.Minute)
		d.set(func() { d.err = errDown })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(here.left()) != 0 {
			t.Fatalf("gone too early: %v", here.left())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !slices.Equal(here.left(), []string{"1"}) {
			t.Errorf("gone: %v", here.left())
		}
	})
}

// TestNoRefresh: a backend that cannot tell without a password leaves its clients as they are.
func TestNoRefresh(t *testing.T) {
	d := &directory{err: fmt.Errorf("not configured: %w", errors.ErrUnsupported)}
	c := open(t, Options{Refresh: DefaultRefresh(), Circuit: DefaultCircuit()}, Link{Name: "b", Authn: d})
	here := &clients{here: []*auth.Principal{{Identity: &auth.Identity{Name: "a", By: "b"}, ClientID: "1"}}}
	for range 10 {
		if err := c.round(context.Background(), here, map[string]bool{"": true}); err != nil || len(here.left()) != 0 {
			t.Errorf("gone %v, %v", here.left(), err)
		}
	}
	if c.Counts()[0].Opened != 0 {
		t.Error("that it cannot tell counts as a failure")
	}
}

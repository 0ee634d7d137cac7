package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// crowd is an Inspector of clients that it takes a while to read.
type crowd struct {
	Inspector
	n     int
	wait  func() // as long as reading takes; nil = no time
	read  int    // how often all were
	some  int    // how many were read by their ids
	gone  string
	wrong error
}

func (c *crowd) row(i int) Client {
	return Client{ID: fmt.Sprintf("c%05d", i), Who: &auth.Principal{Identity: new(auth.Identity)}, Connected: true, Queued: c.read + c.some}
}

func (c *crowd) Rows(_ context.Context, old []Client) ([]Client, error) {
	if c.wait != nil {
		c.wait()
	}
	c.read++
	clear(old)
	old = old[:0]
	for i := range c.n {
		old = append(old, c.row(i))
	}
	return old, c.wrong
}

func (c *crowd) Some(_ context.Context, ids []string) ([]Client, error) {
	list := make([]Client, len(ids))
	for i, id := range ids {
		c.some++
		if id != c.gone {
			list[i] = c.row(0)
			list[i].ID = id
		}
	}
	return list, c.wrong
}

func crowded(c *crowd) *clientsOf {
	o := &clientsOf{Inspector: c, schema: clientSchema()}
	o.rosters.read = c.Rows
	return o
}

func (o *clientsOf) asked(t *testing.T, in clientsQuery) serve.List[ClientRow] {
	t.Helper()
	a, err := o.list(t.Context(), &in, false)
	if err != nil {
		t.Fatal(err)
	}
	return a.Body
}

// Who watches has the clients read at most 0.5 % of the time, and who asks a twentieth; both are told how old the order is, and see rows of now.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = 100 * time.Millisecond
		c := &crowd{n: 5, wait: func() { time.Sleep(takes) }}
		o := crowded(c)
		began := time.Now()
		for i := range 100 {
			l := o.asked(t, clientsQuery{Watch: true})
			if len(l.Items) != 5 || l.Total != 5 || l.Age < 0.1 || l.Age > 20 {
				t.Fatalf("%+v", l)
			}
			if l.Age > 1 && l.Items[0].Queued <= c.read {
				t.Fatalf("the row is as old as the order, %v s: %+v", l.Age, l.Items[0])
			}
			if i == 50 { // somebody else asks
				if l := o.asked(t, clientsQuery{}); l.Age > 2 {
					t.Errorf("an order of %v s for who asks", l.Age)
				}
			}
			time.Sleep(time.Second)
		}
		if spent := time.Duration(c.read) * takes; spent > time.Since(began)/200+2*takes {
			t.Errorf("read %d times: %v of %v", c.read, spent, time.Since(began))
		}
		was := c.read
		for range 100 {
			o.asked(t, clientsQuery{})
			time.Sleep(100 * time.Millisecond)
		}
		if n := c.read - was; n < 4 || n > 6 {
			t.Errorf("read %d times in 10 s for who asks", n)
		}
		time.Sleep(kept + time.Second)
		o.rosters.mu.Lock()
		defer o.rosters.mu.Unlock()
		if o.rosters.last != nil || o.rosters.spare != nil {
			t.Error("it is held for nobody")
		}
	})
}

// A client that is gone stays in its place until the order is made anew, and is said to be gone.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{n: 3, wait: func() { time.Sleep(50 * time.Millisecond) }}
		o := crowded(c)
		if l := o.asked(t, clientsQuery{Watch: true}); l.Items[1].Gone || !l.Items[1].Connected {
			t.Errorf("%+v", l.Items)
		}
		c.gone = "c00001"
		time.Sleep(3 * time.Second)
		l := o.asked(t, clientsQuery{Watch: true})
		if r := l.Items[1]; r.ID != "c00001" || !r.Gone || r.Connected || l.Items[0].Gone || len(l.Items) != 3 {
			t.Errorf("%+v", l.Items)
		}
		o.rosters.forget()
		if l := o.asked(t, clientsQuery{Watch: true}); l.Age > 1 || c.read != 2 {
			t.Errorf("after a change the order is %v s old", l.Age)
		}
		c.wrong = errors.New("the loops ended")
		time.Sleep(2 * time.Second)
		for _, in := range []clientsQuery{{Watch: true}, {}} {
			if _, err := o.list(t.Context(), &in, false); err == nil || !strings.Contains(err.Error(), "ended") {
				t.Error(err)
			}
		}
		time.Sleep(kept)
	})
}

// A page that was chosen is remembered with its roster; rows are not made anew in the place of those that somebody still reads.
func TestRosterKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{n: 2000}
		o := crowded(c)
		first, err := o.rosters.get(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 * maxPages {
			in := clientsQuery{ListQuery: ListQuery{Skip: 10 * (i % (2 * maxPages)), Limit: 10}, Watch: true}
			if l := o.asked(t, in); len(l.Items) != 10 || l.Items[0].ID != fmt.Sprintf("c%05d", in.Skip) {
				t.Fatalf("%+v: %+v", in, l)
			}
		}
		if len(first.pages) > maxPages {
			t.Errorf("%d pages are remembered", len(first.pages))
		}
		time.Sleep(2 * time.Second)
		second, err := o.rosters.get(t.Context(), false)
		if err != nil || second == first || &second.rows[0] == &first.rows[0] || first.rows[7].ID != "c00007" {
			t.Errorf("%v", err)
		}
		o.rosters.put(first)
		o.rosters.put(second)
		time.Sleep(2 * time.Second)
		third, err := o.rosters.get(t.Context(), false)
		if err != nil || &third.rows[0] != &first.rows[0] && &third.rows[0] != &second.rows[0] {
			t.Errorf("the memory is not used again: %v", err)
		}
		o.rosters.put(third)
		if _, err := o.list(t.Context(), &clientsQuery{ListQuery: ListQuery{Skip: 1, Cursor: "x"}}, false); err == nil || !strings.Contains(err.Error(), "cursor") {
			t.Error(err)
		}
		time.Sleep(kept)
	})
}

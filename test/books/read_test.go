package books

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// count is lines of books by name, without those that are zero. What is known by reason stands there as "why: " and the reason.
type count map[string]int64

// page is the books of the broker or of a client, as the API and the command tell them.
type page struct {
	Balanced   bool
	Imbalance  int64
	Imbalances int
	Lines      []struct {
		Name, Side, Of string
		Count          int64
	}
	Reasons map[string]int64 `json:"by_reason"`
	In, Out struct{ Messages, Bytes int64 }
	Clients struct{ Checked int }
}

// lines are what a page says; wrong is why it cannot be, by itself.
func (p *page) lines() (c count, wrong string) {
	c = count{}
	sums := map[string]int64{}
	for _, l := range p.Lines {
		switch l.Side {
		case "in":
			sums[l.Of] += l.Count
		case "out", "stock":
			sums[l.Of] -= l.Count
		}
		if l.Count != 0 {
			c[l.Name] = l.Count
		}
	}
	for why, n := range p.Reasons {
		c["why: "+why] = n
	}
	for of, n := range sums {
		if n != 0 {
			wrong = fmt.Sprintf("%d %s are not accounted for", n, of)
		}
	}
	if !p.Balanced || p.Imbalance != 0 || p.Imbalances != 0 {
		wrong = fmt.Sprintf("it says itself that it does not balance: %+v", p)
	}
	return c, wrong
}

// String is the lines in order.
func (c count) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "\n  %-32s %d", k, c[k])
	}
	return b.String()
}

// drops adds to what is wanted that so many copies were dropped for a reason.
func (c count) drops(why string, n int) count {
	c["dropped: "+why] += int64(n)
	c["why: "+why] += int64(n)
	return c
}

// tidy takes out zeros.
func (c count) tidy() count {
	maps.DeleteFunc(c, func(_ string, n int64) bool { return n == 0 })
	return c
}

// settle reads until what is read is what was counted.
func (b *broker) settle(what string, want count, read func() (count, string, error)) {
	b.t.Helper()
	want.tidy()
	var got count
	var wrong string
	var err error
	if !reached(func() bool {
		got, wrong, err = read()
		return err == nil && wrong == "" && maps.Equal(got, want)
	}) {
		b.t.Fatalf("%s: the books say%s\nthe generator counted%s\n%s %v", what, got, want, wrong, err)
	}
}

// books compares the books of the broker, as the API and `sapwood books --json` tell them.
func (b *broker) books(want count) {
	b.t.Helper()
	b.settle("broker", want, func() (count, string, error) {
		var p page
		_, err := b.call(http.MethodGet, "/books", nil, &p)
		c, wrong := p.lines()
		return c, wrong, err
	})
	out, err := under.Command(b.t, append([]string{"books", "--json"}, b.args...)...).Output()
	var p page
	if err == nil {
		err = json.Unmarshal(out, &p)
	}
	if c, wrong := p.lines(); err != nil || wrong != "" || !maps.Equal(c, want) {
		b.t.Fatalf("the command says%s\n%s %v; the API had%s", c, wrong, err, want)
	}
}

// client compares those of a client; "in" and "out" are what it published and what was written to it.
func (b *broker) client(id string, want count) {
	b.t.Helper()
	b.settle(id, want, func() (count, string, error) {
		var p page
		_, err := b.call(http.MethodGet, "/books/clients/"+url.PathEscape(id), nil, &p)
		c, wrong := p.lines()
		c["in"], c["out"] = p.In.Messages, p.Out.Messages
		return c.tidy(), wrong, err
	})
}

// topic compares the figures of a topic, or those of a branch of the tree.
func (b *broker) topic(name string, want count) {
	b.t.Helper()
	parent, last, deep := cut(name)
	query := "/topics/tree?limit=1000"
	if deep {
		query += "&branch=" + url.QueryEscape(parent)
	}
	b.settle("topic "+name, want, func() (count, string, error) {
		var list struct {
			Items []struct {
				Name                               string
				Messages, Bytes, Copies            int64
				Dropped, Denied, Unheard, Children int64
			}
		}
		if _, err := b.call(http.MethodGet, query, nil, &list); err != nil {
			return nil, "", err
		}
		for _, r := range list.Items {
			if r.Name == last {
				return count{"messages": r.Messages, "copies": r.Copies, "dropped": r.Dropped, "denied": r.Denied, "unheard": r.Unheard}.tidy(), "", nil
			}
		}
		return nil, "it is not there", nil
	})
}

// detail compares what is known of one topic by QoS and by reason.
func (b *broker) detail(name string, want count) {
	b.t.Helper()
	b.settle("detail of "+name, want, func() (count, string, error) {
		var d struct {
			QoS     [3]int64
			Dropped map[string]int64 `json:"dropped_by"`
			Denied  map[string]int64 `json:"denied_by"`
		}
		if _, err := b.call(http.MethodGet, "/topics/detail?topic="+url.QueryEscape(name), nil, &d); err != nil {
			return nil, "", err
		}
		c := count{"QoS 0": d.QoS[0], "QoS 1": d.QoS[1], "QoS 2": d.QoS[2]}
		for why, n := range d.Dropped {
			c["dropped: "+why] = n
		}
		for why, n := range d.Denied {
			c["denied: "+why] = n
		}
		return c.tidy(), "", nil
	})
}

// cut splits a topic before its last level.
func cut(name string) (parent, last string, deep bool) {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)], name[i+1:], i >= 0
}

// Package accountstest is the suite that every accounts.Store passes. It knows no store.
package accountstest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Run puts stores through the suite. open makes an empty one; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) accounts.Store) {
	for name, test := range map[string]func(*testing.T, accounts.Store){
		"users": users, "pages": pages, "conditions": conditions, "atomic": atomic, "groups": groups, "rules and bans": rulesAndBans,
		"cancelled": cancelled, "concurrent": concurrent, "revisions": revisions, "several of one": severalOfOne, "bulk": bulk,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			test(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if _, err := s.User(t.Context(), "ann"); !errors.Is(err, accounts.ErrClosed) {
				t.Errorf("after close: %v", err)
			}
			if err := s.Apply(t.Context(), []accounts.Change{{Group: &accounts.Group{Name: "g"}}}, nil); !errors.Is(err, accounts.ErrClosed) {
				t.Errorf("apply after close: %v", err)
			}
		})
	}
}

func apply(t *testing.T, s accounts.Store, changes ...accounts.Change) {
	t.Helper()
	if err := s.Apply(t.Context(), changes, nil); err != nil {
		t.Fatal(err)
	}
}

func user(t *testing.T, s accounts.Store, name string) accounts.User {
	t.Helper()
	u, err := s.User(t.Context(), name)
	if err != nil {
		t.Fatalf("user %q: %v", name, err)
	}
	return u
}

func full() accounts.User {
	return accounts.User{
		Name: "ann", Kind: accounts.Person, Password: "$2b$not looked at", Groups: []string{"ops", "admins"}, ClientID: "ann-*", Disabled: true,
		Expires: time.Date(2031, 2, 3, 4, 5, 6, 7_000_000, time.UTC), Note: "a note\n\"'; drop",
		Keys: []accounts.ScramKey{{Method: "SCRAM-SHA-256", Salt: []byte{0, 1}, Iterations: 4096, StoredKey: []byte{2}, ServerKey: []byte{3}}},
	}
}

func twoGroups() []accounts.Change {
	return []accounts.Change{{Group: &accounts.Group{Name: "ops"}}, {Group: &accounts.Group{Name: "admins", Note: "n"}}}
}

func users(t *testing.T, s accounts.Store) {
	if _, err := s.User(t.Context(), "ann"); !errors.Is(err, accounts.ErrNotFound) {
		t.Fatalf("a user that is not there: %v", err)
	}
	apply(t, s, twoGroups()...)
	u := full()
	put := []accounts.Change{{User: &u}}
	apply(t, s, put...)
	if put[0].Was != nil {
		t.Error("a new user was something before")
	}
	if u.Revision == 0 || u.Created.IsZero() || !u.Changed.Equal(u.Created) {
		t.Errorf("the stamp is %+v", u.Stamp)
	}
	got := user(t, s, "ann")
	if !reflect.DeepEqual(got, u) {
		t.Errorf("got  %+v\nwant %+v", got, u)
	}
	got.Groups[0], got.Keys[0].Method = "changed", "changed"
	if again := user(t, s, "ann"); !reflect.DeepEqual(again, u) {
		t.Error("what was returned is still the store's")
	}

	before := u
	u.Groups, u.Keys, u.Expires, u.Disabled, u.Password = nil, nil, time.Time{}, false, "$other"
	put = []accounts.Change{{User: &u}}
	apply(t, s, put...)
	if put[0].Was == nil || !reflect.DeepEqual(*put[0].Was, before) {
		t.Errorf("was %+v\nwant %+v", put[0].Was, before)
	}
	if got := user(t, s, "ann"); !reflect.DeepEqual(got, u) || !got.Created.Equal(before.Created) || got.Revision <= before.Revision {
		t.Errorf("got  %+v\nwant %+v", got, u)
	}
	gone := []accounts.Change{{User: &accounts.User{Name: "ann"}, Delete: true}}
	apply(t, s, gone...)
	if _, err := s.User(t.Context(), "ann"); !errors.Is(err, accounts.ErrNotFound) {
		t.Errorf("a removed user: %v", err)
	}
	if gone[0].Was == nil || gone[0].Was.Password != "$other" {
		t.Errorf("the removed user was %+v", gone[0].Was)
	}
}

func pages(t *testing.T, s accounts.Store) {
	f := func(page accounts.Page, want ...string) {
		t.Helper()
		list, err := s.Users(t.Context(), page)
		if err != nil {
			t.Error(err)
		}
		var names []string
		for _, u := range list {
			names = append(names, u.Name)
		}
		if fmt.Sprint(names) != fmt.Sprint(want) {
			t.Errorf("%+v: got %q, want %q", page, names, want)
		}
	}
	f(accounts.Page{})
	apply(t, s, accounts.Change{Group: &accounts.Group{Name: "g"}})
	for _, name := range []string{"a%b", "a", "a_c", "aXc", "b", "ä", "\U0010FFFFz", "B"} {
		u := accounts.User{Name: name, Kind: accounts.Device}
		if name == "b" || name == "a" {
			u.Groups = []string{"g"}
		}
		apply(t, s, accounts.Change{User: &u})
	}
	all := []string{"B", "a", "a%b", "aXc", "a_c", "b", "ä", "\U0010FFFFz"} // by their bytes
	f(accounts.Page{}, all...)
	f(accounts.Page{Limit: 3}, all[:3]...)
	f(accounts.Page{Limit: 3, After: "a%b"}, all[3:6]...)
	f(accounts.Page{After: "zz"}, "ä", "\U0010FFFFz")
	f(accounts.Page{Prefix: "a"}, "a", "a%b", "aXc", "a_c")
	f(accounts.Page{Prefix: "a", After: "a"}, "a%b", "aXc", "a_c")
	f(accounts.Page{Prefix: "a_"}, "a_c")
	f(accounts.Page{Prefix: "a%"}, "a%b")
	f(accounts.Page{Prefix: "\U0010FFFF"}, "\U0010FFFFz")
	f(accounts.Page{Group: "g"}, "a", "b")
	f(accounts.Page{Group: "g", After: "a"}, "b")
	f(accounts.Page{Group: "h"})
	f(accounts.Page{Prefix: "c"})
}

// fails expects a batch to be refused for a reason, and for one of its changes.
func fails(t *testing.T, s accounts.Store, index int, want error, changes ...accounts.Change) {
	t.Helper()
	err := s.Apply(t.Context(), changes, nil)
	var which *accounts.ChangeError
	if !errors.Is(err, want) || !errors.As(err, &which) || which.Index != index {
		t.Errorf("got %v, want change %d: %v", err, index, want)
	}
}

func conditions(t *testing.T, s accounts.Store) {
	named := func() *accounts.User { return &accounts.User{Name: "ann", Kind: accounts.Device} }
	fails(t, s, 0, accounts.ErrNotFound, accounts.Change{User: named(), If: accounts.Present})
	fails(t, s, 0, accounts.ErrNotFound, accounts.Change{User: named(), Delete: true})
	fails(t, s, 0, accounts.ErrNotFound, accounts.Change{User: named(), If: 7})
	apply(t, s, accounts.Change{User: named(), If: accounts.Absent})
	fails(t, s, 0, accounts.ErrExists, accounts.Change{User: named(), If: accounts.Absent})
	at := user(t, s, "ann").Revision
	apply(t, s, accounts.Change{User: named(), If: at})
	fails(t, s, 0, accounts.ErrRevision, accounts.Change{User: named(), If: at})
	fails(t, s, 0, accounts.ErrRevision, accounts.Change{User: named(), If: at, Delete: true})
	apply(t, s, accounts.Change{User: named(), If: accounts.Present}, accounts.Change{User: named(), Delete: true, If: accounts.Present})

	fails(t, s, 0, accounts.ErrNotFound, accounts.Change{Group: &accounts.Group{Name: "g"}, Delete: true})
	fails(t, s, 0, accounts.ErrNotFound, accounts.Change{Rule: &accounts.Rule{ID: "r"}, Delete: true})
	fails(t, s, 0, accounts.ErrNotFound, accounts.Change{Ban: &accounts.Ban{ID: "b"}, Delete: true})
}

// atomic shows that a batch whose last change fails leaves nothing.
func atomic(t *testing.T, s accounts.Store) {
	apply(t, s, accounts.Change{User: &accounts.User{Name: "old", Kind: accounts.Device, Note: "before"}})
	fails(t, s, 4, accounts.ErrExists,
		accounts.Change{User: &accounts.User{Name: "new", Kind: accounts.Device}},
		accounts.Change{User: &accounts.User{Name: "old", Kind: accounts.Device, Note: "after"}},
		accounts.Change{Group: &accounts.Group{Name: "g"}},
		accounts.Change{Ban: &accounts.Ban{ID: "b", Subject: accounts.BanUser, Value: "x"}},
		accounts.Change{User: &accounts.User{Name: "old", Kind: accounts.Device}, If: accounts.Absent})
	if _, err := s.User(t.Context(), "new"); !errors.Is(err, accounts.ErrNotFound) {
		t.Errorf("half a batch was kept: %v", err)
	}
	if user(t, s, "old").Note != "before" {
		t.Error("half a batch changed a user")
	}
	if g, _ := s.Groups(t.Context()); len(g) != 0 {
		t.Errorf("half a batch made groups: %v", g)
	}
	if b, _ := s.Bans(t.Context()); len(b) != 0 {
		t.Errorf("half a batch made bans: %v", b)
	}
}

func groups(t *testing.T, s accounts.Store) {
	member := func() *accounts.User {
		return &accounts.User{Name: "ann", Kind: accounts.Device, Groups: []string{"ops"}}
	}
	fails(t, s, 1, accounts.ErrNoGroup, accounts.Change{Group: &accounts.Group{Name: "x"}}, accounts.Change{User: member()})
	apply(t, s, accounts.Change{User: member()}, accounts.Change{Group: &accounts.Group{Name: "ops"}}) // in any order
	fails(t, s, 0, accounts.ErrInUse, accounts.Change{Group: &accounts.Group{Name: "ops"}, Delete: true})
	apply(t, s, accounts.Change{Group: &accounts.Group{Name: "ops", Note: "changed"}}, accounts.Change{Group: &accounts.Group{Name: "a"}})
	list, err := s.Groups(t.Context())
	if err != nil || len(list) != 2 || list[0].Name != "a" || list[1].Note != "changed" || list[1].Created.IsZero() {
		t.Errorf("%+v %v", list, err)
	}
	if g := user(t, s, "ann").Groups; len(g) != 1 || g[0] != "ops" {
		t.Errorf("ann is in %q", g)
	}
	apply(t, s, accounts.Change{Group: &accounts.Group{Name: "ops"}, Delete: true}, accounts.Change{User: &accounts.User{Name: "ann"}, Delete: true})
	if list, _ := s.Groups(t.Context()); len(list) != 1 {
		t.Errorf("%+v", list)
	}
}

func rulesAndBans(t *testing.T, s accounts.Store) {
	never := false
	r := accounts.Rule{ID: "r2", Note: "why", Rule: auth.Rule{
		Name: "name", Deny: true, Actions: auth.ActionsOf(auth.Publish, auth.Receive), Topics: []string{"a/{client}/#", "b"}, Priority: -3,
		QoS: []mqtt.QoS{0, 2}, Retain: &never,
		Who: auth.Who{
			Users: []string{"u*"}, Groups: []string{"g"}, Clients: []string{"c"}, CommonNames: []string{"cn"}, Listeners: []string{"l"},
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Claims: map[string]string{"k": "v=w", "a": ""},
		},
	}}
	simple := accounts.Rule{ID: "r1", Rule: auth.Rule{Name: "all", Actions: auth.ActionsOf(auth.Subscribe), Topics: []string{"#"}}}
	apply(t, s, accounts.Change{Rule: &r}, accounts.Change{Rule: &simple, If: accounts.Absent})
	got, err := s.Rules(t.Context())
	if want := []accounts.Rule{simple, r}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v %v", got, want, err)
	}
	apply(t, s, accounts.Change{Rule: &accounts.Rule{ID: "r1"}, Delete: true})
	if got, _ := s.Rules(t.Context()); len(got) != 1 || got[0].ID != "r2" {
		t.Errorf("%+v", got)
	}

	b := accounts.Ban{
		ID: "b1", Subject: accounts.BanAddress, Value: "192.0.2.0/24", Quarantine: true, Reason: "flapping",
		Until: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), By: "admin",
	}
	other := accounts.Ban{ID: "b0", Subject: accounts.BanClient, Value: "c"}
	apply(t, s, accounts.Change{Ban: &b}, accounts.Change{Ban: &other})
	bans, err := s.Bans(t.Context())
	if want := []accounts.Ban{other, b}; err != nil || !reflect.DeepEqual(bans, want) {
		t.Errorf("got  %+v\nwant %+v %v", bans, want, err)
	}
	apply(t, s, accounts.Change{Ban: &b, Delete: true})
	if bans, _ := s.Bans(t.Context()); len(bans) != 1 {
		t.Errorf("%+v", bans)
	}
}

// cancelled stops a batch in the middle.
func cancelled(t *testing.T, s accounts.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := s.Apply(ctx, many(20_000), func(int) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if list, err := s.Users(t.Context(), accounts.Page{}); len(list) != 0 || err != nil {
		t.Errorf("%d users of a cancelled batch, %v", len(list), err)
	}
	apply(t, s, accounts.Change{User: &accounts.User{Name: "ann", Kind: accounts.Device}})
}

func many(n int) []accounts.Change {
	changes := make([]accounts.Change, n)
	for i := range changes {
		changes[i] = accounts.Change{User: &accounts.User{Name: fmt.Sprintf("device-%06d", i), Kind: accounts.Device, Password: "$x"}}
	}
	return changes
}

func bulk(t *testing.T, s accounts.Store) {
	const n = 20_000
	var told []int
	if err := s.Apply(t.Context(), many(n), func(done int) { told = append(told, done) }); err != nil {
		t.Fatal(err)
	}
	if len(told) < 10 || told[len(told)-1] != n {
		t.Errorf("progress was told %d times: %v", len(told), told)
	}
	count, page := 0, accounts.Page{}
	for {
		list, err := s.Users(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		count += len(list)
		page.After = list[len(list)-1].Name
	}
	if count != n {
		t.Errorf("%d users, want %d", count, n)
	}
}

// concurrent is for the race detector: one writes, others read, and nobody sees half a batch.
func concurrent(t *testing.T, s accounts.Store) {
	const rounds = 30
	pair := func(note string) []accounts.Change {
		return []accounts.Change{
			{User: &accounts.User{Name: "a", Kind: accounts.Device, Note: note}}, {User: &accounts.User{Name: "b", Kind: accounts.Device, Note: note}},
		}
	}
	apply(t, s, pair("start")...)
	var all sync.WaitGroup
	for w := range 2 {
		all.Go(func() {
			for i := range rounds {
				if err := s.Apply(t.Context(), pair(fmt.Sprint(w, i)), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		all.Go(func() {
			for range rounds {
				list, err := s.Users(t.Context(), accounts.Page{})
				if err != nil || len(list) != 2 || list[0].Note != list[1].Note {
					t.Errorf("%+v %v", list, err)
				}
				if _, err := s.User(t.Context(), "a"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// revisions never come twice for one name, also not after it was removed: an old ETag must not fit a new item.
func revisions(t *testing.T, s accounts.Store) {
	last := accounts.Revision(0)
	for range 3 {
		u := accounts.User{Name: "ann", Kind: accounts.Device}
		apply(t, s, accounts.Change{User: &u, If: accounts.Absent})
		if u.Revision <= last {
			t.Errorf("revision %d after %d", u.Revision, last)
		}
		last = u.Revision
		apply(t, s, accounts.Change{User: &u, Delete: true, If: u.Revision})
	}
}

func severalOfOne(t *testing.T, s accounts.Store) {
	a := accounts.User{Name: "ann", Kind: accounts.Device, Note: "one"}
	b := accounts.User{Name: "ann", Kind: accounts.Device, Note: "two"}
	changes := []accounts.Change{{User: &a, If: accounts.Absent}, {User: &b, If: accounts.Present}}
	apply(t, s, changes...)
	if got := user(t, s, "ann"); got.Note != "two" {
		t.Errorf("%+v", got)
	}
	if changes[1].Was == nil || changes[1].Was.Note != "one" {
		t.Errorf("was %+v", changes[1].Was)
	}
}

package accounts

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

// Changed is what a batch changed, for those who act upon it. It is never changed once made.
type Changed struct {
	By     string // the backend of the identities that it is about: By, or another one that keeps users of its own
	Users  map[string]UserChange
	Groups []string // names
	Rules  bool     // some of them
	Bans   bool     // some of them
}

// UserChange is a user before and after; nil = not there.
type UserChange struct{ Was, Now *User }

func changed(changes []Change) *Changed {
	what := &Changed{By: By, Users: map[string]UserChange{}}
	for i := range changes {
		switch c := &changes[i]; {
		case c.User != nil:
			u := UserChange{Was: c.Was}
			if before, twice := what.Users[c.User.Name]; twice {
				u.Was = before.Was
			}
			if !c.Delete {
				now := *c.User
				now.Groups = slices.Clone(now.Groups)
				u.Now = &now
			}
			what.Users[c.User.Name] = u
		case c.Group != nil:
			what.Groups = append(what.Groups, c.Group.Name)
		case c.Rule != nil:
			what.Rules = true
		case c.Ban != nil:
			what.Bans = true
		}
	}
	return what
}

// All is all that there is, as if it had just been put: what who acts upon changes begins with, such as for sessions that were
// read from the store and of whose clients only the names are known.
func (a *Accounts) All(ctx context.Context) (*Changed, error) {
	what := &Changed{By: By, Users: map[string]UserChange{}, Rules: true, Bans: true}
	for page := (Page{}); ; {
		users, err := a.Users(ctx, page)
		if err != nil {
			return nil, err
		}
		if len(users) == 0 {
			break
		}
		for i := range users {
			users[i].Password, users[i].Keys = "", nil // nobody compares them
			what.Users[users[i].Name] = UserChange{Now: &users[i]}
		}
		page.After = users[len(users)-1].Name
	}
	groups, err := a.Groups(ctx)
	for _, g := range groups {
		what.Groups = append(what.Groups, g.Name)
	}
	return what, err
}

// Revokes tells why a client that is connected may no longer be, "" when it may: its user was removed, disabled, bound to another client id, or
// given another password. Clients that another backend vouched for are none of its business.
func (c *Changed) Revokes(p *auth.Principal, now time.Time) string {
	u, ours := c.Users[p.Name]
	switch {
	case !ours || p.Restored || p.By != c.By:
		return ""
	case u.Now == nil:
		return fmt.Sprintf("user %q was removed", p.Name)
	case u.Was != nil && u.Was.Password != u.Now.Password:
		return fmt.Sprintf("user %q was given another password", p.Name)
	}
	return u.Now.barred(p.ClientID, now)
}

// Identity is who a client is after the change: what it was, the same pointer, when that makes no difference. A client whose user was
// removed has no groups any more.
func (c *Changed) Identity(p *auth.Principal) *auth.Identity {
	u, ours := c.Users[p.Name]
	if !ours || !p.Restored && p.By != c.By {
		return p.Identity
	}
	id := &auth.Identity{Name: p.Name}
	if u.Now != nil {
		id = u.Now.Identity()
	}
	id.By = c.By
	if slices.Equal(id.Groups, p.Groups) && id.Expires.Equal(p.Expires) && p.By == c.By {
		return p.Identity
	}
	return id
}

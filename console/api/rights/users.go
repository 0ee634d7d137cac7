package rights

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// User is a user as the API shows it.
type User struct {
	accounts.User
	HasPassword bool     `json:"has_password" doc:"Without one nobody gets in as this user by a password."`
	Methods     []string `json:"methods,omitempty" doc:"Methods of enhanced authentication that the user can use."`
}

func shown(u accounts.User) User {
	s := User{User: u, HasPassword: u.Password != ""}
	for _, k := range u.Keys {
		s.Methods = append(s.Methods, k.Method)
	}
	return s
}

// UserFields are what of a user can be set.
type UserFields struct {
	Kind     *accounts.Kind `json:"kind,omitempty" enum:"person,device" doc:"device by default"`
	Groups   *[]string      `json:"groups,omitempty" maxItems:"64" doc:"Each of them has to exist."`
	ClientID *string        `json:"client_id,omitempty" doc:"The only client id to connect with; * stands for any characters, and nothing is any."`
	Disabled *bool          `json:"disabled,omitempty"`
	Expires  *string        `json:"expires,omitempty" doc:"RFC 3339, or never." example:"2027-01-31T00:00:00Z"`
	Note     *string        `json:"note,omitempty" maxLength:"1024"`
	Credentials
}

// Credentials are a new password, given in one of three ways. Without any, the one that is there stays.
type Credentials struct {
	Password     *string `json:"password,omitempty" minLength:"8" maxLength:"1024" writeOnly:"true"`
	PasswordHash *string `json:"password_hash,omitempty" writeOnly:"true" doc:"Of another system: $argon2id$, $7$ or $6$ (Mosquitto), bcrypt."`
	Generate     bool    `json:"generate,omitempty" doc:"Make a random secret, which the answer has, this one time."`
}

// UserSecret is a user and, where one was made, its secret.
type UserSecret struct {
	User
	Secret string `json:"secret,omitempty" doc:"The random secret that was asked for. It is shown this one time."`
}

// UserPage is a part of the list of users.
type UserPage struct {
	Users []User `json:"users"`
	Next  string `json:"next,omitempty" doc:"Give it as after to go on; absent at the end."`
}

func (o *accountsOf) registerUsers(h huma.API) {
	list := stored("users", http.MethodGet, "/users", "users", "Users by name, a page at a time")
	huma.Register(h, list, func(ctx context.Context, in *struct {
		Prefix string `query:"prefix" doc:"Only names that begin so."`
		Group  string `query:"group" doc:"Only members of this group."`
		After  string `query:"after" doc:"Only names after this one."`
		Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	},
	) (*answer[UserPage], error) {
		found, err := o.Users(ctx, accounts.Page{Prefix: in.Prefix, Group: in.Group, After: in.After, Limit: in.Limit})
		if err != nil {
			return nil, serve.Failure(err)
		}
		page := UserPage{Users: []User{}}
		for _, u := range found {
			page.Users = append(page.Users, shown(u))
		}
		if len(found) == in.Limit {
			page.Next = found[len(found)-1].Name
		}
		return &answer[UserPage]{page}, nil
	})
	create := stored("user-create", http.MethodPost, "/users", "users", "Create a user")
	create.DefaultStatus = http.StatusCreated
	huma.Register(h, create, func(ctx context.Context, in *struct {
		Body struct {
			Name string `json:"name" minLength:"1" maxLength:"256"`
			UserFields
		}
	},
	) (*tagged[UserSecret], error) {
		u := accounts.User{Name: in.Body.Name}
		return o.put(ctx, &u, &in.Body.UserFields, accounts.Absent, &Condition{})
	})
	huma.Register(h, stored("user", http.MethodGet, "/users/{name}", "users", "One user", http.StatusNotFound),
		func(ctx context.Context, in *Named) (*tagged[User], error) {
			u, err := o.user(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			return tag(u.Revision, shown(u)), nil
		})
	huma.Register(h, serve.Deleted(stored("user-delete", http.MethodDelete, "/users/{name}", "users",
		"Delete a user; its clients are disconnected", http.StatusNotFound, http.StatusPreconditionFailed)),
		o.deleting(func(name string) accounts.Change { return accounts.Change{User: &accounts.User{Name: name}} }))
	o.registerChanges(h)
}

// userChange is a request that changes one user.
type userChange struct {
	Named
	Condition
	Body UserFields
}

func (o *accountsOf) registerChanges(h huma.API) {
	replace := stored("user-put", http.MethodPut, "/users/{name}", "users",
		"Create a user or replace it; what is not given is as by default, but for the password", http.StatusNotFound, http.StatusPreconditionFailed)
	huma.Register(h, replace, func(ctx context.Context, in *userChange) (*tagged[UserSecret], error) {
		u := accounts.User{Name: in.Name}
		r, err := in.revision(accounts.AnyRevision)
		if err != nil {
			return nil, err
		}
		switch was, err := o.User(ctx, in.Name); {
		case err == nil:
			u.Password, u.Keys = was.Password, was.Keys
			if r == accounts.AnyRevision {
				r = was.Revision
			}
		case !errors.Is(err, accounts.ErrNotFound):
			return nil, serve.Failure(err)
		case r == accounts.AnyRevision: // one that is made meanwhile has a password that would be lost
			r = accounts.Absent
		}
		return o.put(ctx, &u, &in.Body, r, &in.Condition)
	})
	update := stored("user-patch", http.MethodPatch, "/users/{name}", "users",
		"Change some of a user; a new password or disabled disconnects its clients", http.StatusNotFound, http.StatusPreconditionFailed)
	huma.Register(h, update, func(ctx context.Context, in *userChange) (*tagged[UserSecret], error) {
		u, err := o.user(ctx, in.Name)
		if err != nil {
			return nil, err
		}
		r, err := in.revision(u.Revision)
		if err != nil {
			return nil, err
		}
		return o.put(ctx, &u, &in.Body, r, &in.Condition)
	})
}

func (o *accountsOf) user(ctx context.Context, name string) (accounts.User, error) {
	u, err := o.User(ctx, name)
	if errors.Is(err, accounts.ErrNotFound) {
		return u, serve.Missing("user", name)
	}
	return u, serve.Failure(err)
}

// put changes u by f and keeps it, for who asked for a condition.
func (o *accountsOf) put(ctx context.Context, u *accounts.User, f *UserFields, r accounts.Revision, by *Condition) (*tagged[UserSecret], error) {
	secret, err := o.set(ctx, u, f)
	if err != nil {
		return nil, serve.Failure(err)
	}
	if err := o.change(ctx, accounts.Change{User: u, If: r}, by); err != nil {
		return nil, err
	}
	return tag(u.Revision, UserSecret{shown(*u), secret}), nil
}

// set changes u, and returns the secret if one was made.
func (o *accountsOf) set(ctx context.Context, u *accounts.User, f *UserFields) (secret string, err error) {
	take(&u.Kind, f.Kind)
	take(&u.Groups, f.Groups)
	take(&u.ClientID, f.ClientID)
	take(&u.Disabled, f.Disabled)
	take(&u.Note, f.Note)
	switch {
	case f.Expires == nil:
	case *f.Expires == "never", *f.Expires == "":
		u.Expires = time.Time{}
	default:
		if u.Expires, err = time.Parse(time.RFC3339, *f.Expires); err != nil {
			return "", fmt.Errorf("%w: expires is %q, but has to be a time such as 2027-01-31T00:00:00Z, or never", accounts.ErrInvalid, *f.Expires)
		}
	}
	return o.credentials(ctx, u, &f.Credentials)
}

func (o *accountsOf) credentials(ctx context.Context, u *accounts.User, c *Credentials) (secret string, err error) {
	given := 0
	for _, one := range []bool{c.Password != nil, c.PasswordHash != nil, c.Generate} {
		if one {
			given++
		}
	}
	switch {
	case given > 1:
		return "", fmt.Errorf("%w: give one of password, password_hash and generate", accounts.ErrInvalid)
	case c.Generate:
		return o.Generate(u)
	case c.PasswordHash != nil:
		u.Password, u.Keys = *c.PasswordHash, nil
	case c.Password != nil:
		return "", o.SetPassword(ctx, u, []byte(*c.Password))
	}
	return "", nil
}

func take[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/password"
	"github.com/sapwood-mqtt/sapwood/broker/auth/scram"
)

// openExchange opens enhanced authentication, nil where none is wanted. The secret that answers about users that there are not
// follow from is kept in the database.
func (a *App) openExchange(ctx context.Context) (auth.Exchanger, error) {
	methods := a.cfg.Authentication.Scram
	if len(methods) == 0 {
		return nil, nil
	}
	secret, err := a.people.db.Secret(ctx, "scram")
	if err != nil {
		return nil, CannotStore(a.cfg.Data, err)
	}
	return offered{scram.New(scramKeys{a.people.accounts}, secret, accounts.ScramIterations(), password.NewGuesses(a.cfg.Authentication.Password)), methods}, nil
}

// offered are the methods of an exchanger that the configuration names.
type offered struct {
	*scram.Exchanger
	methods []string
}

// Methods implements auth.Exchanger.
func (o offered) Methods() []string { return o.methods }

// scramKeys gives the exchange the keys of stored users.
type scramKeys struct{ *accounts.Accounts }

// Key implements scram.Keys.
func (s scramKeys) Key(ctx context.Context, user, method string) (*scram.Key, error) {
	u, k, err := s.Keys(ctx, user, method)
	if errors.Is(err, accounts.ErrNotFound) || errors.Is(err, accounts.ErrNoKey) {
		return nil, auth.ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	admit := func(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
		now, _, err := s.Keys(ctx, user, method) // it may have been changed since the challenge
		switch {
		case errors.Is(err, accounts.ErrNotFound), errors.Is(err, accounts.ErrNoKey), err == nil && now.Password != u.Password:
			return nil, fmt.Errorf("user %q was changed while it authenticated by %s", user, method)
		case err != nil:
			return nil, err
		}
		return now.Admit(a.ClientID, time.Now())
	}
	return &scram.Key{Salt: k.Salt, Iterations: k.Iterations, StoredKey: k.StoredKey, ServerKey: k.ServerKey, Admit: admit}, nil
}

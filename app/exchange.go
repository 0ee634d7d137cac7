package app

import (
	"context"
	"fmt"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/password"
	"github.com/sapwood-mqtt/sapwood/broker/auth/scram"
)

// openExchange opens enhanced authentication, nil where none is wanted.
func (a *App) openExchange(ctx context.Context) (auth.Exchanger, error) {
	methods := a.cfg.Authentication.Scram
	if len(methods) == 0 {
		return nil, nil
	}
	secret, err := a.people.db.Secret(ctx, "scram") // the answers about users that there are not follow from it
	if err != nil {
		return nil, fmt.Errorf("open enhanced authentication: %w", err)
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

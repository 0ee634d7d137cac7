package chain

import (
	"context"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/authtest"
)

// TestSuite: a chain is an authenticator like any other, with the difference that whom nobody knows is refused.
func TestSuite(t *testing.T) {
	of := func(t *testing.T, b *backend) auth.Authenticator {
		return open(t, Options{Cache: DefaultCache(), Circuit: DefaultCircuit()}, Link{Name: "none", Authn: says(nil, auth.ErrUnknown)}, Link{Name: "b", Authn: b, Cached: true})
	}
	h := authtest.Harness{
		New: func(t *testing.T) auth.Authenticator {
			return of(t, &backend{do: func(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
				switch {
				case ctx.Err() != nil:
					return nil, ctx.Err()
				case a.Username != "meter-7" || !a.HasUser:
					return nil, auth.ErrUnknown
				case string(a.Password) != "right":
					return nil, refuses
				}
				return &auth.Identity{Name: a.Username}, nil
			}})
		},
		Right: func() *auth.Attempt {
			return &auth.Attempt{Peer: authtest.Peer(), ClientID: "c1", Username: "meter-7", HasUser: true, Password: []byte("right"), HasPass: true}
		},
		Name:          "meter-7",
		WrongPassword: authtest.Refused, EmptyPassword: authtest.Refused, NoPassword: authtest.Refused, UnknownUser: authtest.Refused, NoUser: authtest.Refused,
		Unreachable: func(t *testing.T) auth.Authenticator { return of(t, says(nil, errDown)) },
		Hanging: func(t *testing.T) auth.Authenticator {
			return of(t, &backend{do: func(ctx context.Context, _ *auth.Attempt) (*auth.Identity, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}})
		},
	}
	authtest.Run(t, h)
}

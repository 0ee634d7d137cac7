package jwt

import (
	"net"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/authtest"
)

// remoteAt is a backend whose key set is at an address.
func remoteAt(t *testing.T, address string) auth.Authenticator {
	return open(t, func(c *Config) { c.JWKS = "https://" + address })
}

func TestSuite(t *testing.T) {
	token := signed(t, "ES256", pairs()["p256"], "one", good(nil))
	i := newIssuer(t)
	i.serves(t, jwk("p256", "one"))
	authtest.Run(t, authtest.Harness{
		New: func(t *testing.T) auth.Authenticator {
			b, _ := openRemote(t, i, nil)
			return b
		},
		Right: func() *auth.Attempt {
			return &auth.Attempt{Peer: authtest.Peer(), ClientID: "c1", Username: "whoever", HasUser: true, Password: []byte(token), HasPass: true}
		},
		Name:          "meter-7",
		EmptyPassword: authtest.Unknown, NoPassword: authtest.Unknown, NoUser: authtest.Accepted, // nobody is asked for a user name
		Unreachable: func(t *testing.T) auth.Authenticator {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_ = l.Close()
			return remoteAt(t, l.Addr().String())
		},
		Hanging: func(t *testing.T) auth.Authenticator {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			return remoteAt(t, l.Addr().String())
		},
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range []struct{ name, key string }{{"HS256", ""}, {"ES256", "p256"}, {"RS256", "rsa"}, {"EdDSA", "ed"}} {
		b.Run(alg.name, func(b *testing.B) {
			cfg := DefaultConfig()
			cfg.Secret = secret
			var by any = []byte(secret)
			if alg.key != "" {
				by = pairs()[alg.key]
			}
			backend, err := Open(b.Context(), cfg, Options{Now: func() time.Time { return noon }})
			if err != nil {
				b.Fatal(err)
			}
			if alg.key != "" {
				k, err := keyOf("", pairs()[alg.key].Public())
				if err != nil {
					b.Fatal(err)
				}
				backend.state.Store(&state{keys: []key{k}})
			}
			token := signed(b, jose.SignatureAlgorithm(alg.name), by, "", good(nil))
			for b.Loop() {
				if _, err := show(backend, token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

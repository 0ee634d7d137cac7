// Package auth is the contract of who may connect and what they may touch. It
// holds the interfaces and their vocabulary only; backends are packages below it.
package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Peer is where a client comes from. It is never changed once made.
type Peer struct {
	Address  netip.AddrPort    // unmapped; of the client itself where a trusted proxy tells it; invalid for a Unix socket
	Listener string            // the name of the listener
	TLS      bool              // the connection is encrypted
	Cert     *x509.Certificate // the client's, verified; nil = none
	// ProxiedName is the common name of the client's certificate as a trusted proxy, which has verified it, tells; "" = none.
	ProxiedName string
}

// Attempt is what a client shows when it connects, or authenticates again.
type Attempt struct {
	Peer
	ClientID string
	Username string
	Password []byte
	HasUser  bool
	HasPass  bool
	Method   string // of enhanced authentication (MQTT5 4.12); "" = none
}

// Identity is who a client turned out to be. It is never changed once made.
type Identity struct {
	// Name is what sessions belong to: nobody else may take one over. Empty = anonymous. The same name is the same
	// owner, whichever backend vouched for it.
	Name   string
	Groups []string
	Claims map[string]string // what else is known, such as the claims of a token
	Rules  []Rule            // that came with the identity and hold for this client alone

	Expires time.Time // when it ends; zero = never
	By      string    // the backend that vouched, for people
}

// Principal is a client at the broker: who it is, under which client id, and from where. But for Bound it is never
// changed once made.
type Principal struct {
	*Identity
	ClientID string
	Peer     Peer
	Mount    string // what its topics begin with inside the broker, where it does not see it; rules are about whole names

	// Restored says that the session was read from the store and its client has not been here since: only Name is known.
	Restored bool
	// Bound is the authorizer's own.
	Bound atomic.Value
}

// Remote is the address for people.
func (p *Peer) Remote() string {
	if !p.Address.IsValid() {
		return "a local socket"
	}
	return p.Address.String()
}

// CommonName is that of the client's certificate, "" without one.
func (p *Peer) CommonName() string {
	if p.Cert == nil {
		return p.ProxiedName
	}
	return p.Cert.Subject.CommonName
}

// Authenticator tells who a client is. It is called on a goroutine of its own and may take its time until ctx
// ends. The error is nil; ErrUnknown, when somebody else has to be asked; a *Refusal; or anything else, when it cannot be told
// at present. Only nil lets a client in. It must not keep the attempt's password.
type Authenticator interface {
	Authenticate(ctx context.Context, a *Attempt) (*Identity, error)
}

// ErrUnknown says that a backend does not know this user, or is not concerned with such credentials.
var ErrUnknown = errors.New("not known here")

// Refusal is a backend's final no.
type Refusal struct {
	Reason mqtt.ReasonCode // for CONNACK
	Text   string          // for the client: nothing that helps who guesses
	By     string          // the backend, for people
	Why    string          // for the operator, never a secret; "" = Text
}

// Error tells the operator.
func (r *Refusal) Error() string {
	why := r.Why
	if why == "" {
		why = r.Text
	}
	return fmt.Sprintf("%s: %s", r.By, why)
}

// Exchanger authenticates in several steps, by the AUTH packets of MQTT5 4.12.
type Exchanger interface {
	// Methods are the names of what it knows, such as SCRAM-SHA-256.
	Methods() []string
	// Begin starts an exchange for an attempt whose Method is one of them.
	Begin(a *Attempt) (Exchange, error)
}

// Exchange is one client's authentication. It is used by one goroutine at a time.
type Exchange interface {
	// Next takes what the client sent and returns what to answer. While id is nil and err is nil, the exchange goes on. The
	// errors are those of Authenticator.
	Next(ctx context.Context, data []byte) (answer []byte, id *Identity, err error)
}

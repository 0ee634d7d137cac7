// Package scram authenticates by SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677) in the AUTH packets of MQTT5 4.12:
// the password never crosses the wire, and both sides prove that they know it. It is the server's side of the exchange;
// where the keys are kept is somebody else's affair, and so is how passwords are set.
package scram

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/xdg-go/stringprep"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// The methods.
const (
	SHA256 = "SCRAM-SHA-256"
	SHA512 = "SCRAM-SHA-512"
)

// Keys is where the keys of users are kept.
type Keys interface {
	// Key returns what is kept of a user for a method; auth.ErrUnknown where there is nothing. It may take its time.
	Key(ctx context.Context, user, method string) (*Key, error)
}

// Key is what a server knows of one user (RFC 5802 3). The password does not follow from it but by trying.
type Key struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte

	// Admit tells who the client is, once it has proved that it knows the password, or why it is not let in all the same. It has
	// to look whether the key is still the user's: a client chooses how long it leaves a challenge unanswered.
	Admit func(ctx context.Context, a *auth.Attempt) (*auth.Identity, error)
}

// Guard slows who guesses passwords. It may be asked by several goroutines at a time, about attempts whose Username is the one of the
// exchange.
type Guard interface {
	Wait(a *auth.Attempt) time.Duration // no try before; 0 = at once
	Wrong(a *auth.Attempt)              // it proved nothing
	Right(a *auth.Attempt)              // it proved to be the user
}

// Exchanger begins exchanges. It may be used by several goroutines at a time.
type Exchanger struct {
	keys       Keys
	secret     []byte
	iterations []int
	guard      Guard
}

// New makes an Exchanger. A user that there is not is answered as one that there is: with one of iterations, which are those
// that keys are made with, at least one, and a salt; both follow from its name and secret. Only with a secret that outlives the
// process do they stay the same as those of a real user do; nil = one of this process. A nil guard slows nobody.
func New(keys Keys, secret []byte, iterations []int, guard Guard) *Exchanger {
	if len(iterations) == 0 {
		panic("scram: without iterations nobody could pass for a user")
	}
	if len(secret) == 0 {
		secret = make([]byte, 32)
		rand.Read(secret) // never fails
	}
	return &Exchanger{keys: keys, secret: secret, iterations: iterations, guard: guard}
}

// Methods implements auth.Exchanger.
func (x *Exchanger) Methods() []string { return []string{SHA256, SHA512} }

// Begin implements auth.Exchanger.
func (x *Exchanger) Begin(a *auth.Attempt) (auth.Exchange, error) {
	hashed := hashOf(a.Method)
	if hashed == nil {
		return nil, &auth.Refusal{Reason: mqtt.BadAuthenticationMethod, Text: "unknown authentication method", By: By}
	}
	return &exchange{x: x, attempt: a, hash: hashed}, nil
}

// By is how refusals and identities call this backend.
const By = "scram"

func hashOf(method string) func() hash.Hash {
	switch method {
	case SHA256:
		return sha256.New
	case SHA512:
		return sha512.New
	}
	return nil
}

// exchange is the server's side of one conversation: client-first-message, server-first-message, client-final-message,
// server-final-message.
type exchange struct {
	x       *Exchanger
	attempt *auth.Attempt
	as      auth.Attempt // attempt, by the name that the exchange is about
	hash    func() hash.Hash
	state   state
	key     *Key
	known   bool   // key is a user's
	header  string // the client's GS2 header
	nonce   string // the client's and ours
	signed  string // AuthMessage, as far as it has come: client-first-message-bare "," server-first-message
}

type state uint8

const (
	begin state = iota
	invited
	challenged
	over
)

// Next implements auth.Exchange. A client that began without data is asked for it.
func (e *exchange) Next(ctx context.Context, data []byte) (answer []byte, id *auth.Identity, err error) {
	now := e.state
	e.state = over
	switch {
	case now == begin && len(data) == 0:
		e.state = invited
		return nil, nil, nil
	case now == begin, now == invited:
		if answer, err = e.first(ctx, string(data)); err == nil {
			e.state = challenged
		}
		return answer, nil, err
	case now == challenged:
		return e.final(ctx, string(data))
	}
	return nil, nil, malformed("the exchange is over")
}

// first takes the client-first-message and makes the challenge.
func (e *exchange) first(ctx context.Context, message string) ([]byte, error) {
	m, err := parseFirst(message)
	if err != nil {
		return nil, err
	}
	name, err := stringprep.SASLprep.Prepare(m.user)
	if err != nil || name == "" {
		return nil, malformed("the user name cannot be prepared (RFC 4013)")
	}
	if m.authzid != "" && m.authzid != m.user {
		return nil, refuse("authorisation as somebody else is not possible")
	}
	if e.attempt.HasUser && e.attempt.Username != name {
		return nil, refuse("the user name of CONNECT is another one")
	}
	e.as = *e.attempt
	e.as.Username = name
	if err := e.slowed(); err != nil {
		return nil, err
	}
	e.key, err = e.x.keys.Key(ctx, name, e.attempt.Method)
	switch {
	case err == nil:
		e.known = true
	case errors.Is(err, auth.ErrUnknown):
		e.key = e.x.pretend(name, e.attempt.Method, e.hash)
	default:
		return nil, fmt.Errorf("%s: %w", By, err)
	}
	var own [18]byte
	rand.Read(own[:]) // never fails
	e.header, e.nonce = m.header, m.nonce+base64.StdEncoding.EncodeToString(own[:])
	challenge := fmt.Sprintf("r=%s,s=%s,i=%d", e.nonce, base64.StdEncoding.EncodeToString(e.key.Salt), e.key.Iterations)
	e.signed = m.bare + "," + challenge
	return []byte(challenge), nil
}

// pretend makes up the key of a user that there is not: the same one each time, and nothing proves to know its password.
func (x *Exchanger) pretend(user, method string, hashed func() hash.Hash) *Key {
	derive := func(what string) []byte {
		return sum(hashed, x.secret, what+"\x00"+method+"\x00"+user)
	}
	n := x.iterations[int(derive("iterations")[0])%len(x.iterations)]
	return &Key{Salt: derive("salt")[:saltBytes], Iterations: n, StoredKey: derive("stored key"), ServerKey: derive("server key")}
}

// saltBytes is the length of the salts that accounts are made with, so that nothing be told by it.
const saltBytes = 16

// final takes the client-final-message: what proves that the client knows the password.
func (e *exchange) final(ctx context.Context, message string) ([]byte, *auth.Identity, error) {
	m, err := parseFinal(message)
	if err != nil {
		return nil, nil, err
	}
	if m.header != e.header {
		return nil, nil, malformed("the channel binding is another one than announced")
	}
	if !hmac.Equal([]byte(m.nonce), []byte(e.nonce)) { // F160: what was heard in another exchange is of no use
		return nil, nil, refuse("the nonce is not of this exchange")
	}
	if err := e.slowed(); err != nil { // many exchanges that were begun at once gain nothing
		return nil, nil, err
	}
	signed := e.signed + "," + m.bare
	proof, signature := m.proof, sum(e.hash, e.key.StoredKey, signed)
	if len(proof) != len(signature) {
		return nil, nil, malformed("the proof has another length")
	}
	for i := range proof { // ClientKey = ClientProof XOR ClientSignature
		proof[i] ^= signature[i]
	}
	h := e.hash()
	h.Write(proof)
	if proved := hmac.Equal(h.Sum(nil), e.key.StoredKey); !proved || !e.known {
		if e.x.guard != nil {
			e.x.guard.Wrong(&e.as)
		}
		return nil, nil, refuse("nobody knows such credentials")
	}
	id, err := e.key.Admit(ctx, e.attempt)
	if err != nil {
		return nil, nil, err
	}
	if e.x.guard != nil {
		e.x.guard.Right(&e.as)
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(sum(e.hash, e.key.ServerKey, signed))), id, nil
}

// slowed is the refusal of who has to wait before it may try again.
func (e *exchange) slowed() error {
	if e.x.guard == nil || e.x.guard.Wait(&e.as) <= 0 {
		return nil
	}
	return &auth.Refusal{Reason: mqtt.ConnectionRateExceeded, Text: "try again later", By: By, Why: "too many wrong passwords came from this address"}
}

func sum(hashed func() hash.Hash, key []byte, text string) []byte {
	mac := hmac.New(hashed, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// refuse is the answer to who has not proved anything: it is the same for all.
func refuse(why string) error {
	return &auth.Refusal{Reason: mqtt.BadUserNameOrPassword, Text: "authentication failed", By: By, Why: why}
}

// malformed is the answer to what is not SCRAM as it is spoken here.
func malformed(why string) error {
	return &auth.Refusal{Reason: mqtt.NotAuthorized, Text: "the authentication data is not understood: " + why, By: By}
}

// Package jwt lets in who shows a JSON Web Token (RFC 7519) that was signed with a known key and holds now. The key decides which
// algorithms are good, never the token. The token's claims may say who the client is, in which groups, and what it may do.
//
// It issues no tokens, keeps none, and follows nothing that a token points to.
package jwt

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Options are what the backend needs of the world.
type Options struct {
	Name string           // of the backend; "" = jwt
	Now  func() time.Time // nil = time.Now
}

// Backend verifies tokens. Its methods may be called from any goroutine.
type Backend struct {
	cfg   Config
	name  string
	now   func() time.Time
	state atomic.Pointer[state]
}

// state is what was read from files.
type state struct {
	keys   []key
	remote *remote // nil = none
}

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 16 << 10

// Open reads the keys. A key set at a URL is fetched when it is first needed.
func Open(_ context.Context, cfg Config, o Options) (*Backend, error) {
	b := &Backend{cfg: cfg, name: "jwt", now: time.Now}
	if o.Name != "" {
		b.name = o.Name
	}
	if o.Now != nil {
		b.now = o.Now
	}
	if err := cfg.Usable(); err != nil {
		return nil, err
	}
	if err := b.Reload(); err != nil {
		return nil, err
	}
	return b, nil
}

// Files are those that it reads.
func (b *Backend) Files() []string { return append(b.cfg.TLS.Files(), b.cfg.Keys...) }

// Reload reads the files again. If one is bad, all stays as it was.
func (b *Backend) Reload() error {
	keys, err := shared(&b.cfg)
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	for _, file := range b.cfg.Keys {
		more, err := readKeys(file)
		if err != nil {
			return err
		}
		keys = append(keys, more...)
	}
	s := &state{}
	for _, k := range keys {
		if k = k.only(b.cfg.Algorithms); len(k.algorithms) > 0 {
			s.keys = append(s.keys, k)
		}
	}
	if b.cfg.JWKS != "" {
		if s.remote, err = b.remote(); err != nil {
			return err
		}
	} else if len(s.keys) == 0 {
		return fmt.Errorf("no key is good for %v", b.cfg.Algorithms)
	}
	if old := b.state.Swap(s); old != nil && old.remote != nil {
		if s.remote != nil {
			s.remote.set.CompareAndSwap(nil, old.remote.set.Load())
		}
		old.remote.client.CloseIdleConnections()
	}
	return nil
}

func (b *Backend) remote() (*remote, error) {
	if err := checkURL(b.cfg.JWKS); err != nil {
		return nil, fmt.Errorf("jwks %w", err)
	}
	client, err := b.cfg.TLS.HTTP(b.cfg.JWKS, b.cfg.Timeout, 1)
	if err != nil {
		return nil, err
	}
	return newRemote(&b.cfg, client, b.now), nil
}

// Close gives up idle connections. It may still be asked.
func (b *Backend) Close() {
	if r := b.state.Load().remote; r != nil {
		r.client.CloseIdleConnections()
	}
}

// Authenticate verifies the token; who shows nothing that looks like one is unknown.
func (b *Backend) Authenticate(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
	token := string(a.Password)
	if b.cfg.From == "username" {
		token = a.Username
	}
	if a.Method != "" || !looksLikeToken(token) {
		return nil, auth.ErrUnknown
	}
	payload, err := b.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	var c claims
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if err := d.Decode(&c); err != nil || c == nil || d.InputOffset() < int64(len(bytes.TrimRight(payload, " \t\r\n"))) {
		return nil, b.refuse("the claims are no JSON object")
	}
	id, err := b.read(c, a)
	if err != nil {
		return nil, b.refuse("%v", err)
	}
	return id, nil
}

// looksLikeToken tells whether somebody meant this to be a signed token: three parts, the first a JSON object with an alg. Not
// whether it is a good one.
func looksLikeToken(token string) bool {
	first, rest, ok := strings.Cut(token, ".")
	if !ok || strings.Count(rest, ".") != 1 || len(first) > maxToken {
		return false
	}
	header, err := base64.RawURLEncoding.DecodeString(first)
	var h struct {
		Alg *json.RawMessage `json:"alg"`
	}
	return err == nil && json.Unmarshal(header, &h) == nil && h.Alg != nil
}

// verify finds the key that the token was signed with. All a token says of itself is its algorithm and its key's id, and both only choose
// among the keys there are.
func (b *Backend) verify(ctx context.Context, token string) ([]byte, error) {
	if len(token) > maxToken {
		return nil, b.refuse("the token has more than %d bytes", maxToken)
	}
	s := b.state.Load()
	known := s.keys
	if s.remote != nil {
		set, err := s.remote.current(ctx)
		if err != nil && len(known) == 0 {
			return nil, err
		}
		known = b.with(known, set)
	}
	all := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, a := range algorithms {
		all[i] = jose.SignatureAlgorithm(a)
	}
	jws, err := jose.ParseSignedCompact(token, all)
	if err != nil {
		return nil, b.refuse("%v", err)
	}
	header := jws.Signatures[0].Header
	payload, named := try(jws, known, header.KeyID)
	if payload == nil && header.KeyID != "" && !named && s.remote != nil {
		set, err := s.remote.newer(ctx)
		if payload, _ = try(jws, b.with(s.keys, set), header.KeyID); payload == nil && err != nil {
			// Others may go on with the keys that are known: this is no failure of the backend as a whole.
			return nil, &auth.Refusal{
				Reason: mqtt.ServerUnavailable, Text: "authentication is not possible at present", By: b.name,
				Why: fmt.Sprintf("the token's key is not known, and the key set: %v", err),
			}
		}
	}
	if payload == nil {
		return nil, b.refuse("no key verifies the %s signature", header.Algorithm)
	}
	return payload, nil
}

// with joins the keys from files with those of a set.
func (b *Backend) with(keys, set []key) []key {
	all := append([]key(nil), keys...)
	for _, k := range set {
		all = append(all, k.only(b.cfg.Algorithms))
	}
	return all
}

// try verifies with each key that fits; named says that one has the very id.
func try(jws *jose.JSONWebSignature, keys []key, id string) (payload []byte, named bool) {
	alg := jose.SignatureAlgorithm(jws.Signatures[0].Header.Algorithm)
	for i := range keys {
		k := &keys[i]
		named = named || k.id != "" && k.id == id
		if k.fits(id, alg) {
			if payload, err := jws.Verify(k.value); err == nil {
				return payload, true
			}
		}
	}
	return nil, named
}

func (b *Backend) refuse(format string, args ...any) error {
	return &auth.Refusal{
		Reason: mqtt.NotAuthorized, Text: "authentication failed", By: b.name, Why: strings.ToValidUTF8(fmt.Sprintf(format, args...), "\ufffd"),
	}
}

var errMissing = errors.New("is missing")

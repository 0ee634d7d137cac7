package jwt

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/upstream"
)

// Config says which tokens are good and what they say. Its zero value is not usable: start from DefaultConfig.
type Config struct {
	From       string        `yaml:"from" enum:"password,username" doc:"The field of CONNECT that carries the token."`
	Secret     string        `yaml:"secret" secret:"true" doc:"Shared secret of HS256, HS384 and HS512 tokens; 32, 48 and 64 bytes are the least they need."`
	Encoding   string        `yaml:"secret_encoding" enum:"text,base64" doc:"How the secret is written."`
	Keys       []string      `yaml:"keys" doc:"PEM files with public keys or certificates: RSA for RS* and PS*, P-256, P-384 and P-521 for ES256, ES384 and ES512, Ed25519 for EdDSA."`
	JWKS       string        `yaml:"jwks" doc:"URL of a JSON Web Key Set with more of them; https, or http on this machine. Shared secrets in it are left out."`
	TLS        upstream.TLS  `yaml:"tls" doc:"How the server of the key set is verified."`
	Refresh    time.Duration `yaml:"refresh" doc:"How often the key set is fetched again. A token with a key that is not in it makes that happen at once, but at most every 10 s."`
	Stale      time.Duration `yaml:"stale" doc:"How long the key set is used while it cannot be fetched. Then all its tokens are refused."`
	Timeout    time.Duration `yaml:"timeout" doc:"How long fetching it may take."`
	Algorithms []string      `yaml:"algorithms" doc:"The only algorithms that are good, such as ES256; empty = all that fit a key. Which fit is up to the key, never to the token."`
	Issuer     string        `yaml:"issuer" doc:"What iss must be; empty = anything."`
	Audience   []string      `yaml:"audience" doc:"One of these must be in aud; empty = anything."`
	Leeway     time.Duration `yaml:"leeway" doc:"How far the clocks of issuer and broker may be apart. A client is disconnected that long after its token has expired."`
	Expiry     bool          `yaml:"require_expiry" doc:"Refuse tokens that never expire."`
	Name       string        `yaml:"name" doc:"The claim that is the client's name. A dot leads into an object where no claim has the whole name."`
	Groups     string        `yaml:"groups" doc:"The claim with the client's groups, a text or a list of texts; empty = none."`
	Claims     []string      `yaml:"claims" doc:"The claims that rules can ask for, as texts; empty = all that are text, number or boolean. More than 64, or a longer one than 1024 bytes, and the token is refused."`
	ACL        string        `yaml:"acl" doc:"The claim with the client's own rules: a list of {allow or deny: [publish, subscribe, receive], topics: [...], qos: [...], retain: any|only|never, priority: N}. Empty = none; a token with a bad one is refused."`
	Bindings   []Binding     `yaml:"bindings" doc:"What of CONNECT claims must agree with."`
}

// Binding holds a claim to what the client says elsewhere.
type Binding struct {
	Claim string `yaml:"claim" doc:"The claim; it must be there."`
	Is    string `yaml:"is" enum:"client,user,cn" doc:"What it must be equal to: the client id, the user name, or the common name of the certificate."`
}

// DefaultConfig is the one of a process that was told nothing: it has no key yet.
func DefaultConfig() Config {
	return Config{
		From: "password", Encoding: "text", Keys: []string{}, Algorithms: []string{}, Audience: []string{}, Claims: []string{}, Bindings: []Binding{},
		Refresh: 15 * time.Minute, Stale: 24 * time.Hour, Timeout: 5 * time.Second,
		Leeway: 5 * time.Second, Expiry: true, Name: "sub", ACL: "acl",
	}
}

// Check tells what cannot be.
func (c *Config) Check(bad func(key, message, fix string)) {
	if _, err := shared(c); err != nil {
		bad("secret", err.Error(), "make one with: openssl rand -base64 48")
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(algorithms[:], a) {
			bad("algorithms", a+" is none of "+strings.Join(algorithms[:], ", "), "leave it empty: the keys tell which fit")
		}
	}
	if err := checkURL(c.JWKS); err != nil {
		bad("jwks", err.Error(), "give it as in https://id.example.com/.well-known/jwks.json")
	}
	if c.JWKS != "" && (c.Refresh < time.Second || c.Stale < c.Refresh || c.Timeout <= 0) {
		bad("refresh", "must be at least 1s and no longer than stale, and timeout above 0s", "leave refresh at 15m, stale at 24h and timeout at 5s")
	}
	if c.Leeway > time.Hour {
		bad("leeway", "is more than 1h", "leave it at 5s")
	}
	if c.Name == "" {
		bad("name", "is empty, so nobody would have a name", "leave it at sub")
	}
	for _, b := range c.Bindings {
		if b.Claim == "" {
			bad("bindings", "one of them lacks its claim", "name it, such as claim: sub")
		}
		if b.Is != "client" && b.Is != "user" && b.Is != "cn" {
			bad("bindings", "what the claim "+b.Claim+" is must be client, user or cn", "add it, such as is: client")
		}
		if b.Is == "user" && c.From == "username" {
			bad("bindings", "the user name is the token", "bind the claim to client or cn")
		}
	}
}

// Usable tells what is missing for the backend to be asked at all.
func (c *Config) Usable() error {
	if c.Secret == "" && len(c.Keys) == 0 && c.JWKS == "" {
		return errors.New("no token could be verified: set secret, keys or jwks")
	}
	return nil
}

func checkURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case u.Host == "" || u.User != nil || u.Fragment != "":
		return errors.New("is not the URL of a document")
	case u.Scheme == "https", u.Scheme == "http" && upstream.Local(u.Hostname()):
		return nil
	}
	return errors.New("must be https: who could change the keys on the way could sign any token")
}

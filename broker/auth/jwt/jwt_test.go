package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

const secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// pairs are one key of each kind; RSA takes a while to make.
var pairs = sync.OnceValue(func() map[string]crypto.Signer {
	made := map[string]crypto.Signer{}
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521(), "other": elliptic.P256()} {
		made[name], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	made["rsa"], _ = rsa.GenerateKey(rand.Reader, 2048)
	_, made["ed"], _ = ed25519.GenerateKey(rand.Reader)
	return made
})

func public(t *testing.T, name string) (file string) {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pairs()[name].Public())
	if err != nil {
		t.Fatal(err)
	}
	return write(t, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// signed is a token by a key, which is a []byte or a private key.
func signed(t testing.TB, alg jose.SignatureAlgorithm, key any, kid string, c claims) string {
	t.Helper()
	o := &jose.SignerOptions{}
	if kid != "" {
		o.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// good are claims that hold, with changes; nil takes one away.
func good(change claims) claims {
	c := claims{"sub": "meter-7", "exp": noon.Add(time.Hour).Unix()}
	for k, v := range change {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

func open(t *testing.T, change func(*Config)) *Backend {
	t.Helper()
	cfg := DefaultConfig()
	if change(&cfg); cfg.Usable() != nil {
		cfg.Secret = secret
	}
	cfg.Check(func(key, message, _ string) { t.Errorf("%s %s", key, message) })
	b, err := Open(t.Context(), cfg, Options{Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func show(b *Backend, token string) (*auth.Identity, error) {
	return b.Authenticate(context.Background(), &auth.Attempt{
		ClientID: "client-7", Username: "user-7", HasUser: true, Password: []byte(token), HasPass: true,
	})
}

// refused wants a final no, so that no later backend of a chain is asked.
func refused(t *testing.T, id *auth.Identity, err error, want string) {
	t.Helper()
	var no *auth.Refusal
	if id != nil || !errors.As(err, &no) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %+v, %v, want %q", id, err, want)
	}
}

// TestAlgorithms: each kind of key verifies what was signed with it, and the key decides how (F150).
func TestAlgorithms(t *testing.T) {
	type signing struct {
		alg jose.SignatureAlgorithm
		key string
	}
	all := []signing{
		{"HS256", ""},
		{"HS384", ""},
		{"HS512", ""},
		{"RS256", "rsa"},
		{"RS384", "rsa"},
		{"RS512", "rsa"},
		{"PS256", "rsa"},
		{"PS384", "rsa"},
		{"PS512", "rsa"},
		{"ES256", "p256"},
		{"ES384", "p384"},
		{"ES512", "p521"},
		{"EdDSA", "ed"},
	}
	private := func(s signing) any {
		if s.key == "" {
			return []byte(secret)
		}
		return pairs()[s.key]
	}
	for _, with := range all {
		b := open(t, func(c *Config) {
			if with.key != "" {
				c.Keys = []string{public(t, with.key)}
			}
		})
		for _, s := range all {
			id, err := show(b, signed(t, s.alg, private(s), "", good(nil)))
			if s.key == with.key {
				if err != nil || id.Name != "meter-7" || id.By != "jwt" || !id.Expires.Equal(noon.Add(time.Hour+5*time.Second)) {
					t.Errorf("%v: %+v, %v", s, id, err)
				}
				continue
			}
			refused(t, id, err, "no key verifies")
		}
	}
	only := open(t, func(c *Config) { c.Keys, c.Algorithms = []string{public(t, "rsa")}, []string{"PS256"} })
	if _, err := show(only, signed(t, "PS256", pairs()["rsa"], "", good(nil))); err != nil {
		t.Error(err)
	}
	id, err := show(only, signed(t, "RS256", pairs()["rsa"], "", good(nil)))
	refused(t, id, err, "no key verifies")
}

// TestForged: the ways to make a token without the key (F150).
func TestForged(t *testing.T) {
	file := public(t, "rsa")
	b := open(t, func(c *Config) { c.Keys = []string{file} })
	f := func(token, want string) {
		t.Helper()
		id, err := show(b, token)
		refused(t, id, err, want)
	}
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	body := part(`{"sub":"admin","exp":9999999999}`)
	for _, none := range []string{"none", "None", "NONE", "nOnE", ""} {
		f(part(`{"alg":"`+none+`"}`)+"."+body+".", "")
		f(part(`{"alg":"`+none+`"}`)+"."+body+"."+part("x"), "")
	}
	pemKey, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pemKey)
	for _, known := range [][]byte{pemKey, block.Bytes, []byte(strings.TrimSpace(string(pemKey)))} { // the public key as a shared secret
		f(signed(t, "HS256", known, "", good(nil)), "no key verifies")
	}
	valid := signed(t, "RS256", pairs()["rsa"], "", good(nil))
	parts := strings.Split(valid, ".")
	f(parts[0]+"."+body+"."+parts[2], "no key verifies")
	f(parts[0]+"."+parts[1]+".", "no key verifies")
	f(valid[:len(valid)-8], "no key verifies")
	f(part(`{"alg":"RS256","crit":["x"],"x":1}`)+"."+parts[1]+"."+parts[2], "")
	f(part(`{"alg":"RS256","alg":"none"}`)+"."+parts[1]+"."+parts[2], "")
	f(valid+strings.Repeat("A", maxToken), "more than")

	// A key that comes with the token is not looked at.
	other := pairs()["other"].(*ecdsa.PrivateKey)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: other}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign([]byte(`{"sub":"admin","exp":9999999999}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	f(text, "no key verifies")

	// What follows the claims is not passed over: nobody could tell which of them hold.
	s, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: pairs()["rsa"]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range []string{`{"sub":"admin"}`, `x`, ` 1`} {
		if jws, err = s.Sign([]byte(`{"sub":"pump","exp":9999999999}` + more)); err != nil {
			t.Fatal(err)
		}
		if text, err = jws.CompactSerialize(); err != nil {
			t.Fatal(err)
		}
		f(text, "no JSON object")
	}

	// A key id is compared with those there are, and opens no file.
	for _, kid := range []string{file, "../../etc/passwd", "/dev/null", "' OR 1=1 --", "http://192.0.2.1/keys", "\x00"} {
		f(signed(t, "HS256", []byte(secret), kid, good(nil)), "no key verifies")
	}
}

// TestNoToken: what is not meant to be one is somebody else's.
func TestNoToken(t *testing.T) {
	b := open(t, func(*Config) {})
	for _, password := range []string{"", "secret", "a.b.c", "a.b", "eyJ.eyJ.x", "e30.e30.x", "W10.e30.x", "....", strings.Repeat("a", 65535), strings.Repeat(".", 65535)} {
		if id, err := show(b, password); id != nil || !errors.Is(err, auth.ErrUnknown) {
			t.Errorf("%.20q: %v, %v", password, id, err)
		}
	}
}

// TestClaims: a token has to hold now, for this broker and this client (F150).
func TestClaims(t *testing.T) {
	b := open(t, func(c *Config) {
		c.Issuer, c.Audience = "https://id.example", []string{"mqtt", "mqtt2"}
		c.Bindings = []Binding{{"cid", "client"}, {"preferred", "user"}}
	})
	base := claims{"iss": "https://id.example", "aud": "mqtt", "cid": "client-7", "preferred": "user-7"}
	f := func(change claims, want string) {
		t.Helper()
		c := good(base)
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		id, err := show(b, signed(t, "HS256", []byte(secret), "", c))
		if want != "" {
			refused(t, id, err, want)
		} else if err != nil {
			t.Errorf("%v: %v", change, err)
		}
	}
	f(nil, "")
	f(claims{"iss": nil}, "another issuer")
	f(claims{"iss": "https://id.example.evil"}, "another issuer")
	f(claims{"iss": []string{"https://id.example"}}, "another issuer")
	f(claims{"aud": "mqtt2"}, "")
	f(claims{"aud": []string{"web", "mqtt"}}, "")
	f(claims{"aud": nil}, "somebody else")
	f(claims{"aud": "web"}, "somebody else")
	f(claims{"aud": []string{}}, "somebody else")
	f(claims{"aud": []any{"mqtt", 1}}, "somebody else")
	f(claims{"exp": nil}, "exp is missing")
	f(claims{"exp": noon.Add(-5 * time.Second).Unix()}, "expired")
	f(claims{"exp": noon.Add(-4 * time.Second).Unix()}, "")
	f(claims{"exp": "9999999999"}, "no number")
	f(claims{"exp": -1}, "no date")
	f(claims{"exp": 1e300}, "no date")
	f(claims{"nbf": noon.Add(6 * time.Second).Unix()}, "does not hold before")
	f(claims{"nbf": noon.Add(5 * time.Second).Unix()}, "")
	f(claims{"nbf": "now"}, "no number")
	f(claims{"sub": nil}, "is missing")
	f(claims{"sub": ""}, "is empty")
	f(claims{"sub": 7}, "no text")
	f(claims{"sub": "a\x00b"}, "control character")
	f(claims{"cid": "client-8"}, "client")
	f(claims{"cid": ""}, "client")
	f(claims{"cid": nil}, "is missing")
	f(claims{"preferred": "user-8"}, "user")
	f(claims{"big": strings.Repeat("x", 1025)}, "1025 bytes")

	endless := open(t, func(c *Config) { c.Expiry = false })
	if id, err := show(endless, signed(t, "HS256", []byte(secret), "", good(claims{"exp": nil}))); err != nil || !id.Expires.IsZero() {
		t.Errorf("got %v, %v", id, err)
	}
	id, err := show(b, signed(t, "HS256", []byte(secret), "", nil))
	refused(t, id, err, "no JSON object")
}

// TestIdentity: what a token says about its client.
func TestIdentity(t *testing.T) {
	b := open(t, func(c *Config) { c.Groups, c.Name = "realm_access.roles", "https://example.com/name" })
	acl := []any{map[string]any{"allow": []string{"publish"}, "topics": []string{"a/{client}"}, "priority": 3}, map[string]any{"deny": []string{"subscribe"}, "topics": []string{"#"}}}
	id, err := show(b, signed(t, "HS256", []byte(secret), "", good(claims{
		"https://example.com/name": "m7", "realm_access": claims{"roles": []string{"admin", "user"}}, "site": "north", "level": 3, "ok": true, "list": []int{1}, "acl": acl,
	})))
	if err != nil {
		t.Fatal(err)
	}
	if id.Name != "m7" || !slices.Equal(id.Groups, []string{"admin", "user"}) {
		t.Errorf("got %+v", id)
	}
	want := map[string]string{"https://example.com/name": "m7", "sub": "meter-7", "exp": "1780318800", "site": "north", "level": "3", "ok": "true"}
	if !reflect.DeepEqual(id.Claims, want) {
		t.Errorf("claims %v, want %v", id.Claims, want)
	}
	if len(id.Rules) != 2 || id.Rules[0].Name != "jwt.acl[0]" || id.Rules[0].Priority != 3 || !id.Rules[1].Deny {
		t.Errorf("rules %+v", id.Rules)
	}
	for _, bad := range []any{"all", claims{}, []any{claims{"allow": []string{"publish"}}}, []any{claims{"allow": []string{"publish"}, "topics": []string{"#"}, "x": 1}}} {
		id, err := show(b, signed(t, "HS256", []byte(secret), "", good(claims{"https://example.com/name": "m7", "acl": bad})))
		refused(t, id, err, "jwt.acl")
	}
	id, err = show(b, signed(t, "HS256", []byte(secret), "", good(claims{"https://example.com/name": "m7", "realm_access": claims{"roles": []int{1}}})))
	refused(t, id, err, "no list of texts")

	some := open(t, func(c *Config) { c.Claims = []string{"site", "none"} })
	id, err = show(some, signed(t, "HS256", []byte(secret), "", good(claims{"site": "north", "big": strings.Repeat("x", 2000)})))
	if err != nil || !reflect.DeepEqual(id.Claims, map[string]string{"site": "north"}) {
		t.Errorf("got %+v, %v", id, err)
	}
	user := open(t, func(c *Config) { c.From = "username" })
	id, err = user.Authenticate(t.Context(), &auth.Attempt{Username: signed(t, "HS256", []byte(secret), "", good(nil)), HasUser: true})
	if err != nil || id.Name != "meter-7" {
		t.Errorf("got %+v, %v", id, err)
	}
}

// TestKeys: keys that are weak, private or none are no keys, and say why when they are opened.
func TestKeys(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := DefaultConfig()
		change(&cfg)
		if _, err := Open(t.Context(), cfg, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	keys := func(name string, data []byte) func(*Config) {
		file := write(t, name, data)
		return func(c *Config) { c.Keys = []string{file} }
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	pemKey, err := os.ReadFile(public(t, "rsa"))
	if err != nil {
		t.Fatal(err)
	}
	f("set secret, keys or jwks", func(*Config) {})
	f("31 bytes", func(c *Config) { c.Secret = secret[:31] })
	f("not base64", func(c *Config) { c.Secret, c.Encoding = "*", "base64" })
	f("31 bytes", func(c *Config) {
		c.Secret, c.Encoding = base64.StdEncoding.EncodeToString([]byte(secret[:31])), "base64"
	})
	f("is a PEM file", func(c *Config) { c.Secret = string(pemKey) })
	f("0 public keys", keys("empty", nil))
	f("0 public keys", keys("text", []byte("hello")))
	f("or something else", keys("more", append(pemKey, "hello"...)))
	f("1024 bits", keys("small", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&small.PublicKey))))
	f("is no public key", keys("private", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small))))
	f("no such file", func(c *Config) { c.Keys = []string{"/nowhere/key.pem"} })
	f("is a directory", func(c *Config) { c.Keys = []string{t.TempDir()} })
	f("no key is good for", func(c *Config) { c.Secret, c.Algorithms = secret, []string{"ES256"} })
	f("must be https", func(c *Config) { c.JWKS = "http://id.example.com/keys" })
	f("read authorities", func(c *Config) { c.JWKS, c.TLS.CA = "https://id.example.com/keys", "/nowhere/ca.pem" })
}

// TestReload: a bad new file leaves the keys as they were.
func TestReload(t *testing.T) {
	file := public(t, "p256")
	b := open(t, func(c *Config) { c.Keys = []string{file} })
	first, second := signed(t, "ES256", pairs()["p256"], "", good(nil)), signed(t, "ES256", pairs()["other"], "", good(nil))
	if err := os.WriteFile(file, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Reload(); err == nil {
		t.Error("garbage was taken")
	}
	if _, err := show(b, first); err != nil {
		t.Error(err)
	}
	other, err := os.ReadFile(public(t, "other"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, other, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := show(b, second); err != nil {
		t.Error(err)
	}
	id, err := show(b, first)
	refused(t, id, err, "no key verifies")
}

// TestConfig: what Check tells.
func TestConfig(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg, told := DefaultConfig(), []string(nil)
		change(&cfg)
		cfg.Check(func(key, _, _ string) { told = append(told, key) })
		if got := strings.Join(told, " "); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	f("", func(*Config) {})
	f("secret", func(c *Config) { c.Secret = "short" })
	f("algorithms", func(c *Config) { c.Algorithms = []string{"none"} })
	f("jwks", func(c *Config) { c.JWKS = "http://example.com/" })
	f("jwks", func(c *Config) { c.JWKS = "https://user:password@example.com/" })
	f("jwks", func(c *Config) { c.JWKS = "keys.json" })
	f("refresh", func(c *Config) { c.JWKS, c.Refresh = "https://example.com/", 0 })
	f("leeway", func(c *Config) { c.Leeway = 2 * time.Hour })
	f("name", func(c *Config) { c.Name = "" })
	f("bindings bindings", func(c *Config) { c.Bindings = []Binding{{}} })
	f("bindings", func(c *Config) { c.From, c.Bindings = "username", []Binding{{"sub", "user"}} })
}

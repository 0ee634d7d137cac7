package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/sapwood-mqtt/sapwood/broker/auth/grant"
)

// algorithms are all that a key can be good for; none is not among them.
var algorithms = [...]string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// key verifies tokens of its own algorithms and no others: a public key is never taken for a shared secret.
type key struct {
	id         string // "" = it fits any
	value      any    // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or []byte
	algorithms []jose.SignatureAlgorithm
}

// What a set of keys may hold.
const (
	maxKeys    = 100
	maxSet     = 256 << 10 // bytes
	minRSA     = 2048      // bits
	maxRSA     = 8192
	minHMAC    = 32 // bytes
	maxKeyFile = 1 << 20
)

// keyOf finds the algorithms that a key is good for.
func keyOf(id string, value any) (key, error) {
	k := key{id: id, value: value}
	switch v := value.(type) {
	case *rsa.PublicKey:
		if bits := v.N.BitLen(); bits < minRSA || bits > maxRSA {
			return k, fmt.Errorf("an RSA key of %d bits: %d to %d are good", bits, minRSA, maxRSA)
		}
		k.algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
	case *ecdsa.PublicKey:
		switch bits := v.Curve.Params().BitSize; bits {
		case 256:
			k.algorithms = []jose.SignatureAlgorithm{jose.ES256}
		case 384:
			k.algorithms = []jose.SignatureAlgorithm{jose.ES384}
		case 521:
			k.algorithms = []jose.SignatureAlgorithm{jose.ES512}
		default:
			return k, fmt.Errorf("an elliptic curve of %d bits: P-256, P-384 and P-521 are good", bits)
		}
	case ed25519.PublicKey:
		if len(v) != ed25519.PublicKeySize {
			return k, errors.New("an Ed25519 key of the wrong size")
		}
		k.algorithms = []jose.SignatureAlgorithm{jose.EdDSA}
	case []byte: // RFC 7518 3.2: at least as long as the hash
		for i, a := range []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512} {
			if len(v) >= minHMAC+16*i {
				k.algorithms = append(k.algorithms, a)
			}
		}
		if len(k.algorithms) == 0 {
			return k, fmt.Errorf("has %d bytes, but %d are the least for HS256", len(v), minHMAC)
		}
	default:
		return k, fmt.Errorf("a %T is no key for signatures", value)
	}
	return k, nil
}

// only keeps the algorithms that the configuration wants; empty = all.
func (k key) only(names []string) key {
	if len(names) > 0 {
		k.algorithms = slices.DeleteFunc(slices.Clone(k.algorithms), func(a jose.SignatureAlgorithm) bool { return !slices.Contains(names, string(a)) })
	}
	return k
}

// fits tells whether a token that says so of itself may be of this key. The id is compared and nothing else.
func (k *key) fits(id string, alg jose.SignatureAlgorithm) bool {
	return (k.id == "" || id == "" || k.id == id) && slices.Contains(k.algorithms, alg)
}

// shared is the shared secret, nil if there is none.
func shared(c *Config) ([]key, error) {
	if c.Secret == "" {
		return nil, nil
	}
	value := []byte(c.Secret)
	if c.Encoding == "base64" {
		var err error
		if value, err = base64.StdEncoding.DecodeString(c.Secret); err != nil {
			return nil, errors.New("is not base64")
		}
	}
	if bytes.Contains(value, []byte("-----BEGIN")) {
		return nil, errors.New("is a PEM file, and what is public is no secret: name it under keys")
	}
	k, err := keyOf("", value)
	if err != nil {
		return nil, err
	}
	return []key{k}, nil
}

// readKeys reads public keys and certificates from a PEM file.
func readKeys(file string) (keys []key, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("read keys: %s has more than %d bytes", file, maxKeyFile)
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		value, err := publicKey(block)
		if err == nil {
			var k key
			if k, err = keyOf("", value); err == nil {
				keys = append(keys, k)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read keys: %s: %w", file, err)
		}
	}
	if len(keys) == 0 || len(keys) > maxKeys || len(bytes.TrimSpace(data)) > 0 {
		return nil, fmt.Errorf("read keys: %s holds %d public keys (1 to %d are good), or something else", file, len(keys), maxKeys)
	}
	return keys, nil
}

func publicKey(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("a %s is no public key", block.Type)
}

// parseSet reads a JSON Web Key Set (RFC 7517). Keys that are of no use here are left out, as its section 5 says; a set with too
// many is no set.
func parseSet(data []byte) (keys []key, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("not a key set: %w", err)
	}
	if len(set.Keys) == 0 || len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys: 1 to %d are good", len(set.Keys), maxKeys)
	}
	for _, raw := range set.Keys {
		var j jose.JSONWebKey
		if err := j.UnmarshalJSON(raw); err != nil || !j.Valid() || !j.IsPublic() || j.Use != "" && j.Use != "sig" || j.KeyID != "" && grant.Name(j.KeyID) != nil {
			continue
		}
		k, err := keyOf(j.KeyID, j.Key)
		if _, secret := j.Key.([]byte); err != nil || secret {
			continue
		}
		if j.Algorithm != "" {
			k = k.only([]string{j.Algorithm})
		}
		if len(k.algorithms) > 0 {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no key of the set is of use")
	}
	return keys, nil
}

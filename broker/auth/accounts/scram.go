package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"

	"github.com/xdg-go/stringprep"
)

// How often SCRAM hashes a password: RFC 7677 4 names 15,000 for passwords, and 4096 as the least that clients accept, which
// is enough where nothing can be guessed.
const (
	scramIterations          = 15_000
	scramIterationsGenerated = 4096
	scramSalt                = 16
)

// ScramIterations are all that keys are made with: what is made up for users that there are not has to have one of them, too.
func ScramIterations() []int { return []int{scramIterations, scramIterationsGenerated} }

func scramHash(method string) func() hash.Hash {
	switch method {
	case "SCRAM-SHA-256":
		return sha256.New
	case "SCRAM-SHA-512":
		return sha512.New
	}
	return nil
}

// scramKeys derives what RFC 5802 3 calls StoredKey and ServerKey. A password that SASLprep (RFC 4013) does not take, such as a binary
// one, has none: no client could use it with SCRAM.
func scramKeys(methods []string, password []byte, iterations int) ([]ScramKey, error) {
	prepared, err := stringprep.SASLprep.Prepare(string(password))
	if err != nil || prepared == "" {
		return nil, nil
	}
	var keys []ScramKey
	for _, m := range methods {
		salt := make([]byte, scramSalt)
		_, _ = rand.Read(salt) // never fails
		k, err := scramKey(m, prepared, salt, iterations)
		if err != nil {
			return nil, fmt.Errorf("derive the keys of %s: %w", m, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func scramKey(method, password string, salt []byte, iterations int) (ScramKey, error) {
	h := scramHash(method)
	salted, err := pbkdf2.Key(h, password, salt, iterations, h().Size())
	if err != nil {
		return ScramKey{}, err
	}
	stored := h()
	stored.Write(mac(h, salted, "Client Key"))
	return ScramKey{Method: method, Salt: salt, Iterations: iterations, StoredKey: stored.Sum(nil), ServerKey: mac(h, salted, "Server Key")}, nil
}

func mac(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// ErrNoKey says that a user cannot use a SCRAM method: its password was set while the method was off, or there is none.
var ErrNoKey = errors.New("the user has no keys for this method; set the password again")

// Keys are what authenticates a user by a SCRAM method. The error is ErrNotFound, ErrNoKey, or that of the store. Whoever proves to be the
// user then has to be let in by User.Admit.
func (a *Accounts) Keys(ctx context.Context, name, method string) (User, ScramKey, error) {
	u, err := a.User(ctx, name)
	if err != nil {
		return User{}, ScramKey{}, err
	}
	for _, k := range u.Keys {
		if k.Method == method {
			return u, k, nil
		}
	}
	return u, ScramKey{}, ErrNoKey
}

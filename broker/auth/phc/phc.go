// Package phc makes and checks hashes of passwords, as text: PHC strings and their kin. It knows no users and keeps
// nothing; what hashing may cost is bounded here, whatever a string says.
package phc

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Scheme is a way to hash.
type Scheme uint8

// The schemes. New makes Argon2id, Generate makes Generated; the others are read from elsewhere.
const (
	None        Scheme = iota // nobody's password
	Argon2id                  // $argon2id$v=19$m=19456,t=2,p=1$salt$sum
	Bcrypt                    // $2b$12$..., also 2a and 2y; it looks at the first 72 bytes of a password only
	MosquittoV6               // $6$salt$sum: SHA-512 of the password and the salt, once
	MosquittoV7               // $7$iterations$salt$sum: PBKDF2-HMAC-SHA-512
	Generated                 // $generated-sha256$salt$sum: SHA-256 of the salt and the secret, once; for random secrets only
)

// String is the scheme's name.
func (s Scheme) String() string {
	switch s {
	case Argon2id:
		return "argon2id"
	case Bcrypt:
		return "bcrypt"
	case MosquittoV6:
		return "mosquitto-sha512"
	case MosquittoV7:
		return "mosquitto-pbkdf2-sha512"
	case Generated:
		return "generated-sha256"
	}
	return "none"
}

// The cost of what New makes: OWASP's for argon2id. It takes some 30 ms of one core.
const (
	memoryKiB = 19 << 10
	passes    = 2
	saltBytes = 16
	sumBytes  = 32
)

// What a hash that somebody else made may cost at most. Argon2id also takes 4 GiB of traffic to memory at most, so that no
// hash takes much longer than two seconds.
const (
	maxMemoryKiB  = 256 << 10
	maxPasses     = 64
	maxThreads    = 16
	maxTraffic    = 4 << 20 // KiB
	maxBcryptCost = 14
	maxIterations = 2_000_000
	maxSalt       = 128
	minSum        = 16
	maxSum        = 128
	maxText       = 1024
)

// Hash is the hash of one password, or of none: the zero value matches nothing. It is never changed once made and may be used from
// any goroutine.
type Hash struct {
	scheme     Scheme
	memory     uint32 // KiB; argon2id
	iterations uint32 // or passes, or bcrypt's cost
	threads    uint8
	salt, sum  []byte // of bcrypt, sum is the whole text
}

// New hashes a password with argon2id. It takes some 30 ms and 19 MiB, so go through a Gate.
func New(password []byte) Hash {
	h := Hash{scheme: Argon2id, memory: memoryKiB, iterations: passes, threads: 1, salt: random(saltBytes)}
	h.sum = h.derive(password, sumBytes)
	return h
}

// Generate makes a random secret of 130 bits, which is to be shown once, and its Generated hash.
//
// One round of SHA-256 is enough for it, and for nothing that a person thought of: slow hashes make up for passwords that can be
// guessed. Who steals this hash has 2^130 secrets to try, and at 10^12 tries a second that takes longer than the sun lasts. What it saves
// is the storm: 50,000 devices that come back after a restart cost 50 ms of hashing instead of 25 minutes.
func Generate() (secret string, h Hash) {
	secret = rand.Text()
	h = Hash{scheme: Generated, salt: random(saltBytes)}
	h.sum = h.derive([]byte(secret), sha256.Size)
	return secret, h
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// Scheme is how it was hashed.
func (h Hash) Scheme() Scheme { return h.scheme }

// Slow tells whether a check has to go through a Gate: it takes a millisecond or more.
func (h Hash) Slow() bool {
	switch h.scheme {
	case Argon2id, Bcrypt:
		return true
	case MosquittoV7:
		return h.iterations > 1000
	}
	return false
}

// Matches tells whether this is the password. How long it takes does not depend on what is wrong with it.
func (h Hash) Matches(password []byte) bool {
	switch h.scheme {
	case None:
		return false
	case Bcrypt:
		// bcrypt repeats the password with a NUL behind it, so that with a NUL in it two can be the same.
		return bcrypt.CompareHashAndPassword(h.sum, password) == nil && !bytes.Contains(password, []byte{0})
	}
	same := subtle.ConstantTimeCompare(h.derive(password, len(h.sum)), h.sum) == 1
	// HMAC fills up its key with NULs, so that those at the end make no difference to PBKDF2.
	return same && !(h.scheme == MosquittoV7 && bytes.HasSuffix(password, []byte{0}))
}

func (h Hash) derive(password []byte, size int) []byte {
	switch h.scheme {
	case Argon2id:
		return argon2.IDKey(password, h.salt, h.iterations, h.memory, h.threads, uint32(size))
	case MosquittoV6:
		d := sha512.New()
		d.Write(password)
		d.Write(h.salt)
		return d.Sum(nil)
	case MosquittoV7:
		sum, err := pbkdf2.Key(sha512.New, string(password), h.salt, int(h.iterations), size)
		if err != nil { // only with FIPS 140 enforced: then it is nobody's password
			return nil
		}
		return sum
	case Generated:
		d := sha256.New()
		d.Write(h.salt)
		d.Write(password)
		return d.Sum(nil)
	}
	return nil
}

// String is the hash as text, which Parse reads; "" of the zero value.
func (h Hash) String() string {
	raw, padded := base64.RawStdEncoding.EncodeToString, base64.StdEncoding.EncodeToString
	switch h.scheme {
	case Argon2id:
		return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.iterations, h.threads, raw(h.salt), raw(h.sum))
	case Bcrypt:
		return string(h.sum)
	case MosquittoV6:
		return "$6$" + padded(h.salt) + "$" + padded(h.sum)
	case MosquittoV7:
		return fmt.Sprintf("$7$%d$%s$%s", h.iterations, padded(h.salt), padded(h.sum))
	case Generated:
		return "$generated-sha256$" + raw(h.salt) + "$" + raw(h.sum)
	}
	return ""
}

// MarshalText is String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is Parse.
func (h *Hash) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return fmt.Errorf("the password %w", err)
	}
	*h = parsed
	return nil
}

// errForm does not quote what it is about: where a hash should be, somebody may have written the password.
var errForm = errors.New("is no hash of a password ($argon2id$..., $2b$..., $7$..., $6$...)")

// Parse reads a hash whose cost a broker can bear. Its errors quote nothing of the text; they go on after "the password".
func Parse(text string) (Hash, error) {
	if len(text) > maxText || !strings.HasPrefix(text, "$") {
		return Hash{}, errForm
	}
	parts := strings.Split(text[1:], "$")
	switch {
	case parts[0] == "argon2id" && len(parts) == 5:
		return parseArgon2id(parts)
	case (parts[0] == "2a" || parts[0] == "2b" || parts[0] == "2y") && len(parts) == 3:
		return parseBcrypt(text)
	case parts[0] == "6" && len(parts) == 3:
		return finish(Hash{scheme: MosquittoV6}, base64.StdEncoding, parts[1:], sha512.Size)
	case parts[0] == "7" && len(parts) == 4:
		n, err := strconv.ParseUint(parts[1], 10, 32)
		if err != nil || n < 1 || n > maxIterations {
			return Hash{}, fmt.Errorf("has a hash of more than %d iterations, or none", maxIterations)
		}
		return finish(Hash{scheme: MosquittoV7, iterations: uint32(n)}, base64.StdEncoding, parts[2:], 0)
	case parts[0] == "generated-sha256" && len(parts) == 3:
		return finish(Hash{scheme: Generated}, base64.RawStdEncoding, parts[1:], sha256.Size)
	}
	return Hash{}, errForm
}

func parseArgon2id(parts []string) (Hash, error) {
	if parts[1] != fmt.Sprintf("v=%d", argon2.Version) {
		return Hash{}, errors.New("has a hash of another version of argon2")
	}
	var cost [3]uint64
	fields := strings.Split(parts[2], ",")
	if len(fields) != len(cost) {
		return Hash{}, errForm
	}
	for i, name := range []string{"m=", "t=", "p="} {
		number, ok := strings.CutPrefix(fields[i], name)
		var err error
		if cost[i], err = strconv.ParseUint(number, 10, 32); !ok || err != nil {
			return Hash{}, errForm
		}
	}
	m, t, p := cost[0], cost[1], cost[2]
	if m < 8*p || m > maxMemoryKiB || t < 1 || t > maxPasses || p < 1 || p > maxThreads || m*t > maxTraffic {
		return Hash{}, fmt.Errorf("has a hash that costs m=%d,t=%d,p=%d, which is out of bounds (m at most %d KiB, m*t at most %d)", m, t, p, maxMemoryKiB, maxTraffic)
	}
	return finish(Hash{scheme: Argon2id, memory: uint32(m), iterations: uint32(t), threads: uint8(p)}, base64.RawStdEncoding, parts[3:], 0)
}

func parseBcrypt(text string) (Hash, error) {
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil || len(text) != 60 {
		return Hash{}, errForm
	}
	if cost > maxBcryptCost {
		return Hash{}, fmt.Errorf("has a hash of bcrypt's cost %d, more than %d", cost, maxBcryptCost)
	}
	return Hash{scheme: Bcrypt, iterations: uint32(cost), sum: []byte(text)}, nil
}

// finish reads salt and sum; size is what the sum must have, 0 = any within bounds.
func finish(h Hash, encoding *base64.Encoding, parts []string, size int) (Hash, error) {
	var err, err2 error
	h.salt, err = encoding.Strict().DecodeString(parts[0])
	h.sum, err2 = encoding.Strict().DecodeString(parts[1])
	switch {
	case err != nil || err2 != nil || strings.ContainsAny(parts[0]+parts[1], "\r\n"):
		return Hash{}, errForm
	case len(h.salt) < 8 || len(h.salt) > maxSalt || len(h.sum) < minSum || len(h.sum) > maxSum || size > 0 && len(h.sum) != size:
		return Hash{}, errors.New("has a hash that is too short or too long, or its salt is")
	}
	return h, nil
}

package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// password is the argon2id hash of a password; as text a PHC string.
type password struct {
	memory, time uint32 // KiB, passes
	threads      uint8
	salt, sum    []byte
}

// newPassword hashes with the cost that OWASP names for argon2id: 19 MiB, two passes, one thread.
func newPassword(text string) password {
	p := password{memory: 19 << 10, time: 2, threads: 1, salt: make([]byte, 16)}
	rand.Read(p.salt)
	p.sum = p.hash(text, 32)
	return p
}

func (p password) hash(text string, size int) []byte {
	return argon2.IDKey([]byte(text), p.salt, p.time, p.memory, p.threads, uint32(size))
}

func (p password) matches(text string) bool {
	return subtle.ConstantTimeCompare(p.hash(text, len(p.sum)), p.sum) == 1
}

// MarshalText writes the PHC string.
func (p password) MarshalText() ([]byte, error) {
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Appendf(nil, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, p.memory, p.time, p.threads, encode(p.salt), encode(p.sum)), nil
}

// UnmarshalText reads a PHC string of argon2id whose cost a broker can bear.
func (p *password) UnmarshalText(text []byte) error {
	parts := strings.Split(string(text), "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return errors.New("the password is no argon2id hash ($argon2id$v=19$...)")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil {
		return fmt.Errorf("the parameters of the password's hash: %w", err)
	}
	if p.memory < 8 || p.memory > 1<<20 || p.time < 1 || p.time > 100 || p.threads < 1 {
		return fmt.Errorf("the password's hash costs m=%d,t=%d,p=%d, which is out of bounds", p.memory, p.time, p.threads)
	}
	var err, err2 error
	p.salt, err = base64.RawStdEncoding.DecodeString(parts[4])
	p.sum, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if err := errors.Join(err, err2); err != nil {
		return fmt.Errorf("the password's hash: %w", err)
	}
	if len(p.salt) < 8 || len(p.sum) < 16 || len(p.sum) > 1024 {
		return errors.New("the password's hash is too short or too long")
	}
	return nil
}

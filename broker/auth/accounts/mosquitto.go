package accounts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
)

// maxPasswordFile is how many bytes a password file may have.
const maxPasswordFile = 256 << 20

// ReadMosquitto reads a password file as mosquitto_passwd writes it: user:hash lines, with $7$, $6$, $argon2id$ or bcrypt's hashes. Blank lines and
// those that begin with # are passed over. Everything else that is no user is an error with its line, and so is a file with no user at all. Errors quote no
// hash, which may be a password that was never hashed.
func ReadMosquitto(r io.Reader) ([]User, error) {
	limited := &io.LimitedReader{R: r, N: maxPasswordFile + 1}
	lines := bufio.NewScanner(limited)
	seen := map[string]bool{}
	var users []User
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSuffix(lines.Bytes(), []byte("\r"))
		if len(bytes.TrimSpace(line)) == 0 || line[0] == '#' {
			continue
		}
		name, hash, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return nil, fmt.Errorf("line %d: no colon between user and hash", n)
		}
		u := User{Name: string(name), Kind: Device, Password: string(hash)}
		if why := invalidUser(u.Name); why != "" {
			return nil, fmt.Errorf("line %d: %s", n, why)
		}
		if _, err := phc.Parse(u.Password); err != nil {
			return nil, fmt.Errorf("line %d: the password %w; hash it by: mosquitto_passwd -U FILE", n, err)
		}
		if seen[u.Name] {
			return nil, fmt.Errorf("line %d: user %q is there twice", n, u.Name)
		}
		seen[u.Name] = true
		users = append(users, u)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d: longer than %d bytes", n+1, bufio.MaxScanTokenSize)
	case err != nil:
		return nil, err
	case limited.N == 0:
		return nil, fmt.Errorf("more than %d bytes", maxPasswordFile)
	case len(users) == 0:
		return nil, errors.New("no users in it")
	}
	return users, nil
}

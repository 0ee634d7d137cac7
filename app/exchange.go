package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/scram"
)

// secretFile is where the data directory keeps what the answers about users that there are not follow from. Who has it can tell
// those from users that there are, and nothing else.
const secretFile = "scram.secret"

// secretSize is its size in bytes.
const secretSize = 32

// openExchange opens enhanced authentication, nil where none is wanted.
func (a *App) openExchange() (auth.Exchanger, error) {
	methods := a.cfg.Authentication.Scram
	if len(methods) == 0 {
		return nil, nil
	}
	var secret []byte // of this process
	if a.disk != nil {
		var err error
		if secret, err = keptSecret(filepath.Join(a.cfg.Data, secretFile)); err != nil {
			return nil, CannotStore(a.cfg.Data, err)
		}
	}
	return offered{scram.New(scramKeys{a.people.accounts}, secret, accounts.ScramIterations()...), methods}, nil
}

// keptSecret reads the secret, and makes it where there is none. One that others may read, or that is cut short, is refused.
func keptSecret(path string) ([]byte, error) {
	secret, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret = make([]byte, secretSize)
		rand.Read(secret) // never fails
		if err = os.WriteFile(path+".new", secret, 0o600); err == nil {
			err = os.Rename(path+".new", path)
		}
		return secret, err
	}
	if err == nil && len(secret) < secretSize {
		err = fmt.Errorf("%s has %d bytes, fewer than %d: delete it, and another one is made", path, len(secret), secretSize)
	}
	return secret, err
}

// offered are the methods of an exchanger that the configuration names.
type offered struct {
	*scram.Exchanger
	methods []string
}

// Methods implements auth.Exchanger.
func (o offered) Methods() []string { return o.methods }

package password

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
)

// ByFile is the backend named by identities that come from a password file.
const ByFile = "password file"

// readFiles reads all password files; of users that are in several the first counts. loose are files that others can read.
func readFiles(paths []string) (users map[string]*account, loose []string, err error) {
	users = map[string]*account{}
	for _, path := range paths {
		list, mode, err := readFile(path)
		if err != nil {
			return nil, nil, err
		}
		if mode.Perm()&0o007 != 0 {
			loose = append(loose, path)
		}
		for _, u := range list {
			if users[u.Name] == nil {
				users[u.Name] = &account{u, ByFile}
			}
		}
	}
	return users, loose, nil
}

func readFile(path string) (users []accounts.User, mode fs.FileMode, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read the password file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read the password file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("read the password file %s: it is no file", path)
	}
	if users, err = accounts.ReadMosquitto(f); err != nil {
		return nil, 0, fmt.Errorf("read the password file %s: %w", path, err)
	}
	return users, info.Mode(), nil
}

// differences are the users that are not the same in both.
func differences(was, now map[string]*account) map[string]accounts.UserChange {
	changes := map[string]accounts.UserChange{}
	for name, a := range was {
		if b := now[name]; b == nil {
			changes[name] = accounts.UserChange{Was: &a.User}
		} else if a.Password != b.Password {
			changes[name] = accounts.UserChange{Was: &a.User, Now: &b.User}
		}
	}
	for name := range maps.Keys(now) {
		if was[name] == nil {
			changes[name] = accounts.UserChange{Now: &now[name].User}
		}
	}
	return changes
}

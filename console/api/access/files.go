package access

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
)

// The files in the data directory, both for its owner alone.
const (
	adminFile = "admin.json"
	localFile = "local.key"
)

// account is the operator admin as admin.json keeps it.
type account struct {
	user     string
	password phc.Hash
	made     bool // by this start
	since    time.Time
}

// accountFile is admin.json.
type accountFile struct {
	User     string   `json:"user"`
	Password phc.Hash `json:"password"`
}

// openAccount reads the user, or makes it with the given or a random password; the random one is returned. A user that
// cannot be written down lasts as long as the process.
func openAccount(o Options, log *slog.Logger) (account, string, error) {
	path := filepath.Join(o.Dir, adminFile)
	if o.Dir != "" {
		text, err := os.ReadFile(path)
		if err == nil {
			a, err := readAccount(path, text, log)
			if o.Password != "" {
				log.Info("the user admin has its password already; the one given is not used", "file", path)
			}
			return a, "", err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return account{}, "", fmt.Errorf("read the user admin: %w", err)
		}
	}
	text, first := o.Password, ""
	if text == "" {
		text = rand.Text()
		first = text
	}
	a := account{User, phc.New([]byte(text)), true, time.Now()}
	if o.Dir == "" {
		return a, first, nil
	}
	if err := writeAccount(o.Dir, a); err != nil { // a full disk keeps no broker from starting
		log.Error("the user admin cannot be kept: its password lasts as long as the process", "file", path, "error", err)
	}
	return a, first, nil
}

// writeAccount puts the operator admin into its file.
func writeAccount(dir string, a account) error {
	data, err := json.Marshal(accountFile{a.user, a.password})
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, adminFile), append(data, '\n'))
}

func readAccount(path string, text []byte, log *slog.Logger) (account, error) {
	var f accountFile
	if err := json.Unmarshal(text, &f); err != nil {
		return account{}, fmt.Errorf("%s: %w; remove the file, and the next start makes the user admin anew", path, err)
	}
	if f.Password.Scheme() == phc.None || f.User == "" {
		return account{}, fmt.Errorf("%s has no user with a password; remove the file, and the next start makes the user admin anew", path)
	}
	a := account{user: f.User, password: f.Password, since: time.Now()}
	if info, err := os.Stat(path); err == nil {
		a.since = info.ModTime()
		if info.Mode().Perm()&0o077 != 0 {
			log.Warn("others can read the password's hash", "file", path, "fix", "chmod 600 "+path)
		}
	}
	return a, nil
}

// Local is what a command on the same machine needs to use the API of the process that has a data directory.
type Local struct {
	URL string `json:"url"` // http://127.0.0.1:8083
	Key string `json:"key"` // as bearer
}

// OpenLocal makes a new key for commands on the same machine and writes it to the directory, where only its
// owner can read it. Close removes it.
func (a *Access) OpenLocal(dir, url string) error {
	l := Local{URL: url, Key: rand.Text()}
	data, err := json.Marshal(l)
	if err == nil {
		err = writeFile(filepath.Join(dir, localFile), append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the key for local commands: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.local = a.sum("bearer " + l.Key)
	return nil
}

// CloseLocal ends the local key and removes its file.
func (a *Access) CloseLocal(dir string) error {
	a.mu.Lock()
	a.local = nil
	a.mu.Unlock()
	if err := os.Remove(filepath.Join(dir, localFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the key for local commands: %w", err)
	}
	return nil
}

// ReadLocal reads what OpenLocal wrote.
func ReadLocal(dir string) (Local, error) {
	var l Local
	path := filepath.Join(dir, localFile)
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	if err != nil {
		return Local{}, fmt.Errorf("read the key for local commands: %w", err)
	}
	return l, nil
}

// writeFile replaces a file whole: whoever reads sees the old one or the new one, after a power cut too.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // made with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

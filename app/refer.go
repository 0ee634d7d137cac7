package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxReferred is how much text a reference may stand for.
const maxReferred = 64 << 10

// references reads what ${file:...}, ${env:...} and ${credential:...} stand for, with the variables in environ. Credentials are
// systemd's: files in $CREDENTIALS_DIRECTORY. Errors hold no contents.
func references(environ []string) func(kind, name string) (string, error) {
	variable := func(name string) (string, bool) {
		for i := len(environ) - 1; i >= 0; i-- {
			if value, ok := strings.CutPrefix(environ[i], name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
	return func(kind, name string) (string, error) {
		switch kind {
		case "file":
			return contents(name)
		case "credential":
			dir, ok := variable("CREDENTIALS_DIRECTORY")
			if !ok {
				return "", errors.New("there is no CREDENTIALS_DIRECTORY; systemd sets it where the unit has LoadCredential=")
			}
			if name != filepath.Base(name) || name == ".." || name == "." {
				return "", errors.New("a credential's name has no path")
			}
			return contents(filepath.Join(dir, name))
		}
		value, ok := variable(name)
		if !ok {
			return "", errors.New("there is no such variable")
		}
		if len(value) > maxReferred {
			return "", fmt.Errorf("it has more than %d bytes", maxReferred)
		}
		return value, nil
	}
}

// contents is the text of a file without the newline at its end.
func contents(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() { // a pipe might never open
		return "", errors.New("it is not a file")
	}
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, maxReferred+1))
	switch {
	case err != nil:
		return "", err
	case len(data) > maxReferred:
		return "", fmt.Errorf("it has more than %d bytes", maxReferred)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

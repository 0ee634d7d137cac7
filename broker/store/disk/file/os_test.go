package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file/filetest"
)

func TestOS(t *testing.T) {
	filetest.Run(t, func(*testing.T) file.System { return file.OS() })
}

// TestOwnerAlone: what a broker keeps is nobody else's to read.
func TestOwnerAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // has no modes; a directory hands down its access list
	}
	dir := filepath.Join(t.TempDir(), "data")
	name := filepath.Join(dir, "x")
	if err := file.OS().MakeDir(dir); err != nil {
		t.Fatal(err)
	}
	f, err := file.OS().Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{dir: os.ModeDir | 0o700, name: 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v (%v), want %v", name, info.Mode(), err, want)
		}
	}
}

// TestMakeDirOverFile: the error says what is in the way.
func TestMakeDirOverFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var where *os.PathError
	if err := file.OS().MakeDir(name); !errors.As(err, &where) || where.Path != name {
		t.Errorf("MakeDir over a file = %v", err)
	}
}

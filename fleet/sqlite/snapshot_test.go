package sqlite

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
)

// TestSecret: the same for as long as the database lasts, and another for each name and database.
func TestSecret(t *testing.T) {
	dir := t.TempDir()
	get := func(d *DB, name string) []byte {
		t.Helper()
		s, err := d.Secret(t.Context(), name)
		if err != nil || len(s) != secretBytes {
			t.Fatalf("%x, %v", s, err)
		}
		return s
	}
	d := openDB(t, dir)
	a := get(d, "a")
	if bytes.Equal(a, get(d, "b")) || bytes.Equal(a, get(openDB(t, ""), "a")) || !bytes.Equal(a, get(d, "a")) {
		t.Error("a secret is another's, or not kept")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, get(openDB(t, dir), "a")) {
		t.Error("forgotten")
	}
}

// TestSnapshot: what was committed last, in the log beside the database, is in it; only its owner reads it.
func TestSnapshot(t *testing.T) {
	d := openDB(t, t.TempDir())
	if err := d.Accounts().Apply(t.Context(), []accounts.Change{{User: &accounts.User{Name: "ann"}}}, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, File)
	if err := d.Snapshot(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := d.Snapshot(t.Context(), path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	copied := openDB(t, dir)
	if u, err := copied.Accounts().User(t.Context(), "ann"); err != nil || u.Name != "ann" {
		t.Errorf("%+v, %v", u, err)
	}
}

// TestPrivate: the database and the files beside it are for their owner alone, whatever they were.
func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	d := openDB(t, dir)
	for _, name := range []string{File, File + "-wal", File + "-shm"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	again := openDB(t, dir) // as after a crash: the files are there
	if err := again.Accounts().Apply(t.Context(), []accounts.Change{{User: &accounts.User{Name: "ann"}}}, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{File, File + "-wal", File + "-shm"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	_ = d
}

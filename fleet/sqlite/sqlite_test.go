package sqlite

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts/accountstest"
)

func openDB(t *testing.T, dir string) *DB {
	t.Helper()
	d, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestAccounts(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		accountstest.Run(t, func(t *testing.T) accounts.Store { return openDB(t, t.TempDir()).Accounts() })
	})
	t.Run("memory", func(t *testing.T) {
		accountstest.Run(t, func(t *testing.T) accounts.Store { return openDB(t, "").Accounts() })
	})
	t.Run("strange path", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "a b?c=d#e%20f")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		openDB(t, dir)
		if _, err := os.Stat(filepath.Join(dir, File)); err != nil {
			t.Error(err)
		}
		t.Chdir(dir)
		if err := os.Mkdir("rel ative?", 0o700); err != nil {
			t.Fatal(err)
		}
		openDB(t, "rel ative?")
		if _, err := os.Stat(filepath.Join("rel ative?", File)); err != nil {
			t.Error(err)
		}
	})
}

// What was kept is there again, revisions go on, and nobody else can read the files, whatever the umask or the mode they had.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, File)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	u := accounts.User{Name: "ann", Kind: accounts.Person, Password: "$secret"}
	first, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Accounts().Apply(t.Context(), []accounts.Change{{User: &u}}, nil); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(path + "*")
	if len(files) < 2 {
		t.Errorf("only %v: there is no log ahead of the database", files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info.Mode(), err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again := openDB(t, dir).Accounts()
	got, err := again.User(t.Context(), "ann")
	if err != nil || got.Revision != u.Revision || got.Password != u.Password {
		t.Errorf("%+v %v", got, err)
	}
	before := u.Revision
	if err := again.Apply(t.Context(), []accounts.Change{{User: &u}}, nil); err != nil || u.Revision <= before {
		t.Errorf("revision %d after %d, %v", u.Revision, before, err)
	}
}

// A database that cannot be used says what is wrong and what to do, and is left as it is.
func TestUnusable(t *testing.T) {
	f := func(name string, spoil func(t *testing.T, path string), want ...string) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, File)
			spoil(t, path)
			before, _ := os.ReadFile(path)
			d, err := Open(t.Context(), dir)
			if err == nil {
				_ = d.Close()
				t.Fatal("it opens")
			}
			for _, w := range append(want, path) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the error lacks %q: %v", w, err)
				}
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
	run := func(t *testing.T, path string, statements ...string) {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f("garbage", func(t *testing.T, path string) {
		if err := os.WriteFile(path, []byte(strings.Repeat("this is no database\n", 500)), 0o600); err != nil {
			t.Fatal(err)
		}
	}, "put back a backup", "the next start makes an empty one")
	f("damaged page", func(t *testing.T, path string) {
		d, err := Open(t.Context(), filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Accounts().Apply(t.Context(), users(5000), nil); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := len(text) / 2; i < len(text)/2+8192; i++ {
			text[i] ^= 0xa5
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}, "put back a backup")
	f("cut", func(t *testing.T, path string) {
		d, err := Open(t.Context(), filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 9000); err != nil {
			t.Fatal(err)
		}
	}, "put back a backup")
	f("newer", func(t *testing.T, path string) {
		run(t, path, fmt.Sprintf("PRAGMA application_id = %d", applicationID), "PRAGMA user_version = 99", "CREATE TABLE t (x)")
	}, "newer Sapwood", "its schema is 99", "backup from before the upgrade")
	f("foreign", func(t *testing.T, path string) { run(t, path, "CREATE TABLE t (x)") }, "another program", "move the file away")
	f("directory", func(t *testing.T, path string) {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}, "is a directory")
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a database in no directory")
	}
}

func users(n int) []accounts.Change {
	changes := make([]accounts.Change, n)
	for i := range changes {
		changes[i] = accounts.Change{If: accounts.Absent, User: &accounts.User{
			Name: fmt.Sprintf("device-%06d", i), Kind: accounts.Device, Groups: []string{"fleet"},
			Password: "$generated-sha256$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		}}
	}
	return append(changes, accounts.Change{Group: &accounts.Group{Name: "fleet"}})
}

// The environment of the child of TestKill: the directory to import into.
const childDir = "SAPWOOD_TEST_IMPORT_INTO"

const importSize = 20_000

// TestChild is the process that TestKill kills: it tells how far it is, and that it is done.
func TestChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	d, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Accounts().Apply(t.Context(), users(importSize), func(done int) { fmt.Println("progress", done) }); err != nil {
		t.Fatal(err)
	}
	fmt.Println("committed")
	select {} // until killed
}

// Killed in the middle of an import, nothing of it is there; killed once it was told to be kept, all of it is.
func TestKill(t *testing.T) {
	f := func(name, at string, want int) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			child := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.timeout=60s")
			child.Env = append(os.Environ(), childDir+"="+dir)
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			lines, seen := bufio.NewScanner(out), false
			for !seen && lines.Scan() {
				seen = lines.Text() == at
			}
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			var killed *exec.ExitError
			if err := child.Wait(); !errors.As(err, &killed) || !seen {
				t.Fatalf("the child ended with %v; seen %v", err, seen)
			}
			d := openDB(t, dir)
			var n, members int
			if err := d.read.QueryRow("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM members)").Scan(&n, &members); err != nil {
				t.Fatal(err)
			}
			if n != want || members != want {
				t.Errorf("%d users and %d members, want %d", n, members, want)
			}
		})
	}
	f("early", "progress 1000", 0)
	f("late", fmt.Sprint("progress ", importSize), 0) // before the commit
	f("after", "committed", importSize)
}

// A lookup does not wait for an import that is under way.
func TestReadWhileImporting(t *testing.T) {
	a := openDB(t, t.TempDir()).Accounts()
	if err := a.Apply(t.Context(), []accounts.Change{{User: &accounts.User{Name: "ann", Kind: accounts.Device}}}, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // the import waits for the lookup
	defer cancel()
	lookups := 0
	err := a.Apply(t.Context(), users(5_000), func(int) {
		lookups++
		if _, err := a.User(ctx, "ann"); err != nil {
			t.Errorf("a lookup during the import: %v", err)
		}
	})
	if err != nil || lookups == 0 {
		t.Errorf("%d lookups, %v", lookups, err)
	}
}

// BenchmarkImport is 100,000 users in one transaction.
func BenchmarkImport(b *testing.B) {
	for b.Loop() {
		dir, err := os.MkdirTemp(b.TempDir(), "")
		if err != nil {
			b.Fatal(err)
		}
		d, err := Open(b.Context(), dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Accounts().Apply(b.Context(), users(100_000), nil); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
		again, err := Open(b.Context(), dir)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/reopen")
		info, err := os.Stat(filepath.Join(dir, File))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/100_000, "B/user")
		if err := again.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUser is one lookup among 100,000.
func BenchmarkUser(b *testing.B) {
	d, err := Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	a := d.Accounts()
	if err := a.Apply(b.Context(), users(100_000), nil); err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		i++
		if _, err := a.User(b.Context(), fmt.Sprintf("device-%06d", i*7919%100_000)); err != nil {
			b.Fatal(err)
		}
	}
}

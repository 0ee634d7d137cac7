package watch

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestChanged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		t.Helper()
		must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	var p Poller
	f := func(what string, want ...bool) {
		t.Helper()
		for i, want := range want {
			if got := len(p.Changed([]string{path, path})) == 1; got != want {
				t.Errorf("%s, look %d: %v", what, i, got)
			}
		}
	}
	f("not there", false, false)
	write("a", "1")
	f("there", false, true, false)
	write("a", "1")
	f("written again with the same", false, false)
	write("a", "2")
	f("written in place, with the same length", false, true, false)
	write("b", "3")
	must(os.Rename(filepath.Join(dir, "b"), path))
	f("replaced", false, true, false)
	write("a", "4")
	f("being written", false)
	write("a", "44")
	f("still being written", false)
	write("a", "444")
	f("written", false, true, false)
	write("a", "5")
	f("changed", false)
	write("a", "444")
	f("and back", false, false)
	must(os.Remove(path))
	f("gone", false, true, false)

	// Kubernetes mounts ..data, a link to a directory that it turns.
	for _, version := range []string{"v1", "v2"} {
		must(os.Mkdir(filepath.Join(dir, version), 0o700))
		write(version+"/key", version)
	}
	must(os.Symlink("v1", filepath.Join(dir, "..data")))
	must(os.Symlink("..data/key", path))
	f("linked", false, true, false)
	must(os.Symlink("v2", filepath.Join(dir, "next")))
	must(os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "..data")))
	f("turned", false, true, false)
}

// What was written between the owner's reading and the first look is not missed.
func TestSince(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	p := Poller{Since: time.Now()}
	if err := os.WriteFile(path, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, false} {
		if got := len(p.Changed([]string{path})) == 1; got != want {
			t.Errorf("look %d: %v", i, got)
		}
	}
	p = Poller{Since: time.Now().Add(time.Hour)}
	for range 3 {
		if len(p.Changed([]string{path})) != 0 {
			t.Error("a file written before changed")
		}
	}

	// Nor is one that was written a moment before, unless the file system keeps whole seconds only.
	for age, want := range map[time.Duration]bool{-100 * time.Millisecond: false, -time.Second: true} {
		since := time.Now().Truncate(time.Second).Add(time.Second)
		if err := os.Chtimes(path, since.Add(age), since.Add(age)); err != nil {
			t.Fatal(err)
		}
		p = Poller{Since: since}
		p.Changed([]string{path})
		if got := len(p.Changed([]string{path})) == 1; got != want {
			t.Errorf("written %v before: %v", -age, got)
		}
	}
}

//go:build unix

package conformance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// F229: a backup tool that locks and reads all files of a running broker, and copies them while they change, harms
// nothing; a broker starts on such a copy, and delivers nothing from it that was not published.
func TestBackupTool(t *testing.T) {
	t.Parallel()
	k := &kept{data: filepath.Join(t.TempDir(), "data"), first: 1}
	p := launch(t, k.data)
	subscribeAway(t, p).drop()
	pub := k.publisher(t, p)
	k.publish(pub, 300)
	release := lockFiles(t, k.data)

	// It is copied while segments come and go.
	copies := []string{filepath.Join(t.TempDir(), "1"), filepath.Join(t.TempDir(), "2")}
	var copying sync.WaitGroup
	copying.Go(func() {
		for _, to := range copies {
			copyDir(t, to, k.data)
		}
	})
	k.publish(pub, 700)
	does(t, k.data, "store", "compact")
	k.publish(pub, 1000)
	copying.Wait()
	p.Kill()
	p = launch(t, k.data) // the tool still has its files
	k.publish(k.publisher(t, p), 1001)
	whole := &after{t: t}
	whole.drain(k, p)
	whole.lost()
	p.Kill()
	whole.heed(p)
	if len(whole.damage) > 0 {
		t.Errorf("damage: %+v", whole.damage)
	}
	release()

	for _, data := range copies {
		(&kept{data: data, first: k.first, last: k.last}).harmed(t, func(folder) {}).started()
	}

	// Only with the lock of the directory itself is the broker kept from starting; it tells why.
	release = lockFiles(t, k.data)
	if p, err := begin(t, k.data); err == nil || !strings.Contains(p.Logs.String(), "name another directory with --data") {
		t.Errorf("the lock is held: %v, %s", err, &p.Logs)
	}
	release()
	launch(t, k.data).Kill()
}

// lockFiles opens all files of a directory and locks those that nobody else has locked.
func lockFiles(t *testing.T, dir string) (release func()) {
	t.Helper()
	var open []*os.File
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		open = append(open, f)
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		_, err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		for _, f := range open {
			f.Close()
		}
	}
}

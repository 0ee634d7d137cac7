package lock

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func acquire(t *testing.T, dir string) *Lock {
	t.Helper()
	l, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func release(t *testing.T, l *Lock) {
	t.Helper()
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
}

func who(t *testing.T, dir string) (Holder, bool) {
	t.Helper()
	h, held, err := Who(dir)
	if err != nil {
		t.Fatal(err)
	}
	return h, held
}

// ours tells whether a holder is this process, and not since yesterday.
func ours(h Holder) bool {
	host, err := os.Hostname()
	return err == nil && h.PID == os.Getpid() && h.Host == host && time.Since(h.Started) < time.Hour
}

// TestSecond: F245, F214: a second one is refused and told who has the directory.
func TestSecond(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	if _, held := who(t, dir); held {
		t.Error("a directory that is not there is held")
	}
	first := acquire(t, dir)
	_, err := Acquire(dir)
	var refused *HeldError
	if !errors.As(err, &refused) || !ours(refused.Holder) || refused.Dir != dir {
		t.Fatalf("the second one got %v", err)
	}
	if h, held := who(t, dir); !held || !ours(h) {
		t.Errorf("Who = %v, %v", h, held)
	}
	release(t, first)
	if _, held := who(t, dir); held {
		t.Error("a directory given back is held")
	}
	release(t, acquire(t, dir))
}

// TestText is the message word for word.
func TestText(t *testing.T) {
	f := func(h Holder, want string) {
		t.Helper()
		if got := (&HeldError{Dir: "./sapwood-data", Holder: h}).Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	now := time.Now().Add(-time.Minute)
	f(Holder{4711, "x", now, "127.0.0.1:8083"}, "data directory ./sapwood-data is in use by pid 4711 on host x since "+
		now.Format("15:04")+" (http 127.0.0.1:8083); stop it, or give this one another --data")
	f(Holder{4711, "x", time.Date(2026, 1, 2, 12, 3, 0, 0, time.Local), ""},
		"data directory ./sapwood-data is in use by pid 4711 on host x since 2026-01-02 12:03; stop it, or give this one another --data")
	f(Holder{}, "data directory ./sapwood-data is in use by another process; stop it, or give this one another --data")
}

func TestAnnounce(t *testing.T) {
	dir := t.TempDir()
	l := acquire(t, dir)
	defer release(t, l)
	for _, http := range []string{"a-name-that-is-longer-than-the-next.example:80", ":1"} {
		if err := l.Announce(http); err != nil {
			t.Fatal(err)
		}
		if got, _ := who(t, dir); !ours(got) || got.HTTP != http {
			t.Errorf("Who = %v, want %s", got, http)
		}
	}
	if err := l.Announce(strings.Repeat("x", size)); err == nil {
		t.Error("a holder that does not fit was written")
	}
}

// TestLeftovers: what is in the file of a dead process is no obstacle, nor is it believed.
func TestLeftovers(t *testing.T) {
	for _, text := range []string{"", "garbage", `{"pid":4711,"host":"x"}`, strings.Repeat(" ", 3*size)} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, Name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, held := who(t, dir); held {
			t.Errorf("%.20q counts as held", text)
		}
		l := acquire(t, dir)
		if got, held := who(t, dir); !held || !ours(got) {
			t.Errorf("after %.20q: Who = %v, %v", text, got, held)
		}
		release(t, l)
	}
}

// TestNamelessHolder: a holder that could not write who it is still keeps the directory.
func TestNamelessHolder(t *testing.T) {
	dir := t.TempDir()
	l := acquire(t, dir)
	defer release(t, l)
	if err := l.f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	_, err := Acquire(dir)
	var refused *HeldError
	if !errors.As(err, &refused) || refused.PID != 0 || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
	if h, held := who(t, dir); !held || h.PID != 0 {
		t.Errorf("Who = %v, %v", h, held)
	}
}

// TestLooking: those who only look keep nobody from locking.
func TestLooking(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var lookers sync.WaitGroup
	for range 2 {
		lookers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := Who(dir); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		release(t, acquire(t, dir))
	}
	close(stop)
	lookers.Wait()
}

// TestKilled: the lock ends with its process, however that ends.
func TestKilled(t *testing.T) {
	const asked = "SAPWOOD_LOCK_CHILD"
	if dir := os.Getenv(asked); dir != "" {
		defer release(t, acquire(t, dir))
		_, _ = os.Stdout.WriteString("locked\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until killed
		return
	}
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	child.Env = append(os.Environ(), asked+"="+dir)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	_, err = Acquire(dir)
	var refused *HeldError
	if !errors.As(err, &refused) || refused.PID != child.Process.Pid {
		t.Errorf("beside the living child: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	release(t, acquire(t, dir))
}

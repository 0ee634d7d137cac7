package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/fact/facttest"
)

func openFactsIn(t testing.TB, dir string) *Facts {
	t.Helper()
	f, err := OpenFacts(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestFacts(t *testing.T) {
	facttest.Run(t, func(t *testing.T) fact.Store { return openFactsIn(t, t.TempDir()) })
}

// A database of facts that cannot be used is moved aside, told, and a new one begun; nobody but its owner can read either.
func TestFactsUnusable(t *testing.T) {
	f := func(name string, spoil func(path string) error) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, FactsFile)
			first := openFactsIn(t, dir)
			if err := first.Append(t.Context(), facttest.Facts(2000, 0, 1)); err != nil {
				t.Fatal(err)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			for _, old := range []string{"-20260101T000000", "-20260101T000000-wal"} { // of a start before
				if err := os.WriteFile(path+".broken"+old, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var log bytes.Buffer
			again, err := OpenFacts(t.Context(), dir, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			p, err := again.Query(t.Context(), fact.Query{}.Normal())
			if err != nil || len(p.Facts) != 0 || !strings.Contains(log.String(), "moved aside") {
				t.Errorf("%d facts, %v, %s", len(p.Facts), err, &log)
			}
			if err := again.Append(t.Context(), facttest.Facts(10, 0, 2)); err != nil {
				t.Error(err)
			}
			if aside, _ := filepath.Glob(path + ".broken-*"); len(aside) == 0 || strings.Contains(strings.Join(aside, " "), "20260101") {
				t.Error("it is gone, or those before are not", aside)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v %v", info, err)
			}
		})
	}
	f("garbage", func(path string) error {
		return os.WriteFile(path, []byte(strings.Repeat("this is no database\n", 500)), 0o600)
	})
	f("cut", func(path string) error { return os.Truncate(path, 5000) })
	f("another schema", func(path string) error {
		db, err := open(path, 1, nil)
		if err != nil {
			return err
		}
		if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
			return err
		}
		return db.Close()
	})
}

// Many ask while facts come and go.
func TestFactsConcurrent(t *testing.T) {
	s := openFactsIn(t, t.TempDir())
	all := facttest.Facts(8_000, 0, 3)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				p, err := s.Query(t.Context(), fact.Query{Topic: "plant/#", Limit: 50}.Normal())
				if err != nil {
					t.Error(err)
					return
				}
				for _, f := range p.Facts {
					if f.Kind == "" {
						t.Error("a fact without a kind")
					}
				}
			}
		})
	}
	for part := range slices.Chunk(all, 500) {
		if err := s.Append(t.Context(), part); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Trim(t.Context(), part[0].ID, 0, 200); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	readers.Wait()
}

// device makes the facts of one day of a device at random: what a fleet of ten thousand tells.
func day(r *rand.Rand, device int, add func(f fact.Fact)) {
	id := fmt.Sprintf("press-%05d", device)
	base := fact.Fact{Client: id, User: "line-7", Address: fmt.Sprintf("10.%d.%d.%d:%d", r.IntN(256), r.IntN(256), r.IntN(256), 1024+r.IntN(60000)), Listener: "plants"}
	tell := func(kind fact.Kind, topic, reason, text string, count uint64, detail ...string) {
		f := base
		f.Kind, f.Topic, f.Reason, f.Text, f.Count = kind, topic, reason, text, count
		if len(detail) > 0 {
			f.Detail = map[string]string{}
			for i := 0; i < len(detail); i += 2 {
				f.Detail[detail[i]] = detail[i+1]
			}
		}
		add(f)
	}
	branch := fmt.Sprintf("plant/%d/line/%d/%s/", device%20, device%400, id)
	for range 6 {
		tell(fact.Disconnected, "", "keep_alive", id+" was disconnected: nothing came for 1.5 times its keep-alive of 60 s.", 0, "connected_for", "3h12m4s", "received", "11520", "sent", "310")
		tell(fact.SessionResumed, "", "", id+" resumed its session after 14 s, with 3 messages waiting.", 0, "queued", "3", "offline_for", "14s")
		tell(fact.Connected, "", "", id+" connected with MQTT 5.0 over TLS 1.3 from a device it was seen on before.", 0, "protocol", "5.0", "tls", "1.3", "keep_alive", "60s", "expiry", "1h0m0s", "software", "esp-mqtt/1.4.2")
		tell(fact.Subscribed, branch+"cmd/#", "", id+" subscribed to "+branch+"cmd/# with QoS 1.", 0, "qos", "1")
		tell(fact.Subscribed, branch+"config", "", id+" subscribed to "+branch+"config with QoS 1.", 0, "qos", "1")
	}
	for range 3 {
		tell(fact.Dropped, branch+"#", "queue_full", "12 messages below "+branch+" were not queued for "+id+": its queue is full.", 12, "limit", "1000")
	}
	tell(fact.Denied, branch+"secret", "publish", id+" may not publish to "+branch+"secret: no rule allows it.", 2, "action", "publish", "rule", "")
}

// fleet makes about n facts, in the order of their time over a day.
func fleet(n int) []fact.Fact {
	r := rand.New(rand.NewPCG(1, 2))
	var all []fact.Fact
	for device := 0; len(all) < n; device++ {
		day(r, device, func(f fact.Fact) { all = append(all, f) })
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	step := 24 * time.Hour / time.Duration(len(all))
	for i := range all {
		all[i].At = facttest.Epoch().Add(time.Duration(i) * step).Truncate(time.Microsecond)
		all[i].ID = fact.IDAt(all[i].At)
	}
	return all
}

// The environment of the child of TestFactsKilled: the directory to record in.
const recorderDir = "SAPWOOD_TEST_RECORD_INTO"

// TestRecorderChild is the process that TestFactsKilled kills.
func TestRecorderChild(t *testing.T) {
	dir := os.Getenv(recorderDir)
	if dir == "" {
		return
	}
	r, err := fact.Open(t.Context(), fact.Options{Store: openFactsIn(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		r.Record(fact.Fact{Kind: fact.Connected, Client: fmt.Sprint("c", i), Text: "x"})
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	fmt.Println("flushed")
	for {
		r.Record(fact.Fact{Kind: fact.Disconnected, Text: "x"})
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// kill -9 in the middle of recording keeps what was flushed, and ids go on.
func TestFactsKilled(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestRecorderChild$", "-test.timeout=60s")
	child.Env = append(os.Environ(), recorderDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "flushed" {
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	s := openFactsIn(t, dir)
	p, err := s.Query(t.Context(), fact.Query{Kinds: []fact.Kind{fact.Connected}, Limit: fact.MaxLimit}.Normal())
	if err != nil || len(p.Facts) != 1000 {
		t.Errorf("%d facts, %v", len(p.Facts), err)
	}
	last, err := s.Last(t.Context())
	if err != nil || last < p.Facts[0].ID {
		t.Errorf("the last is %d, %v", last, err)
	}
}

// While another process writes to the database, or holds it to itself, questions are answered, also about what cannot be kept yet.
func TestFactsLocked(t *testing.T) {
	dir := t.TempDir()
	r, err := fact.Open(t.Context(), fact.Options{Store: openFactsIn(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	r.Record(fact.Fact{Kind: fact.Connected, Client: "before"})
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", filepath.Join(dir, FactsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	for _, lock := range []string{"IMMEDIATE", "EXCLUSIVE"} {
		if _, err := other.ExecContext(t.Context(), "BEGIN "+lock); err != nil {
			t.Fatal(err)
		}
		r.Record(fact.Fact{Kind: fact.Connected, Client: lock})
		for range 3 {
			p, err := r.Query(t.Context(), fact.Query{})
			if err != nil || len(p.Facts) < 2 || p.Facts[0].Client != lock || p.Facts[len(p.Facts)-1].Client != "before" {
				t.Errorf("%s: %+v, %v", lock, p.Facts, err)
			}
		}
		if n := r.Stats(t.Context()).NotRecorded; n > 0 {
			t.Errorf("%s: %d were given up before the question was answered", lock, n)
		}
		if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := r.Query(t.Context(), fact.Query{}); err != nil || len(p.Facts) != 3 {
		t.Errorf("%+v, %v", p.Facts, err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/lock"
	"github.com/sapwood-mqtt/sapwood/broker/store/storetest"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// onDisk is an engine that the suite can restart.
type onDisk struct {
	*disk.Store
	dir   string
	level disk.Level
	cfg   disk.Config
}

// small is a configuration whose segments are soon full.
func small() disk.Config {
	cfg := disk.DefaultConfig()
	cfg.SegmentSize, cfg.Reserve = 1<<20, 1<<20
	return cfg
}

func open(t testing.TB, dir string, level disk.Level, cfg disk.Config) onDisk {
	t.Helper()
	s, err := disk.Open(dir, level, cfg, disk.Options{})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return onDisk{s, dir, level, cfg}
}

// loaded opens a store and loads it, for tests that are not about what it tells.
func loaded(t testing.TB, dir string, cfg disk.Config) onDisk {
	t.Helper()
	s := open(t, dir, disk.Fsync, cfg)
	none := func(*mqtt.Message) error { return nil }
	if err := s.Load(func(*store.Recovered) error { return nil }, none); err != nil {
		t.Fatalf("Load: %v", err)
	}
	return s
}

func (s onDisk) Reopen(t testing.TB) store.Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	return open(t, s.dir, s.level, s.cfg)
}

func TestStore(t *testing.T) {
	for _, level := range []disk.Level{disk.Fsync, disk.Process} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir(), level, small()) })
		})
	}
}

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) store.Store { return open(b, b.TempDir(), disk.Fsync, disk.DefaultConfig()) })
}

// commit keeps a batch and fails the test if that fails.
func (s onDisk) commit(t testing.TB, records ...store.Record) {
	t.Helper()
	if err := s.try(records...); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func (s onDisk) try(records ...store.Record) error {
	done := make(chan error, 1)
	s.Commit(&store.Batch{Records: records, Done: func(err error) { done <- err }})
	return <-done
}

func put(id store.SessionID) store.Record {
	return store.Record{Op: store.PutSession, Session: id, Meta: &store.Session{ID: id, ClientID: fmt.Sprint("c", id), Version: 5, Expiry: 3600}}
}

func message(topic, payload string) *mqtt.Message {
	return (&mqtt.Message{Topic: []byte(topic), Payload: []byte(payload), QoS: 1}).Keep()
}

func enqueue(m *mqtt.Message, ids ...store.SessionID) store.Record {
	r := store.Record{Op: store.Enqueue, Message: m}
	for _, id := range ids {
		r.Targets = append(r.Targets, store.Target{Session: id, Delivery: store.Delivery{QoS: 1}})
	}
	return r
}

// queue lists a session's queue as "seq:payload".
func (s onDisk) queue(t testing.TB, id store.SessionID) (list []string) {
	t.Helper()
	for from := uint64(1); ; {
		items, next, err := s.Read(id, from, math.MaxUint64-1, make([]store.Queued, 0, 50), math.MaxInt)
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		for _, q := range items {
			text := "released"
			if !q.Released {
				text = string(q.Message.Payload)
			}
			list = append(list, fmt.Sprint(q.Seq, ":", text))
		}
		if from = next; from == math.MaxUint64 {
			return list
		}
	}
}

// F245
func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, disk.Fsync, small())
	defer s.Close()
	var held *lock.HeldError
	if _, err := disk.Open(dir, disk.Fsync, small(), disk.Options{}); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Fatalf("a second Open: %v", err)
	}
}

// TestEmptyDirectory: what is left of a store when its disk is not mounted or was emptied is not taken for a new one. F220
func TestEmptyDirectory(t *testing.T) {
	dir := t.TempDir()
	s := loaded(t, dir, small())
	s.commit(t, put(1))
	if err := s.Reopen(t).Close(); err != nil { // the restart finds that there is something to be missed
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "store")); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Open(dir, disk.Fsync, small(), disk.Options{}); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Fatalf("Open of an emptied directory: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "store.json")); err != nil {
		t.Fatal(err)
	}
	open(t, dir, disk.Fsync, small()).Close()
}

// F221
func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	loaded(t, dir, small()).Close()
	marker := filepath.Join(dir, "store.json")
	b, err := os.ReadFile(marker)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Replace(b, []byte(`"format":1`), []byte(`"format":2`), 1)
	if err := os.WriteFile(marker, b, 0o600); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	if _, err := disk.Open(dir, disk.Fsync, small(), disk.Options{}); err == nil || !strings.Contains(err.Error(), "newer Sapwood") {
		t.Fatalf("Open of a newer format: %v", err)
	}
	if after := listing(t, dir); after != before {
		t.Fatalf("it was touched:\n%s\nwas\n%s", after, before)
	}
}

// listing names the files below a directory with their sizes and times.
func listing(t *testing.T, dir string) string {
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && info.Name() != lock.Name {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCompact: what is left of many messages moves together, and the rest of the disk is given back. F226
func TestCompact(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := loaded(t, dir, small())
	s.commit(t, put(1), put(2))
	payload := strings.Repeat("x", 1000)
	var want []string
	for i := range 200 {
		var records []store.Record
		for j := range 100 {
			records = append(records, enqueue(message("t", fmt.Sprint(i*100+j, payload)), 1, 2))
		}
		s.commit(t, records...)
		var acks []store.Record
		for _, r := range records[:95] {
			acks = append(acks, store.Record{Op: store.Settle, Session: 1, Seq: r.Targets[0].Seq})
		}
		for _, r := range records {
			acks = append(acks, store.Record{Op: store.Settle, Session: 2, Seq: r.Targets[1].Seq})
		}
		s.commit(t, acks...)
		for j := 95; j < 100; j++ {
			want = append(want, fmt.Sprint(i*100+j+1, ":", i*100+j, payload))
		}
	}
	before := s.Status()
	if _, err := s.Compact(t.Context(), nil); err != nil {
		t.Fatalf("Compact: %v", err)
	}
	after := s.Status()
	for after.Bytes > before.Bytes/2 && t.Context().Err() == nil { // files go a moment later
		runtime.Gosched()
		after = s.Status()
	}
	t.Logf("%d bytes in %d segments became %d in %d", before.Bytes, len(before.Segments), after.Bytes, len(after.Segments))
	for range 2 {
		if got := s.queue(t, 1); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%d messages are left, want %d", len(got), len(want))
		}
		if got := s.queue(t, 2); len(got) > 0 {
			t.Fatalf("session 2 has %d messages", len(got))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = loaded(t, dir, small())
	}
	if st := s.Status(); st.Damaged != 0 {
		t.Errorf("damage: %+v", st.Damage)
	}
	s.Close()
}

// TestBackup: a backup taken while messages come in is the store as it was at one moment.
func TestBackup(t *testing.T) {
	t.Parallel()
	s := loaded(t, t.TempDir(), small())
	s.commit(t, put(1), put(2))
	for i := range 500 {
		s.commit(t, enqueue(message("t", fmt.Sprint(i)), 1, 2), store.Record{Op: store.Retain, Message: message(fmt.Sprint("r/", i%50), fmt.Sprint(i))})
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 500; ; i++ {
			select {
			case <-stop:
				return
			default:
				s.try(enqueue(message("t", fmt.Sprint(i)), 1, 2))
			}
		}
	}()
	var backup bytes.Buffer
	if err := s.Backup(t.Context(), &backup, nil); err != nil {
		t.Fatalf("Backup: %v", err)
	}
	close(stop)
	<-stopped
	last := len(s.queue(t, 1))
	s.Close()

	dir := filepath.Join(t.TempDir(), "elsewhere")
	if err := disk.Restore(t.Context(), bytes.NewReader(backup.Bytes()), dir, nil, nil); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	r := loaded(t, dir, small())
	defer r.Close()
	one, two := r.queue(t, 1), r.queue(t, 2)
	if len(one) < 500 || len(one) > last || strings.Join(one, " ") != strings.Join(two, " ") {
		t.Fatalf("%d and %d messages restored, of %d", len(one), len(two), last)
	}
	for i, q := range one {
		if q != fmt.Sprint(i+1, ":", i) {
			t.Fatalf("message %d is %s", i, q)
		}
	}
	if st := r.Stats(); st.Retained != 50 || r.Status().Damaged != 0 {
		t.Fatalf("restored: %+v %+v", st, r.Status().Damage)
	}
	if err := disk.Restore(t.Context(), bytes.NewReader(backup.Bytes()), dir, nil, nil); err == nil {
		t.Fatal("Restore over a store")
	}
	for _, at := range []int{100, backup.Len() / 3, backup.Len() / 2} {
		bad := bytes.Clone(backup.Bytes())
		bad[at] ^= 1
		dir := filepath.Join(t.TempDir(), "bad")
		if err := disk.Restore(t.Context(), bytes.NewReader(bad), dir, nil, nil); err == nil {
			t.Fatalf("a backup with a bit flipped at %d was restored", at)
		}
		open(t, dir, disk.Fsync, small()).Close() // it holds nothing
	}
	if err := disk.Restore(t.Context(), bytes.NewReader(backup.Bytes()[:backup.Len()-5000]), filepath.Join(t.TempDir(), "short"), nil, nil); err == nil {
		t.Fatal("half a backup was restored")
	}
}

// TestBackupBeside: files beside the store go into a backup and come back; one that is there is never written over, nothing is restored that nobody
// asked for, and neither a backup nor a restore that fails leaves a copy behind.
func TestBackupBeside(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	s := loaded(t, from, small())
	s.commit(t, put(1))
	users := disk.Beside{Name: "users", Copy: func(_ context.Context, path string) error { return os.WriteFile(path, []byte("ann"), 0o600) }}
	if err := os.WriteFile(filepath.Join(from, "users.backup"), []byte("of a process that was killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	if err := s.Backup(t.Context(), &backup, nil, users); err != nil {
		t.Fatal(err)
	}
	failing := errors.New("no copy")
	err := s.Backup(t.Context(), io.Discard, nil, users, disk.Beside{Name: "more", Copy: func(context.Context, string) error { return failing }})
	if !errors.Is(err, failing) {
		t.Errorf("got %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(from, "*.backup")); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
	s.Close()
	restore := func(dir string, text []byte, beside ...string) error {
		return disk.Restore(t.Context(), bytes.NewReader(text), dir, nil, nil, beside...)
	}
	dir := filepath.Join(t.TempDir(), "new")
	if err := restore(dir, backup.Bytes(), "users"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "users")); string(text) != "ann" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	none := filepath.Join(t.TempDir(), "none")
	if err := restore(none, backup.Bytes()); err == nil || !strings.Contains(err.Error(), `"users" does not belong`) {
		t.Errorf("got %v", err)
	}
	bad := bytes.Replace(backup.Bytes(), []byte("ann"), []byte("eve"), 1)
	if err := restore(none, bad, "users"); err == nil || !strings.Contains(err.Error(), "users fails its checksum") {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(filepath.Join(none, "users")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a restore that failed left it behind: %v", err)
	}
	if err := os.WriteFile(filepath.Join(none, "users-wal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restore(none, backup.Bytes(), "users", "users-wal"); err == nil || !strings.Contains(err.Error(), "holds users-wal already") {
		t.Errorf("got %v", err)
	}
}

// TestExport: what is exported and imported is the same, positions included.
func TestExport(t *testing.T) {
	t.Parallel()
	s := loaded(t, t.TempDir(), small())
	will := put(3)
	will.Meta.Will = &store.Will{Message: message("w", "bye"), Delay: 5}
	s.commit(t, put(1), put(2), will,
		store.Record{Op: store.Subscribe, Session: 1, Subscription: store.Subscription{Filter: "a/+", Options: 2, ID: 7}},
		store.Record{Op: store.Receive, Session: 2, PacketID: 77})
	for i := range 300 {
		ids := []store.SessionID{1, 2, 3}[:1+i%3]
		s.commit(t, enqueue(message("t", fmt.Sprint("\xff", i)), ids...), enqueue(message("u", fmt.Sprint(i)), 2))
	}
	s.commit(t, store.Record{Op: store.Retain, Message: message("r", "kept")},
		store.Record{Op: store.Settle, Session: 1, Seq: 1}, store.Record{Op: store.Release, Session: 2, Seq: 3})
	var first, second bytes.Buffer
	if err := s.Export(t.Context(), &first, nil); err != nil {
		t.Fatalf("Export: %v", err)
	}
	s.Close()
	s = loaded(t, t.TempDir(), small())
	defer s.Close()
	if err := s.Import(t.Context(), bytes.NewReader(first.Bytes()), nil); err != nil {
		t.Fatalf("Import: %v", err)
	}
	if err := s.Export(t.Context(), &second, nil); err != nil {
		t.Fatalf("Export: %v", err)
	}
	lines := func(b bytes.Buffer) string { // without the head, which has the time
		return strings.Join(slices.Sorted(slices.Values(strings.Split(b.String(), "\n")[1:])), "\n")
	}
	if lines(first) != lines(second) {
		t.Fatalf("exported\n%s\nand after the import\n%s", first.String()[:2000], second.String()[:2000])
	}
	if err := s.Import(t.Context(), bytes.NewReader(first.Bytes()), nil); err == nil {
		t.Fatal("Import into a store that is not empty")
	}
}

package disk_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
)

// TestMarker: a marker that is missing, unreadable or another store's is made again from what the segments agree about, and
// that is told, once; where they do not agree nothing is touched. F218 F220
func TestMarker(t *testing.T) {
	write := func(text string) func(string) error {
		return func(marker string) error { return os.WriteFile(marker, []byte(text), 0o600) }
	}
	other := `{"format":1,"id":"` + strings.Repeat("0f", 16) + `","created":"2026-01-01T00:00:00Z","begun":true}`
	for name, harm := range map[string]func(marker string) error{
		"missing":          os.Remove,
		"empty":            write(""),
		"garbage":          write("{]"),
		"without a format": write(strings.Replace(other, "format", "fkrmat", 1)),
		"another store's":  write(other),
	} {
		t.Run(name, func(t *testing.T) { markerMended(t, harm) })
	}

	dir := withMessage(t)
	marker := filepath.Join(dir, "store.json")
	foreign, err := os.ReadFile(filepath.Join(withMessage(t), "store", "00000001.seg"))
	if err := errors.Join(err, write(other)(marker), os.WriteFile(filepath.Join(dir, "store", "00000099.seg"), foreign, 0o600)); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	if _, err := disk.Open(dir, disk.Fsync, small(), disk.Options{}); err == nil || !strings.Contains(err.Error(), "names another store than the segments: put "+marker) {
		t.Errorf("segments of two other stores: %v", err)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("it was touched:\n%s\nwas\n%s", after, before)
	}
}

// withMessage makes a data directory in which a message waits for session 1.
func withMessage(t *testing.T) (dir string) {
	dir = t.TempDir()
	s := loaded(t, dir, small())
	s.commit(t, put(1), enqueue(message("t", "kept"), 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func markerMended(t *testing.T, harm func(marker string) error) {
	dir := withMessage(t)
	marker := filepath.Join(dir, "store.json")
	before, err := os.ReadFile(marker)
	if err := errors.Join(err, harm(marker)); err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []int{1, 0} {
		s := open(t, dir, disk.Fsync, small())
		if got := s.queue(t, 1); len(got) != 1 || got[0] != "1:kept" {
			t.Errorf("the queue is %q", got)
		}
		if st := s.Status(); st.Damaged != damaged || damaged > 0 && st.Damage[0].File != "store.json" {
			t.Errorf("damage %+v", st.Damage)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	id := regexp.MustCompile(`"id":"[^"]*"`)
	if after, err := os.ReadFile(marker); err != nil || !bytes.Equal(id.Find(before), id.Find(after)) {
		t.Errorf("%s became %s, %v", before, after, err)
	}
}

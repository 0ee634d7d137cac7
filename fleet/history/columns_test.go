package history

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// TestColumns asks the same with columns, without them, and with damaged ones; a restart finds them.
func TestColumns(t *testing.T) {
	h, end := aDay(t, 20)
	dir := h.o.Dir
	query := Query{Match: func(metric, _ string) bool { return metric < "m12" }, From: end.Add(-23 * time.Hour), To: end.Add(-10 * time.Second), Step: 10 * time.Second}
	want, _ := h.Query(query)
	if len(want) == 0 || h.tiers[0].files[0].columns == 0 {
		t.Fatal("there are no columns")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	f := func(what string, change func(path string) error) {
		t.Helper()
		paths, err := filepath.Glob(filepath.Join(dir, "*"+columnsSuffix))
		if err != nil || len(paths) == 0 {
			t.Fatal(paths, err)
		}
		for _, path := range paths {
			if err := change(path); err != nil {
				t.Fatal(err)
			}
		}
		h, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if got, _ := h.Query(query); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d series, not %d, or other points", what, len(got), len(want))
		}
	}
	f("after a restart", func(string) error { return nil })
	f("cut off", func(path string) error { return os.Truncate(path, 2000) })
	f("damaged", func(path string) error {
		b, err := os.ReadFile(path)
		if err == nil {
			b[len(b)/2] ^= 1
			err = os.WriteFile(path, b, 0o600)
		}
		return err
	})
	f("gone", os.Remove)
}

// FuzzColumns reads columns that may be anything.
func FuzzColumns(f *testing.F) {
	f.Add([]byte{frameColumn, 0, 1<<2 | runSingle, 2})
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) == 0 {
			return
		}
		readColumn(payload, 100, func(n int, _ triple) {
			if n < 0 || n >= 100 {
				t.Fatal(n)
			}
		})
		c := collector{}
		_, _, _ = c.index(&reader{b: payload[1:]}, 0)
	})
}

package file

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestOverwrite: room made without a call for it keeps what was written, in holes and over the end.
func TestOverwrite(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 3<<20 + 17
	want := make([]byte, size)
	for _, at := range []int64{0, 1<<20 - 2, 1<<20 + 100} {
		copy(want[at:], "content")
		if _, err := f.WriteAt([]byte("content"), at); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int64{size, 10, 0} { // the shorter ones change nothing
		if err := overwrite(f, n); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("overwrite(%d): the file is %d bytes and not what it was, %v", n, len(got), err)
		}
	}
}

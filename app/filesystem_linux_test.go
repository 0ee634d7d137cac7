package app

import (
	"path/filepath"
	"strings"
	"testing"
)

// F214: a file system that does not keep what it was told to sync is named.
func TestFileSystems(t *testing.T) {
	if unsafeFor(filepath.Join(t.TempDir(), "missing")) != "" {
		t.Error("what is not there is judged")
	}
	for magic, want := range map[int64]string{0x6969: "NFS", 0x517B: "SMB", 0xFF534D42 - 1<<32: "SMB", 0x01021997: "9p", 0x01021994: "memory", 0xEF53: ""} {
		if got := unsafeKind(magic); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%#x: %q", magic, got)
		}
	}
}

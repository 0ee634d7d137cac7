package section

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.md")
	const before = "# A\n<!-- x: begin -->\nold\n<!-- x: end -->\nrest\n"
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Replace(file, "y", "new\n"); err == nil {
		t.Error("markers that are not there are no error")
	}
	for _, text := range []string{"new\n", "newer\n"} {
		if err := Replace(file, "x", text); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if want := "# A\n<!-- x: begin -->\n" + text + "<!-- x: end -->\nrest\n"; string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

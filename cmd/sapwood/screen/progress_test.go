package screen

import (
	"testing"
)

func TestProgressText(t *testing.T) {
	f := func(done, total int64, want string) {
		t.Helper()
		if got := progressText("check", Bytes, done, total); got != want {
			t.Errorf("%d of %d: got %q, want %q", done, total, got, want)
		}
	}
	f(0, 0, "check  0 B")
	f(5<<20, 0, "check  5.0 MiB")
	f(0, 1<<30, "check  [                              ]   0 %  0 B of 1.0 GiB")
	f(1<<29, 1<<30, "check  [###############               ]  50 %  512 MiB of 1.0 GiB")
	f(1<<31, 1<<30, "check  [##############################] 100 %  2.0 GiB of 1.0 GiB") // what grows meanwhile
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10 << 10: "10 KiB", 3 << 40: "3.0 TiB", 5 << 50: "5120 TiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

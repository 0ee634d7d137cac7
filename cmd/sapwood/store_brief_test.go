package main

import (
	"testing"
	"time"
)

func TestBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 999: "999ns", 123456: "123µs", 1234567890: "1.23s"} {
		if got := brief(d).String(); got != want {
			t.Errorf("%d: got %s, want %s", d, got, want)
		}
	}
}

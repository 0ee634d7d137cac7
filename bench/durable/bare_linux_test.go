package main

import (
	"testing"
	"time"
)

func TestBareLoop(t *testing.T) {
	l, err := bareLoop(t.TempDir(), 10, 100, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if l.syncs <= 0 || l.messages != 10*l.syncs || l.cpu <= 0 {
		t.Errorf("%+v", l)
	}
}

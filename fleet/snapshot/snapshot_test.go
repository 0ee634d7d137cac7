package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

func TestShelf(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "snapshots")
	s := Open(dir, Config{Number: 3, Bytes: 1 << 20, Age: time.Hour})
	list := []*mqtt.Message{
		{Topic: []byte("a/ä"), Payload: []byte{0, 0xff, '\n'}, Forward: []byte{1, 1}, Publisher: "p\xff", Expires: 99, At: 7, QoS: 2, Retain: true},
		{Topic: []byte("b"), Payload: []byte("x"), Retain: true},
	}
	began := time.Now()
	a, err := s.Keep(About{At: began, By: "anna", Filter: "#"}, list)
	if err != nil || a.Messages != 2 || a.Bytes != 4 || a.File == 0 {
		t.Fatal(a, err)
	}
	_, got, err := s.Get(a.ID)
	if err != nil {
		t.Fatal(err)
	}
	list[0].Own()
	list[1].Own()
	if list[1].Forward = got[1].Forward; len(got[1].Forward) > 0 || !reflect.DeepEqual(list, got) {
		t.Errorf("%+v", got)
	}
	for i := range 4 { // one more than may be
		if _, err := s.Keep(About{At: began.Add(time.Duration(i+1) * time.Second), Filter: fmt.Sprint(i)}, list); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.List()
	if err != nil || len(all) != 3 || all[0].Filter != "3" || all[2].Filter != "1" {
		t.Error(all, err)
	}
	// F192: an id becomes a file's name, and is no path.
	for _, id := range []string{a.ID, "", "../x", "..", "/etc/passwd", "..%2fx", `..\x`, "x\x00", "0"} {
		if _, _, err := s.Get(id); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if err := os.Truncate(s.file(all[0].ID), all[0].File-9); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(all[0].ID); err == nil {
		t.Error("a damaged snapshot is read")
	}
	// One that is no snapshot at all, or a link to elsewhere (F192), is read by nobody and keeps nobody from deleting.
	if err := os.WriteFile(s.file("0-0"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Rename(s.file(all[1].ID), outside); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, s.file(all[1].ID)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(all[1].ID); err == nil {
		t.Error("a snapshot is read through a link to elsewhere")
	}
	if _, err := s.Keep(About{At: began.Add(time.Minute), Filter: "after"}, list); err != nil {
		t.Error(err)
	}
	if left, err := s.List(); err != nil || len(left) != 3 || left[0].Filter != "after" {
		t.Error(left, err)
	}
	var head bytes.Buffer // what is too large is not written first
	if err := write(&bounded{&head, 10}, &About{}, list); !errors.Is(err, ErrTooLarge) || head.Len() > 10 {
		t.Error(err, head.Len())
	}
	tight := Open(t.TempDir(), Config{Number: 3, Bytes: 10, Age: time.Hour})
	if err := os.WriteFile(filepath.Join(tight.dir, "new-1234"), []byte("of a process that was killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tight.List(); err != nil {
		t.Error(err)
	}
	if _, err := tight.Keep(About{At: began}, list); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(tight.dir); len(left) != 0 {
		t.Error(left)
	}
}

package journal

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

func nasty() fact.Fact {
	return fact.Fact{
		ID: 7, At: time.UnixMicro(7).UTC(), Kind: fact.Dropped, Client: "a\r\n{\"level\":\"ERROR\"}", User: "b\nc", Topic: "x/\u2028/#", Reason: "r", Code: 0x97, Count: 3,
		Text: "One\r\ntwo.", Detail: map[string]string{"k\n": "v\r"},
	}
}

// F197: whatever a client is called, a fact is one line, and valid JSON.
func TestLines(t *testing.T) {
	var out bytes.Buffer
	j, err := Open(Config{To: "stderr"}, nil, &out, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := nasty()
	j.Send(t.Context(), []fact.Fact{f, {Kind: fact.Connected}}, 4)
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], `"count":4`) || strings.Contains(out.String(), "\r") {
		t.Fatalf("%q", out.String())
	}
	var got struct {
		Level, Msg, Kind, Client, User, Topic string
		ID                                    uint64
		Detail                                map[string]string
	}
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil {
		t.Fatal(err)
	}
	if got.Level != "WARN" || got.Msg != f.Text || got.Client != f.Client || got.User != f.User || got.Topic != f.Topic || got.ID != 7 || got.Detail["k\n"] != "v\r" {
		t.Errorf("%+v", got)
	}
}

// The file stays within its size, and only so many old ones are kept.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	for range 2 { // goes on with what is there
		j, err := Open(Config{To: path, MaxBytes: 4096, Keep: 2}, nil, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			j.Send(t.Context(), []fact.Fact{nasty()}, 0)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 {
		t.Errorf("%v %v", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 4096 || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
	}
}

// A file that cannot be written is told once, and tried again.
func TestBroken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	j, err := Open(Config{To: filepath.Join(dir, "f"), MaxBytes: 4096, Keep: 1}, nil, nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		j.Send(t.Context(), []fact.Fact{nasty()}, 0)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("told %d times: %s", n, &log)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	j.Send(t.Context(), []fact.Fact{nasty()}, 0)
	if info, err := os.Stat(filepath.Join(dir, "f")); err != nil || info.Size() == 0 {
		t.Errorf("%v %v", info, err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

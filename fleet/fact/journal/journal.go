// Package journal writes facts as lines of JSON, by log/slog, to a file that it keeps small, or to a stream that somebody else keeps.
// What others wrote into a fact stays within its line.
package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// Config says where. The zero value writes nowhere.
type Config struct {
	To       string   `yaml:"to" reload:"restart" doc:"A file, stderr or stdout; empty = nowhere."`
	Kinds    []string `yaml:"kinds" reload:"restart" doc:"Which kinds of events; empty = all."`
	MaxBytes int64    `yaml:"max_bytes" unit:"bytes" reload:"restart" min:"4096" doc:"Size of the file." exceeded:"it is renamed, FILE.1 being the newest of the old ones, and a new one begun"`
	Keep     int      `yaml:"keep" reload:"restart" min:"0" max:"100" doc:"How many old files are kept beside it."`
}

// DefaultConfig is off.
func DefaultConfig() Config { return Config{Kinds: []string{}, MaxBytes: 64 << 20, Keep: 3} }

// Check tells what cannot be.
func (c *Config) Check(bad func(key, message, fix string)) {
	if _, err := fact.CheckKinds(c.Kinds); err != nil {
		bad("kinds", err.Error(), "see docs/events.md for the kinds")
	}
}

// Journal is a fact.Sink.
type Journal struct {
	fact.Count
	out  slog.Handler
	file *rotating // nil = a stream
	log  *slog.Logger
}

var _ fact.Sink = (*Journal)(nil)

// Open begins to write. The streams are the process's; log is told when writing fails.
func Open(c Config, stdout, stderr io.Writer, log *slog.Logger) (*Journal, error) {
	j := &Journal{log: log}
	var w io.Writer
	switch c.To {
	case "stdout":
		w = stdout
	case "stderr":
		w = stderr
	default:
		j.file = &rotating{path: c.To, max: c.MaxBytes, keep: c.Keep}
		if err := j.file.open(); err != nil {
			return nil, fmt.Errorf("open the journal of events: %w", err)
		}
		w = j.file
	}
	j.out = slog.NewJSONHandler(w, nil)
	return j, nil
}

// Send implements fact.Sink. What cannot be written is lost, which the log says once.
func (j *Journal) Send(ctx context.Context, facts []fact.Fact, lost uint64) {
	if j.Lost(lost); lost > 0 {
		facts = append([]fact.Fact{{At: time.Now().UTC(), Kind: fact.NotRecorded, Reason: "too_fast", Count: lost, Text: fmt.Sprintf("%d events came faster than they could be written here.", lost)}}, facts...)
	}
	for i := range facts {
		err := j.out.Handle(ctx, record(&facts[i]))
		if err == nil {
			j.Took(1)
		} else if j.Failed(1, err) {
			j.log.Error("the journal of events cannot be written", "error", err)
		}
	}
}

// record is a fact as slog has it: its sentence is the message.
func record(f *fact.Fact) slog.Record {
	r := slog.NewRecord(f.At, level(f.Kind), f.Text, 0)
	r.AddAttrs(slog.Uint64("id", f.ID), slog.String("kind", string(f.Kind)))
	for _, a := range []struct{ name, value string }{
		{"client", f.Client}, {"user", f.User}, {"address", f.Address}, {"listener", f.Listener}, {"topic", f.Topic}, {"reason", f.Reason},
	} {
		if a.value != "" {
			r.AddAttrs(slog.String(a.name, a.value))
		}
	}
	if f.Code != 0 {
		r.AddAttrs(slog.Int("code", int(f.Code)))
	}
	if f.Count != 0 {
		r.AddAttrs(slog.Uint64("count", f.Count))
	}
	if len(f.Detail) > 0 {
		r.AddAttrs(slog.Any("detail", f.Detail))
	}
	return r
}

// level is how severe a kind is.
func level(k fact.Kind) slog.Level {
	switch k {
	case fact.Dropped, fact.Refused, fact.Denied, fact.Limited, fact.Stalled, fact.ProtocolError, fact.OverloadChanged, fact.StoreChanged,
		fact.Imbalance, fact.CanaryFailed, fact.NotRecorded, fact.CertificateWarning, fact.BackendFailed:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// Close implements fact.Sink.
func (j *Journal) Close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

// rotating is a file that is renamed when it is full.
type rotating struct {
	path string
	max  int64
	keep int

	f    *os.File
	size int64
}

func (r *rotating) open() error {
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.f, r.size = f, info.Size()
	return nil
}

// Write writes a whole line. After an error the file is opened anew.
func (r *rotating) Write(line []byte) (int, error) {
	if r.f != nil && r.size > 0 && r.size+int64(len(line)) > r.max {
		if err := r.turn(); err != nil {
			return 0, err
		}
	}
	if r.f == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	n, err := r.f.Write(line)
	r.size += int64(n)
	if err != nil {
		err = errors.Join(err, r.Close())
	}
	return n, err
}

// turn renames the files, each to the next number, and drops the last.
func (r *rotating) turn() error {
	if err := r.Close(); err != nil {
		return err
	}
	name := func(i int) string { return fmt.Sprintf("%s.%d", r.path, i) }
	if r.keep == 0 {
		return os.Remove(r.path)
	}
	for i := r.keep - 1; i >= 1; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Rename(r.path, name(1))
}

// Close closes the file.
func (r *rotating) Close() error {
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	r.f = nil
	return err
}

// Package snapshot keeps what was deleted of the retained messages, so that it can be put back as it was: one file for each deletion, bounded in number,
// bytes and age. It knows no broker, and puts nothing back itself.
package snapshot

import (
	"bufio"
	"compress/gzip"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Config bounds what is kept.
type Config struct {
	Number int           // of snapshots
	Bytes  int64         // of all files
	Age    time.Duration // of each
}

// Defaults are the bounds.
func Defaults() Config { return Config{Number: 32, Bytes: 256 << 20, Age: 7 * 24 * time.Hour} }

// ErrUnknown says that there is no such snapshot, or none any more.
var ErrUnknown = errors.New("there is no such snapshot")

// ErrTooLarge says that a snapshot would be larger than all may be.
var ErrTooLarge = errors.New("the snapshot would be larger than all snapshots may be together")

// About describes a snapshot.
type About struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	By       string    `json:"by,omitempty" doc:"Who deleted."`
	Filter   string    `json:"filter" doc:"What was deleted."`
	Messages int       `json:"messages"`
	Bytes    int64     `json:"bytes" doc:"Payloads."`
	File     int64     `json:"file_bytes"`
}

// message is one retained message as a file has it: every byte, its publisher, its time and its expiry.
type message struct {
	Topic, Payload, Forward []byte
	Publisher               []byte `json:",omitempty"` // it need not be UTF-8
	Expires, At             int64  `json:",omitempty"`
	QoS                     mqtt.QoS
}

// Shelf is a directory of snapshots. Its methods may be called from any goroutine.
type Shelf struct {
	dir string
	cfg Config

	mu sync.Mutex
}

// Open opens the directory, which need not be there.
func Open(dir string, cfg Config) *Shelf { return &Shelf{dir: dir, cfg: cfg} }

const suffix = ".retained.gz"

// Keep writes a snapshot; when it returns it is on disk. What the bounds do not allow any more goes, the oldest first.
func (s *Shelf) Keep(a About, list []*mqtt.Message) (_ About, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var random [4]byte
	rand.Read(random[:])
	a.At = a.At.UTC()
	a.ID = a.At.Format("20060102-150405") + "-" + hex.EncodeToString(random[:])
	a.Messages, a.Bytes = len(list), 0
	for _, m := range list {
		a.Bytes += int64(len(m.Payload))
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return a, fmt.Errorf("keep snapshot: %w", err)
	}
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return a, fmt.Errorf("keep snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("keep snapshot: %w", err), os.Remove(f.Name()))
		}
	}()
	err = write(&bounded{f, s.cfg.Bytes}, &a, list)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return a, err
	}
	info, err := os.Stat(f.Name())
	if err != nil {
		return a, err
	}
	a.File = info.Size()
	if err := os.Rename(f.Name(), s.file(a.ID)); err != nil {
		return a, err
	}
	if d, err := os.Open(s.dir); err == nil {
		err = errors.Join(d.Sync(), d.Close())
		if err != nil {
			return a, err
		}
	}
	return a, s.trim(a.At)
}

func write(w io.Writer, a *About, list []*mqtt.Message) error {
	b := bufio.NewWriter(w)
	z := gzip.NewWriter(b)
	e := json.NewEncoder(z)
	if err := e.Encode(a); err != nil {
		return err
	}
	for _, m := range list {
		if err := e.Encode(message{m.Topic, m.Payload, m.Forward, []byte(m.Publisher), m.Expires, m.At, m.QoS}); err != nil {
			return err
		}
	}
	return errors.Join(z.Close(), b.Flush())
}

// bounded is a file that gets no larger than left: what is too large does not fill the disk first.
type bounded struct {
	io.Writer
	left int64
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, ErrTooLarge
	}
	return b.Writer.Write(p)
}

func (s *Shelf) file(id string) string { return filepath.Join(s.dir, id+suffix) }

// trim removes what the bounds do not allow.
func (s *Shelf) trim(now time.Time) error {
	begun, err := filepath.Glob(filepath.Join(s.dir, "new-*")) // by a process that did not live to end them
	for _, name := range begun {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		return err
	}
	list, err := s.list()
	if err != nil {
		return err
	}
	total := int64(0)
	for i, a := range list { // the newest first
		total += a.File
		if i >= s.cfg.Number || total > s.cfg.Bytes || now.Sub(a.At) > s.cfg.Age {
			err = errors.Join(err, os.Remove(s.file(a.ID)))
		}
	}
	return err
}

// List are the snapshots, the newest first.
func (s *Shelf) List() ([]About, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.trim(time.Now()); err != nil {
		return nil, err
	}
	return s.list()
}

func (s *Shelf) list() ([]About, error) {
	files, err := filepath.Glob(filepath.Join(s.dir, "*"+suffix))
	if err != nil {
		return nil, err
	}
	var list []About
	for _, name := range files {
		a, _, err := s.read(strings.TrimSuffix(filepath.Base(name), suffix), true)
		if err != nil {
			continue // one that is damaged, or no file of ours, hides no other and keeps nobody from deleting
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b About) int { return strings.Compare(b.ID, a.ID) })
	return list, nil
}

// Get reads a snapshot. Its messages are the caller's.
func (s *Shelf) Get(id string) (About, []*mqtt.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.Trim(id, "0123456789abcdef-") != "" || id == "" { // it becomes a file's name
		return About{}, nil, ErrUnknown
	}
	return s.read(id, false)
}

func (s *Shelf) read(id string, brief bool) (a About, list []*mqtt.Message, err error) {
	f, err := os.OpenInRoot(s.dir, id+suffix)
	if errors.Is(err, os.ErrNotExist) {
		return a, nil, ErrUnknown
	}
	if err != nil {
		return a, nil, fmt.Errorf("read snapshot: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return a, nil, fmt.Errorf("read snapshot %s: %w", id, err)
	}
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return a, nil, fmt.Errorf("read snapshot %s: %w", id, err)
	}
	d := json.NewDecoder(z)
	if err := d.Decode(&a); err != nil {
		return a, nil, fmt.Errorf("read snapshot %s: %w", id, err)
	}
	a.ID, a.File = id, info.Size()
	for !brief {
		var m message
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return a, nil, fmt.Errorf("read snapshot %s: %w", id, err)
		}
		kept := &mqtt.Message{Topic: m.Topic, Payload: m.Payload, Forward: m.Forward, Publisher: string(m.Publisher), Expires: m.Expires, At: m.At, QoS: m.QoS, Retain: true}
		list = append(list, kept.Own())
	}
	if !brief && len(list) != a.Messages {
		return a, nil, fmt.Errorf("read snapshot %s: %d of %d messages", id, len(list), a.Messages)
	}
	return a, list, nil
}

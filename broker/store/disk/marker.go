package disk

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// Format is the version of the layout that this engine writes, and the newest it reads.
const Format = 1

// marker tells that a directory holds a store, and which: <data>/store.json. It is what is left when
// the rest has gone, and so what keeps an empty disk from being taken for a new one.
type marker struct {
	Format  int       `json:"format"`
	ID      string    `json:"id"` // 16 bytes in hexadecimal; every file of the store names it
	Created time.Time `json:"created"`
	// Begun tells that there have been files to be missed.
	Begun bool `json:"begun"`
}

const markerName = "store.json"

func (m *marker) id() (id [16]byte, err error) {
	b, err := hex.DecodeString(m.ID)
	if err != nil || len(b) != len(id) {
		return id, errors.New("its id is not 16 bytes in hexadecimal")
	}
	return [16]byte(b), nil
}

// What readMarker finds beside markers: a directory has none, or it is not what was written.
var (
	errNoMarker = errors.New("there is no " + markerName)
	errMarker   = errors.New(markerName + " is wrong")
)

// readMarker reads the marker of a data directory.
func readMarker(sys file.System, dir string) (m marker, err error) {
	name := filepath.Join(dir, markerName)
	b, err := readFile(sys, name, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return m, errNoMarker
	}
	if err != nil {
		return m, fmt.Errorf("read %s: %w", name, err)
	}
	err = json.Unmarshal(b, &m)
	if err == nil {
		_, err = m.id()
	}
	if err == nil && m.Format < 1 {
		err = errors.New("it names no format")
	}
	if err != nil {
		return m, fmt.Errorf("%w: %w", errMarker, err)
	}
	if m.Format > Format {
		return m, fmt.Errorf("%s was written by a newer Sapwood (storage format %d, and this one knows up to %d): use that version; nothing was changed",
			dir, m.Format, Format)
	}
	return m, nil
}

// newMarker names a store for a directory that has none.
func newMarker() marker {
	var id [16]byte
	rand.Read(id[:]) // it never fails
	return marker{Format: Format, ID: hex.EncodeToString(id[:]), Created: time.Now().UTC().Truncate(time.Second)}
}

// begin notes in the marker that there is something to be missed, once there is.
func (u *upkeep) begin() {
	s := u.store
	if s.id.Begun || len(u.kept) == 0 && s.begun.Records == 0 && s.commits.groups.Load() == 0 {
		return
	}
	m := s.id
	m.Begun = true
	if err := m.write(s.sys, s.dir); err != nil {
		s.log.Warn("the store's marker could not be written and will be tried again", "error", err)
		return
	}
	s.id = m
}

func (m *marker) write(sys file.System, dir string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return writeFile(sys, filepath.Join(dir, markerName), append(b, '\n'))
}

// readFile reads a whole small file.
func readFile(sys file.System, name string, limit int64) ([]byte, error) {
	f, err := sys.Open(name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(size, limit))
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, err
	}
	return b, nil
}

// writeFile writes a small file so that after a crash there is the old one or the new one.
func writeFile(sys file.System, name string, b []byte) error {
	part := name + ".part"
	if err := sys.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := sys.Create(part)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, sys.Remove(part))
	}
	if err := sys.Rename(part, name); err != nil {
		return err
	}
	return sys.SyncDir(filepath.Dir(name))
}

// hasData tells whether the store directory of dir holds anything that a store once wrote.
func hasData(sys file.System, dir string) (bool, error) {
	files, err := sys.List(storeDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name, ".seg") || strings.HasPrefix(f.Name, checkpointPrefix) {
			return true, nil
		}
	}
	return false, nil
}

package disk

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// A backup is a tar archive with the marker, the newest checkpoint and the segments it needs, as far as they are
// written, what stands beside the store, and as its last entry a manifest with the SHA-256 of every other one.

// Beside is a file of the data directory that is not the store's, and goes into its backups.
type Beside struct {
	Name string // in the data directory, and in the backup
	// Copy writes the file, as it is at one moment, to a path where there is nothing.
	Copy func(ctx context.Context, path string) error
}

// copySuffix is what the copy of a file beside the store is called by, as long as a backup is made of it.
const copySuffix = ".backup"

// copyBeside makes the copies; they are to be removed afterwards, also after an error.
func (s *Store) copyBeside(ctx context.Context, beside []Beside) (parts []part, err error) {
	for _, b := range beside {
		path := filepath.Join(s.dir, b.Name+copySuffix)
		if err := ignoreMissing(s.sys.Remove(path)); err != nil { // of a process that was killed
			return parts, err
		}
		if err := b.Copy(ctx, path); err != nil {
			return parts, err
		}
		f, err := s.sys.Open(path, false)
		if err != nil {
			return parts, err
		}
		size, err := f.Size()
		parts = append(parts, part{name: b.Name, path: path, file: f, size: size, full: size})
		if err != nil {
			return parts, err
		}
	}
	return parts, nil
}

const manifestName = "MANIFEST.json"

// manifest is the last entry of a backup.
type manifest struct {
	Format int               `json:"format"`
	ID     string            `json:"id"`
	Taken  time.Time         `json:"taken"`
	SHA256 map[string]string `json:"sha256"` // by name of the entry, in hexadecimal
}

// part is one entry of a backup.
type part struct {
	name string    // in the archive
	path string    // of the file; "" = data
	file file.File // it may be gone later, and is open; nil = it is opened when its turn comes
	size int64     // of what is written of it
	full int64     // of the file, which ends in zeros
	data []byte
}

// fullSize is what an archive entry tells of a file that was made larger than what is in it.
const fullSize = "SAPWOOD.size"

// Backup writes the store as it is now. It goes on taking messages meanwhile, but gives back no space. What comes out can be
// restored on another machine. What is beside the store is as it was a moment before. progress, which may be nil, is told bytes.
func (s *Store) Backup(ctx context.Context, w io.Writer, progress func(done, total int64), beside ...Beside) (err error) {
	var m manifest
	var parts []part
	defer func() {
		for _, b := range beside {
			err = errors.Join(err, ignoreMissing(s.sys.Remove(filepath.Join(s.dir, b.Name+copySuffix))))
		}
	}()
	defer func() {
		for _, p := range parts {
			if p.file != nil {
				err = errors.Join(err, p.file.Close())
			}
		}
	}()
	others, err := s.copyBeside(ctx, beside)
	parts = others
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	pin := s.wal.NewReader() // what is dropped from now on stays as it is until the end
	defer pin.Close()
	if err := s.upkeep.maintaining(ctx, func() (err error) {
		m = manifest{Format: Format, ID: s.id.ID, Taken: time.Now().UTC(), SHA256: map[string]string{}}
		kept, err := s.parts()
		parts = append(kept, others...)
		return err
	}); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if err := s.writeBackup(ctx, w, m, parts, progress); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	return nil
}

// parts tells what belongs to a backup, on the maintenance goroutine. Segments are pinned and opened one by one; the checkpoint is
// open.
func (s *Store) parts() (parts []part, err error) {
	if err := s.upkeep.save(); err != nil {
		return nil, err
	}
	id := s.id
	id.Begun = true
	b, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	parts = append(parts, part{name: markerName, data: append(b, '\n'), size: int64(len(b)) + 1})
	newest := s.upkeep.kept[0]
	path := filepath.Join(storeDir(s.dir), newest.name())
	f, err := s.sys.Open(path, false)
	if err != nil {
		return parts, err
	}
	size, err := f.Size()
	parts = append(parts, part{name: "store/" + newest.name(), path: path, file: f, size: size, full: size})
	if err != nil {
		return parts, err
	}
	s.mu.Lock() // what is needed is needed as of one place in the log
	defer s.mu.Unlock()
	for _, g := range s.wal.Segments() {
		needed := s.index.Live(g.Number) > 0 || !g.Cold && g.Number >= newest.from.Segment
		if !needed || !g.Cold && g.Number > s.applied.Segment {
			continue
		}
		end := g.End
		if g.Number == s.applied.Segment {
			end = int64(s.applied.Offset)
		}
		name := segmentFile(g.Number)
		parts = append(parts, part{name: "store/" + name, path: filepath.Join(storeDir(s.dir), name), size: min(end, g.Size), full: g.Size})
	}
	return parts, nil
}

func (s *Store) writeBackup(ctx context.Context, w io.Writer, m manifest, parts []part, progress func(done, total int64)) error {
	var done, total int64
	for _, p := range parts {
		total += p.size
	}
	buffered := bufio.NewWriterSize(w, 256<<10)
	t := tar.NewWriter(buffered)
	buf := make([]byte, 256<<10)
	for _, p := range parts {
		h := &tar.Header{Name: p.name, Mode: 0o600, Size: p.size, ModTime: m.Taken, Format: tar.FormatPAX}
		if p.full > p.size {
			h.PAXRecords = map[string]string{fullSize: strconv.FormatInt(p.full, 10)}
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		sum := sha256.New()
		err := s.copyPart(ctx, io.MultiWriter(sum, t), &p, buf, func(n int) {
			done += int64(n)
			report(progress, done, total)
		})
		if err != nil {
			return err
		}
		m.SHA256[p.name] = hex.EncodeToString(sum.Sum(nil))
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: manifestName, Mode: 0o600, Size: int64(len(b)), ModTime: m.Taken}); err != nil {
		return err
	}
	if _, err := t.Write(b); err != nil {
		return err
	}
	return errors.Join(t.Close(), buffered.Flush())
}

// copyPart writes what an entry holds.
func (s *Store) copyPart(ctx context.Context, w io.Writer, p *part, buf []byte, wrote func(n int)) error {
	var src io.ReaderAt = bytes.NewReader(p.data)
	switch {
	case p.file != nil:
		src = p.file
	case p.path != "":
		f, err := s.sys.Open(p.path, false)
		if err != nil {
			return err
		}
		defer f.Close() // it was read only
		src = f
	}
	for at := int64(0); at < p.size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		b := buf[:min(p.size-at, int64(len(buf)))]
		if n, err := src.ReadAt(b, at); n < len(b) {
			return fmt.Errorf("read %s: %w", p.name, err)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		at += int64(len(b))
		wrote(len(b))
	}
	return nil
}

func report(progress func(done, total int64), done, total int64) {
	if progress != nil {
		progress(done, total)
	}
}

// restoring is a backup on its way into a directory.
type restoring struct {
	sys  file.System
	dir  string
	sums map[string]string
	mark []byte
	done int64
	tell func(done, total int64)

	beside []string // the files beside the store that a backup may hold
}

// Restore puts a backup into a data directory that holds no store. Before all of it is there and every checksum is
// right, the directory is none either. sys is nil for the operating system's files. progress is told bytes; the total is not known (0).
// beside names the files beside the store that the backup may hold; none of them may be there.
func Restore(ctx context.Context, r io.Reader, dir string, sys file.System, progress func(done, total int64), beside ...string) error {
	if sys == nil {
		sys = file.OS()
	}
	if _, err := readMarker(sys, dir); !errors.Is(err, errNoMarker) {
		return errors.Join(err, fmt.Errorf("%s belongs to a store already: restore into another directory, or move this one away", dir))
	}
	re := restoring{sys: sys, dir: dir, sums: map[string]string{}, tell: progress, beside: beside}
	if err := re.begin(); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := re.unpack(ctx, tar.NewReader(bufio.NewReaderSize(r, 256<<10))); err != nil {
		return errors.Join(fmt.Errorf("restore: %w", err), re.remove(), re.end())
	}
	if err := errors.Join(sys.SyncDir(storeDir(dir)), sys.SyncDir(dir)); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := writeFile(sys, filepath.Join(dir, markerName), re.mark); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := re.end(); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// restoringName is a file that is there while a restore is under way. With no marker beside it what the directory holds is part of
// a store at best.
const restoringName = "restoring"

// interrupted tells whether a restore into a directory without a marker did not come to its end.
func interrupted(sys file.System, dir string) (bool, error) {
	f, err := sys.Open(filepath.Join(dir, restoringName), false)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// begin makes the directory ready, and takes away what an interrupted restore left there.
func (re *restoring) begin() error {
	again, err := interrupted(re.sys, re.dir)
	if err != nil {
		return err
	}
	if again {
		return re.remove()
	}
	if data, err := hasData(re.sys, re.dir); err != nil || data {
		return errors.Join(err, fmt.Errorf("%s holds a store already: restore into another directory, or move this one away", re.dir))
	}
	for _, name := range re.beside {
		f, err := re.sys.Open(filepath.Join(re.dir, name), false)
		if err == nil {
			return errors.Join(fmt.Errorf("%s holds %s already: restore into another directory, or move this one away", re.dir, name), f.Close())
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := re.sys.MakeDir(storeDir(re.dir)); err != nil {
		return err
	}
	return writeFile(re.sys, filepath.Join(re.dir, restoringName), []byte("a restore is under way\n"))
}

// end tells that nothing is half done any more.
func (re *restoring) end() error {
	return errors.Join(ignoreMissing(re.sys.Remove(filepath.Join(re.dir, restoringName))), re.sys.SyncDir(re.dir))
}

// unpack writes the entries and compares them with the manifest.
func (re *restoring) unpack(ctx context.Context, t *tar.Reader) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return errors.New("the backup ends before its manifest: it is incomplete")
		}
		if err != nil {
			return fmt.Errorf("this is no backup, or it is damaged: %w", err)
		}
		if _, twice := re.sums[h.Name]; twice || h.Typeflag != tar.TypeReg {
			return fmt.Errorf("%q is in it twice, or is no plain file: it does not belong in a backup", h.Name)
		}
		sum := sha256.New()
		kept, inStore := strings.CutPrefix(h.Name, "store/")
		switch {
		case h.Name == manifestName:
			return re.compare(io.LimitReader(t, 64<<20))
		case h.Name == markerName:
			re.mark, err = io.ReadAll(io.TeeReader(io.LimitReader(t, 4096), sum))
		case inStore && ofStore(kept):
			err = re.file(filepath.Join(storeDir(re.dir), kept), h.PAXRecords[fullSize], t, sum)
		case slices.Contains(re.beside, h.Name):
			err = re.file(filepath.Join(re.dir, h.Name), "", t, sum)
		default:
			return fmt.Errorf("%q does not belong in a backup", h.Name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		re.sums[h.Name] = hex.EncodeToString(sum.Sum(nil))
	}
}

// ofStore tells whether a name is one that the store gives to a segment or a checkpoint. No other becomes a path.
func ofStore(name string) bool {
	digits := strings.TrimPrefix(strings.TrimSuffix(name, ".seg"), checkpointPrefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	return err == nil && (name == segmentFile(uint32(n)) || name == checkpoint{number: uint32(n)}.name())
}

// file writes one file, which is full bytes long if that is not empty.
func (re *restoring) file(name, full string, r io.Reader, sum hash.Hash) error {
	f, err := re.sys.Create(name)
	if err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for at := int64(0); err == nil; {
		var n int
		n, err = io.ReadFull(r, buf)
		if n > 0 {
			sum.Write(buf[:n])
			if _, failed := f.WriteAt(buf[:n], at); failed != nil {
				return errors.Join(failed, f.Close())
			}
			at += int64(n)
			re.done += int64(n)
			report(re.tell, re.done, 0)
		}
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.Join(err, f.Close())
	}
	err = nil
	if size, bad := strconv.ParseInt(full, 10, 64); bad == nil {
		err = f.Truncate(size)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// compare checks what was written against the manifest.
func (re *restoring) compare(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("read its manifest: %w", err)
	}
	if m.Format > Format {
		return fmt.Errorf("it was made by a newer Sapwood (storage format %d, and this one knows up to %d)", m.Format, Format)
	}
	if len(m.SHA256) != len(re.sums) || re.mark == nil {
		return fmt.Errorf("its manifest names %d files, and it holds %d", len(m.SHA256), len(re.sums))
	}
	for name, want := range m.SHA256 {
		if re.sums[name] != want {
			return fmt.Errorf("%s fails its checksum", name)
		}
	}
	return nil
}

// remove takes away what a restore that failed has written.
func (re *restoring) remove() error {
	var left error
	for _, name := range re.beside {
		left = errors.Join(left, ignoreMissing(re.sys.Remove(filepath.Join(re.dir, name))))
	}
	files, err := re.sys.List(storeDir(re.dir))
	if errors.Is(err, fs.ErrNotExist) {
		return left
	}
	err = errors.Join(err, left)
	for _, f := range files {
		if ofStore(f.Name) {
			err = errors.Join(err, re.sys.Remove(filepath.Join(storeDir(re.dir), f.Name)))
		}
	}
	return errors.Join(err, re.sys.SyncDir(storeDir(re.dir)))
}

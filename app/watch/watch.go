// Package watch tells which files have new contents, by looking at them from time to time: that works on every file system, for
// files that are replaced by a rename, and for links that are turned to another directory, as Kubernetes does. It
// starts nothing by itself and knows nothing of what is in a file.
package watch

import (
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"time"
)

// Poller remembers what files held. The zero value has looked at none. It is for one goroutine.
type Poller struct {
	// Since is when the owner read the files that Changed is asked about for the first time: what was written since then, or
	// just before, counts as changed. Changed moves it on to its last call. The zero value takes files as they are found.
	Since time.Time

	files map[string]*file
}

// content identifies what is in a file; the zero value is a file that cannot be read.
type content [sha256.Size]byte

type file struct {
	info    fs.FileInfo // of the last read
	read    time.Time
	is      content // what the last look found
	told    content // what the owner knows of
	waiting bool    // is differs from told, and is to be seen once more
}

// settled is how old a file must be for its time of modification to tell all later changes.
const settled = 2 * time.Second

// Changed looks at the files and tells which have new contents since it told of them last, or since it saw them first. What it finds
// has to be there at two looks in a row, so that nobody reads a file that is just being written. A file that went
// away has changed too. Files that are not named any more are forgotten.
func (p *Poller) Changed(paths []string) []string {
	next := make(map[string]*file, len(paths))
	var changed []string
	began := time.Now()
	for _, path := range paths {
		if next[path] != nil {
			continue
		}
		f := p.files[path]
		if f == nil {
			f = &file{}
			f.look(path)
			f.told = f.is
			if !p.Since.IsZero() && f.info != nil && f.info.ModTime().After(p.Since.Add(-grain(f.info.ModTime()))) {
				f.told, f.waiting = content{}, true
			}
		} else if f.changed(path) {
			changed = append(changed, path)
		}
		next[path] = f
	}
	p.files = next
	if !p.Since.IsZero() {
		p.Since = began
	}
	return changed
}

// grain is how much later than its time of modification a file may have been written: systems take that from a clock that ticks, or keep
// whole seconds only.
func grain(modified time.Time) time.Duration {
	if modified.Nanosecond() == 0 {
		return settled
	}
	return 20 * time.Millisecond
}

func (f *file) changed(path string) bool {
	before := f.is
	f.look(path)
	if f.is == f.told {
		f.waiting = false
		return false
	}
	if !f.waiting || f.is != before {
		f.waiting = true
		return false
	}
	f.waiting, f.told = false, f.is
	return true
}

// look reads the file if it may have changed since it was read.
func (f *file) look(path string) {
	info, err := os.Stat(path)
	if err != nil {
		f.info, f.is = nil, content{}
		return
	}
	if f.info != nil && os.SameFile(f.info, info) && f.info.ModTime().Equal(info.ModTime()) &&
		f.info.Size() == info.Size() && f.read.Sub(info.ModTime()) > settled {
		return
	}
	f.info, f.read = info, time.Now()
	f.is = sum(path)
}

func sum(path string) (c content) {
	in, err := os.Open(path)
	if err != nil {
		return c
	}
	defer in.Close()
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return c
	}
	return content(h.Sum(nil))
}

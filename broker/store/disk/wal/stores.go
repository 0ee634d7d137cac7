package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file"
)

// Stores counts the segments of a directory by the store that they belong to; those whose header cannot be read are left
// out. A directory that does not exist has none. An error is ErrNewer, or a directory that cannot be listed.
func Stores(sys file.System, dir string) (map[[16]byte]int, error) {
	d := newFolder(sys, dir, Options{})
	infos, err := sys.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	stores := map[[16]byte]int{}
	for _, info := range infos {
		if _, ok := segmentNumber(info.Name); !ok {
			continue
		}
		h, err := d.header(info.Name)
		switch {
		case errors.Is(err, ErrNewer):
			return nil, fmt.Errorf("%s: %w", d.path(info.Name), err)
		case err == nil:
			stores[h.store]++
		}
	}
	return stores, nil
}

func (d *folder) header(name string) (header, error) {
	f, err := d.sys.Open(d.path(name), false)
	if err != nil {
		return header{}, err
	}
	defer f.Close()
	b := make([]byte, headerUsed)
	if n, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return header{}, err
	} else {
		return parseHeader(b[:n])
	}
}

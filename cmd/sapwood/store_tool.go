package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sapwood-mqtt/sapwood/app"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/lock"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/fleet/sqlite"
)

// storeFlags say which store is meant.
type storeFlags struct {
	place
	reach.APIFlags
}

// storeTool is a store, of a running or of a stopped broker. Progress is in bytes.
type storeTool interface {
	Status(ctx context.Context) (disk.Status, error)
	Check(ctx context.Context, progress func(done, total int64)) (disk.Report, error)
	Compact(ctx context.Context, progress func(done, total int64)) (disk.Compacted, error)
	Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) error
	Export(ctx context.Context, w io.Writer) error
}

// open finds the store that the flags mean.
func (f *storeFlags) open() (storeTool, error) {
	dir := ""
	cfg := app.Config{}
	if f.URL == "" {
		var err error
		if cfg, _, err = f.load(); err != nil {
			return nil, err
		}
		dir = cfg.Data
	}
	running, err := f.Broker(dir)
	if err != nil {
		return nil, err
	}
	if running == nil {
		return atRest{cfg}, nil
	}
	return remote{running}, nil
}

// into opens what is to be read into a data directory, and makes sure that nobody else is there.
func (p *place) into(file string, std *streams) (app.Config, io.ReadCloser, error) {
	cfg, _, err := p.load()
	if err != nil {
		return cfg, nil, err
	}
	holder, held, err := lock.Who(cfg.Data)
	if held {
		return cfg, nil, fmt.Errorf("a broker (pid %d) has %s: stop it, or name another directory with --data", holder.PID, cfg.Data)
	}
	if err != nil {
		return cfg, nil, err
	}
	if file == "-" {
		return cfg, io.NopCloser(std.in), nil
	}
	in, err := os.Open(file)
	return cfg, in, err
}

// atRest is the store of a broker that does not run.
type atRest struct{ cfg app.Config }

// marker is the file that a data directory with a store has (docs/storage-format.md).
const marker = "store.json"

// there says so when there is no store, before anything would make one.
func (s atRest) there() error {
	if _, err := os.Stat(filepath.Join(s.cfg.Data, marker)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no store; name the data directory of a broker with --data, or one elsewhere with --url", s.cfg.Data)
	}
	return nil
}

// with opens the store for f, at the safe level: a tool has no acknowledgements to be quick about.
func (s atRest) with(f func(*disk.Store) error) error {
	d, err := disk.Open(s.cfg.Data, disk.Fsync, s.cfg.Storage, disk.Options{})
	if err != nil {
		return app.CannotStore(s.cfg.Data, err)
	}
	return errors.Join(f(d), d.Close())
}

// Status implements storeTool.
func (s atRest) Status(context.Context) (v disk.Status, err error) {
	if err := s.there(); err != nil {
		return v, err
	}
	err = s.with(func(d *disk.Store) error { v = d.Status(); return nil })
	return v, err
}

// Check implements storeTool.
func (s atRest) Check(ctx context.Context, progress func(done, total int64)) (disk.Report, error) {
	if err := s.there(); err != nil {
		return disk.Report{}, err
	}
	return disk.CheckDir(ctx, s.cfg.Data, s.cfg.Storage, progress)
}

// Compact implements storeTool.
func (s atRest) Compact(ctx context.Context, progress func(done, total int64)) (v disk.Compacted, err error) {
	if err := s.there(); err != nil {
		return v, err
	}
	err = s.with(func(d *disk.Store) (err error) { v, err = d.Compact(ctx, progress); return err })
	return v, err
}

// Backup implements storeTool.
func (s atRest) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) error {
	if err := s.there(); err != nil {
		return err
	}
	return s.with(func(d *disk.Store) error {
		if _, err := os.Stat(filepath.Join(s.cfg.Data, sqlite.File)); errors.Is(err, fs.ErrNotExist) { // of a version without users
			return d.Backup(ctx, w, progress)
		}
		db, err := sqlite.Open(ctx, s.cfg.Data)
		if err != nil {
			return err
		}
		return errors.Join(d.Backup(ctx, w, progress, app.InBackups(db)), db.Close())
	})
}

// Export implements storeTool.
func (s atRest) Export(ctx context.Context, w io.Writer) error {
	if err := s.there(); err != nil {
		return err
	}
	return disk.ExportDir(ctx, s.cfg.Data, s.cfg.Storage, w, nil)
}

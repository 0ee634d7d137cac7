package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/lock"
)

// openStore opens what keeps, and notes what was found there.
func (a *App) openStore(context.Context) error {
	kept, onDisk, err := openStore(a.cfg, a.log)
	if err != nil {
		return CannotStore(a.cfg.Data, err)
	}
	a.store, a.disk = kept, onDisk
	a.open.add("store", func(context.Context) error { return kept.Close() })
	if err := readOnly(kept); err != nil {
		return CannotStore(a.cfg.Data, err)
	}
	if onDisk == nil {
		return nil
	}
	if what := unsafeFor(a.cfg.Data); what != "" {
		a.found.Warnings = append(a.found.Warnings, "the data directory "+a.cfg.Data+" is on "+what)
		a.log.Warn("the durability cannot be promised here", "data", a.cfg.Data, "because", "it is on "+what)
	}
	return nil
}

// count notes what the store holds and what of it is damaged.
func (a *App) count() {
	s := a.store.Stats()
	a.found.Sessions, a.found.Messages, a.found.Retained = s.Sessions, s.Messages, s.Retained
	if a.disk != nil {
		a.found.Damage = a.disk.Status().Damage
	}
}

// readOnly is why a store will keep nothing however long one waits; nil when it does, or may again: a full disk gets room.
func readOnly(s store.Store) error {
	if err := s.Health(); errors.Is(err, syscall.EROFS) {
		return err
	}
	return nil
}

// long is how long a start takes before it says that it goes on, and how often it says so.
const long = 2 * time.Second

// sayThatItTakesLong writes a line from time to time until the function that it returns has been called.
func (a *App) sayThatItTakesLong() (done func()) {
	if a.cfg.Durability == Memory {
		return func() {}
	}
	ended, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(long)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				a.log.Info("reading the store", "data", a.cfg.Data, "since", time.Since(a.began).Round(time.Second))
			case <-ended:
				return
			}
		}
	}()
	return func() { close(ended); <-gone }
}

// CannotStore turns what the engine said about a data directory into what a person can do about it.
func CannotStore(dir string, err error) *SettingError {
	e := &SettingError{Key: "data", Value: dir, Err: err}
	const another = ", or name another directory with --data"
	var held *lock.HeldError
	switch {
	case errors.As(err, &held):
		e.Why, e.Fix = "another process has it", "stop that one"+another
		if held.PID != 0 {
			e.Why = fmt.Sprintf("pid %d on host %s has it since %s", held.PID, held.Host, held.Started.Local().Format(time.DateTime))
		}
		if held.HTTP != "" {
			e.Why += ", with its API at " + held.HTTP
		}
	case errors.Is(err, syscall.EROFS):
		e.Why, e.Fix = "the file system is read-only", "mount it for writing"+another
	case errors.Is(err, fs.ErrPermission):
		e.Why, e.Fix = "this user may not write there", "give it to the user that runs sapwood (chown)"+another
	case errors.Is(err, syscall.ENOTDIR):
		e.Why, e.Fix = "it, or a part of its path, is no directory", "move that away"+another
	default: // the engine says what to do
		e.Why = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return e
}

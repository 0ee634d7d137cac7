//go:build linux

package process

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
)

// Mode is one way to treat a broker.
type Mode struct {
	Name   string
	What   string // in words
	Small  bool   // the data are on a small disk
	Bulk   int    // load.Options.Bulk
	Denies bool   // a broker that stores anything has to refuse messages
	fault  func(*run) error
}

// Modes lists them all. Those that need a mount are done without where mounts are not allowed, by making every write
// of the process fail.
func Modes() []Mode {
	modes := []Mode{
		{Name: "kill", What: "SIGKILL at any moment", fault: (*run).kill},
		{Name: "early", What: "SIGKILL, and again up to three times while it starts", fault: (*run).early},
		{Name: "term", What: "SIGTERM", fault: (*run).term},
		{Name: "pause", What: "SIGSTOP, SIGCONT after up to a second", fault: (*run).pause},
		{Name: "writes-fail", What: "every write to a file fails for a while", Denies: true, fault: (*run).writesFail},
		{Name: "writes-fail-kill", What: "every write fails, SIGKILL meanwhile", Denies: true, fault: (*run).writesFailKill},
	}
	if !Mounts() {
		return modes
	}
	return append(modes,
		Mode{Name: "full", What: "disk full for a while", Small: true, Bulk: bulk, Denies: true, fault: (*run).full},
		Mode{Name: "full-kill", What: "disk full, SIGKILL and start meanwhile", Small: true, Bulk: bulk, Denies: true, fault: (*run).fullKill},
		Mode{Name: "read-only", What: "SIGKILL, disk read-only as it starts", Small: true, fault: (*run).readOnly},
	)
}

const ms = time.Millisecond

// bulk is so much that what a store has set aside for itself is full in less than a second.
const bulk = 10000

func (r *run) kill() error { return errors.Join(r.broker.Kill(), r.restart()) }

func (r *run) term() error { return errors.Join(r.broker.Terminate(), r.restart()) }

func (r *run) restart() error {
	if err := r.broker.Start(); err != nil {
		return err
	}
	return r.broker.Ready(r.ctx)
}

// early kills the broker while it starts: it must find what it found before.
func (r *run) early() error {
	if err := r.broker.Kill(); err != nil {
		return err
	}
	for range 1 + r.rng.IntN(3) {
		if err := r.broker.Start(); err != nil {
			return err
		}
		r.wait(0, 80*ms)
		if err := r.broker.Kill(); err != nil {
			return err
		}
	}
	return r.restart()
}

func (r *run) pause() error {
	if err := pause(r.broker.cmd.Process); err != nil {
		return err
	}
	r.wait(20*ms, 1000*ms)
	return resume(r.broker.cmd.Process)
}

// faulty does something while the disk fails, and waits until all is well again: the broker has to recover by itself.
func (r *run) faulty(what string, begin, meanwhile, end func() error) error {
	r.log.Add(history.Event{Kind: history.Faulty, Topic: what})
	if err := begin(); err != nil {
		return err
	}
	r.wait(200*ms, 1000*ms)
	err := meanwhile()
	if err := errors.Join(err, end()); err != nil {
		return fmt.Errorf("while the disk fails (%s): %w", what, err)
	}
	r.wait(0, 300*ms)
	if err := r.settle(); err != nil {
		return err
	}
	r.log.Add(history.Event{Kind: history.Healed})
	return nil
}

func (r *run) writesFail() error {
	limit := func(on bool) func() error {
		return func() error { return limitWrites(r.broker.cmd.Process.Pid, on) }
	}
	return r.faulty("writes fail", limit(true), r.broker.Alive, limit(false))
}

// writesFailKill: the next process has its writes back.
func (r *run) writesFailKill() error {
	begin := func() error { return limitWrites(r.broker.cmd.Process.Pid, true) }
	return r.faulty("writes fail", begin, r.kill, func() error { return nil })
}

func (r *run) full() error { return r.faulty("full", r.disk.fill, r.broker.Alive, r.disk.free) }

func (r *run) fullKill() error {
	return r.faulty("full", r.disk.fill, func() error {
		err := r.kill()
		r.wait(100*ms, 300*ms)
		return err
	}, r.disk.free)
}

// readOnly: a broker on a disk that nobody can write to starts, or says why not.
func (r *run) readOnly() error {
	begin := func() error { return errors.Join(r.broker.Kill(), r.disk.readOnly(true), r.broker.Start()) }
	ended := false
	meanwhile := func() error {
		err := r.broker.Alive()
		if ended = err != nil; ended && strings.Contains(r.broker.Output(), "read-only") {
			return nil
		}
		return err
	}
	return r.faulty("read-only", begin, meanwhile, func() error {
		err := r.disk.readOnly(false)
		if err == nil && ended {
			err = r.restart()
		}
		return err
	})
}

//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
	"github.com/sapwood-mqtt/sapwood/test/chaos/load"
)

// Config is one run: a new broker, a new crowd, and a number of faults.
type Config struct {
	Server Server
	Mode   Mode
	Cycles int // faults
	Seed   uint64
	Dir    string        // for everything, empty at first
	Pace   time.Duration // load.Options.Pace
}

// Result is what a run came to.
type Result struct {
	history.Figures
	Cycles     int // that were gone through
	Tidied     int // times that the broker was had to tidy up and came to an end with it
	Violations []history.Violation
	Failure    error // the broker did not start, stop, recover or answer
	Log        *history.Log
}

// Bad tells that something was found.
func (r *Result) Bad() bool { return r.Failure != nil || len(r.Violations) > 0 }

// Save writes the history, with what was found in front, and returns the file's name.
func (r *Result) Save(name string) (string, error) {
	f, err := os.CreateTemp("", "chaos-"+name+"-*.txt")
	if err != nil {
		return "", err
	}
	if r.Failure != nil {
		fmt.Fprintf(f, "%v\n\n", r.Failure)
	}
	for _, v := range r.Violations {
		fmt.Fprintf(f, "%s\n\n", v)
	}
	events := r.Log.Events()
	for i := range events {
		fmt.Fprintf(f, "%s\n", &events[i])
	}
	return f.Name(), f.Close()
}

// run is one under way.
type run struct {
	ctx    context.Context
	rng    *rand.Rand
	log    *history.Log
	broker *Broker
	disk   *smallDisk
	load   *load.Load

	tidy    func(context.Context) error
	tidying sync.WaitGroup
	tidied  int // times that tidying came to its end
}

// smallDiskBytes is room for a run, and little enough to be filled at once.
const smallDiskBytes = 128 << 20

// Run carries out a run. An error is one of the test itself; what is wrong with the broker is in the result.
func Run(ctx context.Context, c Config) (result Result, err error) {
	r := &run{ctx: ctx, rng: rand.New(rand.NewPCG(c.Seed, 0)), log: history.NewLog()}
	conf, data := filepath.Join(c.Dir, "conf"), filepath.Join(c.Dir, "data")
	if err := errors.Join(os.MkdirAll(conf, 0o700), os.MkdirAll(data, 0o700)); err != nil {
		return result, err
	}
	if c.Mode.Small {
		if r.disk, err = newSmallDisk(data, smallDiskBytes); err != nil {
			return result, err
		}
		defer func() { err = errors.Join(err, r.disk.close()) }()
	}
	if r.broker, err = New(c.Server, conf, filepath.Join(data, "broker"), r.log); err != nil {
		return result, err
	}
	defer r.broker.Close()
	if c.Server.Tidy != nil {
		r.tidy = func(ctx context.Context) error { return c.Server.Tidy(ctx, filepath.Join(data, "broker")) }
	}
	if err := r.restart(); err != nil {
		return result, err
	}
	r.load = load.Start(load.Options{Dial: r.broker.Dial, Log: r.log, Seed: c.Seed, Pace: c.Pace, Bulk: c.Mode.Bulk})
	result.Failure = r.cycles(&c, &result.Cycles)
	r.tidying.Wait()
	result.Tidied = r.tidied
	r.log.Add(history.Event{Kind: history.End})
	r.load.Stop()
	if result.Failure == nil {
		result.Failure = r.broker.Terminate()
	}
	result.Log = r.log
	result.Violations = history.Check(r.log.Events())
	result.Figures = history.Count(r.log.Events(), result.Violations)
	return result, nil
}

// settleEvery is after how many faults everybody is given the time to finish; in between, they pile up.
const settleEvery = 3

func (r *run) cycles(c *Config, done *int) error {
	for i := range c.Cycles {
		r.load.Resume()
		if i%2 == 0 {
			r.tidyUp()
		}
		r.wait(150*ms, 600*ms)
		if err := errors.Join(r.broker.Alive(), r.ctx.Err()); err != nil {
			return err
		}
		if err := c.Mode.fault(r); err != nil {
			return fmt.Errorf("%s: %w", c.Mode.Name, err)
		}
		*done++
		if i%settleEvery == settleEvery-1 && i < c.Cycles-1 {
			if err := r.settle(); err != nil {
				return err
			}
		}
	}
	return r.settle()
}

// tidyTime bounds one tidying.
const tidyTime = 5 * time.Second

// tidyUp has the broker tidy up, beside everything else, and at a moment when anything may happen to it.
func (r *run) tidyUp() {
	if r.tidy == nil {
		return
	}
	r.tidying.Wait() // the one before
	ctx, cancel := context.WithTimeout(r.ctx, tidyTime)
	delay := time.Duration(r.rng.Int64N(int64(300 * ms)))
	r.tidying.Go(func() {
		defer cancel()
		<-time.After(delay)
		if r.tidy(ctx) == nil { // it fails with the broker
			r.tidied++
		}
	})
}

// settleTime is how long everybody may take to finish, and the broker to recover.
const settleTime = 2 * time.Minute

// settle brings everything to rest.
func (r *run) settle() error {
	ctx, cancel := context.WithTimeout(r.ctx, settleTime)
	defer cancel()
	return errors.Join(r.load.Settle(ctx), r.broker.Alive())
}

// wait waits some time from least to most.
func (r *run) wait(least, most time.Duration) {
	t := time.NewTimer(least + time.Duration(r.rng.Int64N(int64(most-least))))
	defer t.Stop()
	select {
	case <-r.ctx.Done():
	case <-t.C:
	}
}

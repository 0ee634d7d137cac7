package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/load"
	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

// What a restart finds.
const (
	pastSessions = 100_000
	pastQueued   = 1_000_000
	pastRetained = 1_000_000
)

// past is what was filled in, and what was measured meanwhile; it lies beside the data that it describes.
type past struct {
	Sessions int `json:"sessions"`
	Queued   int `json:"queued"`
	Retained int `json:"retained"`

	Took            time.Duration `json:"took_ns"`
	SessionMemory   float64       `json:"session_memory"`   // bytes each, restarted on sessions alone
	QueuedMemory    float64       `json:"queued_memory"`    // bytes each, as they came in
	QueuedDisk      float64       `json:"queued_disk"`      // bytes each
	RetainedDisk    float64       `json:"retained_disk"`    // bytes each
	QueuedPerS      float64       `json:"queued_per_s"`     // while filling
	RetainedPerS    float64       `json:"retained_per_s"`   // while filling
	SessionsPerS    float64       `json:"sessions_per_s"`   // while filling
	EmptyMemory     float64       `json:"empty_memory"`     // bytes, of a broker that holds nothing
	SessionsMemory  float64       `json:"sessions_memory"`  // bytes in all, restarted on sessions alone
	MemoryBeforeEnd float64       `json:"memory_at_filled"` // bytes in all, when everything was filled in
}

// restartAll fills a store, or takes one that was kept, kills the broker and measures how it comes back: with what
// it reads still in the page cache, and with none of it there.
func (b *bench) restartAll(ctx context.Context) error {
	p := past{Sessions: int(pastSessions * b.scale), Queued: int(pastQueued * b.scale), Retained: int(pastRetained * b.scale)}
	name := "restart"
	if !b.only.MatchString(name) {
		return nil
	}
	filled := filepath.Join(b.dir, "filled")
	if b.keep != "" {
		filled = b.keep
	}
	if err := b.filled(ctx, filled, &p); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	e := b.report.entry("restart", fmt.Sprintf("restart: %s sessions, %s queued, %s retained",
		load.Number(float64(p.Sessions)), load.Number(float64(p.Queued)), load.Number(float64(p.Retained))), b.sapwood.Name)
	for key, v := range map[string]float64{
		"fill_s":        p.Took.Seconds(),
		"queued_memory": p.QueuedMemory, "queued_disk": p.QueuedDisk, "retained_disk": p.RetainedDisk,
		"sessions_per_s": p.SessionsPerS, "queued_per_s": p.QueuedPerS, "retained_per_s": p.RetainedPerS,
	} {
		e.add(key, v)
	}
	if p.Sessions >= pastSessions/2 { // fewer weigh less than the garbage collector's head room
		e.add("session_memory", p.SessionMemory)
	}
	for round := range b.rounds {
		for _, cold := range []bool{false, true} {
			if err := b.restart(ctx, e, filled, cold, p, round == 0 && cold); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	e.trace(os.Stderr, "fill_s", "warm_s", "cold_s", "ready_cpu_s", "rss_mib", "rss_peak_mib", "session_memory", "queued_memory", "queued_disk", "retained_disk", "checked")
	return nil
}

// restart starts the broker on a copy of what was filled in, and at the last has clients take everything.
func (b *bench) restart(ctx context.Context, e *entry, filled string, cold bool, p past, check bool) error {
	dir := filepath.Join(b.dir, "restart")
	if err := os.CopyFS(dir, os.DirFS(filled)); err != nil {
		return fmt.Errorf("copy the filled store: %w", err)
	}
	defer os.RemoveAll(dir)
	key := "warm_s"
	if cold {
		key = "cold_s"
		if err := coolDown(dir); err != nil {
			return err
		}
	}
	broker := b.sapwood
	broker.Cores = fmt.Sprintf("0-%d", runtime.NumCPU()-1) // there is no load beside it
	r, err := broker.StartIn(ctx, dir)
	if err != nil {
		return err
	}
	defer r.Kill()
	used, err := load.ReadUsage(r.PID())
	if err != nil {
		return err
	}
	_, peak, err := resident(r.PID())
	if err != nil {
		return err
	}
	now, err := memoryAtRest(ctx, r)
	if err != nil {
		return err
	}
	e.add(key, r.Took.Seconds())
	e.add("ready_cpu_s", used.CPU.Seconds())
	e.add("rss_mib", now/(1<<20))
	e.add("rss_peak_mib", float64(peak)/(1<<20))
	if !check {
		return nil
	}
	res, err := b.load(ctx, r, load.Options{Scenario: "fill-check", QoS: 1, Payload: 64, Clients: p.Sessions, Messages: uint64(p.Queued), Topics: p.Retained})
	if err != nil {
		return fmt.Errorf("take everything after the restart: %w", err)
	}
	e.add("checked", float64(res.Tally.Received))
	return nil
}

// coolDown drops the files below dir from the page cache.
func coolDown(dir string) error {
	return filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), forgetPages(f), f.Close())
	})
}

// pastFile tells, beside the data, what it is.
const pastFile = "past.json"

// filled sees to it that dir holds the store of a broker that was killed, with what p says in it.
func (b *bench) filled(ctx context.Context, dir string, p *past) error {
	file := filepath.Join(dir, pastFile)
	if text, err := os.ReadFile(file); err == nil {
		var kept past
		if err := json.Unmarshal(text, &kept); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if kept.Sessions != p.Sessions || kept.Queued != p.Queued || kept.Retained != p.Retained {
			return fmt.Errorf("%s holds %d sessions, %d queued, %d retained: remove it or choose another -keep or -scale", dir, kept.Sessions, kept.Queued, kept.Retained)
		}
		*p = kept
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	began := time.Now()
	if err := b.fillSessions(ctx, dir, p); err != nil {
		return err
	}
	if err := b.fillMessages(ctx, dir, p); err != nil {
		return err
	}
	p.Took = time.Since(began)
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// rest is how long a broker gets to come to rest before its memory is read.
const rest = 2 * time.Second

// memoryAtRest is the resident memory of r after a while.
func memoryAtRest(ctx context.Context, r *peer.Running) (float64, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(rest):
	}
	now, _, err := resident(r.PID())
	return float64(now), err
}

// fillSessions creates the sessions, and weighs them in a broker that was started on them against an empty one.
func (b *bench) fillSessions(ctx context.Context, dir string, p *past) error {
	err := b.during(ctx, dir, func(r *peer.Running) (err error) {
		if p.EmptyMemory, err = memoryAtRest(ctx, r); err != nil {
			return err
		}
		res, err := b.load(ctx, r, load.Options{Scenario: "fill-sessions", QoS: 1, Payload: 64, Clients: p.Sessions})
		if err != nil {
			return err
		}
		p.SessionsPerS, _ = res.Value("create_rate")
		return nil
	})
	if err != nil {
		return err
	}
	return b.during(ctx, dir, func(r *peer.Running) (err error) {
		p.SessionsMemory, err = memoryAtRest(ctx, r)
		p.SessionMemory = (p.SessionsMemory - p.EmptyMemory) / float64(p.Sessions)
		return err
	})
}

// fillMessages queues and retains the messages and kills the broker.
func (b *bench) fillMessages(ctx context.Context, dir string, p *past) error {
	return b.during(ctx, dir, func(r *peer.Running) error {
		before := diskUse(dir)
		res, err := b.load(ctx, r, load.Options{Scenario: "fill-queues", QoS: 1, Payload: 64, Clients: p.Sessions, Messages: uint64(p.Queued)})
		if err != nil {
			return err
		}
		p.QueuedMemory, _ = res.Value("rss_bytes")
		p.QueuedPerS, _ = res.Value("in_rate")
		queued := diskUse(dir)
		p.QueuedDisk = float64(queued-before) / float64(p.Queued)
		res, err = b.load(ctx, r, load.Options{Scenario: "fill-retained", QoS: 1, Payload: 64, Topics: p.Retained})
		if err != nil {
			return err
		}
		p.RetainedPerS, _ = res.Value("set_rate")
		p.RetainedDisk = float64(diskUse(dir)-queued) / float64(p.Retained)
		p.MemoryBeforeEnd, err = memoryAtRest(ctx, r)
		return err
	})
}

// during runs f with the broker on dir and kills it.
func (b *bench) during(ctx context.Context, dir string, f func(*peer.Running) error) error {
	r, err := b.sapwood.StartIn(ctx, dir)
	if err != nil {
		return err
	}
	defer r.Kill()
	return f(r)
}

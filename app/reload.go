package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/app/settings"
)

// reloader is what a reload needs and changes.
type reloader struct {
	source  Source
	level   *slog.LevelVar
	loaded  time.Time // when the source was read first
	history *history

	mu      sync.Mutex // held by a start, a reload, a stop
	started *settings.Set
	now     sync.Mutex // guards what follows, which others read
	cfg     Config
	running *settings.Set
}

// part is a piece of the process that takes a changed configuration while it runs. apply prepares the change and returns
// how to take that back and how to make it hold, which cannot fail; either may be nil. An error changes nothing.
type part struct {
	name  string
	apply func(ctx context.Context, old, changed *Config) (undo, commit func(), err error)
}

// parts are those of this process, in the order in which they are asked.
func (a *App) parts() []part {
	return []part{
		{"limits", a.applyLimits},
		{"listeners", a.applyListeners},
		{"log", a.applyLog},
	}
}

func (a *App) applyLimits(_ context.Context, old, changed *Config) (undo, commit func(), err error) {
	if old.Limits == changed.Limits && old.Delivery == changed.Delivery {
		return nil, nil, nil
	}
	undo = func() { _ = a.broker.SetLimits(old.Limits, old.Delivery) } // they held before
	return undo, nil, a.broker.SetLimits(changed.Limits, changed.Delivery)
}

func (a *App) applyLog(_ context.Context, _, changed *Config) (undo, commit func(), err error) {
	return nil, func() { setLevel(a.reload.level, changed.Log) }, nil
}

// setLevel sets the level that the configuration names, which allows only those that slog knows.
func setLevel(to *slog.LevelVar, cfg Log) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err == nil {
		to.Set(level)
	}
}

// Watched is something that reads files: the app looks at them, and has them read again when they change or a reload is
// asked for. Reload keeps what it has when the new contents are no good, and says why. All of them are in App.watched before
// openReload.
type Watched interface {
	Files() []string
	Reload() error
}

// NewReloading is New for an app whose configuration can be read again. It sets level to the configured one.
func NewReloading(l *Loaded, log *slog.Logger, level *slog.LevelVar) *App {
	a := New(l.Config, log)
	a.reload = &reloader{source: l.Source, level: level, loaded: l.when, started: l.Set, cfg: l.Config, running: l.Set}
	setLevel(level, l.Config.Log)
	return a
}

// openReload begins to remember and to watch, now that everything runs.
func (a *App) openReload() {
	r := a.reload
	if r == nil {
		return
	}
	dir := a.cfg.Data
	if a.disk == nil {
		dir = ""
	}
	r.history = openHistory(dir, r.started, a.began, a.log)
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		a.watch(ctx)
	}()
	a.onStop("file watch", func(context.Context) error { cancel(); <-gone; return nil })
}

// config is the configuration that holds.
func (a *App) config() *Config {
	if a.reload == nil {
		return &a.cfg
	}
	a.reload.now.Lock()
	defer a.reload.now.Unlock()
	cfg := a.reload.cfg
	return &cfg
}

// Reload tells what a reload did.
type Reload struct {
	When    time.Time
	By      string
	Changes []settings.Change // applied, or waiting for a restart as they say
	Refused []string          // files besides whose new contents were no good, and why
}

var errNotReloadable = errors.New("there is no configuration to read again")

// Reload reads file, variables and flags again and applies what differs from what runs. An error, which is settings.Problems
// if the configuration is wrong, means that nothing was changed. by is for the records. Reloads wait for each other, for
// the start and, when the stop has begun, are refused.
func (a *App) Reload(ctx context.Context, by string) (Reload, error) {
	r := a.reload
	if r == nil {
		return Reload{}, errNotReloadable
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if phase := a.phase(); errors.Is(phase, errStopping) || errors.Is(phase, errStarting) { // not even begun, or over
		return Reload{}, phase
	}
	done := Reload{When: time.Now(), By: by}
	loaded, err := r.source.Load()
	if err == nil {
		done.Changes = r.changes(loaded.Set)
		err = a.apply(ctx, &loaded.Config)
	}
	if err != nil {
		a.log.Error("the configuration stays as it is", "by", by, "error", err)
		return done, err
	}
	r.now.Lock()
	before := &r.cfg
	warned := before.Warnings()
	r.cfg, r.running = loaded.Config, loaded.Set
	r.now.Unlock()
	r.history.note(loaded.Set, done)
	for _, w := range loaded.Config.Warnings() {
		if !slices.Contains(warned, w) {
			a.log.Warn(w)
		}
	}
	for _, w := range a.watched {
		if err := w.Reload(); err != nil {
			done.Refused = append(done.Refused, err.Error())
			a.log.Error("files stay as they were read before", "error", err)
		}
	}
	a.tell(done)
	return done, nil
}

// wait returns when the reload that runs has ended. When the stop has begun, no other begins.
func (r *reloader) wait() {
	r.mu.Lock()
	defer r.mu.Unlock()
}

// changes are what is different in a set from what runs; what needs a restart, from what was started.
func (r *reloader) changes(next *settings.Set) []settings.Change {
	live := slices.DeleteFunc(settings.Diff(r.running, next), func(c settings.Change) bool { return c.Restart })
	later := slices.DeleteFunc(settings.Diff(r.started, next), func(c settings.Change) bool { return !c.Restart })
	return append(live, later...)
}

// apply asks all parts, and makes the change hold if none refuses.
func (a *App) apply(ctx context.Context, changed *Config) error {
	old := a.config()
	var undo, commit []func()
	for _, p := range a.parts() {
		back, forth, err := p.apply(ctx, old, changed)
		if err != nil {
			for _, f := range slices.Backward(undo) {
				f()
			}
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if back != nil {
			undo = append(undo, back)
		}
		if forth != nil {
			commit = append(commit, forth)
		}
	}
	for _, f := range commit {
		f()
	}
	return nil
}

// tell writes what a reload did.
func (a *App) tell(done Reload) {
	restart := 0
	for _, c := range done.Changes {
		holds := "now"
		if c.Restart {
			holds = "after a restart"
			restart++
		}
		a.log.Info("setting "+c.Kind, "key", c.Key, "old", c.Old, "new", c.New, "from", c.From.String(), "holds", holds)
	}
	a.log.Info("configuration read again", "by", done.By, "applied", len(done.Changes)-restart, "need_restart", restart)
}

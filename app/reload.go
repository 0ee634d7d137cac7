package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/app/settings"
)

// reloader reads the configuration again and makes it hold.
type reloader struct {
	log      *slog.Logger
	phase    *phase
	source   Source
	level    *slog.LevelVar
	loaded   time.Time // when the source was read first
	parts    []part    // in the order in which they are asked
	watching func() []Watched
	told     func(Reload, error)
	history  *history

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

func (a *App) applyLimits(_ context.Context, old, changed *Config) (undo, commit func(), err error) {
	if old.Limits == changed.Limits && old.Delivery == changed.Delivery && reflect.DeepEqual(old.Rates, changed.Rates) &&
		old.Flapping == changed.Flapping && old.Overload == changed.Overload {
		return nil, nil, nil
	}
	set := func(c *Config) error {
		return errors.Join(a.broker.SetLimits(c.Limits, c.Delivery), a.broker.SetRates(c.Rates), a.broker.SetFlapping(c.Flapping), a.broker.SetOverload(c.Overload))
	}
	undo = func() { _ = set(old) } // they held before
	if err := set(changed); err != nil {
		undo()
		return nil, nil, err
	}
	return undo, nil, nil
}

func (r *reloader) applyLog(_ context.Context, _, changed *Config) (undo, commit func(), err error) {
	return nil, func() { setLevel(r.level, changed.Log) }, nil
}

// setLevel sets the level that the configuration names, which allows only those that slog knows.
func setLevel(to *slog.LevelVar, cfg Log) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err == nil {
		to.Set(level)
	}
}

// Watched is something that reads files: the app looks at them, and has them read again when they change or a reload is
// asked for. Reload keeps what it has when the new contents are no good, and says why.
type Watched interface {
	Files() []string
	Reload() error
}

// NewReloading is New for an app whose configuration can be read again. It sets level to the configured one.
func NewReloading(l *Loaded, log *slog.Logger, level *slog.LevelVar) *App {
	a := New(l.Config, log)
	r := &reloader{log: a.log, phase: &a.phase, source: l.Source, level: level, loaded: l.when, started: l.Set, cfg: l.Config, running: l.Set, watching: a.watching, told: a.tellReloaded}
	r.parts = []part{{"limits", a.applyLimits}, {"authorization", a.rules.apply}, {"listeners", a.doors.apply}, {"log", r.applyLog}}
	a.reload = r
	setLevel(level, l.Config.Log)
	return a
}

// watching is all that reads files.
func (a *App) watching() []Watched {
	all := a.doors.watching()
	if file := a.rules.reads(); file != nil {
		all = append(all, file)
	}
	if a.site.certs != nil {
		all = append(all, a.site.certs)
	}
	return all
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
		r.watch(ctx)
	}()
	a.open.add("file watch", func(context.Context) error { cancel(); <-gone; return nil })
}

// config is the configuration that holds.
func (a *App) config() *Config {
	if a.reload == nil {
		return &a.cfg
	}
	return a.reload.config()
}

func (r *reloader) config() *Config {
	r.now.Lock()
	defer r.now.Unlock()
	cfg := r.cfg
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
	if a.reload == nil {
		return Reload{}, errNotReloadable
	}
	return a.reload.reload(ctx, by)
}

func (r *reloader) reload(ctx context.Context, by string) (Reload, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if phase := r.phase.now(); errors.Is(phase, errStopping) || errors.Is(phase, errStarting) { // not even begun, or over
		return Reload{}, phase
	}
	done := Reload{When: time.Now(), By: by}
	loaded, err := r.source.Load()
	if err == nil {
		done.Changes = r.changes(loaded.Set)
		err = r.apply(ctx, &loaded.Config)
	}
	if err != nil {
		r.log.Error("the configuration stays as it is", "by", by, "error", err)
		r.told(done, err)
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
			r.log.Warn(w)
		}
	}
	for _, w := range r.watching() {
		if err := w.Reload(); err != nil {
			done.Refused = append(done.Refused, err.Error())
			r.log.Error("files stay as they were read before", "error", err)
		}
	}
	r.tell(done)
	r.told(done, nil)
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
func (r *reloader) apply(ctx context.Context, changed *Config) error {
	old := r.config()
	var undo, commit []func()
	for _, p := range r.parts {
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
func (r *reloader) tell(done Reload) {
	restart := 0
	for _, c := range done.Changes {
		holds := "now"
		if c.Restart {
			holds = "after a restart"
			restart++
		}
		r.log.Info("setting "+c.Kind, "key", c.Key, "old", c.Old, "new", c.New, "from", c.From.String(), "holds", holds)
	}
	r.log.Info("configuration read again", "by", done.By, "applied", len(done.Changes)-restart, "need_restart", restart)
}

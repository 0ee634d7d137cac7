package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/fact/memory"
	"github.com/sapwood-mqtt/sapwood/fleet/sqlite"
)

// Events is what is kept of what happened, and who else is told.
type Events struct {
	MaxBytes int64         `yaml:"max_bytes" unit:"bytes" reload:"restart" min:"1048576" doc:"What the events may take on disk (events.db in the data directory); with durability memory at most 64 MiB of memory." exceeded:"the oldest are dropped"`
	MaxAge   time.Duration `yaml:"max_age" reload:"restart" doc:"How long an event is kept; 0s keeps it while there is room." exceeded:"it is dropped"`
}

func defaultEvents() Events {
	return Events{MaxBytes: 1 << 30, MaxAge: 30 * 24 * time.Hour}
}

// inMemory is what facts may take where nothing is kept on disk.
const inMemory = 64 << 20

// openFacts begins to record, before there is a broker that has something to tell; what closes it comes after the broker's end.
func (a *App) openFacts(ctx context.Context) error {
	o := fact.Options{MaxBytes: a.cfg.Events.MaxBytes, MaxAge: a.cfg.Events.MaxAge, Logger: a.log}
	if a.disk == nil {
		o.Store, o.MaxBytes = &memory.Store{}, min(o.MaxBytes, inMemory)
	} else if kept, err := sqlite.OpenFacts(ctx, a.cfg.Data, a.log); err == nil {
		o.Store = kept
	} else { // a full disk keeps no broker from starting
		a.log.Error("events are kept in memory only", "error", err)
		o.Store, o.MaxBytes = &memory.Store{}, min(o.MaxBytes, inMemory)
	}
	r, err := fact.Open(ctx, o)
	if err != nil {
		return errors.Join(err, o.Store.Close())
	}
	a.facts = r
	a.open.add("events", func(ctx context.Context) error {
		if err := r.Close(ctx); err != nil { // what is lost was told to those who watch
			a.log.Warn("the last events may not be kept", "error", err)
		}
		return nil
	})
	return nil
}

// tellStarted records the start, now that all is there.
func (a *App) tellStarted() {
	b := a.Bound()
	a.facts.Record(fact.Fact{
		Kind: fact.Started, Text: fmt.Sprintf("Sapwood %s started and accepts clients at %s.", Version, strings.Join(b.MQTT, ", ")),
		Detail: map[string]string{
			"version": Version, "http": b.HTTP, "durability": string(a.cfg.Durability),
			"sessions": fmt.Sprint(a.found.Sessions), "took": time.Since(a.began).Round(time.Millisecond).String(),
		},
	})
}

// tellStopping records that the stop has begun.
func (a *App) tellStopping() {
	if a.facts != nil {
		a.facts.Record(fact.Fact{Kind: fact.Stopping, Text: "Sapwood stops.", Detail: map[string]string{"uptime": time.Since(a.began).Round(time.Second).String()}})
	}
}

// tellReloaded records what a reload did.
func (a *App) tellReloaded(done Reload, err error) {
	if a.facts == nil {
		return
	}
	f := fact.Fact{Kind: fact.Reloaded, Detail: map[string]string{"by": done.By}}
	var now, later []string
	for _, c := range done.Changes {
		if c.Restart {
			later = append(later, c.Key)
		} else {
			now = append(now, c.Key)
		}
	}
	set := func(name string, keys []string) {
		if len(keys) > 0 {
			f.Detail[name] = strings.Join(keys, " ")
		}
	}
	set("keys", now)
	set("after_restart", later)
	set("refused_files", done.Refused)
	switch {
	case err != nil:
		f.Reason, f.Text, f.Detail["error"] = "refused", "The configuration stays as it is: it could not be read again.", err.Error()
	case len(later) > 0:
		f.Text = fmt.Sprintf("The configuration was read again: %d settings changed, and %d will after a restart.", len(now), len(later))
	default:
		f.Text = fmt.Sprintf("The configuration was read again: %d settings changed.", len(now))
	}
	a.facts.Record(f)
}

// apiFacts is the recorder as the API sees it.
type apiFacts struct{ *fact.Recorder }

// Watch implements api.Facts.
func (f apiFacts) Watch(q fact.Query) api.FactFeed { return f.Recorder.Watch(q) }

package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/fact/journal"
	"github.com/sapwood-mqtt/sapwood/fleet/fact/memory"
	"github.com/sapwood-mqtt/sapwood/fleet/fact/publish"
	"github.com/sapwood-mqtt/sapwood/fleet/fact/webhook"
	"github.com/sapwood-mqtt/sapwood/fleet/sqlite"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Events is what is kept of what happened, and who else is told.
type Events struct {
	MaxBytes int64          `yaml:"max_bytes" unit:"bytes" reload:"restart" min:"1048576" doc:"What the events may take on disk (events.db in the data directory); with durability memory at most 64 MiB of memory." exceeded:"the oldest are dropped"`
	MaxAge   time.Duration  `yaml:"max_age" reload:"restart" doc:"How long an event is kept; 0s keeps it while there is room." exceeded:"it is dropped"`
	Log      journal.Config `yaml:"log" doc:"Events as lines of JSON, in a file or on a standard stream."`
	Webhook  webhook.Config `yaml:"webhook" doc:"A server that is sent events."`
	MQTT     publish.Config `yaml:"mqtt" doc:"MQTT clients that are told events."`
}

func defaultEvents() Events {
	return Events{
		MaxBytes: 1 << 30, MaxAge: 30 * 24 * time.Hour,
		Log: journal.DefaultConfig(), Webhook: webhook.DefaultConfig(), MQTT: publish.DefaultConfig(),
	}
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
		a.lesser = append(a.lesser, "events are kept in memory only: "+err.Error())
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
	return a.openSinks()
}

// sink is where facts go, by the name that its figures have.
type sink struct {
	name string
	fact interface{ Outcome() fact.Outcome }
}

// feed has a sink told the kinds of events that it wants, until the stop.
func (a *App) feed(name string, kinds []string, s fact.Sink) error {
	wanted, err := fact.CheckKinds(kinds)
	if err != nil {
		return err
	}
	if counted, ok := s.(interface{ Outcome() fact.Outcome }); ok {
		a.sinks = append(a.sinks, sink{name, counted})
	}
	stop := a.facts.Feed(fact.Query{Kinds: wanted}, s)
	a.open.add("events to "+name, func(ctx context.Context) error {
		if err := stop(ctx); err != nil {
			a.log.Warn("the last events may not have arrived", "at", name, "error", err)
		}
		return nil
	})
	return nil
}

// openSinks begins to tell others what is recorded. They end after the broker, so that they hear of its end.
func (a *App) openSinks() error {
	if c := a.cfg.Events.Log; c.To != "" {
		j, err := journal.Open(c, os.Stdout, os.Stderr, a.log)
		if err != nil {
			return &SettingError{Key: "events.log.to", Value: c.To, Why: err.Error(), Fix: "name a file that can be written, stderr or stdout", Err: err}
		}
		if err := a.feed("log", c.Kinds, j); err != nil {
			return err
		}
	}
	if s := a.sent.exporter.Facts(); s != nil {
		if err := a.feed("telemetry", nil, s); err != nil {
			return err
		}
	}
	if c := a.cfg.Events.Webhook; c.URL != "" {
		hook, err := webhook.New(c, a.log)
		if err != nil {
			return &SettingError{Key: "events.webhook.ca_file", Value: c.CAFile, Why: err.Error(), Fix: "name a PEM file with certificates of authorities", Err: err}
		}
		return a.feed("webhook", c.Kinds, hook)
	}
	return nil
}

// openPublishing begins to tell MQTT clients, now that there is a broker.
func (a *App) openPublishing(context.Context) error {
	c := a.cfg.Events.MQTT
	if !c.Enabled {
		return nil
	}
	control := a.broker.Control()
	return a.feed("mqtt", c.Kinds, publish.New(func(ctx context.Context, topic string, payload []byte) error {
		_, err := control.Publish(ctx, mqtt.Message{Topic: []byte(topic), Payload: payload})
		return err
	}, a.log))
}

// tellStarted records the start, now that all is there.
func tellStarted(a *App) {
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
func tellStopping(a *App) {
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

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/app"
	"github.com/sapwood-mqtt/sapwood/app/settings"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// place are the flags that say which configuration and data directory are meant.
type place struct{ reach.Place }

func (p *place) load() (app.Config, *settings.Set, error) {
	return (&layers{place: *p}).load()
}

// layers are the flags that say which configuration is meant; serve and explain share them, so that
// explain tells what serve would do.
type layers struct {
	place
	MQTT *string `name:"mqtt" placeholder:"ADDR" help:"Address of the first MQTT listener, host:port or unix:/path; port 0 takes a free one (key listeners[0].address)."`
	HTTP *string `name:"http" placeholder:"ADDR" help:"Address of the HTTP listener, or off (key http.address)."`
}

func (l *layers) load() (app.Config, *settings.Set, error) {
	loaded, err := l.source().Load()
	if err != nil {
		return app.Config{}, nil, err
	}
	return loaded.Config, loaded.Set, nil
}

// source is what the flags, and the variables of this process, make of a configuration.
func (l *layers) source() app.Source {
	given := map[string]*string{"--data": l.Data, "--mqtt": l.MQTT, "--http": l.HTTP}
	flags := map[string]string{}
	for key, flag := range app.Flags() {
		if text := given[flag]; text != nil {
			flags[key] = *text
		}
	}
	return app.Source{File: l.Config, Environ: os.Environ(), Flags: flags}
}

// serveCmd is `sapwood serve`.
type serveCmd struct {
	layers
	JSON bool `help:"Print what it says at the start as one line of JSON."`
}

// Help is the long part of the help page.
func (*serveCmd) Help() string {
	return `Prints where it listens once clients can connect, and what it found in its data directory; runs
until SIGTERM or SIGINT, a second signal ends it at once. SIGHUP, or a change of the configuration file
or of one that it refers to, reads the configuration again and applies it without touching connections; if
anything is wrong with it, nothing changes. Logs go to standard error. A flag is stronger than a SAPWOOD_ variable, a variable stronger than the file.

The first start makes the user admin for the API, with the password in SAPWOOD_ADMIN_PASSWORD or
else a random one, which it prints once.

Exit status: 0 after a clean stop, 1 if it could not start or stop, 2 for a wrong command line.

Examples:

    sapwood serve
    sapwood serve --config sapwood.yaml
    SAPWOOD_LISTENERS_0_ANONYMOUS=true sapwood serve --mqtt 0.0.0.0:1883 --http off`
}

// Run starts the process, waits and stops it.
func (c *serveCmd) Run(ctx context.Context, std *streams) error {
	loaded, err := c.source().Load()
	if err != nil {
		return err
	}
	cfg := loaded.Config
	log, level := newLogger(cfg.Log, std.err)
	a := app.NewReloading(loaded, log, level)
	defer hangups(a)()
	if err := a.Start(ctx); err != nil {
		var setting *app.SettingError
		if errors.As(err, &setting) {
			return fmt.Errorf("%w (set by %s)", err, loaded.Set.From(setting.Key))
		}
		return err
	}
	c.announce(std.out, cfg, a)

	select {
	case <-ctx.Done():
	case err = <-a.Failed():
	}
	// The context that ended asked for this stop; the stop has a time of its own.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.StopTime)
	defer cancel()
	if stopErr := a.Stop(stopping); stopErr != nil {
		err = errors.Join(err, fmt.Errorf("not a clean stop within stop_timeout %v: %w", cfg.StopTime, stopErr))
	}
	return err
}

// announce says that clients can connect, and where, and what the start found.
func (c *serveCmd) announce(w io.Writer, cfg app.Config, a *app.App) {
	bound, found := a.Bound(), a.Found()
	if c.JSON {
		json.NewEncoder(w).Encode(struct {
			Version string `json:"version"`
			app.Bound
			Data          string         `json:"data"`
			Durability    app.Durability `json:"durability"`
			Promise       string         `json:"promise"`
			Found         app.Found      `json:"found"`
			Warnings      []string       `json:"warnings,omitempty"`       // what is open to other machines
			AdminPassword string         `json:"admin_password,omitempty"` // at the first start only
		}{app.Version, bound, cfg.Data, cfg.Durability, cfg.Promise(), found, cfg.Warnings(), a.FirstPassword()})
		return
	}
	fmt.Fprintf(w, "sapwood %s ready\n", app.Version)
	for _, url := range bound.MQTT {
		fmt.Fprintf(w, "  mqtt  %s\n", url)
	}
	if bound.HTTP != "" {
		fmt.Fprintf(w, "  http  %s\n", bound.HTTP)
	}
	for _, warning := range cfg.Warnings() {
		fmt.Fprintf(w, "  warn  %s\n", warning)
	}
	if p := a.FirstPassword(); p != "" {
		fmt.Fprintf(w, "  user  admin, password %s (made now and shown this once)\n", p)
	}
	if cfg.Durability == app.Memory {
		fmt.Fprintf(w, "  data  %s: %s\n", cfg.Durability, cfg.Promise())
		return
	}
	fmt.Fprintf(w, "  data  %s: %s, %s, %d retained, ready in %.1f s\n", cfg.Data,
		screen.Count(found.Sessions, "session"), screen.Count(found.Messages, "queued message"), found.Retained, found.Took.Seconds())
	fmt.Fprintf(w, "        %s: %s\n", cfg.Durability, cfg.Promise())
	for _, warning := range found.Warnings {
		fmt.Fprintf(w, "        but %s\n", warning)
	}
	if n := len(found.Damage); n > 0 {
		d := found.Damage[n-1]
		fmt.Fprintf(w, "        %s found, set aside in %s: %s\n", screen.Count(n, "damaged part"), cmp.Or(d.Aside, d.File), d.What)
	}
}

// hangups reloads at SIGHUP until stop is called: at once, but after another one not before a second has passed, however many
// signals come.
func hangups(a *app.App) (stop func()) {
	signals, gone := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(gone)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			// It has written to the log what it did, or why it did nothing.
			_, _ = a.Reload(ctx, "SIGHUP")
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	}()
	return func() { signal.Stop(signals); cancel(); <-gone }
}

// newLogger makes the log, and what sets its level while it is in use.
func newLogger(cfg app.Log, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := &slog.LevelVar{}
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), level
	}
	return slog.New(slog.NewTextHandler(w, options)), level
}

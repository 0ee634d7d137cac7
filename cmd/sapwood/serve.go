package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/sapwood-mqtt/sapwood/app"
	"github.com/sapwood-mqtt/sapwood/app/settings"
)

// layers are the flags that say which configuration is meant; serve and explain share them, so that
// explain tells what serve would do.
type layers struct {
	Config string  `short:"c" placeholder:"FILE" env:"SAPWOOD_CONFIG" help:"Configuration file (YAML). Without one, the defaults hold."`
	Data   *string `placeholder:"DIR" help:"Directory for what outlives the process (key data)."`
	MQTT   *string `name:"mqtt" placeholder:"ADDR" help:"Address of the first MQTT listener, host:port or unix:/path; port 0 takes a free one (key listeners[0].address)."`
	HTTP   *string `name:"http" placeholder:"ADDR" help:"Address of the HTTP listener, or off (key http.address)."`
}

func (l *layers) load() (app.Config, *settings.Set, error) {
	given := map[string]*string{"--data": l.Data, "--mqtt": l.MQTT, "--http": l.HTTP}
	flags := map[string]string{}
	for key, flag := range app.Flags() {
		if text := given[flag]; text != nil {
			flags[key] = *text
		}
	}
	return app.Load(l.Config, os.Environ(), flags)
}

// serveCmd is `sapwood serve`.
type serveCmd struct {
	layers
	JSON bool `help:"Print the bound addresses as one line of JSON."`
}

// Help is the long part of the help page.
func (*serveCmd) Help() string {
	return `Prints where it listens once clients can connect, and runs until SIGTERM or SIGINT; a second
signal ends it at once. Logs go to standard error. A flag is stronger than a SAPWOOD_ variable,
a variable stronger than the file.

Exit status: 0 after a clean stop, 1 if it could not start or stop, 2 for a wrong command line.

Examples:

    sapwood serve
    sapwood serve --config sapwood.yaml
    SAPWOOD_LISTENERS_0_ANONYMOUS=true sapwood serve --mqtt 0.0.0.0:1883 --http off`
}

// Run starts the process, waits and stops it.
func (c *serveCmd) Run(ctx context.Context, std *streams) error {
	cfg, set, err := c.load()
	if err != nil {
		return err
	}
	a := app.New(cfg, newLogger(cfg.Log, std.err))
	if err := a.Start(ctx); err != nil {
		var setting *app.SettingError
		if errors.As(err, &setting) {
			return fmt.Errorf("%w (set by %s)", err, set.From(setting.Key))
		}
		return err
	}
	c.announce(std.out, cfg, a.Bound())

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

// announce says that clients can connect, and where.
func (c *serveCmd) announce(w io.Writer, cfg app.Config, bound app.Bound) {
	if c.JSON {
		json.NewEncoder(w).Encode(struct {
			Version string `json:"version"`
			app.Bound
			Data       string `json:"data"`
			Durability string `json:"durability"`
		}{app.Version, bound, cfg.Data, cfg.Durability})
		return
	}
	fmt.Fprintf(w, "sapwood %s ready\n", app.Version)
	for _, url := range bound.MQTT {
		fmt.Fprintf(w, "  mqtt  %s\n", url)
	}
	if bound.HTTP != "" {
		fmt.Fprintf(w, "  http  %s\n", bound.HTTP)
	}
	fmt.Fprintf(w, "  data  in memory only, a restart forgets it (durability: %s)\n", cfg.Durability)
}

func newLogger(cfg app.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level = slog.LevelInfo // the configuration allows only levels that slog knows
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

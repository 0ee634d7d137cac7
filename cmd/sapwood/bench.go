package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/load"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// benchCmd is `sapwood bench`: load against any broker, from one core.
type benchCmd struct {
	Scenario string        `arg:"" help:"What to run: ${enum}." enum:"fan-in,fan-out,pairs,shared,wildcard,latency,idle,connect,session,retained,offline"`
	URL      string        `default:"mqtt://127.0.0.1:1883" help:"Where the broker listens: mqtt://host:port."`
	Username string        `help:"Name to connect with."`
	Password string        `env:"SAPWOOD_BENCH_PASSWORD" help:"Password to connect with."`
	MQTT     string        `name:"mqtt" enum:"3.1,3.1.1,5.0" default:"3.1.1" help:"Version of the protocol."`
	QoS      uint8         `name:"qos" short:"q" help:"Quality of service: 0, 1 or 2; offline has at least 1."`
	Payload  int           `short:"s" default:"64" help:"Bytes of payload, at least 24."`
	Clients  int           `short:"c" help:"The many side: publishers, subscribers, pairs, connections or sessions. 0 = as the scenario has it."`
	Group    int           `help:"Receivers of a shared subscription. 0 = as the scenario has it."`
	Topics   int           `help:"Retained topics, or subscriptions with +. 0 = as the scenario has it."`
	Messages uint64        `short:"n" help:"Send this many messages, in place of a duration."`
	Duration time.Duration `short:"d" default:"5s" help:"How long to measure."`
	WarmUp   time.Duration `name:"warm-up" default:"1s" help:"How long to run before that."`
	Window   int           `short:"w" help:"Closed loop: messages in flight per publisher. 0 = as the scenario has it."`
	Rate     float64       `short:"r" help:"Open loop: messages per second of all publishers together. 0 = closed loop."`
	Arrivals string        `enum:"uniform,poisson" default:"uniform" help:"Open loop: equal gaps, or a Poisson process."`
	Patience time.Duration `default:"10s" help:"How long to wait when nothing arrives any more."`
	PID      int           `name:"pid" help:"Process of the broker, to measure its CPU and memory."`
	JSON     bool          `name:"json" help:"Print the result as JSON."`
}

// exitBroken is the exit code for a broker that lost, repeated or reordered messages.
const exitBroken = 3

// brokenPromise is the error that makes it so.
type brokenPromise struct{ error }

// ExitCode implements kong.ExitCoder.
func (brokenPromise) ExitCode() int { return exitBroken }

// Help is the long part of the help page.
func (*benchCmd) Help() string {
	var b strings.Builder
	b.WriteString("Simulates the clients on one core and checks that every message comes once and in order.\n\n")
	for _, s := range load.Scenarios() {
		fmt.Fprintf(&b, "    %-9s  %s\n", s.Name, s.Summary)
	}
	b.WriteString(`
A closed loop (the default) keeps a window of messages in flight per publisher: as fast as the
broker can, and nothing has to be dropped. With --rate the load is open: latency then counts from
the time at which a message was due, not from when it could be sent.

Exit status: 0, 1 if the run failed, 2 for a wrong command line, 3 if messages were lost,
duplicated or out of order.

Examples:

    sapwood bench fan-in --pid $(pidof sapwood)
    sapwood bench pairs --qos 1 --clients 500 --duration 10s --json
    sapwood bench latency --rate 20000 --arrivals poisson`)
	return b.String()
}

// Run runs the load and prints what it found.
func (c *benchCmd) Run(ctx context.Context, std *streams) error {
	o := c.options()
	if show, end := progressLine(std.err); show != nil {
		o.Progress = show
		defer end()
	}
	res, err := load.Run(ctx, o)
	if res == nil {
		return fmt.Errorf("bench: %w", err)
	}
	if printed := c.print(std.out, res); err == nil {
		err = printed
	}
	switch {
	case errors.Is(err, load.ErrBroken):
		return brokenPromise{err}
	case err != nil:
		return fmt.Errorf("bench %s: %w", c.Scenario, err)
	}
	return nil
}

func (c *benchCmd) options() load.Options {
	version := mqtt.V311
	switch c.MQTT {
	case "3.1":
		version = mqtt.V31
	case "5.0":
		version = mqtt.V5
	}
	return load.Options{
		Scenario: c.Scenario, Address: c.URL, Version: version, QoS: mqtt.QoS(c.QoS), Payload: c.Payload,
		Username: c.Username, Password: c.Password,
		Clients: c.Clients, Group: c.Group, Topics: c.Topics,
		Messages: c.Messages, Duration: c.Duration, WarmUp: c.WarmUp,
		Window: c.Window, Rate: c.Rate, Arrivals: load.Arrivals(c.Arrivals),
		Patience: c.Patience, PID: c.PID,
	}
}

func (c *benchCmd) print(w io.Writer, res *load.Result) error {
	if !c.JSON {
		return res.WriteTable(w)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(res)
}

// progressLine shows a run's progress on one line, if w is a terminal; end clears it.
func progressLine(w io.Writer) (show func(load.Progress), end func()) {
	f := screen.Terminal(w)
	if f == nil {
		return nil, nil
	}
	var last load.Progress
	show = func(p load.Progress) {
		seconds := (p.Elapsed - last.Elapsed).Seconds()
		fmt.Fprintf(f, "\r%5.1f s  %d clients  sent %.0f/s  received %.0f/s  in flight %d  wrong %d\x1b[K",
			p.Elapsed.Seconds(), p.Clients, float64(p.Sent-last.Sent)/seconds,
			float64(p.Received-last.Received)/seconds, p.InFlight, p.Wrong)
		last = p
	}
	return show, func() { fmt.Fprint(f, "\r\x1b[K") }
}

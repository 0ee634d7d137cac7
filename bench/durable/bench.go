package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/load"
	"github.com/sapwood-mqtt/sapwood/bench/peer"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// bench is one run of the command.
type bench struct {
	options
	dir     string // temporary, on the measured disk
	sapwood peer.Broker
	brokers []peer.Broker // that take turns
	report  *report
}

// build makes a binary unless one is given; module is the file of the module that it is a tool of.
func (b *bench) build(ctx context.Context, given, name, module, pkg string) (string, error) {
	if given != "" {
		return given, nil
	}
	binary := filepath.Join(b.dir, name)
	args := []string{"build", "-o", binary}
	if module != "" {
		args = append(args, "-modfile="+module)
	}
	if out, err := exec.CommandContext(ctx, "go", append(args, pkg)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return binary, nil
}

// How Mosquitto keeps things: after every change (it is asked to save all it has in every turn of its
// loop), or as its package is set up (every half an hour and at the end).
const (
	onEveryChange = "persistence true\npersistence_location %s\nautosave_on_changes true\nautosave_interval 1\n"
	asPackaged    = "persistence true\npersistence_location %s\n"
)

func (b *bench) add(ctx context.Context, name string) error {
	switch name {
	case "sapwood":
		b.brokers = append(b.brokers, b.sapwood)
	case "bare":
		server, err := bareServerBroker()
		if err != nil {
			return err
		}
		b.brokers = append(b.brokers, server)
	case "mosquitto-change":
		b.brokers = append(b.brokers, peer.Mosquitto("Mosquitto, saving every change", b.mosquitto, onEveryChange))
	case "mosquitto":
		b.brokers = append(b.brokers, peer.Mosquitto("Mosquitto, persistence on", b.mosquitto, asPackaged))
	case "nats":
		binary, err := b.build(ctx, "", "nats-server", "bench/peer/nats/go.mod", "github.com/nats-io/nats-server/v2")
		if err != nil {
			return err
		}
		b.brokers = append(b.brokers, peer.NATS(binary))
	default:
		return fmt.Errorf("no broker %q", name)
	}
	return nil
}

// all runs what was asked for. What fails is noted and the rest still runs.
func (b *bench) all(ctx context.Context) error {
	return errors.Join(b.publishAll(ctx), b.latencyAll(ctx), b.compactAll(ctx), b.offlineAll(ctx), b.restartAll(ctx))
}

// load runs the load against r, on its core. A result may come with an error: then the broker broke
// its promise and the result tells how.
func (b *bench) load(ctx context.Context, r *peer.Running, o load.Options) (*load.Result, error) {
	o.Address, o.PID, o.Duration, o.Patience = r.Address, r.PID(), max(o.Duration, b.duration), max(o.Patience, 20*time.Second)
	input, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "taskset", "-c", peer.LoadCore, self, loadMode)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &said
	if err := cmd.Run(); err != nil {
		err = fmt.Errorf("load: %w: %s", err, bytes.TrimSpace(said.Bytes()))
		res := new(load.Result)
		if json.Unmarshal(out.Bytes(), res) != nil {
			return nil, err
		}
		return res, err
	}
	res := new(load.Result)
	if err := json.Unmarshal(out.Bytes(), res); err != nil {
		return nil, fmt.Errorf("read the load's result: %w", err)
	}
	return res, nil
}

// fresh runs the load against a broker without a past, while the watch looks on.
func (b *bench) fresh(ctx context.Context, broker peer.Broker, o load.Options) (*load.Result, *watch, error) {
	r, err := broker.Start(ctx, b.dir)
	if err != nil {
		return nil, nil, err
	}
	defer r.Stop()
	if broker.Name == b.sapwood.Name {
		if err := fillSegment(ctx, r.Address); err != nil {
			return nil, nil, err
		}
	}
	w := observe(r)
	res, err := b.load(ctx, r, o)
	w.end()
	return res, w, err
}

// fillSegment takes Sapwood past the first segment of its log, the only one that is not written full before it is used: the
// bare loop writes where something was written before, too.
func fillSegment(ctx context.Context, address string) error {
	c, err := client.Dial(ctx, client.Options{Address: address, CleanStart: true})
	if err != nil {
		return fmt.Errorf("fill the first segment: %w", err)
	}
	const (
		segment = 16 << 20 // storage.segment_size, unless sapwood.yaml says less
		piece   = 128 << 10
	)
	m := mqtt.Publish{Topic: []byte("fill"), Payload: make([]byte, piece), QoS: 1, Retain: true}
	for written := 0; written < segment+piece && err == nil; written += piece {
		_, err = c.Publish(ctx, &m)
	}
	if err == nil {
		m.Payload = nil
		_, err = c.Publish(ctx, &m)
	}
	if err = errors.Join(err, c.Close(ctx)); err != nil {
		return fmt.Errorf("fill the first segment: %w", err)
	}
	return nil
}

// cores says how busy both sides were.
func cores(res *load.Result) (theirs, ours float64) {
	theirs, _ = res.Value("cpu_busy")
	ours, _ = res.Value("generator_cpu_busy")
	return theirs, ours
}

// busy is the share of its core from which on a load generator that is also the busier side is what
// limits a rate.
const busy = 90

// loadBound tells whether a closed loop's rate is the generator's and says nothing about the broker but
// that it can do no less.
func loadBound(res *load.Result) bool {
	theirs, ours := cores(res)
	return res.Options.Rate == 0 && ours >= busy && ours > theirs
}

// steady is the part of an asked rate that has to arrive.
const steady = 0.98

// unusable says why a run says nothing about the broker; "" when it does: something acknowledged, nothing lost, repeated or out
// of order, and at a fixed rate that rate reached.
func unusable(res *load.Result, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case res.Broken():
		return fmt.Sprintf("messages went wrong: %+v", res.Tally)
	}
	if acked, asked := res.Value("acked_per_s"); asked && acked == 0 {
		return "nothing was acknowledged in the whole measurement"
	}
	if rate, _ := res.Value("rate"); rate < steady*res.Options.Rate {
		return fmt.Sprintf("only %.0f of %.0f messages/s arrived", rate, res.Options.Rate)
	}
	return ""
}

// leaveOut counts a run that says nothing about the broker, and tells why. Where Sapwood lost a message or did not
// even run, that is an error of the whole.
func (b *bench) leaveOut(e *entry, res *load.Result, err error) error {
	e.Out++
	why := unusable(res, err)
	fmt.Fprintf(os.Stderr, "%-56s %-30s  left out: %s\n", e.Name, e.Broker, why)
	if e.Broker == b.sapwood.Name && (err != nil || res.Broken()) {
		return fmt.Errorf("%s, %s: %s", e.Name, e.Broker, why)
	}
	return nil
}

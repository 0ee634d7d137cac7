// Command durable measures what durability costs: publishes that are acknowledged when they are on
// disk, as a share of what a bare loop of append and fdatasync does on the same disk in the same
// run, beside Mosquitto and NATS; and what a restart, a long absence and compaction cost. Brokers
// run on one core, the load on another. It measures; it may not be imported.
//
//	go run ./bench/durable                                # everything, three rounds
//	go run ./bench/durable -only '^publish 100 ' -brokers sapwood -rounds 1
//	go run ./bench/durable -only restart -scale 0.1 -keep /var/tmp/filled
//	go run ./bench/durable -write                         # and into docs/performance.md
//
// The names that -only matches: "publish 100 × 64 B", "latency …", "compaction …",
// "long offline …", "restart".
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/load"
	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

// options are the command line.
type options struct {
	only       *regexp.Regexp
	brokers    string
	binary     string
	config     string
	durability string
	mosquitto  string
	dir        string // on the disk that is measured
	keep       string
	rounds     int
	duration   time.Duration
	scale      float64
	json       bool
	write      bool
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == loadMode {
		exit(generate())
	}
	if len(os.Args) == 4 && os.Args[1] == serverMode {
		exit(serveBare(os.Args[2], os.Args[3]))
	}
	var o options
	only := flag.String("only", "", "run only what has a name that matches this regular `expression`")
	flag.StringVar(&o.brokers, "brokers", "sapwood,bare,mosquitto-change,mosquitto,nats", "which brokers publish and latency run with")
	flag.StringVar(&o.binary, "sapwood", "", "Sapwood's `binary`; built from this tree if empty")
	flag.StringVar(&o.config, "config", "bench/durable/sapwood.yaml", "Sapwood's configuration `file`, to raise its limits")
	flag.StringVar(&o.durability, "durability", "fsync", "Sapwood's durability")
	flag.StringVar(&o.mosquitto, "mosquitto", "/usr/sbin/mosquitto", "Mosquitto's `binary`")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "`directory` on the disk that is measured")
	flag.StringVar(&o.keep, "keep", "", "`directory` in which restart keeps what it filled in, for the next time")
	flag.IntVar(&o.rounds, "rounds", 3, "how often publish and latency are measured with every broker")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "how long a flow of messages is measured; compaction takes six times that")
	flag.Float64Var(&o.scale, "scale", 1, "share of the sessions and messages that restart and long offline use")
	flag.BoolVar(&o.json, "json", false, "print every value of every round as JSON")
	flag.BoolVar(&o.write, "write", false, "write docs/performance.md and docs/durability.json")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o)
		stop()
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "durable:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "sapwood-durable-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, dir: dir, report: newReport(o)}
	if b.report.Disk, err = describe(dir); err != nil {
		return err
	}
	if b.report.Load = machineLoad(); b.report.Load > quiet {
		fmt.Fprintf(os.Stderr, "durable: the machine is busy, its load is %.1f: what is measured now are not the brokers\n", b.report.Load)
		if o.write {
			return fmt.Errorf("a load above %v is not written down", quiet)
		}
	}
	if b.binary, err = b.build(ctx, o.binary, "sapwood", "", "github.com/sapwood-mqtt/sapwood/cmd/sapwood"); err != nil {
		return err
	}
	b.sapwood = peer.Sapwood(b.binary, o.config, o.durability, "127.0.0.1:0")
	for name := range strings.SplitSeq(o.brokers, ",") {
		if err := b.add(ctx, name); err != nil {
			return err
		}
	}
	failed := b.all(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if o.json {
		err = json.NewEncoder(os.Stdout).Encode(b.report)
	} else {
		_, err = fmt.Print(b.report.markdown())
	}
	if o.write && failed == nil {
		err = errors.Join(err, b.report.save("docs"))
	}
	return errors.Join(failed, err)
}

// quiet is the load up to which a machine is quiet enough to measure on.
const quiet = 0.7

// loadMode is the argument that makes this program the load of another one of itself.
const loadMode = "generate-load"

// generate reads the load's options from standard input and prints the result.
func generate() error {
	var o load.Options
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return fmt.Errorf("read the load's options: %w", err)
	}
	res, err := load.Run(context.Background(), o)
	if res == nil {
		return err
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(res))
}

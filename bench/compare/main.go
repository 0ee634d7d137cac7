// Command compare runs the scenarios of `sapwood bench` against Sapwood and against
// Mosquitto in alternation, each broker alone on one core and the load on another,
// and prints what each message cost. It measures; it may not be imported.
//
//	go run ./bench/compare                     # everything, three rounds
//	go run ./bench/compare -only 'fan-in|pairs' -rounds 5
//	go run ./bench/compare -write              # and into docs/performance.md
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

// durability of the compared: nobody stores anything.
const durability = "memory"

// options are the command line.
type options struct {
	only     *regexp.Regexp
	brokers  string
	binary   string
	config   string
	peer     string
	rounds   int
	duration time.Duration
	median   bool
	write    bool
}

func main() {
	var o options
	only := flag.String("only", "", "run only the rows whose name matches this regular `expression`")
	flag.StringVar(&o.brokers, "brokers", "sapwood,mosquitto", "which brokers to run")
	flag.StringVar(&o.binary, "sapwood", "", "Sapwood's `binary`; built from this tree if empty")
	flag.StringVar(&o.config, "config", "", "Sapwood's configuration `file`, to raise its limits")
	flag.StringVar(&o.peer, "mosquitto", "/usr/sbin/mosquitto", "Mosquitto's `binary`")
	flag.IntVar(&o.rounds, "rounds", 3, "how often every row is measured with every broker")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "how long a flow of messages is measured")
	flag.BoolVar(&o.median, "median", false, "take the median of the rounds, not the best")
	flag.BoolVar(&o.write, "write", false, "write docs/performance.md and docs/performance.json")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "sapwood-compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.binary == "" {
		o.binary = filepath.Join(dir, "sapwood")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "github.com/sapwood-mqtt/sapwood/cmd/sapwood")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build sapwood: %w\n%s", err, out)
		}
	}
	var brokers []peer.Broker
	for name := range strings.SplitSeq(o.brokers, ",") {
		switch name {
		case "sapwood":
			brokers = append(brokers, peer.Sapwood(o.binary, o.config, durability, "off"))
		case "mosquitto":
			brokers = append(brokers, peer.Mosquitto("Mosquitto", o.peer, "persistence false\n"))
		default:
			return fmt.Errorf("no broker %q", name)
		}
	}
	r := newReport(o, brokers)
	failed := r.measure(ctx, o, brokers)
	fmt.Print(r.markdown())
	if o.write && failed == nil {
		return r.save("docs")
	}
	return failed
}

// measure runs every row with every broker, round after round. The order of the
// brokers turns with every round, so that a drift of the machine favours nobody.
func (r *report) measure(ctx context.Context, o options, brokers []peer.Broker) error {
	var failed error
	for round := range o.rounds {
		for i := range r.Rows {
			for k := range brokers {
				b := brokers[(k+round)%len(brokers)]
				res, err := measureRow(ctx, b, o, r.Rows[i].row)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					failed = errors.Join(failed, fmt.Errorf("%s, %s: %w", b.Name, r.Rows[i].Name, err))
					fmt.Fprintf(os.Stderr, "%s, %s: %v\n", b.Name, r.Rows[i].Name, err)
				}
				r.Rows[i].add(b.Name, res)
				r.Rows[i].trace(os.Stderr, round, b.Name)
			}
		}
	}
	return failed
}

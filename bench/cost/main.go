// Command cost measures what keeping account costs a message: the same load against brokers that keep look-back
// traces and tell events and brokers that do not, in turn, round after round, with the CPU time (user and system) of each. It
// measures; it may not be imported.
//
//	go build -o /tmp/cost ./bench/cost
//	taskset -c 1 /tmp/cost                                  # what is on and off, all shapes, 31 rounds
//	taskset -c 1 /tmp/cost -only 'fan' -brokers off,all
//	taskset -c 1 /tmp/cost -brokers all -also 'other=/tmp/cost-of-another-tree -serve all -port PORT'
//	/tmp/cost -instructions                                 # instructions per message, by valgrind
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

// options are the command line.
type options struct {
	only         *regexp.Regexp
	brokers      string
	also         []string
	rounds       int
	messages     int
	instructions bool
	lines        string
}

func main() {
	var o options
	only := flag.String("only", "", "measure only the shapes whose name matches this regular `expression`")
	flag.StringVar(&o.brokers, "brokers", "off,trace,told,all", "which brokers; the others are compared with the first")
	flag.Func("also", "a further broker: `name=command`, in which PORT and DIR stand for what it is given", func(s string) error {
		o.also = append(o.also, s)
		return nil
	})
	flag.IntVar(&o.rounds, "rounds", 31, "rounds; each measures every broker once")
	flag.IntVar(&o.messages, "messages", 100_000, "messages delivered in a round, about; fewer than what takes 50 ms are lost in the ticks of the scheduler")
	flag.BoolVar(&o.instructions, "instructions", false, "count instructions of this module's functions under valgrind instead")
	flag.StringVar(&o.lines, "functions", "", "with -instructions: list the functions of the broker with this `name`")
	variant := flag.String("serve", "", "be a broker: "+fmt.Sprint(variants()))
	port := flag.Int("port", 0, "with -serve: its port")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch o.only, err = regexp.Compile(*only); {
	case err != nil:
	case *variant != "":
		err = serve(ctx, *variant, *port)
	case o.instructions:
		err = countAll(ctx, o)
	default:
		err = measureAll(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(1)
	}
}

// Command storm has thousands of TLS clients lose their connections at once and reconnect naively, against
// Sapwood and Mosquitto in turn, each broker alone on one core and the clients on another. It tells how long it took until
// 99 % were back, how many handshakes that cost, and what those noticed that had stayed connected. It measures; it may
// not be imported.
//
//	go run ./bench/storm                      # 15,000 clients
//	go run ./bench/storm -clients 2000 -brokers sapwood
//	go run ./bench/storm -write               # and into docs/performance.md
package main

import (
	"context"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/peer"
	"github.com/sapwood-mqtt/sapwood/bench/section"
	"github.com/sapwood-mqtt/sapwood/test/selfsigned"
)

// options are the command line.
type options struct {
	clients   int
	steady    int
	patience  time.Duration
	keepAlive time.Duration
	resume    bool
	brokers   string
	binary    string
	mosquitto string
	write     bool
}

func main() {
	var o options
	flag.IntVar(&o.clients, "clients", 15_000, "clients that lose their connections")
	flag.IntVar(&o.steady, "steady", 200, "clients that stay connected, and ping once a second")
	flag.DurationVar(&o.patience, "patience", 10*time.Second, "how long a client waits for CONNACK before it tries again, at once")
	flag.DurationVar(&o.keepAlive, "keepalive", 5*time.Second, "of those that stay: a PINGRESP that takes longer is a missed one")
	flag.BoolVar(&o.resume, "resume", true, "clients resume their TLS sessions where the broker lets them")
	flag.StringVar(&o.brokers, "brokers", "sapwood,mosquitto", "which brokers to run")
	flag.StringVar(&o.binary, "sapwood", "", "Sapwood's `binary`; built from this tree if empty")
	flag.StringVar(&o.mosquitto, "mosquitto", "/usr/sbin/mosquitto", "Mosquitto's `binary`")
	flag.BoolVar(&o.write, "write", false, "write into docs/performance.md")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := onLoadCore(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

// pinned is set for the process that runs on the load's core.
const pinned = "STORM_PINNED"

// onLoadCore runs on the core that the brokers are kept off.
func onLoadCore(ctx context.Context, o options) error {
	switch {
	case os.Getenv(watched) != "":
		return runWatch(ctx, o, os.Getenv(watched))
	case os.Getenv(pinned) != "":
		return run(ctx, o)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	again := exec.CommandContext(ctx, "taskset", append([]string{"-c", peer.LoadCore, self}, os.Args[1:]...)...)
	again.Env = append(os.Environ(), pinned+"=1")
	again.Stdout, again.Stderr = os.Stdout, os.Stderr
	return again.Run()
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "sapwood-storm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.binary == "" && strings.Contains(o.brokers, "sapwood") {
		o.binary = filepath.Join(dir, "sapwood")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "github.com/sapwood-mqtt/sapwood/cmd/sapwood")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build sapwood: %w\n%s", err, out)
		}
	}
	pki, err := newPKI(dir)
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%d TLS clients lose their connections at once and reconnect at once, each giving up after %v; %d others stay and ping every second.\n\n", o.clients, o.patience, o.steady)
	fmt.Fprintln(&table, "| broker | 99 % back after | all back after | handshakes begun per client | resumed | CPU per client back | PINGRESP p50 / p99 / max | missed |\n|---|---|---|---|---|---|---|---|")
	for _, name := range strings.Split(o.brokers, ",") {
		var b peer.Broker
		switch name {
		case "sapwood":
			b = sapwood(o, pki)
		case "mosquitto":
			b = mosquitto(o, pki)
		default:
			return fmt.Errorf("no broker is called %q", name)
		}
		row, err := measure(ctx, o, b, pki)
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
		fmt.Fprintln(&table, row)
	}
	fmt.Print(table.String())
	if !o.write {
		return nil
	}
	return section.Replace("docs/performance.md", "bench/storm", table.String())
}

// sapwood and mosquitto listen with TLS on the one port that they are given.
func sapwood(o options, p *pki) peer.Broker {
	b := peer.Sapwood(o.binary, "", "memory", "off")
	command := b.Command
	b.Command = func(dir string, port int) ([]string, []string, error) {
		args, env, err := command(dir, port)
		return args, append(env, "SAPWOOD_LISTENERS_0_TLS_CERTIFICATE="+p.cert, "SAPWOOD_LISTENERS_0_TLS_KEY="+p.key), err
	}
	return b
}

func mosquitto(o options, p *pki) peer.Broker {
	return peer.Mosquitto("Mosquitto", o.mosquitto, fmt.Sprintf("certfile %s\nkeyfile %s\n", p.cert, p.key))
}

// pki is a server's certificate, as files, and who vouches for it: itself.
type pki struct {
	cert, key string
	roots     *x509.CertPool
}

func newPKI(dir string) (*pki, error) {
	c, err := selfsigned.New("127.0.0.1")
	if err != nil {
		return nil, err
	}
	p := &pki{roots: c.Roots}
	p.cert, p.key, err = c.Write(dir)
	return p, err
}

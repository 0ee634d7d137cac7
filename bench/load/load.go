// Package load is the load generator behind `sapwood bench`: simulated MQTT clients
// by the thousand on one event loop (one core), the scenarios that brokers are
// compared in, and a check that every message came once and in order.
//
// It speaks to any broker over plain TCP and knows nothing of Sapwood's own: it may
// import mqtt and broker/loop, and nothing of the machine that it measures.
package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Options say what to run and against whom. Zero values stand for the scenario's
// own; Fill sets them.
type Options struct {
	Scenario string       `json:"scenario"`
	Address  string       `json:"address"` // host:port, or mqtt://host:port
	Version  mqtt.Version `json:"version"` // 4 = 3.1.1 (the default), 5 = 5.0
	QoS      mqtt.QoS     `json:"qos"`
	Payload  int          `json:"payload"` // bytes, at least 24: the stamp
	Username string       `json:"-"`
	Password string       `json:"-"`

	Clients int `json:"clients"` // the many side: publishers, subscribers, pairs, connections, sessions
	Group   int `json:"group"`   // receivers of a shared subscription
	Topics  int `json:"topics"`  // retained topics, or `+` subscriptions

	Messages uint64        `json:"messages"`    // stop after so many, in place of Duration
	Duration time.Duration `json:"duration_ns"` // of the measurement
	WarmUp   time.Duration `json:"warm_up_ns"`  // before it
	Window   int           `json:"window"`      // closed loop: messages in flight per publisher
	Rate     float64       `json:"rate"`        // open loop: messages per second of all publishers, 0 = closed loop
	Arrivals Arrivals      `json:"arrivals"`    // open loop: uniform or poisson
	Patience time.Duration `json:"patience_ns"` // how long to wait when nothing arrives
	PID      int           `json:"pid"`         // the broker's process, 0 = not watched
	Away     bool          `json:"away"`        // durable: the receiving sessions are offline meanwhile
	Held     int           `json:"held"`        // durable: every so many-th message is for a session that never takes it, 0 = none

	// Progress, if set, is called twice a second while a run is under way, from one
	// goroutine.
	Progress func(Progress) `json:"-"`
}

// Progress is the state of a run under way.
type Progress struct {
	Elapsed  time.Duration
	Clients  int // connected
	Sent     uint64
	Received uint64
	InFlight int64  // deliveries outstanding
	Wrong    uint64 // lost, duplicated, reordered or foreign so far
}

// Scenario is one kind of load.
type Scenario struct {
	Name     string
	Summary  string
	defaults Options
	run      func(context.Context, *rig, *Result) error
}

// Scenarios lists what can be run.
func Scenarios() []Scenario {
	return []Scenario{
		{"fan-in", "many publishers, one subscriber", Options{Clients: 100, Window: 16}, stream(fanIn)},
		{"fan-out", "one publisher, many subscribers", Options{Clients: 1000, Window: 16}, stream(fanOut)},
		{"pairs", "every publisher has its own subscriber", Options{Clients: 500, Window: 8}, stream(pairs)},
		{"shared", "many publishers, one shared subscription", Options{Clients: 100, Group: 5, Window: 16}, stream(shared)},
		{"wildcard", "pairs among many subscriptions with +", Options{Clients: 50, Topics: 10_000, Window: 16}, stream(wildcard)},
		{"latency", "pairs at a fixed rate, latency from the intended send time", Options{Clients: 100, Rate: 5000}, stream(pairs)},
		{"idle", "connections that are subscribed and silent: memory of each", Options{Clients: 10_000}, idle},
		{"connect", "a storm of connections", Options{Clients: 5000}, connect},
		{"session", "a storm of persistent sessions: created, then resumed", Options{Clients: 5000}, session},
		{"retained", "retained topics are set, then all are delivered", Options{Clients: 1, Topics: 200_000, Window: 1000}, retained},
		{"offline", "sessions queue while away, drain on return", Options{Clients: 100, Messages: 100_000, Window: 100, QoS: 1}, offline},
	}
}

// find looks a scenario up by its name, those of Durable too.
func find(name string) (Scenario, bool) {
	list := append(Scenarios(), Durable()...)
	if i := slices.IndexFunc(list, func(s Scenario) bool { return s.Name == name }); i >= 0 {
		return list[i], true
	}
	return Scenario{}, false
}

// Fill returns o with every zero value that has a default set, or says what is
// wrong with it.
func (o Options) Fill() (Options, error) {
	s, known := find(o.Scenario)
	if !known {
		return o, fmt.Errorf("no scenario %q", o.Scenario)
	}
	d := s.defaults
	setDefault(&o.Clients, d.Clients)
	setDefault(&o.Group, d.Group)
	setDefault(&o.Topics, d.Topics)
	setDefault(&o.Window, d.Window)
	setDefault(&o.Rate, d.Rate)
	setDefault(&o.Messages, d.Messages)
	setDefault(&o.QoS, d.QoS)
	setDefault(&o.Version, mqtt.V311)
	setDefault(&o.Payload, 64)
	setDefault(&o.Duration, 5*time.Second)
	setDefault(&o.WarmUp, time.Second)
	setDefault(&o.Arrivals, Uniform)
	setDefault(&o.Patience, 10*time.Second)
	setDefault(&o.Address, "127.0.0.1:1883")
	for _, scheme := range []string{"mqtt://", "tcp://"} {
		o.Address = strings.TrimPrefix(o.Address, scheme)
	}
	if !strings.Contains(o.Address, ":") {
		o.Address = net.JoinHostPort(o.Address, "1883")
	}
	return o, o.check()
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (o Options) check() error {
	switch {
	case o.Payload < stampSize || o.Payload > 1<<20:
		return fmt.Errorf("payload of %d bytes: %d to 1,048,576 are possible", o.Payload, stampSize)
	case o.QoS > 2:
		return fmt.Errorf("QoS %d", o.QoS)
	case o.QoS == 0 && (o.Scenario == "offline" || o.Scenario == "durable"):
		return errors.New("a queue that lasts takes QoS 1 or 2")
	case o.Version != mqtt.V31 && o.Version != mqtt.V311 && o.Version != mqtt.V5:
		return fmt.Errorf("MQTT version %d: 3, 4 (3.1.1) and 5 are possible", o.Version)
	case o.Clients < 0 || o.Clients > 1_000_000 || o.Topics < 0 || o.Group < 0 || o.Held < 0 || o.Rate < 0:
		return errors.New("a number of clients, topics, receivers or messages is out of range")
	case o.Window < 0 || o.Window > 65_535:
		return fmt.Errorf("window of %d: 1 to 65,535 are possible", o.Window)
	case o.Arrivals != Uniform && o.Arrivals != Poisson:
		return fmt.Errorf("arrivals %q: uniform or poisson", o.Arrivals)
	}
	return nil
}

// Run runs one scenario to its end. The result is as complete as the run: it is
// returned with an error too. ErrBroken says that the broker broke its promise.
func Run(ctx context.Context, o Options) (*Result, error) {
	o, err := o.Fill()
	if err != nil {
		return nil, err
	}
	s, _ := find(o.Scenario)
	r, err := newRig(o)
	if err != nil {
		return nil, err
	}
	res := &Result{Options: o}
	stop := r.display()
	err = s.run(ctx, r, res)
	stop()
	r.close()
	if err == nil {
		err = res.verdict()
	}
	return res, err
}

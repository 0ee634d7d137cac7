package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/bench/peer"
	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
)

// variants are what a broker of our own keeps and tells. The books are kept in all: they cannot be turned off.
func variants() []string { return []string{"off", "trace", "told", "all"} }

// serve is a broker with one event loop that keeps nothing and drops nothing, until ctx ends.
func serve(ctx context.Context, variant string, port int) error {
	if !slices.Contains(variants(), variant) {
		return fmt.Errorf("no broker %q", variant)
	}
	look := trace.Defaults()
	look.Enabled = variant == "trace" || variant == "all"
	limits := broker.DefaultLimits()
	limits.MaxInflight, limits.ReceiveMaximum, limits.MaxOutgoingBytes = 65535, 65535, 64<<20
	o := broker.Options{Store: forgetful{}, Shards: 1, Trace: &look, Limits: &limits}
	if variant == "told" || variant == "all" {
		o.Events = func(broker.Event) {} // what a fact is made of; making it is off the path
	}
	b, err := broker.New(o)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return errors.Join(err, b.Close(ctx))
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(ln) }()
	fmt.Println("{}") // ready
	<-ctx.Done()
	err = b.Close(context.Background())
	if s := <-served; !errors.Is(s, broker.ErrClosed) {
		err = errors.Join(err, s)
	}
	return err
}

// brokers are those to be measured. before comes in front of the command of our own.
func (o *options) peers(before func(name string) []string) ([]peer.Broker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var list []peer.Broker
	add := func(name string, args []string) {
		list = append(list, peer.Broker{Name: name, Announces: "{", Command: func(dir string, port int) ([]string, []string, error) {
			made := slices.Clone(args)
			for i := range made {
				made[i] = strings.NewReplacer("PORT", strconv.Itoa(port), "DIR", dir).Replace(made[i])
			}
			return made, nil, nil
		}})
	}
	for name := range strings.SplitSeq(o.brokers, ",") {
		add(name, append(before(name), self, "-serve", name, "-port", "PORT"))
	}
	for _, a := range o.also {
		name, command, ok := strings.Cut(a, "=")
		if !ok {
			return nil, fmt.Errorf("-also %q is not name=command", a)
		}
		add(name, append(before(name), strings.Fields(command)...))
	}
	return list, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/load"
	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

// flow is a load of publishers that wait for their acknowledgements.
type flow struct {
	publishers int
	payload    int // bytes
	window     int // messages in flight per publisher
	away       bool
}

func (f flow) name() string {
	size := fmt.Sprintf("%d B", f.payload)
	if f.payload%1024 == 0 {
		size = fmt.Sprintf("%d KiB", f.payload/1024)
	}
	name := fmt.Sprintf("%s × %s", load.Number(float64(f.publishers)), size)
	if f.window > 1 {
		name += fmt.Sprintf(", %d in flight each", f.window)
	}
	if f.away {
		name += ", receivers offline"
	}
	return name
}

func (f flow) options() load.Options {
	return load.Options{Scenario: "durable", QoS: 1, Payload: f.payload, Clients: f.publishers, Window: f.window, Away: f.away}
}

func flows() []flow {
	var list []flow
	for _, payload := range []int{64, 1024} {
		for _, publishers := range []int{1, 10, 100, 1000} {
			list = append(list, flow{publishers, payload, 1, false})
		}
		list = append(list, flow{100, payload, 20, false})
	}
	return append(list, flow{100, 64, 1, true}, flow{1000, 64, 1, true})
}

// bareName is the bare loop's name among the brokers.
const bareName = "bare loop"

// publishAll measures every flow with the bare loop and every broker, round after round. Their
// order turns, so that a drift of the machine or of its disk favours nobody.
func (b *bench) publishAll(ctx context.Context) (failed error) {
	for round := range b.rounds {
		for _, f := range flows() {
			name := "publish " + f.name()
			if !b.only.MatchString(name) {
				continue
			}
			for k := range b.brokers {
				broker := b.brokers[(k+round)%len(b.brokers)]
				if f.away && broker.Name == bareServerName {
					continue // it has no sessions
				}
				err := b.publish(ctx, broker, name, f)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				failed = errors.Join(failed, err)
			}
			failed = errors.Join(failed, b.bare(name, f))
		}
	}
	return failed
}

func (b *bench) publish(ctx context.Context, broker peer.Broker, name string, f flow) error {
	res, w, err := b.fresh(ctx, broker, f.options())
	e := b.report.entry("publish", name, broker.Name)
	if unusable(res, err) != "" {
		return b.leaveOut(e, res, err)
	}
	if loadBound(res) {
		e.LoadBound++
	}
	e.take(res, "acked_per_s", "rate", "cpu", "cpu_busy", "generator_cpu", "generator_cpu_busy", "ack_p50", "ack_p99", "ack_max", "latency_p99", "out_rate")
	acked, _ := res.Value("acked_per_s")
	if flushes, ok := w.flushRate(res.From, res.To); ok {
		e.add("flushes_per_s", flushes)
		if flushes > 0 {
			e.add("messages_per_flush", acked/flushes)
		}
	}
	if bytes, syncs, ok := w.written(res.From, res.To); ok && acked > 0 && syncs > 0 {
		e.add("bytes_per_message", bytes/acked)
		e.add("syncs_per_s", syncs)
		e.add("messages_per_sync", acked/syncs)
	}
	e.trace(os.Stderr, "acked_per_s", "cpu", "cpu_busy", "generator_cpu_busy", "ack_p50", "ack_p99", "messages_per_flush", "syncs_per_s", "messages_per_sync", "bytes_per_message")
	return nil
}

// overhead is taken for the bytes that a message's log record has beside its payload where Sapwood did
// not run or does not tell.
const overhead = 64

// bare measures the disk with records of the size that Sapwood's log had per message in this very row,
// settlement included.
func (b *bench) bare(name string, f flow) error {
	size := f.payload + overhead
	if v, ok := b.report.entry("publish", name, b.sapwood.Name).median("bytes_per_message"); ok {
		size = int(v)
	}
	e := b.report.entry("publish", name, bareName)
	for _, loop := range []struct {
		key   string
		batch int
	}{{"", f.publishers * f.window}, {"single_", 1}} {
		if loop.key != "" && f.publishers*f.window == 1 {
			continue
		}
		l, err := bareLoop(b.dir, loop.batch, size, min(b.duration, 2*time.Second))
		if err != nil {
			return err
		}
		e.add(loop.key+"acked_per_s", l.messages)
		e.add(loop.key+"flushes_per_s", l.syncs)
		e.add(loop.key+"cpu", l.cpu)
		e.add(loop.key+"bytes_per_message", float64(size))
	}
	e.trace(os.Stderr, "acked_per_s", "flushes_per_s", "cpu", "single_acked_per_s", "single_cpu", "bytes_per_message")
	return nil
}

// latencyAll measures the time from publish to subscriber at half of the rate that the broker is saturated
// at, which is measured right before.
func (b *bench) latencyAll(ctx context.Context) (failed error) {
	for round := range b.rounds {
		for _, f := range []flow{{100, 64, 1, false}, {1000, 64, 1, false}} {
			name := "latency " + f.name()
			if !b.only.MatchString(name) {
				continue
			}
			for k := range b.brokers {
				broker := b.brokers[(k+round)%len(b.brokers)]
				err := b.latency(ctx, broker, name, f)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				failed = errors.Join(failed, err)
			}
		}
	}
	return failed
}

func (b *bench) latency(ctx context.Context, broker peer.Broker, name string, f flow) error {
	e := b.report.entry("latency", name, broker.Name)
	full, _, err := b.fresh(ctx, broker, f.options())
	if unusable(full, err) != "" {
		return b.leaveOut(e, full, err)
	}
	// What is published counts where it is delivered.
	acked, _ := full.Value("acked_per_s")
	rate, _ := full.Value("rate")
	half := f.options()
	half.Rate, half.Arrivals = min(acked, rate)/2, load.Poisson
	res, _, err := b.fresh(ctx, broker, half)
	if unusable(res, err) != "" {
		return b.leaveOut(e, res, err)
	}
	if loadBound(full) {
		e.LoadBound++
	}
	late, _ := res.Value("late_p99")
	if p99, _ := res.Value("latency_p99"); late > p99/2 {
		e.Out++
		fmt.Fprintf(os.Stderr, "%-56s %-30s  left out: the load itself was late by %.0f µs (p99)\n", name, broker.Name, late)
		return nil
	}
	e.add("half_rate", half.Rate)
	e.take(res, "latency_p50", "latency_p99", "latency_p99.9", "latency_max", "ack_p50", "ack_p99", "late_p99", "cpu")
	e.trace(os.Stderr, "half_rate", "latency_p50", "latency_p99", "latency_p99.9", "ack_p99", "late_p99", "cpu")
	return nil
}

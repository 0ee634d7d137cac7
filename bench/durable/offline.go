package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sapwood-mqtt/sapwood/bench/load"
)

// The long absence.
const (
	awaySessions = 1000
	awayMessages = 10_000 // for each
)

// offlineAll queues messages for sessions that are away, then lets all of them come back at once. Every session
// has to get everything, once and in order.
func (b *bench) offlineAll(ctx context.Context) (failed error) {
	sessions, each := int(awaySessions*b.scale), int(awayMessages*b.scale)
	for _, shape := range []struct {
		text     string
		group    int
		messages int
	}{
		{"one topic for all", sessions, each},
		{"a topic each", 1, sessions * each},
	} {
		name := fmt.Sprintf("long offline %s sessions × %s messages, %s", load.Number(float64(sessions)), load.Number(float64(each)), shape.text)
		if !b.only.MatchString(name) {
			continue
		}
		o := load.Options{Scenario: "offline", QoS: 1, Payload: 64, Clients: sessions, Group: shape.group, Messages: uint64(shape.messages), Window: 1000}
		failed = errors.Join(failed, b.offline(ctx, name, o))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return failed
}

func (b *bench) offline(ctx context.Context, name string, o load.Options) error {
	e := b.report.entry("offline", name, b.sapwood.Name)
	res, w, err := b.fresh(ctx, b.sapwood, o)
	if res != nil {
		e.add("owed", float64(res.Options.Messages)*float64(res.Options.Group))
		e.add("received", float64(res.Tally.Received))
		e.add("wrong", float64(res.Tally.Lost+res.Tally.Duplicated+res.Tally.Reordered+res.Tally.Foreign))
	}
	if unusable(res, err) != "" {
		return b.leaveOut(e, res, err)
	}
	e.take(res, "in_rate", "in_cpu", "out_rate", "out_cpu", "generator_out_cpu_busy", "out_cpu_busy")
	_, most := w.disk(w.samples[0].when, w.samples[len(w.samples)-1].when)
	e.add("disk_mib", float64(most)/(1<<20))
	e.add("rss_peak_mib", float64(w.peak)/(1<<20))
	e.trace(os.Stderr, "in_rate", "in_cpu", "out_rate", "out_cpu", "out_cpu_busy", "generator_out_cpu_busy", "rss_peak_mib", "disk_mib", "owed", "received", "wrong")
	return nil
}

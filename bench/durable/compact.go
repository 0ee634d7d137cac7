package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sapwood-mqtt/sapwood/bench/load"
)

// heldEvery makes 4 % of the messages wait for ever: enough that hardly a segment of the log dies by itself.
const heldEvery = 25

// compactAll measures what publishers feel of compaction: the same load with and without messages that
// nobody takes, for six times the duration of other flows.
func (b *bench) compactAll(ctx context.Context) (failed error) {
	for _, payload := range []int{64, 1024} {
		for _, held := range []int{0, heldEvery} {
			f := flow{100, payload, 1, false}
			name := "compaction " + f.name() + ", every message taken"
			if held > 0 {
				name = fmt.Sprintf("compaction %s, %d %% never taken", f.name(), 100/held)
			}
			if !b.only.MatchString(name) {
				continue
			}
			o := f.options()
			o.Held, o.Duration = held, 6*b.duration
			failed = errors.Join(failed, b.compact(ctx, name, o))
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return failed
}

func (b *bench) compact(ctx context.Context, name string, o load.Options) error {
	e := b.report.entry("compaction", name, b.sapwood.Name)
	res, w, err := b.fresh(ctx, b.sapwood, o)
	if unusable(res, err) != "" {
		return b.leaveOut(e, res, err)
	}
	e.take(res, "acked_per_s", "cpu", "ack_p50", "ack_p99", "ack_p99.9", "ack_max")
	acked, _ := res.Value("acked_per_s")
	if bytes, _, ok := w.written(res.From, res.To); ok {
		e.add("written_mib", bytes*res.To.Sub(res.From).Seconds()/(1<<20))
	}
	if o.Held > 0 {
		e.add("live_mib", acked*res.To.Sub(res.From).Seconds()/float64(o.Held)*float64(o.Payload+overhead)/(1<<20))
	}
	series, most := w.disk(res.From, res.To)
	e.add("disk_mib", float64(most)/(1<<20))
	for _, n := range series {
		e.Disk = append(e.Disk, n>>20)
	}
	e.trace(os.Stderr, "acked_per_s", "cpu", "ack_p50", "ack_p99", "ack_p99.9", "ack_max", "written_mib", "live_mib", "disk_mib")
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sapwood-mqtt/sapwood/bench/load"
	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

// heldEvery makes 4 % of the messages wait for ever: enough that hardly a segment of the log dies by itself.
const heldEvery = 25

// compactAll measures what publishers feel of compaction: the same load with and without messages that
// nobody takes, with segments as they are set and with small ones that are compacted all the time, for six times
// the duration of other flows.
func (b *bench) compactAll(ctx context.Context) (failed error) {
	for _, payload := range []int{64, 1024} {
		f := flow{100, payload, 1, false}
		for _, c := range []struct {
			text    string
			held    int
			storage []string // settings as environment variables
		}{
			{"every message taken", 0, nil},
			{fmt.Sprintf("%d %% never taken", 100/heldEvery), heldEvery, nil},
			{fmt.Sprintf("%d %% never taken, segments of 1 MiB", 100/heldEvery), heldEvery, []string{"SAPWOOD_STORAGE_SEGMENT_SIZE=1MiB"}},
		} {
			name := "compaction " + f.name() + ", " + c.text
			if !b.only.MatchString(name) {
				continue
			}
			o := f.options()
			o.Held, o.Duration = c.held, 6*b.duration
			failed = errors.Join(failed, b.compact(ctx, b.sapwood.With(c.storage...), name, o))
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return failed
}

func (b *bench) compact(ctx context.Context, broker peer.Broker, name string, o load.Options) error {
	e := b.report.entry("compaction", name, broker.Name)
	res, w, err := b.fresh(ctx, broker, o)
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

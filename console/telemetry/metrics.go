package telemetry

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/slim/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/fleet/history"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// figures are read and sent at intervals.
type figures struct {
	post    *poster
	latest  func() *vitals.Snapshot // nil until Measure
	dropped atomic.Uint64           // points
	end     chan struct{}
	last    context.Context
	done    chan struct{}
}

// measure sends what the figures are at each interval, and once more at the end.
func (e *Exporter) measure(ctx context.Context) {
	f := e.figures
	defer close(f.done)
	tick := time.NewTicker(e.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			e.sendFigures(ctx)
		case <-f.end:
			e.sendFigures(f.last)
			return
		}
	}
}

func (f *figures) stop(ctx context.Context, abort context.CancelFunc) {
	f.last = ctx
	close(f.end)
	unlink := context.AfterFunc(ctx, abort)
	<-f.done
	unlink()
}

func (e *Exporter) sendFigures(ctx context.Context) {
	s := e.figures.latest()
	if s == nil {
		return
	}
	list, points := e.metricsOf(s)
	body, err := proto.Marshal(&collector.ExportMetricsServiceRequest{ResourceMetrics: []*metrics.ResourceMetrics{{
		Resource: e.resource, ScopeMetrics: []*metrics.ScopeMetrics{{Scope: e.scope, Metrics: list}},
	}}})
	rejected := uint64(0)
	if err == nil {
		rejected, err = e.figures.post.send(ctx, body)
	}
	if rejected = min(rejected, points); err != nil {
		rejected = points
	}
	e.figures.dropped.Add(rejected)
	e.figures.post.sent.Add(points - rejected)
}

// units are the endings of Prometheus' names, which OpenTelemetry has as units.
var units = [...]struct{ ending, unit string }{{"_bytes", "By"}, {"_seconds", "s"}, {"_ratio", "1"}}

// nameOf is what a figure of /metrics is called in OpenTelemetry: with its unit apart, and without _total, so that a collector's
// Prometheus exporter makes the name of /metrics of it again.
func nameOf(metric string) (name, unit string) {
	name = strings.TrimSuffix(metric, "_total")
	for _, u := range units {
		if short, ok := strings.CutSuffix(name, u.ending); ok {
			return "sapwood." + short, u.unit
		}
	}
	return "sapwood." + name, ""
}

// metricsOf are the figures of a snapshot, and how many points they have.
func (e *Exporter) metricsOf(s *vitals.Snapshot) (list []*metrics.Metric, points uint64) {
	byName := map[string]*metrics.Metric{}
	began, at := nanos(e.began), nanos(s.At)
	for i := range s.Series {
		x := &s.Series[i]
		if x.Value != x.Value && x.Spread == nil {
			continue // not known here
		}
		m := byName[x.Name]
		if m == nil {
			name, unit := nameOf(x.Name)
			m = &metrics.Metric{Name: name, Description: x.Help, Unit: unit}
			switch {
			case x.Spread != nil:
				m.Data = &metrics.Metric_Histogram{Histogram: &metrics.Histogram{
					AggregationTemporality: metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
				}}
			case x.Kind == history.Counter:
				m.Data = &metrics.Metric_Sum{Sum: &metrics.Sum{
					AggregationTemporality: metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE, IsMonotonic: true,
				}}
			default:
				m.Data = &metrics.Metric_Gauge{Gauge: &metrics.Gauge{}}
			}
			byName[x.Name] = m
			list = append(list, m)
		}
		var labels []*common.KeyValue
		for j, n := range x.Names {
			labels = append(labels, text(n, x.Values[j]))
		}
		p := &metrics.NumberDataPoint{TimeUnixNano: at, Attributes: labels, Value: &metrics.NumberDataPoint_AsDouble{AsDouble: x.Value}}
		switch d := m.Data.(type) {
		case *metrics.Metric_Sum:
			p.StartTimeUnixNano = began
			d.Sum.DataPoints = append(d.Sum.DataPoints, p)
		case *metrics.Metric_Gauge:
			d.Gauge.DataPoints = append(d.Gauge.DataPoints, p)
		case *metrics.Metric_Histogram:
			d.Histogram.DataPoints = append(d.Histogram.DataPoints, spread(x.Spread, labels, began, at))
		}
		points++
	}
	return append(list, turns(&s.Delays, began, at)), points + 1
}

// spread is a histogram.
func spread(x *vitals.Spread, labels []*common.KeyValue, began, at uint64) *metrics.HistogramDataPoint {
	p := &metrics.HistogramDataPoint{
		StartTimeUnixNano: began, TimeUnixNano: at, Attributes: labels, Sum: &x.Sum, ExplicitBounds: x.Bounds, BucketCounts: x.Counts,
	}
	for _, n := range x.Counts {
		p.Count += n
	}
	return p
}

// turns are the loops' turns by how long they took, with a bound for each fourfold, as in /metrics.
func turns(d *loop.Delays, began, at uint64) *metrics.Metric {
	sum := d.Sum.Seconds()
	p := &metrics.HistogramDataPoint{StartTimeUnixNano: began, TimeUnixNano: at, Sum: &sum}
	in := uint64(0)
	for i, n := range d.Buckets {
		if i > 0 && i%8 == 0 {
			p.ExplicitBounds = append(p.ExplicitBounds, loop.DelayBound(i).Seconds())
			p.BucketCounts = append(p.BucketCounts, in)
			in = 0
		}
		in += n
		p.Count += n
	}
	p.BucketCounts = append(p.BucketCounts, in)
	return &metrics.Metric{
		Name: "sapwood.loop_turn", Unit: "s",
		Description: "Turns of event loops by how long they took: the longest that what happens meanwhile waits.",
		Data: &metrics.Metric_Histogram{Histogram: &metrics.Histogram{
			AggregationTemporality: metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE, DataPoints: []*metrics.HistogramDataPoint{p},
		}},
	}
}

func partialMetrics(answer []byte) (uint64, string, error) {
	var r collector.ExportMetricsServiceResponse
	err := proto.Unmarshal(answer, &r)
	return uint64(max(r.GetPartialSuccess().GetRejectedDataPoints(), 0)), r.GetPartialSuccess().GetErrorMessage(), err
}

package app

import (
	"context"

	"github.com/sapwood-mqtt/sapwood/console/metrics"
	"github.com/sapwood-mqtt/sapwood/console/telemetry"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// sent is what others get beside the figures of the sampler.
type sent struct {
	exporter *telemetry.Exporter // nil = nothing is sent
	topics   *metrics.Topics     // nil = none has series
}

// series are the figures beside those of the sampler.
func (s *sent) series() []vitals.Series {
	return append(s.exporter.Series(), s.topics.Series()...)
}

// openTelemetry begins to send before anything else is opened, so that it ends last: the stop is told, too.
func (a *App) openTelemetry(context.Context) error {
	e := a.sent.exporter
	if err := e.Start(); err != nil {
		return &SettingError{Key: "telemetry.ca_file", Value: a.cfg.Telemetry.CAFile, Why: err.Error(), Fix: "name a PEM file with certificates of authorities", Err: err}
	}
	a.open.add("telemetry", func(ctx context.Context) error { e.Close(ctx); return nil })
	return nil
}

// openTopicSeries begins to read the topics that have series.
func (a *App) openTopicSeries() {
	if c := a.cfg.Metrics; len(c.Topics) > 0 {
		a.sent.topics = metrics.NewTopics(c, a.broker.View().Topics)
		ctx, end := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.sent.topics.Run(ctx)
		}()
		a.open.add("series of topics", func(context.Context) error { end(); <-done; return nil })
	}
}

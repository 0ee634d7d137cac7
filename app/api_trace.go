package app

import (
	"context"
	"errors"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
)

// apiTracer is the broker's packets as the API tells of them.
type apiTracer struct {
	view    *broker.View
	control *broker.Control
}

// Trace implements api.Tracer.
func (t apiTracer) Trace(ctx context.Context, f trace.Filter, d time.Duration) (*trace.Tap, error) {
	return t.control.Trace(ctx, broker.TraceOptions{Filter: f, For: d})
}

// LookBack implements api.Tracer.
func (t apiTracer) LookBack(ctx context.Context, id string) ([]trace.Entry, bool, error) {
	found, err := t.view.LookBack(ctx, id)
	if errors.Is(err, broker.ErrNoClient) {
		return nil, false, nil
	}
	return found.Entries, err == nil, err
}

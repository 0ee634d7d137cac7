package broker

import (
	"context"

	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// namedRetained gives the topics of retained messages numbers, as far as there are any left: nothing may have been published to them in this run, and they
// are to be found all the same.
func (w *View) namedRetained(ctx context.Context) (topics []tally.Topic, err error) {
	names := w.b.topics.names
	err = w.Retained(ctx, "#", func(m *mqtt.Message) bool {
		if t := names.Find(m.Topic); t != 0 {
			topics = append(topics, t)
		} else if names.Len() < names.Limit() {
			topics = append(topics, names.Number(m.Topic))
		}
		return true
	})
	return topics, err
}

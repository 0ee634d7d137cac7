package app

import (
	"context"
	"errors"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// apiTopics is what the broker has counted by topic, as the API shows it.
type apiTopics struct{ view *broker.View }

// View implements api.Topics.
func (t apiTopics) View(ctx context.Context) (*tally.View, []tally.Sum, error) {
	v, err := t.view.TopicView(ctx)
	if err != nil {
		return nil, nil, err
	}
	return v.View, v.Branches, nil
}

// Topic implements api.Topics.
func (t apiTopics) Topic(ctx context.Context, name string, subscribers int) (api.TopicData, bool, error) {
	d, err := t.view.Topic(ctx, name, subscribers)
	if errors.Is(err, broker.ErrNoTopic) {
		return api.TopicData{}, false, nil
	}
	x := api.TopicData{Sum: d.Sum, Detail: d.Detail, Retained: d.Retained, More: d.More, DroppedBy: byReason(d.Dropped)}
	for _, s := range d.Subscribers {
		x.Subscribers = append(x.Subscribers, api.TopicSubscriber{Client: s.Client, Filter: s.Filter, QoS: int(s.QoS), Group: s.Group})
	}
	return x, err == nil, err
}

// Retained implements api.Topics.
func (t apiTopics) Retained(name string) *mqtt.Message { return t.view.RetainedMessage(name) }

package app

import (
	"bytes"
	"context"
	"errors"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// apiTopics is what the broker has counted by topic, as the API shows it.
type apiTopics struct{ view *broker.View }

// Look implements api.Topics.
func (t apiTopics) Look(ctx context.Context, use func(*tally.View)) error {
	return t.view.Topics(ctx, use)
}

// Topic implements api.Topics.
func (t apiTopics) Topic(ctx context.Context, name string, subscribers int) (api.TopicData, bool, error) {
	d, err := t.view.Topic(ctx, name, subscribers)
	if errors.Is(err, broker.ErrNoTopic) {
		return api.TopicData{}, false, nil
	}
	x := api.TopicData{Detail: d.Detail, Retained: d.Retained, More: d.More, DroppedBy: byReason(d.Dropped)}
	for _, s := range d.Subscribers {
		x.Subscribers = append(x.Subscribers, api.TopicSubscriber{Client: s.Client, Filter: s.Filter, QoS: int(s.QoS), Group: s.Group})
	}
	return x, err == nil, err
}

// Search implements api.Topics.
func (t apiTopics) Search(ctx context.Context, word []byte) (map[tally.Topic]bool, error) {
	found, err := t.view.SearchPayloads(ctx, word)
	if err != nil {
		return nil, err
	}
	var names []string
	if err := t.view.Retained(ctx, "#", func(m *mqtt.Message) bool {
		if bytes.Contains(m.Payload, word) {
			names = append(names, string(m.Topic))
		}
		return true
	}); err != nil || len(names) == 0 {
		return found, err
	}
	return found, t.view.Topics(ctx, func(v *tally.View) {
		for _, name := range names {
			if n := v.Names.Find([]byte(name)); n != 0 {
				found[n] = true
			}
		}
	})
}

// Retained implements api.Topics.
func (t apiTopics) Retained(name string) *mqtt.Message { return t.view.RetainedMessage(name) }

package broker

import (
	"context"

	"github.com/sapwood-mqtt/sapwood/broker/tally"
)

// SearchPayloads returns the topics in whose last payload, as far as it is kept, there is a word. Retained messages are not looked at.
func (w *View) SearchPayloads(ctx context.Context, word []byte) (map[tally.Topic]bool, error) {
	found := make(map[tally.Topic]bool)
	for _, sh := range w.b.shards {
		for next, first := 0, true; first || next != 0; first = false {
			if err := w.in(ctx, sh, func() {
				next = sh.books.topics.Search(word, next, topicRows, func(t tally.Topic) { found[t] = true })
			}); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

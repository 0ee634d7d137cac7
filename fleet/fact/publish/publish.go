// Package publish tells facts to MQTT clients, as messages below $SYS/events.
package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// Root is what the topics begin with.
const Root = "$SYS/events/"

// Config says which. The zero value publishes nothing.
type Config struct {
	Enabled bool     `yaml:"enabled" reload:"restart" doc:"Whether events are published, as JSON with QoS 0, to $SYS/events/KIND/CLIENT, or $SYS/events/KIND where there is no client. In a client's id, %, /, +, # and control characters are written as %25, %2F and so on."`
	Kinds   []string `yaml:"kinds" reload:"restart" doc:"Which kinds of events; empty = all."`
}

// DefaultConfig is off.
func DefaultConfig() Config { return Config{Kinds: []string{}} }

// Check tells what cannot be.
func (c *Config) Check(bad func(key, message, fix string)) {
	if _, err := fact.CheckKinds(c.Kinds); err != nil {
		bad("kinds", err.Error(), "see docs/events.md for the kinds")
	}
}

// Publisher is a fact.Sink.
type Publisher struct {
	fact.Count
	publish func(ctx context.Context, topic string, payload []byte) error
	log     *slog.Logger
}

var _ fact.Sink = (*Publisher)(nil)

// New makes one that publishes by a function.
func New(publish func(ctx context.Context, topic string, payload []byte) error, log *slog.Logger) *Publisher {
	return &Publisher{publish: publish, log: log}
}

// Send implements fact.Sink. What happens to these messages themselves is not published: who is too slow for them would never catch up.
func (p *Publisher) Send(ctx context.Context, facts []fact.Fact, lost uint64) {
	if p.Lost(lost); lost > 0 {
		p.one(ctx, &fact.Fact{Kind: fact.NotRecorded, Reason: "too_fast", Count: lost, Text: fmt.Sprintf("%d events came faster than they could be published.", lost)})
	}
	for i := range facts {
		switch {
		case strings.HasPrefix(facts[i].Topic, Root):
		case ctx.Err() != nil:
			p.Lost(1)
		default:
			p.one(ctx, &facts[i])
		}
	}
}

func (p *Publisher) one(ctx context.Context, f *fact.Fact) {
	text, err := json.Marshal(f)
	if err == nil {
		err = p.publish(ctx, Topic(f), text)
	}
	if err == nil {
		p.Took(1)
	} else if p.Failed(1, err) {
		p.log.Warn("events cannot be published", "error", err)
	}
}

// Close implements fact.Sink.
func (p *Publisher) Close() error { return nil }

// Topic is where a fact is published: a topic name whatever the client is called.
func Topic(f *fact.Fact) string {
	if f.Client == "" {
		return Root + string(f.Kind)
	}
	return Root + string(f.Kind) + "/" + escape(f.Client)
}

// escape writes what has a meaning in topics, or may not be in them, as % and two hexadecimal digits for each byte.
func escape(level string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(level, "\uFFFD") {
		switch {
		case r == '/', r == '+', r == '#', r == '%', r < ' ', r == 0x7f:
			fmt.Fprintf(&b, "%%%02X", r)
		case r >= 0x80 && r < 0xa0, r&0xfffe == 0xfffe, r >= 0xfdd0 && r <= 0xfdef: // control characters and non-characters
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

package publish

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

func TestTopic(t *testing.T) {
	f := func(client, want string) {
		t.Helper()
		if got := Topic(&fact.Fact{Kind: fact.Dropped, Client: client}); got != "$SYS/events/dropped"+want {
			t.Errorf("%q: %s", client, got)
		}
	}
	f("", "")
	f("press-07", "/press-07")
	f("a/b+#%", "/a%2Fb%2B%23%25")
	f("ä 水", "/ä 水")
	f("a\r\n\x00", "/a%0D%0A%00")
}

// Whatever a client is called, its facts have a topic name of four levels, and no two clients share one.
func FuzzTopic(f *testing.F) {
	for _, s := range []string{"", "a", "/", "#", "+", "%2F", "\x00", "\xff", "\ufffe", "\U0001ffff", "\ufdd0", "\u0085"} {
		f.Add(s, "%2F")
	}
	f.Fuzz(func(t *testing.T, client, other string) {
		name := Topic(&fact.Fact{Kind: fact.Dropped, Client: client})
		if len(name) > 65535 {
			t.Skip("longer than any client identifier makes it")
		}
		if err := topic.ValidName(name); err != nil || client != "" && topic.Levels(name) != 4 {
			t.Errorf("%q: %q, %v", client, name, err)
		}
		valid := func(s string) bool { return strings.ToValidUTF8(s, "") == s }
		if client != other && valid(client) && valid(other) && name == Topic(&fact.Fact{Kind: fact.Dropped, Client: other}) {
			t.Errorf("%q and %q: %q", client, other, name)
		}
	})
}

// What happens to these messages is not published again: each would make the next one.
func TestSend(t *testing.T) {
	var topics []string
	var fail error
	p := New(func(_ context.Context, topic string, payload []byte) error {
		var f fact.Fact
		if err := json.Unmarshal(payload, &f); err != nil {
			t.Error(err)
		}
		topics = append(topics, topic)
		return fail
	}, slog.New(slog.DiscardHandler))
	p.Send(t.Context(), []fact.Fact{{Kind: fact.Dropped, Client: "a", Topic: "$SYS/events/connected/#"}, {Kind: fact.Dropped, Client: "a", Topic: "x/#"}}, 3)
	fail = errors.New("closed")
	p.Send(t.Context(), []fact.Fact{{Kind: fact.Started}}, 0)
	if got := strings.Join(topics, " "); got != "$SYS/events/not_recorded $SYS/events/dropped/a $SYS/events/started" {
		t.Errorf("%s", got)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

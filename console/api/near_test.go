package api

import (
	"slices"
	"testing"
)

func TestNearest(t *testing.T) {
	names := []string{"clients_connected", "messages_dropped", "messages_received", "messages_sent", "goroutines"}
	for word, want := range map[string][]string{
		"messages_recieved": {"messages_received", "messages_dropped", "messages_sent"}, "dropped": {"messages_dropped"}, "typo": nil, "": nil, "x": nil,
	} {
		if got := nearest(word, names); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

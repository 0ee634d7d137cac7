package api

import (
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

// What the process itself has connected is no client: neither a list nor an action on many is about it.
func TestOwnClientsAreNone(t *testing.T) {
	for listener, want := range map[string]bool{"$canary": true, "$requests": true, "tcp": false, "127.0.0.1:1883": false, "": false} {
		var who auth.Principal
		who.Peer.Listener = listener
		if own(Client{ID: "$canary", Who: &who}) != want {
			t.Errorf("listener %q: own is not %v", listener, want)
		}
	}
	if own(Client{ID: "$canary"}) {
		t.Error("a stored session without a principal is the process's own")
	}
}

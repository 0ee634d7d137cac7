package app

import (
	"testing"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/ledger"
)

// TestImbalanceIsTold: what the ledger finds becomes a fact, with the client whose books they are.
func TestImbalanceIsTold(t *testing.T) {
	f := imbalance(&ledger.Finding{What: "client", Name: "c", Difference: -3, Text: "-3 copies"})
	if f.Kind != fact.Imbalance || f.Client != "c" || f.Count != 3 || f.Detail["difference"] != "-3" || f.Text == "" {
		t.Errorf("%+v", f)
	}
	if f = imbalance(&ledger.Finding{What: "copies", Name: "1", Difference: 2}); f.Client != "" || f.Detail["loop"] != "1" {
		t.Errorf("%+v", f)
	}
}

package memory_test

import (
	"testing"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/fact/facttest"
	"github.com/sapwood-mqtt/sapwood/fleet/fact/memory"
)

func TestStore(t *testing.T) {
	facttest.Run(t, func(*testing.T) fact.Store { return &memory.Store{} })
}

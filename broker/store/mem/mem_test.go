package mem_test

import (
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/broker/store/storetest"
)

// reopened lets the suite restart the engine.
type reopened struct{ *mem.Store }

func (r reopened) Reopen(testing.TB) store.Store { return reopened{r.Store.Reopen()} }

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return reopened{mem.New()} })
}

// TestStoreWithoutReopen: the suite takes an engine that survives no restart.
func TestStoreWithoutReopen(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return mem.New() })
}

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, func(*testing.B) store.Store { return mem.New() })
}

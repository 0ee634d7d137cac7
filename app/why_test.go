package app

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/sqlite"
	"github.com/sapwood-mqtt/sapwood/fleet/why"
)

// quietWitnesses know facts and nothing else.
type quietWitnesses struct{ witnesses }

func (quietWitnesses) State(context.Context, string) (why.State, bool, error) {
	return why.State{}, false, nil
}

// BenchmarkWhy asks about a client that went away, and about addresses, among many facts of others.
func BenchmarkWhy(b *testing.B) {
	const facts = 200_000
	kept, err := sqlite.OpenFacts(b.Context(), b.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	r, err := fact.Open(b.Context(), fact.Options{Store: kept})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close(context.Background())
	record := func(i int, kind fact.Kind, id string) {
		r.Record(fact.Fact{Kind: kind, Client: id, Address: fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255), Reason: "keep_alive", Text: "Disconnected by the broker: no packet for 90 s."})
	}
	record(0, fact.Disconnected, "asked")
	for i := range facts {
		record(i+1, []fact.Kind{fact.Connected, fact.Disconnected, fact.Dropped, fact.Refused}[i%4], fmt.Sprintf("other-%d", i%10_000))
		if i%30_000 == 0 {
			if err := r.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	e := why.New(quietWitnesses{witnesses{facts: r}}, time.Now)
	for _, id := range []string{"asked", "10.0.1.3", "192.0.2.7"} {
		b.Run(id, func(b *testing.B) {
			for b.Loop() {
				if _, err := e.Client(b.Context(), id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

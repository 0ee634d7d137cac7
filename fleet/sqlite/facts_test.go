package sqlite

import (
	"context"
	"log/slog"
	"testing"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/fact/facttest"
)

func openFactsIn(t testing.TB, dir string) *Facts {
	t.Helper()
	f, err := OpenFacts(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestFacts(t *testing.T) {
	facttest.Run(t, func(t *testing.T) fact.Store { return openFactsIn(t, t.TempDir()) })
}

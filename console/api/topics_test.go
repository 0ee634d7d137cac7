package api

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Which filters are fed is told as matching one by one tells it, for so many that this would take minutes; and not on when nobody waits.
func TestNoteFed(t *testing.T) {
	const many = 30_000
	var all []named
	fed := map[string]bool{}
	for i := range many {
		all = append(all, named{name: fmt.Sprintf("plant/%d/state", i)})
		fed[fmt.Sprintf("none/+/%d/#", i)] = false
	}
	all = append(all, named{name: "$SYS/x"}, named{name: "/a"}, named{name: "b/"})
	few := []string{"#", "+", "plant/#", "plant/+/state", "plant/7/+", "plant/7/state", "plant/7/state/#", "plant/+", "+/x", "$SYS/#", "$SYS/+", "+/a", "b/+", "b", "plant/70000/#", "+/+/+/+"}
	for _, f := range few {
		fed[f] = false
	}
	began := time.Now()
	if err := noteFed(t.Context(), fed, all); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, f := range few {
		want := false
		for i := range all {
			want = want || f == all[i].name || topic.Match(f, all[i].name)
		}
		if fed[f] != want {
			t.Errorf("%s: %v, want %v", f, fed[f], want)
		}
	}
	if fed["none/+/5/#"] {
		t.Error("a filter that nothing matches is fed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := noteFed(ctx, fed, all); err == nil {
		t.Error("it goes on for nobody")
	}
}

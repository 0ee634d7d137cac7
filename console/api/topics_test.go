package api

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Which filters are fed is told as matching one by one tells it, for so many that this would take minutes; and not on when nobody waits.
func TestNoteFed(t *testing.T) {
	const many = 30_000
	var all []string
	fed := map[string]bool{}
	for i := range many {
		all = append(all, fmt.Sprintf("plant/%d/state", i))
		fed[fmt.Sprintf("none/+/%d/#", i)] = false
	}
	all = append(all, "$SYS/x", "/a", "b/")
	few := []string{"#", "+", "plant/#", "plant/+/state", "plant/7/+", "plant/7/state", "plant/7/state/#", "plant/7", "plant/+", "+/x", "$SYS/#", "$SYS/+", "$SYS/x", "+/a", "b/+", "b", "plant/70000/#", "+/+/+/+"}
	for _, f := range few {
		fed[f] = false
	}
	v := viewOf(all)
	began := time.Now()
	if err := noteFed(t.Context(), fed, v); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	for _, f := range few {
		want := slices.ContainsFunc(all, func(name string) bool { return f == name || topic.Match(f, name) })
		if fed[f] != want {
			t.Errorf("%s: %v, want %v", f, fed[f], want)
		}
	}
	if fed["none/+/5/#"] {
		t.Error("a filter that nothing matches is fed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := noteFed(ctx, fed, v); err == nil {
		t.Error("it goes on for nobody")
	}
}

// viewOf is a view of topics with a message each.
func viewOf(all []string) *tally.View {
	names := tally.NewNames(4 * len(all))
	counts := tally.NewTopics(names, 0, 0)
	for _, name := range all {
		tag, _ := counts.Tag([]byte(name))
		counts.Published(tag, 1, 1, &tally.Message{Name: []byte(name)})
	}
	counts.Settle()
	v := tally.NewView(names)
	v.Begin(1)
	counts.Touched(v)
	for some, sums := range v.Changed(len(all)) {
		counts.Read(1, some, sums)
	}
	v.End([tally.Weights][][]tally.Heavy{})
	return v
}

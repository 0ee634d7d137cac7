package chaos

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
	"github.com/sapwood-mqtt/sapwood/test/chaos/process"
)

// row is what all runs of one mode came to.
type row struct {
	mode   process.Mode
	cycles int
	history.Figures
	failures int
}

func (w *row) add(r *process.Result) {
	one := row{cycles: r.Cycles, Figures: r.Figures}
	if r.Failure != nil {
		one.failures = 1
	}
	w.sum(&one)
}

func (w *row) sum(o *row) {
	w.cycles += o.cycles
	w.failures += o.failures
	w.Acknowledged += o.Acknowledged
	w.Refused += o.Refused
	w.Received += o.Received
	w.Lost += o.Lost
	w.Doubled += o.Doubled
	w.Other += o.Other
}

// table is Markdown.
func table(rows []*row) string {
	var b strings.Builder
	b.WriteString("| fault | cycles | acknowledged | refused | received | lost | doubled | other promises broken | failed to start, stop or recover |\n|---|---|---|---|---|---|---|---|---|\n")
	total := &row{mode: process.Mode{What: "**all**"}}
	line := func(w *row) {
		fmt.Fprintf(&b, "| %s |", w.mode.What)
		for _, n := range []int{w.cycles, w.Acknowledged, w.Refused, w.Received, w.Lost, w.Doubled, w.Other, w.failures} {
			fmt.Fprintf(&b, " %s |", thousands(n))
		}
		b.WriteString("\n")
	}
	for _, w := range rows {
		line(w)
		total.sum(w)
	}
	line(total)
	fmt.Fprintf(&b, "\nDurability %s, %s on %s/%s with %d cores.\n", *durability, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	return b.String()
}

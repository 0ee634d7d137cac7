package load

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// ErrBroken: messages were lost, duplicated or out of order, against what their QoS
// promises.
var ErrBroken = errors.New("the broker broke its promise")

// Result is what a run found.
type Result struct {
	Options Options  `json:"options"`
	Tally   Tally    `json:"tally"`
	Figures []Figure `json:"figures"`

	// From and To are when a flow's measurement began and ended; zero for other scenarios.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

// Figure is one measured number. Key is stable, for programs; Text is for people.
type Figure struct {
	Key   string  `json:"key"`
	Text  string  `json:"text"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func (r *Result) add(key string, value float64, unit, text string) {
	r.Figures = append(r.Figures, Figure{key, text, value, unit})
}

// Value is the figure of that key; false when the run has none.
func (r *Result) Value(key string) (float64, bool) {
	for _, f := range r.Figures {
		if f.Key == key {
			return f.Value, true
		}
	}
	return 0, false
}

// Broken reports whether messages were lost, duplicated, out of order or foreign.
func (r *Result) Broken() bool { return r.Tally.wrong() > 0 }

// addCPU adds what a stretch cost per item: the broker's share under key, if it was
// watched, and the generator's, which has to be the smaller one to trust the rate.
func (r *Result) addCPU(key, item string, s stretch, items uint64) {
	if items == 0 {
		return
	}
	per := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(items) }
	busy := func(d time.Duration) float64 { return 100 * float64(d) / float64(s.wall) }
	if s.their > 0 {
		r.add(key, per(s.their), "µs", "broker CPU per "+item)
		r.add(key+"_busy", busy(s.their), "%", "broker busy")
	}
	r.add("generator_"+key, per(s.ours), "µs", "generator CPU per "+item)
	r.add("generator_"+key+"_busy", busy(s.ours), "%", "generator busy")
}

func (r *Result) addLatency(h *Histogram, key, text string) {
	if h.Count() == 0 {
		return
	}
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}} {
		r.add(key+"_"+q.name, us(h.Quantile(q.at)), "µs", text+" "+q.name)
	}
	r.add(key+"_max", us(h.Max()), "µs", text+" max")
}

// verdict holds the tally against the promises of the QoS. At QoS 1 a message may
// come twice (MQTT5 4.3.2), but on a connection that did not break nothing is sent
// again (MQTT5 4.4), so here it may not; a QoS 0 message may get lost, but a
// generator that bounds what is under way gives no reason to drop.
func (r *Result) verdict() error {
	t := r.Tally
	var broken []string
	for _, c := range []struct {
		n    uint64
		what string
	}{{t.Lost, "lost"}, {t.Duplicated, "duplicated"}, {t.Reordered, "out of order"}, {t.Foreign, "foreign"}} {
		if c.n > 0 {
			broken = append(broken, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if len(broken) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrBroken, strings.Join(broken, ", "))
}

// WriteTable writes the result for people.
func (r *Result) WriteTable(w io.Writer) error {
	o, t := r.Options, r.Tally
	var b strings.Builder
	fmt.Fprintf(&b, "%s  QoS %d, %d B, MQTT %s, %d clients", o.Scenario, o.QoS, o.Payload, versionName(o.Version), o.Clients)
	switch {
	case o.Rate > 0:
		fmt.Fprintf(&b, ", %s messages/s %s", Number(o.Rate), o.Arrivals)
	case o.Window > 0:
		fmt.Fprintf(&b, ", window %d", o.Window)
	}
	b.WriteByte('\n')
	width := 0
	for _, f := range r.Figures {
		width = max(width, len([]rune(f.Text)))
	}
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "  %-*s  %12s %s\n", width, f.Text, Number(f.Value), f.Unit)
	}
	if t.Sent+t.Received > 0 {
		fmt.Fprintf(&b, "  sent %s, received %s, lost %s, duplicated %s, out of order %s, foreign %s\n",
			Number(float64(t.Sent)), Number(float64(t.Received)), Number(float64(t.Lost)),
			Number(float64(t.Duplicated)), Number(float64(t.Reordered)), Number(float64(t.Foreign)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Number writes v for people: two digits after the point where it is small, none and
// separators where it is big.
func Number(v float64) string {
	switch {
	case v != float64(int64(v)) && v < 10:
		return fmt.Sprintf("%.2f", v)
	case v != float64(int64(v)) && v < 1000:
		return fmt.Sprintf("%.1f", v)
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

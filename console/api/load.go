package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/fleet/history"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// Vitals are the present figures of the process and their history.
type Vitals interface {
	Latest() *vitals.Snapshot // nil before the first
	Now() (vitals.Now, bool)  // false before the first
	Query(q history.Query) ([]history.Series, time.Duration, error)
	Metrics() ([]history.Series, error)
}

// Chart is an answer of the history.
type Chart struct {
	Step   float64   `json:"step_seconds" doc:"Time between points: that asked for, or the finest that is kept of that time."`
	Series []Plotted `json:"series"`
}

// Plotted is one series. Of a gauge a point is the mean of its step, of a counter its increase per second.
type Plotted struct {
	Metric string            `json:"metric"`
	Labels map[string]string `json:"labels"`
	Kind   string            `json:"kind" enum:"gauge,counter"`
	Points [][2]float64      `json:"points" doc:"Unix seconds of the step's beginning, and the value. A step of which nothing is known has none."`
	Low    [][2]float64      `json:"low,omitempty" doc:"The lowest value within the step, where it is not the mean."`
	High   [][2]float64      `json:"high,omitempty" doc:"The highest."`
	Sum    *float64          `json:"sum,omitempty" doc:"The increase of a counter over all of the time."`
}

// Metric is one figure that is kept.
type Metric struct {
	Metric string              `json:"metric"`
	Kind   string              `json:"kind" enum:"gauge,counter"`
	Unit   string              `json:"unit,omitempty" doc:"bytes, seconds, cores or ratio; of a counter that per second."`
	Text   string              `json:"text,omitempty"`
	Labels []map[string]string `json:"labels,omitempty" doc:"Those of each series, where it has any."`
}

// registerVitals adds what tells how the process is.
func registerVitals(h huma.API, v Vitals) {
	latest := func() (*vitals.Snapshot, error) {
		if v != nil {
			if s := v.Latest(); s != nil {
				return s, nil
			}
		}
		return nil, huma.Error503ServiceUnavailable("there are no figures yet")
	}
	huma.Register(h, serve.Operation("stats", http.MethodGet, "/stats", "figures", "What the broker counts, taken once a second"),
		func(context.Context, *struct{}) (*answer[vitals.Stats], error) {
			s, err := latest()
			if err != nil {
				return nil, err
			}
			return &answer[vitals.Stats]{s.Stats}, nil
		})
	huma.Register(h, serve.Operation("load", http.MethodGet, "/load", "figures", "How busy process and machine are, taken once a second. What is not known is absent"),
		func(context.Context, *struct{}) (*answer[vitals.Load], error) {
			s, err := latest()
			if err != nil {
				return nil, err
			}
			return &answer[vitals.Load]{s.Load}, nil
		})
	huma.Register(h, serve.Operation("now", http.MethodGet, "/now", "figures", "Whether it is fine, in one sentence, and what is not"),
		func(context.Context, *struct{}) (*answer[vitals.Now], error) {
			if v != nil {
				if n, ok := v.Now(); ok {
					return &answer[vitals.Now]{n}, nil
				}
			}
			return nil, huma.Error503ServiceUnavailable("there are no figures yet")
		})
	registerHistory(h, v)
}

// asked is what a request wants of the history.
type asked struct {
	Metric string   `query:"metric" required:"true" doc:"Names as /history/metrics tells them, separated by commas." example:"messages_received,clients_connected"`
	Label  []string `query:"label,explode" doc:"name=value that a series has to have, several for all of them." example:"reason=queue_full"`
	From   string   `query:"from" doc:"A time as RFC 3339, Unix seconds, or how long ago, as 24h or 7d." default:"1h"`
	To     string   `query:"to" doc:"As from; empty = now."`
	Step   string   `query:"step" doc:"Time between points, as 10m or in seconds; empty = so that there are at most 600."`
}

// registerHistory adds what is kept of the figures.
func registerHistory(h huma.API, v Vitals) {
	huma.Register(h, serve.Operation("history", http.MethodGet, "/history", "figures", "Figures of up to 30 days: every 10 s for a day, each minute for a week, every ten minutes for the rest", http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusConflict),
		func(_ context.Context, in *asked) (*answer[Chart], error) {
			q, err := in.query(time.Now())
			if err != nil {
				return nil, err
			}
			if v == nil {
				return nil, huma.Error503ServiceUnavailable("there are no figures yet")
			}
			if err := in.known(v); err != nil {
				return nil, err
			}
			found, step, err := v.Query(q)
			if err != nil {
				return nil, huma.Error409Conflict(err.Error())
			}
			c := Chart{Step: step.Seconds(), Series: make([]Plotted, 0, len(found))}
			for i := range found {
				c.Series = append(c.Series, plot(&found[i]))
			}
			return &answer[Chart]{c}, nil
		})
	huma.Register(h, serve.Operation("history-metrics", http.MethodGet, "/history/metrics", "figures", "The figures that are kept", http.StatusConflict),
		func(context.Context, *struct{}) (*answer[[]Metric], error) {
			if v == nil {
				return nil, huma.Error503ServiceUnavailable("there are no figures yet")
			}
			kept, err := v.Metrics()
			if err != nil {
				return nil, huma.Error409Conflict(err.Error())
			}
			return &answer[[]Metric]{metricsOf(kept, v.Latest())}, nil
		})
}

// names are the metrics as the history knows them.
func (in *asked) names() []string {
	names := strings.Split(strings.ReplaceAll(in.Metric, " ", ""), ",")
	for i, n := range names {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(n, "sapwood_"), "_total")
	}
	return names
}

// known refuses metrics that there are not, so that a wrong name is not taken for a time without figures. One that
// counts by reason and has not counted yet is known by what the process tells of itself.
func (in *asked) known(v Vitals) error {
	kept, err := v.Metrics()
	if err != nil {
		return huma.Error409Conflict(err.Error())
	}
	there := map[string]bool{}
	for i := range kept {
		there[kept[i].Metric] = true
	}
	if s := v.Latest(); s != nil {
		for i := range s.Series {
			there[s.Series[i].Metric()] = true
		}
	}
	for _, name := range in.names() {
		if there[name] {
			continue
		}
		text := fmt.Sprintf("no metric is called %q.", name)
		if near := nearest(name, slices.Sorted(maps.Keys(there))); len(near) > 0 {
			text = fmt.Sprintf("no metric is called %q; did you mean %s?", name, strings.Join(near, " or "))
		}
		return huma.Error400BadRequest(text + " GET /api/v1/history/metrics (sapwood history) lists those there are.")
	}
	return nil
}

// query is what the history is asked.
func (in *asked) query(now time.Time) (q history.Query, err error) {
	names := in.names()
	parts := make([]string, len(in.Label))
	for i, l := range in.Label {
		name, value, ok := strings.Cut(l, "=")
		if !ok {
			return q, huma.Error422UnprocessableEntity(fmt.Sprintf("label %q is not name=value", l))
		}
		parts[i] = name + "=" + strconv.Quote(value)
	}
	q.Match = func(metric, labels string) bool {
		if !slices.Contains(names, metric) {
			return false
		}
		for _, p := range parts {
			if !strings.Contains(labels, "{"+p) && !strings.Contains(labels, ","+p) {
				return false
			}
		}
		return true
	}
	if q.From, err = timeOf("from", in.From, now.Add(-time.Hour), now); err != nil {
		return q, err
	}
	if q.To, err = timeOf("to", in.To, now, now); err != nil {
		return q, err
	}
	if !q.From.Before(q.To) {
		return q, huma.Error422UnprocessableEntity(fmt.Sprintf("from %s is not before to %s", q.From.Format(time.RFC3339), q.To.Format(time.RFC3339)))
	}
	if oldest := now.Add(-31 * 24 * time.Hour); q.From.Before(oldest) {
		q.From = oldest
	}
	if q.To.After(now) {
		q.To = now
	}
	if !q.From.Before(q.To) {
		q.From = q.To.Add(-time.Second) // nothing is kept of that time
	}
	if in.Step != "" {
		seconds, err := strconv.ParseFloat(in.Step, 64)
		q.Step = time.Duration(seconds * float64(time.Second))
		if err != nil {
			q.Step, err = time.ParseDuration(in.Step)
		}
		if err != nil || q.Step < time.Second || q.Step > 31*24*time.Hour {
			return q, huma.Error422UnprocessableEntity(fmt.Sprintf("step %q is neither seconds nor a duration as 10m", in.Step))
		}
	}
	return q, nil
}

// timeOf is a time, Unix seconds, or how long ago it was, with or without a minus.
func timeOf(name, s string, empty, now time.Time) (time.Time, error) {
	if s == "" {
		return empty, nil
	}
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil && seconds >= 0 && seconds < 1<<40 {
		return time.Unix(seconds, 0), nil
	}
	return moment(name, strings.TrimPrefix(s, "-"), now)
}

func kindName(k history.Kind) string {
	if k == history.Counter {
		return "counter"
	}
	return "gauge"
}

func plot(s *history.Series) Plotted {
	p := Plotted{Metric: s.Metric, Labels: labelsOf(s.Labels), Kind: kindName(s.Kind), Points: pairs(s.Points), Low: pairs(s.Low), High: pairs(s.High)}
	if s.Kind == history.Counter {
		p.Sum = &s.Sum
	}
	return p
}

func pairs(points []history.Point) [][2]float64 {
	list := make([][2]float64, len(points))
	for i, p := range points {
		list[i] = [2]float64{float64(p.At), p.Value}
	}
	return list
}

// labelsOf takes {a="b",c="d"} apart.
func labelsOf(s string) map[string]string {
	m := map[string]string{}
	for s = strings.Trim(s, "{}"); s != ""; s = strings.TrimPrefix(s, ",") {
		name, rest, ok := strings.Cut(s, "=")
		if !ok {
			break
		}
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			break
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			break
		}
		m[name], s = value, rest[len(quoted):]
	}
	return m
}

// metricsOf joins series to metrics. What they mean is told by the latest figures.
func metricsOf(kept []history.Series, s *vitals.Snapshot) []Metric {
	texts := map[string]string{}
	if s != nil {
		for i := range s.Series {
			texts[s.Series[i].Metric()] = s.Series[i].Help
		}
	}
	all := []Metric{}
	for _, k := range kept {
		if n := len(all); n == 0 || all[n-1].Metric != k.Metric {
			m := Metric{Metric: k.Metric, Kind: kindName(k.Kind), Text: texts[k.Metric]}
			for _, unit := range []string{"bytes", "seconds", "cores", "ratio"} {
				if strings.HasSuffix(k.Metric, unit) {
					m.Unit = unit
				}
			}
			all = append(all, m)
		}
		if k.Labels != "" {
			last := &all[len(all)-1]
			last.Labels = append(last.Labels, labelsOf(k.Labels))
		}
	}
	return all
}

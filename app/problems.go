package app

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/canary"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/ledger"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// lately is how long something that is over is told as a problem.
const lately = time.Hour

// problems are those that GET /api/v1/now tells beside what the figures show: books, canaries, certificates, and whom events do not reach.
func (a sources) problems() (all []vitals.Problem) {
	add := func(severity vitals.Severity, link, text string) {
		all = append(all, vitals.Problem{Severity: severity, Text: text, Link: link})
	}
	last, alarm := a.ledger.Findings()
	ofBooks(last, alarm, add)
	if refused, at := a.ledger.Refused(); time.Since(at) < lately {
		for _, text := range refused {
			add(vitals.Warning, "/broker/books", strings.TrimSuffix(lower(text), "."))
		}
	}
	if a.canary != nil {
		r := a.canary.Report()
		ofCanary(&r, time.Now(), add)
	}
	for _, c := range care(a.App) {
		severity := vitals.Warning
		if c.grave {
			severity = vitals.Critical
		}
		add(severity, "/broker/listeners", c.text)
	}
	for _, s := range a.sinks {
		if o := s.fact.Outcome(); o.Failing != "" {
			add(vitals.Warning, "/events", fmt.Sprintf("events do not reach events.%s, %d were given up: %s", s.name, o.Dropped, o.Failing))
		}
	}
	if why := a.sent.exporter.Failing(); why != "" {
		add(vitals.Warning, "/broker", "telemetry does not reach its collector: "+why)
	}
	for _, what := range a.lesser {
		add(vitals.Warning, "/broker", what)
	}
	return all
}

// ofBooks are the problems of books.
func ofBooks(last []ledger.Finding, alarm time.Time, add func(vitals.Severity, string, string)) {
	switch {
	case len(last) == 1:
		add(vitals.Critical, "/broker/books", "the books do not balance: "+last[0].Text)
	case len(last) > 1:
		add(vitals.Critical, "/broker/books", fmt.Sprintf("the books do not balance in %d places: %s, and so on", len(last), last[0].Text))
	case !alarm.IsZero() && time.Since(alarm) < lately:
		add(vitals.Warning, "/broker/books", fmt.Sprintf("the books did not balance at %s, and do again", clock(alarm)))
	}
}

// ofCanary are the problems of delivery as the canaries measured it.
func ofCanary(r *canary.Report, now time.Time, add func(vitals.Severity, string, string)) {
	if !r.Delivers {
		add(vitals.Critical, "/broker/delivery", strings.TrimSuffix(lower(r.Text), "."))
		return
	}
	if len(r.Outages) > 0 && now.Sub(r.Outages[0].To) < lately {
		x := &r.Outages[0]
		add(vitals.Warning, "/broker/delivery", fmt.Sprintf("the broker did not deliver its own test messages for %v until %s: %s", x.To.Sub(x.From).Round(time.Second/10), clock(x.To), x.Why))
	}
	if !r.Met {
		add(vitals.Warning, "/broker/delivery", strings.TrimSuffix(lower(r.Text), "."))
	}
}

// lower has a sentence go on where another began.
func lower(sentence string) string { return strings.ToLower(sentence[:1]) + sentence[1:] }

// clock is a time of the last hour.
func clock(at time.Time) string { return at.UTC().Format("15:04 UTC") }

// series are the figures, beside those of the sampler, that the history keeps.
func (a sources) series() (all []vitals.Series) {
	last, _ := a.ledger.Findings()
	missing := 0.0
	for _, f := range last {
		missing += float64(max(f.Difference, -f.Difference))
	}
	all = append(all, vitals.Gauge("books_imbalance", "Messages, or copies of them, that are not accounted for at present: always 0, or the broker is at fault.", missing))
	recorded, not := a.facts.Counts()
	all = append(all,
		vitals.Counter("events_recorded_total", "Events that were taken.", recorded),
		vitals.Counter("events_not_recorded_total", "Events that came faster than they could be taken, or that the disk did not take.", not))
	for _, s := range a.sinks {
		o := s.fact.Outcome()
		all = append(all,
			vitals.Counter("event_sink_sent_total", "Events that were sent elsewhere, by where.", o.Sent, "sink", s.name),
			vitals.Counter("event_sink_dropped_total", "Events that did not get there: given up, or too fast.", o.Dropped, "sink", s.name),
			vitals.Gauge("event_sink_failing", "1 while events do not get there.", one(o.Failing != ""), "sink", s.name))
	}
	if a.canary == nil {
		return all
	}
	r := a.canary.Report()
	all = append(all,
		vitals.Gauge("canary_delivers", "1 while the broker's own test messages arrive in time.", one(r.Delivers)),
		vitals.Gauge("canary_objective_ratio", "The part of the test messages of 24 hours that has to arrive in time, at the worst QoS.", r.Objective))
	for i := range r.Canaries {
		f := &r.Canaries[i]
		qos := strconv.Itoa(int(f.QoS))
		all = append(all,
			vitals.Counter("canary_sent_total", "Test messages that the broker sent to itself, by QoS.", f.Sent, "qos", qos),
			vitals.Counter("canary_lost_total", "Test messages that did not arrive in time, by QoS.", f.Lost, "qos", qos),
			vitals.Gauge("canary_delivered_ratio", "Test messages delivered of those sent, by QoS and time.", f.HourRatio, "qos", qos, "window", "1h"),
			vitals.Gauge("canary_delivered_ratio", "Test messages delivered of those sent, by QoS and time.", f.DayRatio, "qos", qos, "window", "24h"),
			vitals.Gauge("canary_last_delivery_seconds", "How long the last test message took, by QoS.", f.Last, "qos", qos),
			vitals.Histogram("canary_delivery_seconds", "How long test messages took from publisher to subscriber, by QoS.", spread(f), "qos", qos))
	}
	return all
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// spread is a canary's histogram as figures have it.
func spread(f *canary.Figures) vitals.Spread {
	s := vitals.Spread{Sum: f.Sum}
	for _, b := range f.Histogram {
		s.Counts = append(s.Counts, b.Count)
		if b.UpTo > 0 {
			s.Bounds = append(s.Bounds, b.UpTo)
		}
	}
	return s
}

// tidingsEvery is how often it is looked what nobody tells by himself.
const tidingsEvery = time.Second

// tidings finds what has changed with whom the broker needs: backends that are asked who clients are, and certificates.
type tidings struct {
	open  map[string]bool
	cared map[string]bool
}

// openTidings begins to look.
func (a *App) openTidings() {
	t := &tidings{open: map[string]bool{}, cared: map[string]bool{}}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(tidingsEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				t.look(a)
			}
		}
	}()
	a.open.add("tidings", func(context.Context) error { end(); <-done; return nil })
}

// look records what is new.
func (t *tidings) look(a *App) {
	for _, b := range a.doors.backends() {
		switch {
		case b.Open && !t.open[b.Name]:
			a.facts.Record(fact.Fact{
				Kind: fact.BackendFailed, Reason: b.Name, Text: fmt.Sprintf("The authentication backend %s fails and is not asked for a while: %s.", b.Name, b.LastError),
				Detail: map[string]string{"backend": b.Name, "error": b.LastError},
			})
		case !b.Open && t.open[b.Name]:
			a.facts.Record(fact.Fact{Kind: fact.BackendBack, Reason: b.Name, Text: fmt.Sprintf("The authentication backend %s answers again.", b.Name), Detail: map[string]string{"backend": b.Name}})
		}
		t.open[b.Name] = b.Open
	}
	cared := map[string]bool{}
	for _, c := range care(a) {
		if cared[c.text] = true; !t.cared[c.text] {
			reason := "care"
			if c.grave {
				reason = "grave"
			}
			a.facts.Record(fact.Fact{Kind: fact.CertificateWarning, Reason: reason, Text: strings.ToUpper(c.text[:1]) + c.text[1:] + "."})
		}
	}
	t.cared = cared
}

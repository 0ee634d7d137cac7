package vitals

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/history"
)

// Now answers whether it is fine.
type Now struct {
	At       time.Time         `json:"at"`
	OK       bool              `json:"ok"`
	Text     string            `json:"text" doc:"One sentence."`
	Problems []Problem         `json:"problems" doc:"The gravest first."`
	Clients  Usual             `json:"clients"`
	Rates    Rates             `json:"rates"`
	Dropped  map[string]uint64 `json:"dropped_last_hour" doc:"Messages that did not reach a receiver, by reason."`
	Since    time.Time         `json:"dropped_since" doc:"The hour began then, or what is known of it: the history of figures tells what earlier processes counted."`
	Headroom Headroom          `json:"headroom"`
	Changes  []fact.Fact       `json:"changes" doc:"What happened in the last hour and is worth seeing."`
}

// Problem is something to look after.
type Problem struct {
	Severity Severity `json:"severity" enum:"critical,warning,info"`
	Text     string   `json:"text"`
	Link     string   `json:"link,omitempty" doc:"The page of the console, or the path of the API, that tells more."`
}

// Severity says how grave a problem is.
type Severity string

// The severities.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning"
	Info     Severity = "info"
)

func (s Severity) rank() int { return slices.Index([]Severity{Critical, Warning, Info}, s) }

// Usual are the clients, and how many there usually are at this hour.
type Usual struct {
	Connected int64    `json:"connected"`
	Sessions  int64    `json:"sessions"`
	Normal    *float64 `json:"normal,omitempty" doc:"The median of the past days at this hour; absent while there is less than a day of history."`
	Days      int      `json:"normal_days" doc:"How many days it is of."`
	Text      string   `json:"text"`
}

// Now tells whether it is fine; false before the first reading. However many ask, it is worked out
// once for each reading, and when the store's health changes.
func (v *Vitals) Now() (Now, bool) {
	s := v.Latest()
	if s == nil {
		return Now{}, false
	}
	health := v.health(s)
	v.now.Lock()
	defer v.now.Unlock()
	if v.now.of != s || v.now.health != health || time.Since(s.At) > stale {
		v.now.of, v.now.health, v.now.answer = s, health, v.judge(s, health, time.Now())
	}
	return v.now.answer, true
}

// health is the store's at this moment; "ok" where there is none.
func (v *Vitals) health(s *Snapshot) string {
	switch {
	case v.o.Health != nil:
		if err := v.o.Health(); err != nil {
			return err.Error()
		}
	case s.store != nil:
		return s.store.Health
	}
	return "ok"
}

// stale is how old a reading may be before that is a problem of its own.
const stale = 4 * time.Second

func (v *Vitals) judge(s *Snapshot, health string, now time.Time) Now {
	lately, since := v.lately(s)
	n := Now{
		At: now, Problems: []Problem{}, Rates: s.Stats.Rates, Headroom: s.Load.Headroom, Since: since, Changes: []fact.Fact{},
		Clients: Usual{Connected: s.raw.Connected, Sessions: s.raw.Sessions}, Dropped: map[string]uint64{},
	}
	for i, count := range lately.dropped {
		if count > 0 {
			n.Dropped[whyName(i)] = count
		}
	}
	v.compare(&n, now)
	if v.o.Changes != nil {
		n.Changes = append(n.Changes, v.o.Changes()...)
	}
	if v.o.Problems != nil {
		n.Problems = append(n.Problems, v.o.Problems()...)
	}
	n.find(s, health, &lately, now)
	slices.SortStableFunc(n.Problems, func(a, b Problem) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	n.OK = !slices.ContainsFunc(n.Problems, func(p Problem) bool { return p.Severity != Info })
	n.say()
	return n
}

// find looks for what a person should know.
func (n *Now) find(s *Snapshot, health string, lately *counts, now time.Time) {
	add := func(severity Severity, link, format string, args ...any) {
		n.Problems = append(n.Problems, Problem{severity, fmt.Sprintf(format, args...), link})
	}
	if age := now.Sub(s.At); age > stale {
		add(Critical, "/broker", "the event loops have not answered for %v", age.Round(time.Second))
	}
	switch {
	case s.state.Overload > 0:
		add(Critical, "/broker", "the broker is overloaded: %s", s.state.OverloadWhy)
	case s.state.Ready != nil && health == "ok" && (s.store == nil || s.store.Health == "ok"):
		add(Critical, "/broker", "not ready: %v", s.state.Ready)
	}
	if s.store != nil {
		n.findStore(s, health, lately, add)
	}
	for _, r := range s.Load.Headroom.Resources {
		switch {
		case r.Name == "disk": // of its own
		case r.Percent >= 95:
			add(Critical, "/broker", "%s: %.0f %% of what there is in use", label(r.Name), r.Percent)
		case r.Percent >= 80:
			add(Warning, "/broker", "%s: %.0f %% of what there is in use", label(r.Name), r.Percent)
		}
	}
	if d := lately.panics; d > 0 {
		add(Critical, "/broker", "%d faults of the program in the last hour, each ended one connection: please report what the log says", d)
	}
	atLimit, lost := map[string]uint64{}, uint64(0)
	for _, why := range []session.Why{session.QueueFull, session.ServerFull, session.StoreFailed, session.RetainedFull, session.StoreUnwell, session.SlowConsumer, session.Overloaded} {
		if d := lately.dropped[why]; d > 0 {
			atLimit[why.String()] = d
			lost += d
		}
	}
	if lost > 0 {
		add(Warning, dropsLink(atLimit), "%d messages were dropped in the last hour at a limit: %s", lost, reasons(atLimit))
	}
	for _, b := range s.back {
		if b.Open {
			add(Critical, "/security", "the authentication backend %s fails and is not asked at present", b.Name)
		}
	}
	for _, w := range s.state.Warnings {
		add(Info, "/broker", "%s", w)
	}
	if c := n.Clients; c.Normal != nil && *c.Normal >= 10 {
		switch part := float64(c.Connected) / *c.Normal; {
		case part < 0.5:
			add(Critical, "/clients", "%d clients are connected, usually it is %.0f at this hour", c.Connected, *c.Normal)
		case part < 0.8:
			add(Warning, "/clients", "%d clients are connected, usually it is %.0f at this hour", c.Connected, *c.Normal)
		}
	}
}

// dropsLink is the page with the events of these drops: of the one reason where there is but one.
func dropsLink(by map[string]uint64) string {
	q := url.Values{"kind": {"dropped,limited"}, "since": {"1h"}}
	for reason := range by {
		if len(by) == 1 {
			q.Set("reason", reason)
		}
	}
	return "/events?" + q.Encode()
}

// slowCommit is how long one of a hundred commits may take before that is a problem.
const slowCommit = 500 * time.Millisecond

// findStore looks at the store and its disk.
func (n *Now) findStore(s *Snapshot, health string, lately *counts, add func(Severity, string, string, ...any)) {
	st := s.store
	if health != "ok" {
		add(Critical, "/broker/store", "the store takes nothing new: %s", health)
	}
	if d := lately.storeErrors; d > 0 {
		add(Critical, "/broker/store", "%d batches could not be kept in the last hour and were not acknowledged", d)
	}
	if slow := st.CommitP99; slow >= slowCommit && lately.commits > 0 { // they are of the last 1,024 commits, however old
		add(Warning, "/broker/store", "the store is slow: one of a hundred commits took longer than %v, and acknowledgements of QoS 1 and 2 with it", slow.Round(time.Millisecond))
	}
	if st.Damaged > 0 {
		add(Critical, "/broker/store", "%d parts of the store were found damaged since the start", st.Damaged)
	}
	const gib = 1 << 30
	switch {
	case st.Free < 0: // not known
	case st.Free < 1<<20:
		add(Critical, "/broker/store", "the disk of the store is full")
	case st.Free < gib/2:
		add(Critical, "/broker/store", "only %d MiB are free for the store", st.Free>>20)
	case st.Free < 4*gib:
		add(Warning, "/broker/store", "only %.1f GiB are free for the store", float64(st.Free)/gib)
	}
}

// say puts it into one sentence.
func (n *Now) say() {
	switch {
	case n.OK && len(n.Dropped) == 0:
		n.Text = fmt.Sprintf("All is well: %s; %s messages a second come in and %s go out; none was dropped in the last hour.",
			n.Clients.Text, rate(n.Rates.InMessages), rate(n.Rates.OutMessages))
	case n.OK:
		n.Text = fmt.Sprintf("All is well: %s; %s messages a second come in and %s go out; dropped in the last hour: %s.",
			n.Clients.Text, rate(n.Rates.InMessages), rate(n.Rates.OutMessages), reasons(n.Dropped))
	default:
		first, more := n.Problems[0].Text, 0
		for _, p := range n.Problems[1:] {
			if p.Severity != Info {
				more++
			}
		}
		n.Text = strings.ToUpper(first[:1]) + first[1:]
		switch more {
		case 0:
			n.Text += "."
		case 1:
			n.Text += "; and there is one problem more."
		default:
			n.Text += fmt.Sprintf("; and there are %d problems more.", more)
		}
	}
}

func rate(v float64) string {
	if v > 0 && v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// reasons says what was dropped, the most first.
func reasons(m map[string]uint64) string {
	type part struct {
		name string
		n    uint64
	}
	parts := make([]part, 0, len(m))
	for name, n := range m {
		parts = append(parts, part{name, n})
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Or(cmp.Compare(b.n, a.n), strings.Compare(a.name, b.name)) })
	texts := make([]string, 0, len(parts))
	for _, p := range parts {
		texts = append(texts, fmt.Sprintf("%d %s", p.n, strings.ReplaceAll(p.name, "_", " ")))
	}
	return strings.Join(texts, ", ")
}

// normal is how many clients are usual at this hour, worked out now and then.
type normal struct {
	sync.Mutex
	at    time.Time
	value *float64
	days  int
}

// normalEvery is how often the history is asked what is usual.
const normalEvery = 5 * time.Minute

// compare fills in what is usual.
func (v *Vitals) compare(n *Now, now time.Time) {
	c := &n.Clients
	c.Normal, c.Days = v.usual(now)
	what := "clients are"
	if c.Connected == 1 {
		what = "client is"
	}
	c.Text = fmt.Sprintf("%d %s connected", c.Connected, what)
	switch {
	case c.Normal == nil:
		c.Text += " (what is usual at this hour is known after a day)"
	case math.Abs(float64(c.Connected)-*c.Normal) <= math.Max(1, *c.Normal/10):
		c.Text += ", as usual at this hour"
	default:
		c.Text += fmt.Sprintf(", usually %.0f at this hour", *c.Normal)
	}
}

// usual is the median of the means of this hour on up to seven past days; nil without one.
func (v *Vitals) usual(now time.Time) (*float64, int) {
	v.normal.Lock()
	defer v.normal.Unlock()
	if v.o.History == nil || !v.normal.at.IsZero() && now.Sub(v.normal.at) < normalEvery {
		return v.normal.value, v.normal.days
	}
	v.normal.at, v.normal.value, v.normal.days = now, nil, 0
	const day = 24 * time.Hour
	series, _ := v.o.History.Query(history.Query{
		Match: func(metric, _ string) bool { return metric == "clients_connected" },
		From:  now.Add(-7*day - time.Hour), To: now, Step: 10 * time.Minute,
	})
	if len(series) == 0 {
		return nil, 0
	}
	var means []float64
	for back := 1; back <= 7; back++ {
		at, sum, count := now.Add(-time.Duration(back)*day).Unix(), 0.0, 0
		for _, p := range series[0].Points {
			if d := p.At + 300 - at; d >= -1800 && d <= 1800 {
				sum += p.Value
				count++
			}
		}
		if count > 0 {
			means = append(means, sum/float64(count))
		}
	}
	if len(means) == 0 {
		return nil, 0
	}
	slices.Sort(means)
	m := (means[(len(means)-1)/2] + means[len(means)/2]) / 2
	v.normal.value, v.normal.days = &m, len(means)
	return &m, len(means)
}

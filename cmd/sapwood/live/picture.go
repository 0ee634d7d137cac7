package live

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/fleet/load"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// style is how a line looks.
type style int

// The styles.
const (
	plain style = iota
	dim
	head // of a table
	bar  // the first and the last line
	good
	bad
)

// line is one of the picture.
type line struct {
	text string
	style
}

// shows is which tables there are.
type shows int

// The tables.
const (
	both shows = iota
	onlyClients
	onlyTopics
	allShows
)

// picture is what top shows.
type picture struct {
	at      time.Time
	version string
	now     vitals.Now
	stats   vitals.Stats
	load    vitals.Load
	past    []vitals.Rates // of the last minutes, for the curve
	drops   map[string]uint64
	dropped map[string]uint64 // by reason, more than at the reading before
	clients serve.List[api.ClientRow]
	topics  serve.List[api.TopicRow]
	byC     int // what clients are sorted by, in clientOrders
	byT     int
	show    shows
	filter  string
	typing  bool // the filter
	typed   string
	held    bool
	listed  bool // now, clients and topics are known
	loaded  bool // load is
	err     error
}

func clientOrders() []string {
	return []string{"-in_rate", "-out_rate", "-queue_bytes", "-dropped", "-in", "-out", "id"}
}

func topicOrders() []string {
	return []string{"-rate", "-messages", "-bytes", "-dropped", "-unheard", "topic"}
}

// remembered is how many readings the curve has.
const remembered = 240

// whole tells that each kind of answer was there once: what is not known yet is not shown as nothing.
func (p *picture) whole() bool { return p.listed && p.loaded && !p.at.IsZero() }

// read takes the next figures of the broker.
func (p *picture) read(s vitals.Stats) {
	p.dropped = map[string]uint64{}
	for why, n := range s.Dropped {
		if was, ok := p.drops[why]; ok && n > was {
			p.dropped[why] = n - was
		}
	}
	p.stats, p.drops, p.at = s, s.Dropped, s.At
	if p.past = append(p.past, s.Rates); len(p.past) > remembered {
		p.past = slices.Delete(p.past, 0, len(p.past)-remembered)
	}
}

// wide is from where on the tables stand side by side.
const wide = 150

// render is the picture as lines, at most height of them, each at most width characters.
func (p *picture) render(width, height int) []line {
	lines := p.top(width)
	left := height - len(lines) - 1
	if left > 2 && p.listed {
		lines = append(lines, p.tables(width, left)...)
	}
	lines = lines[:min(len(lines), max(height-1, 0))]
	lines = append(lines, line{p.keys(width), bar})
	for i := range lines {
		text := cutTo(screen.Printable(lines[i].text), width)
		if lines[i].style == bar || lines[i].style == head {
			text += strings.Repeat(" ", max(width-utf8.RuneCountInString(text), 0))
		}
		lines[i].text = text
	}
	return lines
}

// top are the lines above the tables.
func (p *picture) top(width int) []line {
	s, l := &p.stats, &p.load
	title := fmt.Sprintf(" Sapwood %s   up %s", p.version, lasted(s.Uptime))
	clock := p.at.Local().Format(time.TimeOnly) + " "
	if p.held {
		clock = "HELD " + clock
	}
	title += strings.Repeat(" ", max(width-utf8.RuneCountInString(title)-len(clock), 2)) + clock
	state := line{p.now.Text, good}
	switch {
	case p.err != nil:
		state = line{"Cannot look: " + p.err.Error() + "; trying again.", bad}
	case !p.now.OK:
		state.style = bad
	}
	if !p.whole() {
		if p.err == nil {
			state = line{"Waiting for the broker's first figures.", dim}
		}
		return []line{{" Sapwood " + p.version, bar}, state}
	}
	f := func(name, text string) line { return line{fmt.Sprintf("%-9s%s", name, text), plain} }
	r := &s.Rates
	lines := []line{
		{title, bar},
		state,
		f("clients", fmt.Sprintf("%s connected (most %s)  %s sessions  %s subscriptions  %s/s come, %s/s go", count(s.Clients.Connected), count(s.Clients.Maximum), count(s.Clients.Sessions), count(s.Subscriptions), count(r.Connects), count(r.Disconnects))),
		f("in", p.flow(width, r.InMessages, r.InBytes, func(r *vitals.Rates) float64 { return r.InMessages })),
		f("out", p.flow(width, r.OutMessages, r.OutBytes, func(r *vitals.Rates) float64 { return r.OutMessages })),
		f("kept", fmt.Sprintf("%s retained (%s)  %s queued (%s)%s", count(s.Retained.Messages), size(s.Retained.Bytes), count(s.Queued.Messages), size(s.Queued.Bytes), storeText(l))),
		p.lost(),
		f("load", fmt.Sprintf("cpu %s of %s %s  memory %s  lag p50 %s p99 %s  gc p99 %s", known(l.CPU), count(l.Cores), gauge(load.Number(l.CPU)/l.Cores, 10), memory(l), spell(l.LoopLag.P50), spell(l.LoopLag.P99), spell(load.Number(l.GC.PauseP99)))),
		f("headroom", p.headroom()),
	}
	return lines
}

// flow is one direction, with a curve of the last minutes where there is room.
func (p *picture) flow(width int, messages, bytes float64, of func(*vitals.Rates) float64) string {
	text := fmt.Sprintf("%7s messages/s  %8s/s", count(messages), size(bytes))
	room := min(width-9-utf8.RuneCountInString(text)-3, len(p.past), remembered)
	if room < 8 {
		return text
	}
	values := make([]float64, room)
	for i := range values {
		values[i] = of(&p.past[len(p.past)-room+i])
	}
	return text + "  " + curve(values)
}

// curve draws values, the greatest of which fills its character; NaN is a dot.
func curve(values []float64) string {
	const steps = " ▁▂▃▄▅▆▇█"
	marks, most := []rune(steps), 0.0
	for _, v := range values {
		if v > most { // NaN is not
			most = v
		}
	}
	var b strings.Builder
	for _, v := range values {
		if v != v {
			b.WriteRune('·')
			continue
		}
		i := 0
		if most > 0 && v > 0 {
			i = min(max(int(v/most*8+0.5), 1), 8)
		}
		b.WriteRune(marks[i])
	}
	return b.String()
}

// gauge is a part of one as a bar.
func gauge(part float64, width int) string {
	if part != part || part < 0 { // not known
		return ""
	}
	full := min(int(part*float64(width)+0.5), width)
	return "[" + strings.Repeat("█", full) + strings.Repeat("·", width-full) + "]"
}

// lost tells what was dropped, by reason, the most first.
func (p *picture) lost() line {
	type part struct {
		why       string
		all, fast uint64
	}
	var parts []part
	for why, n := range p.stats.Dropped {
		parts = append(parts, part{why, n, p.dropped[why]})
	}
	slices.SortFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(b.fast, a.fast), cmp.Compare(b.all, a.all), strings.Compare(a.why, b.why))
	})
	text, look := "nothing since the start", dim
	for i, x := range parts {
		one := fmt.Sprintf("%s %s", x.why, count(x.all))
		if x.fast > 0 {
			one += fmt.Sprintf(" (+%s)", count(x.fast))
			look = bad
		}
		if i == 0 {
			text = one
			look = max(look, plain)
			if x.fast == 0 {
				look = plain
			}
		} else {
			text += "  " + one
		}
	}
	if n := p.stats.Denied; n > 0 {
		text += "  publishes and filters not allowed " + count(n)
	}
	return line{fmt.Sprintf("%-9s%s", "dropped", text), look}
}

// headroom is what is in use of each limit, the most first.
func (p *picture) headroom() string {
	all := slices.Clone(p.load.Headroom.Resources)
	slices.SortStableFunc(all, func(a, b vitals.Resource) int { return cmp.Compare(b.Percent, a.Percent) })
	parts := make([]string, len(all))
	for i, r := range all {
		parts[i] = fmt.Sprintf("%s %.0f%%", r.Name, r.Percent)
	}
	return strings.Join(parts, "  ")
}

// tables are clients and topics, one above the other or side by side, in exactly so many lines.
func (p *picture) tables(width, height int) []line {
	switch {
	case p.show == onlyClients:
		return p.clientTable(width, height)
	case p.show == onlyTopics:
		return p.topicTable(width, height)
	case width < wide:
		half := height / 2
		return append(p.clientTable(width, half), p.topicTable(width, height-half)...)
	}
	half := width/2 - 1
	left, right := p.clientTable(half, height), p.topicTable(width-half-2, height)
	for i := range left {
		l := left[i].text
		left[i].text = l + strings.Repeat(" ", max(half-utf8.RuneCountInString(l), 0)+2) + right[i].text
	}
	return left
}

func (p *picture) clientTable(width, height int) []line {
	rows := [][]string{{fmt.Sprintf("CLIENTS %s", count(p.clients.Matched)), "IN/S", "OUT/S", "QUEUED", "BYTES", "DROPPED", "STATE", "USER"}}
	if width >= 95 {
		rows[0] = append(rows[0], "ADDRESS")
	}
	for i := range p.clients.Items {
		r := &p.clients.Items[i]
		row := []string{r.ID, count(r.In.Rate), count(r.Out.Rate), count(r.Queued), size(r.QueueBytes), count(r.Dropped), clientState(r), r.User}
		if width >= 95 {
			row = append(row, r.Address)
		}
		rows = append(rows, row)
	}
	return headed(rows, height, width)
}

func (p *picture) topicTable(width, height int) []line {
	rows := [][]string{{fmt.Sprintf("TOPICS %s", count(p.topics.Matched)), "RATE/S", "MESSAGES", "BYTES", "COPIES", "DROPPED", "UNHEARD"}}
	for i := range p.topics.Items {
		r := &p.topics.Items[i]
		rows = append(rows, []string{r.Topic, count(r.Rate), count(r.Messages), size(r.Bytes), count(r.Copies), count(r.Dropped), count(r.Unheard)})
	}
	return headed(rows, height, width)
}

// headed is a table whose first line is its head.
func headed(rows [][]string, height, width int) []line {
	lines := make([]line, 0, max(height, 0))
	for i, text := range table(rows, height, width) {
		look := plain
		if i == 0 {
			look = head
		}
		lines = append(lines, line{text, look})
	}
	return lines
}

// table sets rows in exactly height lines: names on the left, numbers on the right.
func table(rows [][]string, height, width int) []string {
	if height <= 0 {
		return nil
	}
	rows = rows[:min(len(rows), height)]
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i := range r {
			r[i] = screen.Printable(r[i])
			if i > 0 { // one long name is not to take all room
				r[i] = cutTo(r[i], 24)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i]))
		}
	}
	rest := width
	for _, w := range widths[1:] {
		rest -= w + 2
	}
	widths[0] = max(rest, 12)
	lines := make([]string, height)
	for n, r := range rows {
		text := cutTo(r[0], widths[0])
		text += strings.Repeat(" ", widths[0]-utf8.RuneCountInString(text))
		for i := 1; i < len(r); i++ {
			text += "  " + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(r[i])) + r[i]
		}
		lines[n] = cutTo(text, width)
	}
	return lines
}

// keys is the last line.
func (p *picture) keys(width int) string {
	if p.typing {
		return " Filter: " + p.typed + "_   Enter takes it, Esc leaves it as it was"
	}
	filter := "/ filter"
	if p.filter != "" {
		filter = "/ filter: " + p.filter + "  x none"
	}
	if width < 100 {
		return fmt.Sprintf(" c %s  t %s  Tab view  %s  space hold  q quit", clientOrders()[p.byC], topicOrders()[p.byT], filter)
	}
	return fmt.Sprintf(" c clients by %s   t topics by %s   Tab one table or both   %s   space hold   q quit", clientOrders()[p.byC], topicOrders()[p.byT], filter)
}

func cutTo(s string, width int) string {
	if utf8.RuneCountInString(s) <= width || width < 1 {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

func storeText(l *vitals.Load) string {
	if l.Store == nil {
		return ""
	}
	return fmt.Sprintf("  commits p50 %s p99 %s, %s wait", spell(l.Store.CommitP50), spell(l.Store.CommitP99), count(l.Store.Queue))
}

func memory(l *vitals.Load) string {
	text := "?"
	if l.Memory.RSS != nil {
		text = size(*l.Memory.RSS)
	}
	if l.Memory.Limit != nil {
		text += " of " + size(*l.Memory.Limit)
	}
	return text
}

// known is a number that the system may not tell.
func known(v *float64) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprintf("%.2f", *v)
}

// spell is a short time for people.
func spell(seconds float64) string {
	switch {
	case seconds != seconds || seconds < 0:
		return "?"
	case seconds < 0.001:
		return fmt.Sprintf("%.0fµs", seconds*1e6)
	case seconds < 1:
		return fmt.Sprintf("%.1fms", seconds*1e3)
	}
	return fmt.Sprintf("%.1fs", seconds)
}

// lasted is a long time for people.
func lasted(seconds float64) string {
	d := time.Duration(seconds) * time.Second
	if d >= 48*time.Hour {
		return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
	}
	return d.String()
}

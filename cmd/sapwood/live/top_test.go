package live

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// full is a picture with more than fits, and with names that would command a terminal.
func full() *picture {
	p := &picture{version: "1.2.3", listed: true, loaded: true, now: vitals.Now{OK: true, Text: "All is well."}}
	for i := range 50 {
		p.clients.Items = append(p.clients.Items, api.ClientRow{ID: fmt.Sprintf("client\x1b[2J-%d-%s", i, strings.Repeat("ü", i*3)), Connected: true, In: api.Flow{Messages: 1_234_567, Rate: 12.3}, User: strings.Repeat("u", i)})
		p.topics.Items = append(p.topics.Items, api.TopicRow{Topic: fmt.Sprintf("plant/%d", i), Messages: 7})
	}
	for i := range 300 {
		s := vitals.Stats{Rates: vitals.Rates{InMessages: float64(i), InBytes: 1_500_000}, Dropped: map[string]uint64{"queue_full": uint64(10 * i), "expired": 3}}
		s.Clients.Connected = 1234
		s.At = time.Unix(1e9, 0)
		p.read(s)
	}
	return p
}

// TestFirstPicture: what is not known yet is not shown as nothing.
func TestFirstPicture(t *testing.T) {
	f := func(p *picture, want string) {
		t.Helper()
		var b strings.Builder
		for _, l := range p.render(120, 30) {
			b.WriteString(strings.TrimSpace(l.text) + "\n")
		}
		if text := b.String(); !strings.Contains(text, want) || strings.Contains(text, "0s") || strings.Contains(text, " 0 ") || strings.Contains(text, "CLIENTS 0") {
			t.Errorf("got\n%s", text)
		}
	}
	f(&picture{}, "Waiting for")
	p := &picture{}
	p.read(vitals.Stats{At: time.Unix(1e9, 0)})
	f(p, "Waiting for")
	f(&picture{err: errors.New("refused")}, "Cannot look: refused")
}

// TestUnits: bytes are told in the units in which limits are set, memory is what is resident, and what is denied stands apart from what is dropped.
func TestUnits(t *testing.T) {
	p := &picture{listed: true, loaded: true}
	rss, limit := int64(92<<20), int64(21<<30)
	p.load.Memory.RSS, p.load.Memory.Limit, p.load.Memory.Used = &rss, &limit, 1
	p.read(vitals.Stats{At: time.Unix(1e9, 0), Denied: 2, Dropped: map[string]uint64{"denied": 1}})
	var b strings.Builder
	for _, l := range p.render(160, 30) {
		b.WriteString(l.text + "\n")
	}
	for _, want := range []string{"memory 92 MiB of 21 GiB", "denied 1  publishes and filters not allowed 2"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if got := size(int64(64 << 20)); got != "64 MiB" {
		t.Error(got)
	}
}

// TestAlong: curves of one chart share their time, whenever each began.
func TestAlong(t *testing.T) {
	chart := &api.Chart{Step: 10, Series: []api.Plotted{
		{Points: [][2]float64{{100, 1}, {110, 1}, {120, 1}, {130, 1}, {140, 1}}},
		{Points: [][2]float64{{120, 4}, {140, 2}}},
	}}
	begin, step := axis(chart)
	for i, want := range []string{"█████", "··█·▄"} {
		if got := curve(along(chart.Series[i].Points, begin, step)); got != want {
			t.Errorf("series %d: %s, want %s", i, got, want)
		}
	}
	chart.Series[0].Points = nil
	for at := range 600 {
		chart.Series[0].Points = append(chart.Series[0].Points, [2]float64{float64(100 + 10*at), 1})
	}
	begin, step = axis(chart)
	if got := curve(along(chart.Series[1].Points, begin, step)); got != "█" || step != 100 {
		t.Errorf("%q, %v", got, step)
	}
	if got := along(chart.Series[0].Points, begin, step); len(got) != curveWidth {
		t.Errorf("%d characters", len(got))
	}
}

// TestPicture: whatever the names and the size of the terminal, top draws no more than fits, and nothing that commands it.
func TestPicture(t *testing.T) {
	p := full()
	for _, size := range [][2]int{{80, 24}, {200, 60}, {150, 40}, {40, 10}, {20, 5}, {5, 2}, {1, 1}} {
		for p.show = range allShows {
			lines := p.render(size[0], size[1])
			if size[1] >= 14 && len(lines) != size[1] || len(lines) > size[1] {
				t.Errorf("%v: %d lines", size, len(lines))
			}
			for _, l := range lines {
				if utf8.RuneCountInString(l.text) > size[0] || strings.ContainsRune(l.text, 0x1b) {
					t.Errorf("%v: %q", size, l.text)
				}
			}
		}
	}
	p.show = both
	f := func(width, height int, want ...string) {
		t.Helper()
		var b strings.Builder
		for _, l := range p.render(width, height) {
			b.WriteString(l.text + "\n")
		}
		for _, w := range want {
			if !strings.Contains(b.String(), w) {
				t.Errorf("no %q in\n%s", w, b.String())
			}
		}
	}
	f(80, 24, "CLIENTS", "TOPICS", "plant/3", "All is well.", "dropped  queue_full 2990 (+10)  expired 3", "1234 connected", "299 messages/s   1.4 MiB/s  ", "▇█", "q quit")
	f(200, 60, "ADDRESS", "clients by -in_rate", "plant/40")
	if len(p.past) != remembered {
		t.Error(len(p.past))
	}
}

// Keys do what the last line says, and a filter is typed with them.
func TestKeys(t *testing.T) {
	p := full()
	press := func(keys string) (end bool) {
		for _, k := range []byte(keys) {
			end = p.key(k)
		}
		return end
	}
	if press("c") || p.byC != 1 || press("t") || p.byT != 1 || press(" ") || !p.held || press("\t") || p.show != onlyClients {
		t.Errorf("%+v", p)
	}
	if press("/preq\x7fss\r") || p.filter != "press" || p.typing {
		t.Errorf("%q %v", p.filter, p.typing)
	}
	if press("/x\x1b") || p.filter != "press" || p.typing {
		t.Errorf("%q %v", p.filter, p.typing)
	}
	if press("x") || p.filter != "" || !press("q") || !press("/q\x03") {
		t.Errorf("%q", p.filter)
	}
	if got := words(`press user:a* queued>5 "x`); got != `press "x` {
		t.Errorf("%q", got)
	}
}

// A second picture writes only what is different, and colours only where they are wanted.
func TestCanvas(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	written := func() string {
		text, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	c := &canvas{out: f}
	draw := func(lines ...line) string {
		t.Helper()
		if err := c.draw(lines, 80); err != nil {
			t.Fatal(err)
		}
		return written()
	}
	if got := draw(line{"a", bar}, line{"b", bad}); !strings.Contains(got, "\x1b[2J") || !strings.Contains(got, "\x1b[2;1Hb") {
		t.Errorf("%q", got)
	}
	if got := draw(line{"a", bar}, line{"c", bad}); got != "\x1b[?2026h\x1b[2;1Hc\x1b[0m\x1b[K\x1b[?2026l" {
		t.Errorf("%q", got)
	}
	c.colour = true
	if got := draw(line{"a", bar}, line{"d", bad}); !strings.Contains(got, "\x1b[31;1md") {
		t.Errorf("%q", got)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 0.25: "0.2", 9.5: "9.5", 999: "999", 9999: "9999", 12345: "12k", 1_500_000: "1.5M"} {
		if got := count(n); got != want {
			t.Errorf("%v: %s", n, got)
		}
	}
}

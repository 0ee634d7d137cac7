package live

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/console/api"
)

// TestPicture: whatever the names and the size of the terminal, top draws no more than fits, and nothing that commands it.
func TestPicture(t *testing.T) {
	p := &picture{}
	for i := range 50 {
		p.clients.Items = append(p.clients.Items, api.ClientRow{ID: fmt.Sprintf("client\x1b[2J-%d-%s", i, strings.Repeat("ü", i*3)), Connected: true, In: api.Flow{Messages: 1_234_567, Rate: 12.3}})
		p.topics.Items = append(p.topics.Items, api.TopicRow{Topic: fmt.Sprintf("plant/%d", i), Messages: 7})
	}
	for _, size := range [][2]int{{80, 24}, {200, 60}, {40, 10}, {20, 5}} {
		lines := p.render(size[0], size[1])
		if size[1] >= 10 && len(lines) != size[1] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > size[0] || strings.ContainsRune(l, 0x1b) {
				t.Errorf("%v: %q", size, l)
			}
		}
	}
	text := strings.Join(p.render(120, 30), "\n")
	for _, want := range []string{"CLIENT", "TOPIC", "1.2M", "plant/3", "clients by -in_rate", "q quit"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if p.key('c') || p.byC != 1 || p.key(' ') || !p.held || !p.key('q') {
		t.Error(p.byC, p.held)
	}
	for n, want := range map[float64]string{0: "0", 0.25: "0.2", 9.5: "9.5", 999: "999", 9999: "9999", 12345: "12k", 1_500_000: "1.5M"} {
		if got := count(n); got != want {
			t.Errorf("%v: %s", n, got)
		}
	}
}

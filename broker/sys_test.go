package broker_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// TestSysDocumented: the table in docs/metrics.md has each topic that is published below $SYS/broker, and no other; those whose unit is not text
// are numbers, which exporters read.
func TestSysDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	units, want := map[string]string{}, 0
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\$SYS/[^`]+)` \\| [^|]+ \\| ([^|]+) \\|$").FindAllStringSubmatch(string(text), -1) {
		units[row[1]] = row[2]
		if want++; strings.HasSuffix(row[1], "/+") {
			want += 2
		}
	}
	s := serve(t, broker.Options{SysEvery: time.Hour})
	if !reached(func() bool { return s.stats().RetainedOwn >= want }) {
		t.Fatalf("%d topics are published, the table has %d", s.stats().RetainedOwn, want)
	}
	c := s.client("id=c")
	c.send("SUBSCRIBE id=1 $SYS/# qos=0")
	c.expect("SUBACK")
	for n := s.stats().RetainedOwn; n > 0; n-- {
		p, err := packettext.Parse(c.next())
		if err != nil {
			t.Fatal(err)
		}
		topic, value := string(p.Publish.Topic), string(p.Publish.Payload)
		row := topic
		if strings.HasPrefix(topic, "$SYS/broker/load/") {
			row = topic[:strings.LastIndex(topic, "/")] + "/+"
		}
		_, notNumber := strconv.ParseFloat(value, 64)
		switch unit, known := units[row]; {
		case !known:
			t.Errorf("%s is not in the table", topic)
		case (unit == "text") != (notNumber != nil), !p.Publish.Retain, value == "":
			t.Errorf("%s, in %s, is %q", topic, unit, value)
		}
		want--
	}
	if want != 0 || len(units) == 0 {
		t.Errorf("the table has %d topics more", want)
	}
}

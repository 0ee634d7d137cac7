package conformance

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// match tells why the packet got, a line, is not what want says. want is first brought into the form that
// the version can carry: before v5 there are no properties and other reason codes. Properties and the
// packet identifier of a PUBLISH may be more than want says; "!name" forbids one, and "name=1..9" allows each of these numbers.
func match(v mqtt.Version, want, got string) error {
	forbidden := []string{}
	kept := []string{}
	ranges := map[string][2]int{}
	for _, w := range words(want) {
		if name, ok := strings.CutPrefix(w, "!"); ok {
			forbidden = append(forbidden, name)
			continue
		}
		if name, value, _ := strings.Cut(w, "="); span.MatchString(value) {
			var r [2]int
			if _, err := fmt.Sscanf(value, "%d..%d", &r[0], &r[1]); err != nil {
				return err
			}
			ranges[name] = r
			continue
		}
		kept = append(kept, w)
	}
	anyID := kept[0] == "PUBLISH" && !slices.ContainsFunc(kept, func(w string) bool { return strings.HasPrefix(w, "id=") })
	if anyID {
		kept = append(kept, "id=1")
	}
	wire, err := packettext.Encode(nil, v, strings.Join(kept, " "))
	if err != nil {
		return err
	}
	h, n, err := mqtt.ParseHeader(wire)
	var p mqtt.Packet
	if err == nil {
		err = p.Decode(v, h, wire[n:], mqtt.Limits{})
	}
	if err != nil {
		return fmt.Errorf("the expectation is no packet: %w", err)
	}
	rest := words(got)
	for _, w := range words(packettext.Format(&p)) {
		i := slices.Index(rest, w)
		if anyID && strings.HasPrefix(w, "id=") {
			continue
		}
		if i < 0 {
			return fmt.Errorf("got %s: %s is missing", got, w)
		}
		rest = slices.Delete(rest, i, i+1)
	}
	for name, r := range ranges {
		n := -1
		i := slices.IndexFunc(rest, func(w string) bool { return strings.HasPrefix(w, name+"=") })
		if i >= 0 {
			n, _ = strconv.Atoi(strings.TrimPrefix(rest[i], name+"="))
		}
		if n < r[0] || n > r[1] {
			return fmt.Errorf("got %s: %s is not within %v", got, name, r)
		}
	}
	for _, w := range rest {
		key, _, isPair := strings.Cut(w, "=")
		if slices.Contains(forbidden, key) {
			return fmt.Errorf("got %s: there must be no %s", got, key)
		}
		if anyID && key == "id" {
			continue
		}
		if !isPair || strings.HasPrefix(w, `"`) || key == "id" || key == "topic" || key == "qos" {
			return fmt.Errorf("got %s, where %s is too much", got, w)
		}
	}
	return nil
}

// span is a range of numbers.
var span = regexp.MustCompile(`^[0-9]+\.\.[0-9]+$`)

// words parts a line at its spaces outside quotes.
func words(line string) []string {
	var out []string
	quoted, from := false, 0
	for i := 0; i <= len(line); i++ {
		switch {
		case i == len(line) || line[i] == ' ' && !quoted:
			if i > from {
				out = append(out, line[from:i])
			}
			from = i + 1
		case line[i] == '"':
			quoted = !quoted
		case line[i] == '\\':
			i++
		}
	}
	return out
}

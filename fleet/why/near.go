package why

import (
	"strings"

	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// nearest is a filter that nearly matches a topic name, and why it does not.
func nearest(name string, filters []Filter) (near, how string) {
	ways := slips()
	best := len(ways)
	for _, f := range filters {
		inner := f.Filter
		if _, rest, shared, err := topic.ParseShared(inner); shared && err == nil {
			inner = rest
		}
		for i := range ways[:best] {
			if ways[i].is(inner, name) {
				best, near, how = i, f.Filter, ways[i].how
				break
			}
		}
	}
	return near, how
}

// slip is a common way of missing a topic.
type slip struct {
	is  func(filter, name string) bool
	how string
}

// slips are the ways, the surest first.
func slips() []slip {
	return []slip{
		{func(f, n string) bool { return n[0] == '$' && matches(f, "x"+n[1:]) }, "a wildcard at its beginning matches no topic that begins with $"},
		{func(f, n string) bool { return matches(strings.Trim(f, "/"), strings.Trim(n, "/")) }, "they differ in a slash at the beginning or the end"},
		{func(f, n string) bool { return matches(strings.ToLower(f), strings.ToLower(n)) }, "they differ in upper and lower case"},
		{func(f, n string) bool { return matches(strings.TrimSpace(f), strings.TrimSpace(n)) }, "they differ in a space at the beginning or the end"},
		{func(f, n string) bool { return strings.HasSuffix(f, "+") && matches(strings.TrimSuffix(f, "+")+"#", n) }, "+ stands for one level, and # for any number of them"},
		{func(f, n string) bool { return !strings.HasSuffix(f, "#") && matches(f+"/#", n) }, "the topic is below it, which takes /# at its end"},
		{alike, "they differ in a letter or two"},
	}
}

func matches(filter, name string) bool {
	return topic.ValidFilter(filter) == nil && topic.ValidName(name) == nil && topic.Match(filter, name)
}

// alike: as many levels, of which those without a wildcard differ in two letters at most, and in less than half of them.
func alike(filter, name string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	if len(f) != len(n) || len(filter) > 256 || len(name) > 256 {
		return false
	}
	left := 2
	for i := range f {
		if f[i] == "+" {
			continue
		}
		d := distance(f[i], n[i])
		if left -= d; d > 0 && 2*d >= len(n[i]) {
			return false
		}
	}
	return left >= 0
}

// distance is how many letters have to be changed, put in, taken out or swapped with their neighbour to make b of a.
func distance(a, b string) int {
	before, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			d := row[j]
			if a[i] != b[j] {
				d++
			}
			d = min(d, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			next[j+1] = d
		}
		before, row = row, next
	}
	return row[len(b)]
}

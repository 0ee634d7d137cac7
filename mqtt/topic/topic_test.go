package topic

import (
	"strings"
	"testing"
)

// naiveMatch is section 4.7 word for word, for valid filters and names: the model for everything else.
func naiveMatch(filter, name string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	if strings.HasPrefix(name, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i := range f {
		if f[i] == "#" {
			return true // the rest, which may be nothing: "a/#" matches "a"
		}
		if i >= len(n) || f[i] != "+" && f[i] != n[i] {
			return false
		}
	}
	return len(f) == len(n)
}

func TestValidName(t *testing.T) {
	f := func(law, name, wantErr string) {
		t.Helper()
		for _, err := range []error{ValidName(name), ValidName([]byte(name))} {
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != wantErr {
				t.Errorf("%s: %.40q: error %q, want %q", law, name, got, wantErr)
			}
		}
	}
	f("", "a", "")
	f("", "/", "")
	f("", "a//b/", "")
	f("", "ä/漢字/ space", "")
	f("", "$SYS/x", "")
	f("[MQTT5 MQTT-4.7.3-1] [MQTT311 MQTT-4.7.3-1]", "", "topic name is empty")
	f("[MQTT5 MQTT-4.7.3-2] [MQTT311 MQTT-4.7.3-2]", "a\x00b", "topic name: U+0000 at byte 1")
	f("[MQTT5 MQTT-4.7.3-3] [MQTT311 MQTT-4.7.3-3]", strings.Repeat("x", 65535), "")
	f("[MQTT5 MQTT-4.7.3-3] [MQTT311 MQTT-4.7.3-3]", strings.Repeat("x", 65536), "topic name has 65536 bytes, more than 65535")
	f("[MQTT5 MQTT-4.7.0-1] [MQTT311 MQTT-4.7.1-1]", "a/+", "topic name: wildcard '+' at byte 2")
	f("[MQTT5 MQTT-3.3.2-2] [MQTT311 MQTT-3.3.2-2]", "a/b#", "topic name: wildcard '#' at byte 3")
	f("the depth limit is the broker's", strings.Repeat("/", 65535), "")
}

func TestValidFilter(t *testing.T) {
	f := func(law, filter, wantErr string) {
		t.Helper()
		for _, err := range []error{ValidFilter(filter), ValidFilter([]byte(filter))} {
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != wantErr {
				t.Errorf("%s: %.40q: error %q, want %q", law, filter, got, wantErr)
			}
		}
	}
	for _, filter := range []string{"#", "+", "/", "a/#", "a/+/b", "+/+/#", "/+", "+/", "//#", "$SYS/#", "a/ b/ä"} {
		f("", filter, "")
	}
	const hash = "[MQTT5 MQTT-4.7.1-1] [MQTT311 MQTT-4.7.1-2] F086"
	f(hash, "a/#/b", "topic filter: '#' at byte 2 is not the last level")
	f(hash, "#/", "topic filter: '#' at byte 0 is not the last level")
	f(hash, "a#", "topic filter: '#' at byte 1 does not fill its level")
	f(hash, "a/#b", "topic filter: '#' at byte 2 does not fill its level")
	f(hash, "##", "topic filter: '#' at byte 0 does not fill its level")
	const plus = "[MQTT5 MQTT-4.7.1-2] [MQTT311 MQTT-4.7.1-3] F086"
	f(plus, "+a", "topic filter: '+' at byte 0 does not fill its level")
	f(plus, "a/b+", "topic filter: '+' at byte 3 does not fill its level")
	f(plus, "a/++/b", "topic filter: '+' at byte 2 does not fill its level")
	f("[MQTT5 MQTT-4.7.3-1] [MQTT311 MQTT-4.7.3-1] F086", "", "topic filter is empty")
	f("[MQTT5 MQTT-4.7.3-2] [MQTT311 MQTT-4.7.3-2] F086", "#\x00", "topic filter: '#' at byte 0 does not fill its level")
	f("[MQTT5 MQTT-4.7.3-2] [MQTT311 MQTT-4.7.3-2] F086", "a/\x00", "topic filter: U+0000 at byte 2")
	f("[MQTT5 MQTT-4.7.3-3] [MQTT311 MQTT-4.7.3-3]", strings.Repeat("+/", 32767)+"#", "")
	f("[MQTT5 MQTT-4.7.3-3] [MQTT311 MQTT-4.7.3-3] F086", strings.Repeat("x", 65536), "topic filter has 65536 bytes, more than 65535")
}

// matchTable is the examples of section 4.7 and the corners.
var matchTable = []struct {
	law, filter, name string
	want              bool
}{
	{"4.7.1.2", "sport/tennis/player1/#", "sport/tennis/player1", true},
	{"4.7.1.2", "sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
	{"4.7.1.2", "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
	{"4.7.1.2", "sport/tennis/player1/#", "sport/tennis/player10", false},
	{"4.7.1.2", "sport/#", "sport", true},
	{"4.7.1.2", "#", "a", true},
	{"4.7.1.2", "#", "/", true},
	{"4.7.1.2", "#", "/a/b", true},
	{"4.7.1.3", "sport/tennis/+", "sport/tennis/player1", true},
	{"4.7.1.3", "sport/tennis/+", "sport/tennis/player1/ranking", false},
	{"4.7.1.3", "sport/+", "sport", false},
	{"4.7.1.3", "sport/+", "sport/", true},
	{"4.7.1.3", "+/+", "/finance", true},
	{"4.7.1.3", "/+", "/finance", true},
	{"4.7.1.3", "+", "/finance", false},
	{"4.7.1.3", "+/tennis/#", "sport/tennis", true},
	{"4.7.1.3", "sport/+/player1", "sport/tennis/player1", true},
	{"4.7.1.3", "+", "a", true},
	{"4.7.1.3", "+/", "/", true},
	{"4.7.1.3", "+/+/+", "//", true},
	{"4.7.1.3", "+/+", "//", false},
	{"[MQTT5 MQTT-4.7.2-1] [MQTT311 MQTT-4.7.2-1]", "#", "$SYS/broker", false},
	{"[MQTT5 MQTT-4.7.2-1] [MQTT311 MQTT-4.7.2-1]", "+/broker", "$SYS/broker", false},
	{"[MQTT5 MQTT-4.7.2-1] [MQTT311 MQTT-4.7.2-1]", "+", "$", false},
	{"[MQTT5 MQTT-4.7.2-1] [MQTT311 MQTT-4.7.2-1]", "+/#", "$SYS", false},
	{"4.7.2", "$SYS/#", "$SYS/broker", true},
	{"4.7.2", "$SYS/+", "$SYS/broker", true},
	{"4.7.2", "$SYS/monitor/+", "$SYS/monitor/Clients", true},
	{"4.7.2", "a/+", "a/$b", true},
	{"4.7.2", "#", "/$SYS", true},
	{"4.7.3", "a", "/a", false},
	{"4.7.3", "/a", "a", false},
	{"4.7.3", "a/", "a", false},
	{"4.7.3", "a//b", "a/b", false},
	{"4.7.3", "//", "//", true},
	{"[MQTT5 MQTT-4.7.3-4] [MQTT311 MQTT-4.7.3-4]", "Accounts", "ACCOUNTS", false},
	{"[MQTT5 MQTT-4.7.3-4] [MQTT311 MQTT-4.7.3-4]", "a\u0301", "\u00e1", false},
	{"[MQTT5 MQTT-4.7.3-4] [MQTT311 MQTT-4.7.3-4]", " a", "a", false},
	{"4.7.3", "ab/c", "a/bc", false},
	{"4.7.3", "a/b", "a/b/c", false},
	{"4.7.3", "a/b/c", "a/b", false},
	{"F053", strings.Repeat("/", 65535), strings.Repeat("/", 65535), true},
	{"F053", strings.Repeat("+/", 32767) + "#", strings.Repeat("/", 65535), true},
	{"F053", strings.Repeat("+/", 32767) + "#", strings.Repeat("/", 32765), false},
	{"4.7.3", strings.Repeat("l", 60000) + "/+", strings.Repeat("l", 60000) + "/x", true},
}

// TestMatch proves the matching rules for the function, the index, the cache and the retained tree alike.
func TestMatch(t *testing.T) {
	for _, c := range matchTable {
		if got := naiveMatch(c.filter, c.name); got != c.want {
			t.Errorf("%s: naive: filter %.40q, name %.40q: %v", c.law, c.filter, c.name, got)
		}
		if got := Match(c.filter, []byte(c.name)); got != c.want {
			t.Errorf("%s: Match: filter %.40q, name %.40q: %v", c.law, c.filter, c.name, got)
		}
		x := NewIndex()
		x.Set(c.filter, Entry{ID: 1})
		if got := len(x.Match([]byte(c.name), nil)) == 1; got != c.want {
			t.Errorf("%s: Index: filter %.40q, name %.40q: %v", c.law, c.filter, c.name, got)
		}
		if got := len(NewCache(x, 2).Match([]byte(c.name))) == 1; got != c.want {
			t.Errorf("%s: Cache: filter %.40q, name %.40q: %v", c.law, c.filter, c.name, got)
		}
		r := NewRetained[int]()
		r.Set(c.name, 1)
		got := false
		cur := r.Scan(c.filter)
		for !cur.Next(1000, func(name string, _ int) bool { got = name == c.name; return true }) {
		}
		if got != c.want {
			t.Errorf("%s: Retained: filter %.40q, name %.40q: %v", c.law, c.filter, c.name, got)
		}
	}
}

func TestLevels(t *testing.T) {
	for s, want := range map[string]int{"a": 1, "/": 2, "a/b": 2, "/a/": 3, "//": 3, strings.Repeat("/", 65535): 65536} {
		if got := Levels(s); got != want {
			t.Errorf("Levels(%.20q) = %d, want %d", s, got, want)
		}
	}
}

func TestParseShared(t *testing.T) {
	f := func(law, filter, wantGroup, wantInner string, wantShared bool, wantErr string) {
		t.Helper()
		group, inner, shared, err := ParseShared(filter)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != wantErr || err == nil && (group != wantGroup || inner != wantInner) || shared != wantShared {
			t.Errorf("%s: %.40q: %q, %.40q, %v, error %q", law, filter, group, inner, shared, got)
		}
	}
	f("", "$share/g/t", "g", "t", true, "")
	f("", "$share/g//", "g", "/", true, "")
	f("", "$share/g/#", "g", "#", true, "")
	f("", "$share/gröupe/a/+/b", "gröupe", "a/+/b", true, "")
	f("", "a/b", "", "a/b", false, "")
	f("", "$share", "", "$share", false, "")
	f("", "$shared/g/t", "", "$shared/g/t", false, "")
	f("", "a#", "", "", false, "topic filter: '#' at byte 1 does not fill its level")
	const empty = "[MQTT5 MQTT-4.8.2-1] F088"
	f(empty, "$share//t", "", "", true, "shared subscription: the share name is empty")
	f(empty, "$share/", "", "", true, "shared subscription: the share name is empty")
	const name = "[MQTT5 MQTT-4.8.2-2] F088"
	f(name, "$share/g", "", "", true, "shared subscription: no '/' and topic filter after the share name")
	f(name, "$share/g+/t", "", "", true, "shared subscription: '+' in the share name at byte 8")
	f(name, "$share/#/t", "", "", true, "shared subscription: '#' in the share name at byte 7")
	f(name, "$share/g/", "", "", true, "shared subscription, after byte 8: topic filter is empty")
	f(name, "$share/g/a#", "", "", true, "shared subscription, after byte 8: topic filter: '#' at byte 1 does not fill its level")
	f("[MQTT5 MQTT-4.7.3-2]", "$share/g\x00/a", "", "", true, `shared subscription: '\x00' in the share name at byte 8`)
	f("[MQTT5 MQTT-4.7.3-3]", "$share/g/"+strings.Repeat("x", 65530), "", "", true, "topic filter has 65539 bytes, more than 65535")
}

// FuzzFilter holds the parser to the rules as they are written: split at '/', look at each level.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"", "a", "a/#/b", "a#", "+a", "#\x00", "$share//t", "$share/g", "$share/g+/t", "$share/g/", "$share/g/a/+"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		valid := s != "" && len(s) <= MaxBytes && !strings.Contains(s, "\x00")
		levels := strings.Split(s, "/")
		for i, level := range levels {
			if strings.Contains(level, "+") && level != "+" || strings.Contains(level, "#") && (level != "#" || i < len(levels)-1) {
				valid = false
			}
		}
		if err := ValidFilter(s); (err == nil) != valid {
			t.Errorf("ValidFilter(%q) = %v, want valid %v", s, err, valid)
		}
		if err := ValidName(s); (err == nil) != (valid && !strings.ContainsAny(s, "+#")) {
			t.Errorf("ValidName(%q) = %v", s, err)
		}
		if Levels(s) != len(levels) {
			t.Errorf("Levels(%q) = %d, want %d", s, Levels(s), len(levels))
		}
		group, inner, shared, err := ParseShared(s)
		if shared != strings.HasPrefix(s, "$share/") {
			t.Errorf("ParseShared(%q): shared %v", s, shared)
		}
		if err != nil {
			return
		}
		if ValidFilter(inner) != nil {
			t.Errorf("ParseShared(%q): inner %q is not valid", s, inner)
		}
		if shared && (group == "" || strings.ContainsAny(group, "/+#") || "$share/"+group+"/"+inner != s) || !shared && inner != s {
			t.Errorf("ParseShared(%q) = %q, %q", s, group, inner)
		}
	})
}

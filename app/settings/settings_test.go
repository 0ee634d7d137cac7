package settings_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/sapwood-mqtt/sapwood/app/settings"
)

// tree has one field of every kind that the package reads.
type tree struct {
	Name   string        `yaml:"name" doc:"A name."`
	Wait   time.Duration `yaml:"wait" doc:"A wait." min:"1s" max:"1h"`
	Doors  []door        `yaml:"doors" doc:"Some doors."`
	Limits limits        `yaml:"limits" doc:"Some limits."`
	Ways   ways          `yaml:"ways" doc:"Some ways."`
	hidden int
}

type door struct {
	Address string `yaml:"address" doc:"Where."`
	Open    bool   `yaml:"open" doc:"Whether."`
}

type limits struct {
	Size   uint32   `yaml:"max_packet_size" unit:"bytes" doc:"Largest." exceeded:"0x95." max:"256MiB"`
	Expiry uint32   `yaml:"session_expiry" unit:"seconds" doc:"Longest."`
	Count  uint16   `yaml:"count" doc:"How many."`
	Share  float64  `yaml:"share" doc:"How much." min:"0" max:"1"`
	Kind   string   `yaml:"kind" doc:"Which." enum:"round,sticky"`
	Tags   []string `yaml:"tags" doc:"Words."`
}

func (l *limits) Check(bad func(key, message, fix string)) {
	if l.Count == 13 {
		bad("count", "is unlucky", "take 12")
	}
}

type ways struct {
	Low  int `yaml:"low" doc:"Lower."`
	High int `yaml:"high" doc:"Higher."`
}

func (w *ways) Verify() error {
	var errs []error
	if w.Low > w.High {
		errs = append(errs, errors.New("low is above high"))
	}
	if w.High == 9 {
		errs = append(errs, errors.New("high is 9"))
	}
	return errors.Join(errs...)
}

func defaults() tree {
	return tree{
		Name: "it", Wait: time.Minute, hidden: 1,
		Doors:  []door{{Address: "front"}},
		Limits: limits{Size: 1 << 20, Expiry: 7 * 86400, Count: 1, Share: 0.5, Kind: "round", Tags: []string{"a", "b"}},
	}
}

func load(t *testing.T, file string, environ ...string) (tree, *settings.Set, settings.Problems) {
	t.Helper()
	got := defaults()
	src := settings.Source{Prefix: "T", Environ: environ}
	if file != "" {
		src.File, src.Data = "t.yaml", []byte(file)
	}
	set, err := settings.Load(&got, src)
	var problems settings.Problems
	if err != nil && !errors.As(err, &problems) {
		t.Fatal(err)
	}
	return got, set, problems
}

func TestValues(t *testing.T) {
	f := func(key, text, want string) {
		t.Helper()
		variable := "T_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		_, set, problems := load(t, "", variable+"="+text)
		if len(problems) > 0 {
			if got := problems[0].Message; got != want {
				t.Errorf("%s=%s: problem %q, want %q", key, text, got, want)
			}
			return
		}
		found, err := set.Explain(key)
		if err != nil {
			t.Fatal(err)
		}
		if got := found[0].Value; got != want {
			t.Errorf("%s=%s: value %q, want %q", key, text, got, want)
		}
	}
	f("limits.max_packet_size", "65536", "64KiB")
	f("limits.max_packet_size", "1000", "1000")
	f("limits.max_packet_size", "1 MiB", "1MiB")
	f("limits.max_packet_size", "1MB", "1000000")
	f("limits.max_packet_size", "0", "0")
	f("limits.max_packet_size", "1GiB", "is 1GiB, but must be at most 256MiB")
	f("limits.max_packet_size", "4GiB", "is 4GiB, but can be at most 4294967295")
	f("limits.max_packet_size", "99999999999TiB", "is 99999999999TiB, which is too large")
	f("limits.max_packet_size", "-1", `is "-1", but must be a size such as 65536, 64KiB or 1MiB`)
	f("limits.max_packet_size", "1Mb", `is "1Mb", but must be a size such as 65536, 64KiB or 1MiB`)
	f("limits.session_expiry", "60", "1m")
	f("limits.session_expiry", "90m", "1h30m")
	f("limits.session_expiry", "14d", "14d")
	f("limits.session_expiry", "1500ms", "is 1500ms, but must be whole seconds")
	f("wait", "90s", "1m30s")
	f("wait", "10", `is "10", but must be a duration such as 500ms, 10s, 2h or 7d`)
	f("wait", "-5s", `is "-5s", but must be a duration such as 500ms, 10s, 2h or 7d`)
	f("wait", "999999999d", "is 999999999d, which is too long")
	f("wait", "10ms", "is 10ms, but must be at least 1s")
	f("limits.count", "65536", "is 65536, but can be at most 65535")
	f("limits.count", "1.5", `is "1.5", but must be a whole number, 0 or more`)
	f("limits.count", "13", "is unlucky")
	f("limits.share", "0.25", "0.25")
	f("limits.share", "2", "is 2, but must be at most 1")
	f("limits.share", "NaN", `is "NaN", but must be a number`)
	f("limits.kind", "sticky", "sticky")
	f("limits.kind", "stick", `is "stick", but must be one of: round, sticky`)
	f("limits.tags", "x, y,", "x,y")
	f("name", "", "")
}

func TestFileProblems(t *testing.T) {
	f := func(file, want string) {
		t.Helper()
		_, _, problems := load(t, file)
		var texts []string
		for _, p := range problems {
			texts = append(texts, p.Text())
		}
		if got := strings.Join(texts, "\n"); got != want {
			t.Errorf("for\n%s\ngot\n%s\nwant\n%s", file, got, want)
		}
	}
	f("limits:\n  max_packt_size: 1MiB\n", `t.yaml:2:3: limits.max_packt_size is not a setting; did you mean "max_packet_size"?
    2 |   max_packt_size: 1MiB
          ^`)
	f("count: 3\n", `t.yaml:1:1: count is not a setting; did you mean "limits.count"?
    1 | count: 3
        ^`)
	f("nothing_like_it: 3\n", `t.yaml:1:1: nothing_like_it is not a setting; the keys here are: name, wait, doors, limits, ways
    1 | nothing_like_it: ***
        ^`)
	f("hidden: 3\n", `t.yaml:1:1: hidden is not a setting; the keys here are: name, wait, doors, limits, ways
    1 | hidden: ***
        ^`)
	f("doors:\n  - address: a\n    open: yes\n", `t.yaml:3:11: doors[0].open is "yes", but must be true or false
    3 |     open: yes
                  ^`)
	f("name: a\nname: b\n", `t.yaml:2:1: this is not YAML: mapping key "name" already defined at [1:1]
    2 | name: b
        ^`)
	f("name: it\nwait:\n", `t.yaml:2:1: wait has no value; give it one or remove the line
    2 | wait:
        ^`)
	f("doors: front\n", `t.yaml:1:8: doors must be a list; begin each element with "- "
    1 | doors: front
               ^`)
	f("limits: 3\n", `t.yaml:1:9: limits must hold keys, one a line; the keys here are: max_packet_size, session_expiry, count, share, kind, tags
    1 | limits: 3
                ^`)
	f("name: {a: b}\n", `t.yaml:1:7: name must be one value, not a section
    1 | name: {a: b}
              ^`)
	f("wait: [1s]\n", `t.yaml:1:7: wait must be one value, not a list
    1 | wait: [1s]
              ^`)
	f("name: &x it\n", `t.yaml:1:7: name uses an anchor, an alias or a tag; write the value out
    1 | name: &x it
              ^`)
	f("name: a\n---\nname: b\n", `t.yaml:3:5: a second document begins here; keep everything in one
    3 | name: b
            ^`)
	f("limits:\n  count: 13\n", `t.yaml:2:10: limits.count is unlucky; take 12
    2 |   count: 13
                 ^`)
	f("name: x\nways: {low: 10, high: 9}\n", `t.yaml:2:1: ways low is above high
    2 | ways: {low: 10, high: 9}
        ^
t.yaml:2:1: ways high is 9
    2 | ways: {low: 10, high: 9}
        ^`)
	f("just words\n", `t.yaml:1:1: must hold keys, one a line; the keys here are: name, wait, doors, limits, ways
    1 | just words
        ^`)
	f("name: \"open\n", `t.yaml:1:7: this is not YAML: could not find end character of double-quoted text
    1 | name: "open
              ^`)
}

func TestLayers(t *testing.T) {
	got := defaults()
	set, err := settings.Load(&got, settings.Source{
		File: "t.yaml", Data: []byte("# all of it\nname: file\nwait: 2s\ndoors:\n- address: left\n- {address: right, open: true}\nlimits:\n  tags: [x, \"y\"]\n  count: 7\n"),
		Prefix:  "T",
		Environ: []string{"HOME=/", "T_WAIT=3s", "T_LIMITS_COUNT=8", "T_DOORS_2_ADDRESS=back", "T_CONFIG=x", "T_SERVICE_HOST=1", "T_PORT_1883_TCP=tcp://1", "T_MQTT_SERVICE_PORT_MQTT=1883"},
		Ignore:  []string{"T_CONFIG"},
		Flags:   map[string]string{"limits.count": "9", "doors[0].address": "up"},
		FlagOf:  map[string]string{"limits.count": "--count", "doors[0].address": "--door"},
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := set.Explain("")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range all {
		lines = append(lines, s.Path+" = "+s.Value+" | "+s.Default+" | "+s.From.String())
	}
	want := `name = file | it | t.yaml:2
wait = 3s | 1m | environment T_WAIT
doors[0].address = up | front | flag --door
doors[0].open = false | false | default
doors[1].address = right |  | t.yaml:6
doors[1].open = true | false | t.yaml:6
doors[2].address = back |  | environment T_DOORS_2_ADDRESS
doors[2].open = false | false | default
limits.max_packet_size = 1MiB | 1MiB | default
limits.session_expiry = 7d | 7d | default
limits.count = 9 | 1 | flag --count
limits.share = 0.5 | 0.5 | default
limits.kind = round | round | default
limits.tags = x,y | a,b | t.yaml:8
ways.low = 0 | 0 | default
ways.high = 0 | 0 | default`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got.hidden != 1 {
		t.Error("a field without a yaml tag was touched")
	}
}

func TestEnvironmentProblems(t *testing.T) {
	f := func(entry, want string) {
		t.Helper()
		_, _, problems := load(t, "", entry)
		if len(problems) != 1 || problems[0].Error() != want {
			t.Errorf("%s: got %v, want %s", entry, problems, want)
		}
	}
	f("T_LIMITS_COUNTS=1", `T_LIMITS_COUNTS: no setting has this variable; did you mean "T_LIMITS_COUNT"?`)
	f("T_DOORS_5_ADDRESS=x", `T_DOORS_5_ADDRESS: doors[5].address does not exist: the list has 1, so the next element is [1]`)
	f("T_DOORS_ADDRESS=x", `T_DOORS_ADDRESS: no setting has this variable; did you mean "T_DOORS_0_ADDRESS"?`)
	f("T_LIMITS=x", `T_LIMITS: no setting has this variable`)
	f("T_LIMITS_COUNT=x", `T_LIMITS_COUNT: limits.count is "x", but must be a whole number, 0 or more`)
}

func TestExplainUnknown(t *testing.T) {
	_, set, _ := load(t, "")
	_, err := set.Explain("limits.cuont")
	if want := `no setting is called "limits.cuont"; did you mean "limits.count"?`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// What an empty list could hold is explained all the same.
func TestExplainEmptyList(t *testing.T) {
	_, set, _ := load(t, "doors: []\n")
	found, err := set.Explain("doors")
	if err != nil || len(found) != 2 || found[0].Path != "doors[0].address" || found[1].Doc != "Whether." {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestExampleIsTheDefaultsAndFitsTheSchema(t *testing.T) {
	d := defaults()
	example := settings.Example(&d)
	got := tree{hidden: 1}
	if _, err := settings.Load(&got, settings.Source{File: "example", Data: []byte(example)}); err != nil {
		t.Fatalf("%v in\n%s", err, example)
	}
	if a, b := settings.Example(&got), example; a != b {
		t.Errorf("read back:\n%s\nwritten:\n%s", a, b)
	}
	checkSchema(t, example, "")
	checkSchema(t, "wait: ten\n", "wait")
	checkSchema(t, "limits: {max_packet_size: 1Mb}\n", "max_packet_size")
	checkSchema(t, "limits: {session_expiry: 60, max_packet_size: 1 MiB}\n", "")
	checkSchema(t, "limits: {kind: stick}\n", "kind")
	checkSchema(t, "lmits: {}\n", "lmits")
}

// checkSchema validates a file; bad is a word of the expected error, "" for none.
func checkSchema(t *testing.T, file, bad string) {
	t.Helper()
	d := defaults()
	schema, err := settings.Schema(&d, "https://example.org/t", "T").Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := yaml.YAMLToJSON([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	var instance any
	if err := json.Unmarshal(data, &instance); err != nil {
		t.Fatal(err)
	}
	err = schema.Validate(instance)
	if bad == "" && err != nil || bad != "" && (err == nil || !strings.Contains(err.Error(), bad)) {
		t.Errorf("%s: got %v, want an error with %q", file, err, bad)
	}
}

func TestUnreadableTypePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a map was described")
		}
	}()
	settings.Load(&struct {
		M map[string]int `yaml:"m"`
	}{}, settings.Source{})
}

// FuzzLoad: no file panics the reader, and a file is either refused with a place or taken.
func FuzzLoad(f *testing.F) {
	d := defaults()
	f.Add(settings.Example(&d))
	f.Add("doors:\n- address: {a: b}\n")
	f.Add("a: &b *b\n")
	f.Fuzz(func(t *testing.T, file string) {
		got := defaults()
		_, err := settings.Load(&got, settings.Source{File: "f", Data: []byte(file)})
		var problems settings.Problems
		if err != nil && !errors.As(err, &problems) {
			t.Fatalf("not Problems: %v", err)
		}
		for _, p := range problems {
			if p.From.Kind == settings.File && (p.From.Line < 1 || p.From.Col < 1) {
				t.Fatalf("a problem without a place: %+v", p)
			}
			_ = p.Text()
		}
	})
}

// level has its text elsewhere, and the text names another setting.
type level string

func (level) Doc() string { return "How far; {limits.count} at most, {nothing} else." }

// A text that names another setting shows its value: the present one when asked, the default in the file.
func TestDocNamesAnotherSetting(t *testing.T) {
	cfg := struct {
		Level  level  `yaml:"level"`
		Limits limits `yaml:"limits" doc:"Some."`
	}{"a", limits{Count: 5, Kind: "round"}}
	const text = "How far; 5 at most, {nothing} else."
	if got := settings.Example(&cfg); !strings.Contains(got, text) {
		t.Error(got)
	}
	if got := settings.Schema(&cfg, "", "").Properties["level"].Description; got != text {
		t.Error(got)
	}
	set, err := settings.Load(&cfg, settings.Source{Prefix: "T", Environ: []string{"T_LIMITS_COUNT=7"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := set.Explain("level"); err != nil || got[0].Doc != "How far; 7 at most, {nothing} else." {
		t.Error(got, err)
	}
}

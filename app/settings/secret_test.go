package settings_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/app/settings"
)

// house has sections in lists in sections in lists, and secrets in all of them.
type house struct {
	Doors []gate   `yaml:"doors" doc:"Doors."`
	Chain []string `yaml:"chain" doc:"A chain." enum:"a,b,c"`
	Base  cellar   `yaml:"base" doc:"Base." reload:"restart"`
}

type gate struct {
	Name  string `yaml:"name" doc:"Name."`
	Lock  lock   `yaml:"lock" doc:"Lock."`
	Rules []rule `yaml:"rules" doc:"Rules."`
}

type lock struct {
	Key      string `yaml:"key" doc:"Key." secret:"true"`
	Strength string `yaml:"strength" doc:"Strength." enum:"weak,strong"`
}

func (l *lock) SetDefaults() { l.Strength = "strong" }

type rule struct {
	Topics []string `yaml:"topics" doc:"Topics."`
	QoS    []uint8  `yaml:"qos" doc:"Levels." max:"2"`
}

type cellar struct {
	URL      string   `yaml:"url" doc:"URL."`
	Password string   `yaml:"password" doc:"Password." secret:"true"`
	Codes    []string `yaml:"codes" doc:"Codes." secret:"true"`
	Count    int      `yaml:"count" doc:"Count." max:"10"`
}

func (b *cellar) Check(bad func(key, message, fix string)) {
	if b.URL == "bad" {
		bad("url", fmt.Sprintf("is bad with %q", b.Password), "take another than "+b.Password)
	}
}

const canary = "canary-5ecret"

func loadHouse(file string, environ ...string) (house, *settings.Set, error) {
	h := house{Doors: []gate{{Name: "front", Lock: lock{Strength: "strong"}}}, Base: cellar{Password: canary + "0"}}
	src := settings.Source{Prefix: "T", Environ: environ, Refer: func(kind, name string) (string, error) {
		if name == "missing" {
			return "", errors.New("it is not there")
		}
		return canary + "," + kind, nil
	}}
	if file != "" {
		src.File, src.Data = "t.yaml", []byte(file)
	}
	set, err := settings.Load(&h, src)
	return h, set, err
}

func TestSectionsInLists(t *testing.T) {
	h, set, err := loadHouse("doors:\n- name: x\n  rules:\n  - topics: ['a,b', c]\n    qos: [0, 2]\nchain: [c, a]\n",
		"T_DOORS_0_RULES_1_QOS=1,2", "T_DOORS_0_LOCK_KEY=k", "T_DOORS_1_LOCK_STRENGTH=weak", "T_DOORS_2_NAME=z", `T_DOORS_0_RULES_1_TOPICS=["x,y","z"]`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(h), "{[{x {k strong} [{[a,b c] [0 2]} {[x,y z] [1 2]}]} { { weak} []} {z { strong} []}] [c a] { "+canary+"0 [] 0}}"; got != want {
		t.Error(got)
	}
	found, err := set.Explain("doors[0].rules[1]")
	if err != nil || len(found) != 2 || found[0].Value != `["x,y","z"]` || found[0].Env != "T_DOORS_0_RULES_1_TOPICS" || found[1].Value != "1,2" {
		t.Error(found, err)
	}
	if found, _ := set.Explain("doors[2].lock.strength"); found[0].Default != "strong" {
		t.Error(found)
	}
	if _, _, err := loadHouse("chain: [a, x]\n"); err == nil || !strings.Contains(err.Error(), `t.yaml:1:12: chain is "x", but must be one of: a, b, c`) {
		t.Error(err)
	}
	if _, _, err := loadHouse("doors:\n- rules:\n  - qos: [3]\n"); err == nil || !strings.Contains(err.Error(), `t.yaml:3:11: doors[0].rules[0].qos is 3, but must be at most 2`) {
		t.Error(err)
	}
}

// F158: whatever is wrong with a file, no message shows a secret.
func TestSecretsAreNeverShown(t *testing.T) {
	for _, file := range []string{
		"base: {password: " + canary + ", url: bad}\n",
		"base: {url: bad, password: '" + canary + "', count: 99}\n",
		"base:\n  pasword: " + canary + "\n",
		"bse: {password: " + canary + "}\n",
		"base: " + canary + "\n",
		"doors: " + canary + "\n",
		"doors:\n- lock: [" + canary + "]\n",
		"doors:\n- lock: {key: {x: " + canary + "}}\n",
		"doors:\n- lock: {key: [" + canary + "]}\n",
		"base:\n  password: \"" + canary + "\n",
		"base: {password: " + canary + "\n",
		"base:\n  password: |\n    " + canary + "\n   " + canary + "x\n",
		"base:\n  password: " + canary + "\n  password: " + canary + "\n",
		"base:\n  password: &a " + canary + "\n",
		"base:\n  password: !!x " + canary + "\n",
		"base:\n  codes: [" + canary + ", {a: " + canary + "}]\n",
		"base:\n  codes: [" + canary + ", ~]\n",
		"base: {url: bad, password: '${file:/x}'}\n",
		"password: " + canary + "\n",
		canary + ": " + canary + "\n  x: 1\n",
		"- " + canary + "\n",
		"base:\n  count: ${file:/x}\n  url: ${file:missing}\n  password: " + canary + " ${oops:x}\n",
	} {
		_, set, err := loadHouse(file)
		var problems settings.Problems
		if !errors.As(err, &problems) {
			if set != nil {
				t.Errorf("%s: no problem", file)
			}
			continue
		}
		for _, p := range problems {
			text, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(p.Text()+string(text), canary) && !strings.HasPrefix(file, canary) {
				t.Errorf("for\n%s\nthe canary sings:\n%s", file, p.Text())
			}
		}
	}
	_, set, err := loadHouse("base: {password: "+canary+"1, codes: ["+canary+"]}\n", "T_DOORS_0_LOCK_KEY="+canary)
	if err != nil {
		t.Fatal(err)
	}
	_, before, _ := loadHouse("")
	all, _ := set.Explain("")
	h := house{Base: cellar{Password: canary, Codes: []string{canary}}}
	schema, _ := json.Marshal(settings.Schema(&h, "", ""))
	out := fmt.Sprintln(all, settings.Diff(before, set), settings.Diff(set, before), string(schema), settings.Example(&h))
	if strings.Contains(out, canary) {
		t.Error(out)
	}
}

func TestReferences(t *testing.T) {
	h, set, err := loadHouse("base:\n  url: a ${env:X} $${env:X} ${client}\n  password: ${file:/p}\n  codes: ['${credential:c}', d]\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(h.Base); got != "{a canary-5ecret,env ${env:X} ${client} canary-5ecret,file [canary-5ecret,credential d] 0}" {
		t.Error(got)
	}
	all, _ := set.Explain("base")
	var lines []string
	for _, s := range all {
		lines = append(lines, s.Path+" = "+s.Value+" | "+s.From.String())
	}
	if got, want := strings.Join(lines, "\n"), `base.url = a ${env:X} $${env:X} ${client} | t.yaml:2, from variable X
base.password = *** | t.yaml:3, from file /p
base.codes = *** | t.yaml:4, from credential c
base.count = 0 | default`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := fmt.Sprint(set.Files()); got != "[/p]" {
		t.Error(got)
	}
	f := func(file, want string) {
		t.Helper()
		if _, _, err := loadHouse(file); err == nil || err.Error() != want {
			t.Errorf("%s: %v", file, err)
		}
	}
	f("base:\n  url: 'x ${file:missing}'\n", "t.yaml:2:11: base.url refers to ${file:missing}, but it is not there")
	f("base:\n  url: |\n    a\n    b ${file:missing}\n", "t.yaml:4:7: base.url refers to ${file:missing}, but it is not there")
	f("base: {url: '${oops:x}'}\n", "t.yaml:1:14: base.url refers to ${oops:x}, but there are only ${file:...}, ${env:...} and ${credential:...}; $${oops:...} is plain text")
	f("base: {url: '${file:}'}\n", "t.yaml:1:14: base.url refers to ${file:}, but it names nothing")
}

func TestDiff(t *testing.T) {
	f := func(older, newer, want string) {
		t.Helper()
		_, a, err := loadHouse(older)
		if err != nil {
			t.Fatal(err)
		}
		_, b, err := loadHouse(newer)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, c := range settings.Diff(a, b) {
			line := fmt.Sprintf("%s %s %s->%s %s", c.Kind, c.Key, c.Old, c.New, c.From)
			if c.Restart {
				line += " restart"
			}
			lines = append(lines, line)
		}
		if got := strings.Join(lines, "\n"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	f("", "", "")
	f("base: {count: 1}", "base: {count: 2}", "changed base.count 1->2 t.yaml:1 restart")
	f("base: {password: aaaa}", "base: {password: bbbb}", "changed base.password ***->*** t.yaml:1 restart")
	f("doors: [{name: a}, {name: b}]", "doors: [{name: b}, {name: a}]", "")
	f("doors: [{name: a}, {name: b}]", "doors: [{name: b, lock: {strength: weak}}, {name: c}]",
		"changed doors[0].lock.strength strong->weak t.yaml:1\nadded doors[1].name ->c t.yaml:1\nremoved doors[0].name a-> default")
	f("doors: [{}]", "doors: [{}, {}]", "added doors[1].name -> default\nadded doors[1].lock.key -> default\nadded doors[1].lock.strength ->strong default")
	f("chain: [a, b]", "chain: [b, a]", "changed chain a,b->b,a t.yaml:1")
}

// A file that would make the parser work hard, or deep, is refused before.
func TestHostileFiles(t *testing.T) {
	f := func(file, want string) {
		t.Helper()
		if _, _, err := loadHouse(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v", file, err)
		}
	}
	deep := "is nested deeper than 32"
	f(strings.Repeat("[", 1<<16), deep)
	f(strings.Repeat("{a: ", 1<<16), deep)
	f(strings.Repeat("- ", 1<<16)+"a", deep)
	f(strings.Repeat("? ", 1<<16)+"a", deep)
	nested := ""
	for i := range 1000 {
		nested += strings.Repeat(" ", i) + "a:\n"
	}
	f(nested, deep)
	f(strings.Repeat("a", 1<<20+1), "can have at most")
	laughs := "a: &a [ha, ha, ha]\n"
	for c := 'b'; c < 'z'; c++ {
		laughs += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1)
	}
	f(laughs, "is not a setting")
	f("base: &b {url: x}\n<<: *b\n", "uses an anchor")
}

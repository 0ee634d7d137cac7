package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sapwood-mqtt/sapwood/app"
)

// update rewrites the golden files instead of comparing with them.
var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sapwood": main})
}

// TestScripts runs testdata/script against the real main.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", UpdateScripts: *update})
}

// TestHelp keeps every help page as a golden file, and every page has an example, and every command is one.
func TestHelp(t *testing.T) {
	var b strings.Builder
	std := &streams{strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}}
	var walk func(n *kong.Node, path []string)
	walk = func(n *kong.Node, path []string) {
		out := &bytes.Buffer{}
		std.out = out
		if code := run(context.Background(), append(path, "--help"), std); code != 0 {
			t.Errorf("%v --help: exit %d", path, code)
		}
		if len(path) > 0 && len(n.Children) == 0 && !strings.Contains(out.String(), "Examples:\n\n    ") {
			t.Errorf("%v --help has no example", path)
		}
		if len(n.Children) == 0 && runOf(n) == nil {
			t.Errorf("%v cannot be run", path)
		}
		b.WriteString("$ " + strings.Join(append(append([]string{"sapwood"}, path...), "--help"), " ") + "\n" + out.String() + "\n")
		for _, c := range n.Children {
			walk(c, append(path[:len(path):len(path)], c.Name))
		}
	}
	walk(newParser(std).Model.Node, nil)
	golden(t, "testdata/help.txt", b.String())
}

// help COMMAND is COMMAND --help, and of what is no command it says so as COMMAND would.
func TestHelpCommand(t *testing.T) {
	said := func(args ...string) (code int, out, errs string) {
		var o, e bytes.Buffer
		code = run(t.Context(), args, &streams{strings.NewReader(""), &o, &e})
		return code, o.String(), e.String()
	}
	if _, out, _ := said(); !strings.Contains(out, "sapwood serve") {
		t.Errorf("nothing to begin with: %s", out)
	}
	for _, command := range [][]string{nil, {"clients"}, {"clients", "disconnect"}, {"help"}} {
		code, out, errs := said(append([]string{"help"}, command...)...)
		if _, want, _ := said(append(command, "--help")...); code != 0 || out != want || errs != "" {
			t.Errorf("help %v: exit %d, %s%s", command, code, out, errs)
		}
	}
	if code, out, errs := said("help", "clints"); code != exitUsage || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "clints") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
}

// Times are read as Go writes them, in days, and as seconds alone, as mosquitto_sub -W 1 takes them.
func TestTimes(t *testing.T) {
	var flags struct{ For time.Duration }
	parser := kong.Must(&flags, kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(duration)))
	for text, want := range map[string]time.Duration{"90": 90 * time.Second, "0": 0, "1m30s": 90 * time.Second, "7d": 168 * time.Hour, "65535d": 65535 * 24 * time.Hour} {
		if _, err := parser.Parse([]string{"--for", text}); err != nil || flags.For != want {
			t.Errorf("%s: %v, %v", text, flags.For, err)
		}
	}
	for _, text := range []string{"soon", "d", "1.5d", "99999d", "99999999999"} {
		if _, err := parser.Parse([]string{"--for", text}); err == nil || !strings.Contains(err.Error(), "is no time such as") {
			t.Errorf("%s: %v, %v", text, flags.For, err)
		}
	}
}

// Every command that asks a broker has --json, but for those that say here why not.
func TestJSONEverywhere(t *testing.T) {
	without := map[string]string{
		"top":             "it is a full screen",
		"users export":    "it writes lines of JSON",
		"traces download": "it writes a file in the format that is asked for",
	}
	asked := 0
	var walk func(n *kong.Node, path []string)
	walk = func(n *kong.Node, path []string) {
		for _, c := range n.Children {
			walk(c, append(path[:len(path):len(path)], c.Name))
		}
		has := map[string]bool{}
		for _, f := range n.Flags {
			has[f.Name] = true
		}
		name := strings.Join(path, " ")
		switch _, excepted := without[name]; {
		case len(n.Children) > 0 || !has["api-key"] && !has["key"]:
		case excepted == has["json"]:
			t.Errorf("sapwood %s: --json is there: %v, and an exception: %v", name, has["json"], excepted)
		default:
			asked++
		}
		delete(without, name)
	}
	walk(newParser(&streams{}).Model.Node, nil)
	if asked < 60 || len(without) > 0 {
		t.Errorf("%d commands; not found: %v", asked, without)
	}
}

// TestGeneratedFiles keeps what other tools read: the example and the schema.
func TestGeneratedFiles(t *testing.T) {
	f := func(file string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(context.Background(), args, &streams{strings.NewReader(""), &out, &errs}); code != 0 {
			t.Fatalf("%v: exit %d: %s", args, code, &errs)
		}
		golden(t, filepath.Join("../..", file), out.String())
	}
	f("sapwood.example.yaml", "config", "example")
	f("docs/sapwood.schema.json", "config", "schema")

	api, err := app.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, api, "", "  "); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	golden(t, "../../docs/openapi.json", pretty.String())
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not up to date; look at the change and run: go test ./cmd/sapwood -update\ngot:\n%s", file, got)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

package mosquitto

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// tree is a set of files by name.
type tree map[string]string

func (t tree) Read(name string) ([]byte, error) {
	text, ok := t[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (t tree) List(dir string) (names []string, err error) {
	for name := range t {
		if filepath.Dir(name) == filepath.Clean(dir) {
			names = append(names, filepath.Base(name))
		}
	}
	if names == nil {
		return nil, fs.ErrNotExist
	}
	return names, nil
}

// Each configuration in testdata becomes what stands beside it, with the report.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Import("mosquitto.conf", tree{
			"mosquitto.conf": string(text), "conf.d/b.conf": "listener 1883\n", "conf.d/A.conf": "allow_anonymous true\n", "conf.d/README": "listener 1\n",
		})
		if err != nil {
			t.Fatal(file, err)
		}
		var lines []string
		for _, l := range r.Report {
			lines = append(lines, l.String())
		}
		got := r.YAML + "--- report\n" + strings.Join(lines, "\n") + "\n"
		golden := strings.TrimSuffix(file, ".conf") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is not up to date; look at the change and run: go test ./app/importing/mosquitto -update\n%s", golden, got)
		}
		if strings.Contains(got, "hunter2") {
			t.Errorf("%s shows a password", golden)
		}
	}
}

// testdata/options.txt lists every option of mosquitto.conf(5): none is unknown, and none is dropped.
func TestEveryOptionIsTold(t *testing.T) {
	text, err := os.ReadFile("testdata/options.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line[0] == '#' {
			continue
		}
		name, _, _ := strings.Cut(line, " ")
		r, err := Import("f", tree{"f": "listener 1883\n" + line + "\n", "d/x.conf": ""})
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		told := false
		for _, l := range r.Report {
			if l.Option != name {
				continue
			}
			told = true
			if l.Result == Invalid && strings.Contains(l.Note, "no such option") {
				t.Error(l)
			}
			if l.Result == None && l.Note == "" {
				t.Errorf("%v has no reason", l)
			}
		}
		if !told {
			t.Errorf("%q is dropped", line)
		}
	}
}

func TestIncludeErrors(t *testing.T) {
	f := func(files tree, want string) {
		t.Helper()
		if _, err := Import("f", files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", files, err)
		}
	}
	f(tree{}, "read f: file does not exist")
	f(tree{"f": "\ninclude_dir d\n"}, "f:2: include_dir: file does not exist")
	f(tree{"f": "include_dir d", "d/x.conf": "include_dir d"}, "include_dir within include_dir")
	if _, err := Import("f", tree{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// FuzzImport: whatever stands in a file, the result is YAML, and each line is told.
func FuzzImport(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.conf")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("listener 0 /a b\nmount_point \"x: {y\nconnection\ntopic # both\nmax_queued_bytes 18446744073709551615\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Import("f", tree{"f": text})
		if err != nil {
			return
		}
		var out map[string]any
		if err := yaml.Unmarshal([]byte(r.YAML), &out); err != nil {
			t.Fatalf("%v in\n%s", err, r.YAML)
		}
		told := map[int]bool{}
		for _, l := range r.Report {
			told[l.Line] = true
		}
		for i, line := range strings.Split(text, "\n") {
			if strings.TrimSpace(line) != "" && line[0] != '#' && !told[i+1] {
				t.Fatalf("line %d %q is dropped", i+1, line)
			}
		}
	})
}

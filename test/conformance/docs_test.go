package conformance

import (
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/conformance.md and docs/faults.md")

const root = "../.."

// citations maps what tests cite, "MQTT5 MQTT-1.5.4-1" or "F001", to where.
type citations map[string]map[string]bool

var (
	statementCited = regexp.MustCompile(`\[(MQTT5|MQTT311) (MQTT-[0-9.]+-[0-9]+)\]`)
	faultCited     = regexp.MustCompile(`\bF[0-9]{3}\b`)
	browserTest    = regexp.MustCompile("^\\s*test\\(['`\"](.*)['`\"],")
	funcBegins     = regexp.MustCompile(`^func (?:\([^)]*\) )?(\w+)`)
)

// cited searches all tests: Go files, scripts below a testdata folder, and those of the pages in a browser.
func cited(t *testing.T) citations {
	t.Helper()
	all := citations{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "docs"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".test.mjs"): // in a browser
		case !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "/testdata/") && !strings.Contains(path, "/storetest/"):
			return nil
		case filepath.Base(path) == "docs_test.go" || !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".txt"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		all.file(filepath.ToSlash(name), string(text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (all citations) file(name, text string) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		var ids []string
		for _, m := range statementCited.FindAllStringSubmatch(line, -1) {
			ids = append(ids, m[1]+" "+m[2])
		}
		ids = append(ids, faultCited.FindAllString(line, -1)...)
		if strings.HasSuffix(name, ".mjs") && !browserTest.MatchString(line) {
			continue // a comment; the test has it in its name
		}
		for _, id := range ids {
			if all[id] == nil {
				all[id] = map[string]bool{}
			}
			all[id][name+within(lines, i)] = true
		}
	}
}

// within names the function that line i of a Go file is in, or that it is a comment of.
func within(lines []string, i int) string {
	if m := browserTest.FindStringSubmatch(lines[i]); m != nil {
		return ": " + m[1]
	}
	if strings.HasPrefix(lines[i], "//") {
		for ; i < len(lines); i++ {
			if m := funcBegins.FindStringSubmatch(lines[i]); m != nil {
				return " " + m[1]
			}
			if !strings.HasPrefix(lines[i], "//") {
				return ""
			}
		}
	}
	for ; i >= 0; i-- {
		if m := funcBegins.FindStringSubmatch(lines[i]); m != nil {
			return " " + m[1]
		}
		if strings.HasPrefix(lines[i], "}") || strings.HasPrefix(lines[i], "var ") {
			return ""
		}
	}
	return ""
}

// rows reads a table of tab-separated values without its heading.
func rows(t *testing.T, path string) (list [][]string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		if i > 0 {
			list = append(list, strings.Split(line, "\t"))
		}
	}
	return list
}

// exceptions are what no test proves, with the reason; "F001 in part" is what the tests that cite it leave open.
func exceptions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "conformance-exceptions.txt"))
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, reason, ok := strings.Cut(line, ": ")
		if !ok || list[id] != "" {
			t.Errorf("conformance-exceptions.txt: %q is no \"id: reason\", or is there twice", line)
		}
		list[id] = reason
	}
	return list
}

// ledger decides for each row whether it is proved or excepted, and writes the table.
type ledger struct {
	t        *testing.T
	cited    citations
	excepted map[string]string
	used     map[string]bool
}

func (l *ledger) where(id string) string {
	reason, excepted := l.excepted[id]
	open, partly := l.excepted[id+" in part"]
	l.used[id], l.used[id+" in part"] = true, true
	places := slices.Sorted(maps.Keys(l.cited[id]))
	if partly && len(places) > 0 {
		places = append(places, "open: "+cell(open))
	}
	switch {
	case excepted && len(places) > 0:
		l.t.Errorf("%s is excepted in docs/conformance-exceptions.txt, but %s proves it", id, places[0])
	case excepted:
		return "not tested: " + reason
	case len(places) == 0:
		l.t.Errorf("%s is neither cited by a test nor excepted in docs/conformance-exceptions.txt", id)
	}
	return strings.Join(places, "<br>")
}

func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "#", "\\#", "*", "\\*").Replace(s)
}

// areas are those of the list of faults that one broker answers for: towards its clients and their networks, its disk, its clock,
// the system that runs it, and those who look after it by HTTP.
const areas = " frame CONNECT PUBLISH SUBSCRIBE acks session resource authn authz transport net storage clock process http "

// Every statement that binds a server, and every fault, is cited by a test or excepted with a reason, and the
// pages that say where are up to date.
func TestDocs(t *testing.T) {
	l := &ledger{t: t, cited: cited(t), excepted: exceptions(t), used: map[string]bool{}}
	var page strings.Builder
	page.WriteString("# Conformance\n\nGenerated from the tests: `go test ./test/conformance -run TestDocs -update`. Every normative statement\n" +
		"that binds a server, and the tests that cite it. A statement without one has its reason in\n[conformance-exceptions.txt](conformance-exceptions.txt).\n")
	for _, spec := range []struct{ name, title, file string }{
		{"MQTT5", "MQTT 5.0", "mqtt5-statements.tsv"}, {"MQTT311", "MQTT 3.1.1", "mqtt311-statements.tsv"},
	} {
		fmt.Fprintf(&page, "\n## %s\n\n| Statement | Text | Proved by |\n|---|---|---|\n", spec.title)
		for _, row := range rows(t, filepath.Join("spec", spec.file)) {
			if row[1] != "client" {
				fmt.Fprintf(&page, "| %s | %s | %s |\n", row[0], cell(row[2]), l.where(spec.name+" "+row[0]))
			}
		}
	}
	compare(t, "conformance.md", page.String())

	page.Reset()
	page.WriteString("# Bad input, overload and faults\n\nGenerated from the tests: `go test ./test/conformance -run TestDocs -update`. What can be done to a broker\n" +
		"over the network, what its disk, its clock and the system can do to it, what it is expected to do, and the tests that show it.\n")
	page.WriteString("\n| Fault | Area | Input or fault | Expected | Shown by |\n|---|---|---|---|---|\n")
	for _, row := range rows(t, filepath.Join("spec", "faults.tsv")) {
		if strings.Contains(areas, " "+row[1]+" ") {
			fmt.Fprintf(&page, "| %s | %s | %s | %s | %s |\n", row[0], row[1], cell(row[2]), cell(row[3]), l.where(row[0]))
		}
	}
	compare(t, "faults.md", page.String())
	for id := range l.excepted {
		if !l.used[id] {
			t.Errorf("conformance-exceptions.txt: nothing that binds a server is called %s", id)
		}
	}
}

func compare(t *testing.T, name, want string) {
	t.Helper()
	path := filepath.Join(root, "docs", name)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("docs/%s is not what the tests say; run: go test ./test/conformance -run TestDocs -update", name)
	}
}

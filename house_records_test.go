package house

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// records are the decision records, by file, in order.
func records(t *testing.T) (names []string, texts map[string]string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join("docs", "decisions", "[0-9]*.md"))
	if err != nil || len(all) == 0 {
		t.Fatal("no decision records", err)
	}
	texts = map[string]string{}
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(name))
		texts[filepath.Base(name)] = string(text)
	}
	return names, texts
}

// TestRecords holds that the list of decisions has each of them once, in order, by its title.
func TestRecords(t *testing.T) {
	const index = "docs/decisions/README.md"
	was, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	names, texts := records(t)
	title := regexp.MustCompile(`^# ([0-9]+)\. (.+)\n`)
	head, _, _ := strings.Cut(string(was), "\n1. ")
	var list strings.Builder
	for _, name := range names {
		m := title.FindStringSubmatch(texts[name])
		if m == nil || fmt.Sprintf("%04s", m[1]) != name[:4] {
			t.Fatalf("%s does not begin with a title such as \"# 35. What was chosen\", of its own number", name)
		}
		fmt.Fprintf(&list, "%s. [%s](%s)\n", m[1], m[2], name)
	}
	now := head + "\n" + list.String()
	if *update {
		if err := os.WriteFile(index, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if now != string(was) {
		t.Errorf("%s is not the list of the records; run: go test . -update", index)
	}
}

// TestModules holds that go.mod has two lists, what we import and what that needs, and that for each of the first there is a
// record that says why.
func TestModules(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	lists := regexp.MustCompile(`(?m)^require[^\n]*`).FindAllString(string(text), -1)
	if len(lists) != 2 {
		t.Errorf("go.mod has %d lists of modules, not two: join them and run go mod tidy", len(lists))
	}
	_, texts := records(t)
	var all strings.Builder
	for _, text := range texts {
		all.WriteString(text)
	}
	text, err = os.ReadFile("console/ui/package.json")
	if err != nil {
		t.Fatal(err)
	}
	var pages struct{ Dependencies, DevDependencies map[string]string }
	if err := json.Unmarshal(text, &pages); err != nil || len(pages.Dependencies) == 0 {
		t.Fatal(err)
	}
	maps.Copy(pages.Dependencies, pages.DevDependencies)
	for name := range pages.Dependencies {
		if !strings.Contains(strings.ToLower(all.String()), filepath.Base(name)) {
			t.Errorf("no decision record names the npm package %s: say why it is there and how to leave it", name)
		}
	}
	version := regexp.MustCompile(`/v[0-9]+$`)
	for _, m := range regexp.MustCompile(`(?m)^(?:require )?\t?(\S+\.\S+/\S+) v\S+$`).FindAllStringSubmatch(string(text), -1) {
		name := version.ReplaceAllString(m[1], "")
		if !strings.Contains(all.String(), filepath.Base(name)) {
			t.Errorf("no decision record names the module %s: say why it is there and how to leave it", name)
		}
	}
}

// TestPages holds that docs/README.md links each page, and that no link of a page, a record or the README, and no Go file that one names, leads nowhere.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join("docs", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	source := regexp.MustCompile("\\b(?:" + strings.Join(floors, "|") + "|bench|test)/[A-Za-z0-9_/-]+\\.go\\b")
	names, _ := records(t)
	for i, name := range names {
		names[i] = filepath.Join("docs", "decisions", name)
	}
	for _, page := range append(append(pages, names...), "README.md") {
		if dir, name := filepath.Split(page); filepath.ToSlash(dir) == "docs/" && name != "README.md" && !strings.Contains(string(index), "]("+name+")") {
			t.Errorf("docs/README.md does not link %s", name)
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
		for _, file := range source.FindAllString(string(text), -1) {
			if _, err := os.Stat(filepath.FromSlash(file)); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// TestArchitecture holds that docs/ARCHITECTURE.md has a word for each package of the product but suites of tests.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("docs", "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "| `") {
			rows = append(rows, line)
		}
	}
	for _, floor := range floors {
		err := filepath.WalkDir(floor, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			if d.Name() == "testdata" || d.Name() == "node_modules" || d.Name() == "src" || d.Name() == "dist" || strings.HasSuffix(d.Name(), "test") {
				return filepath.SkipDir
			}
			files, err := filepath.Glob(filepath.Join(path, "*.go"))
			if err != nil || len(files) == 0 {
				return err
			}
			name := filepath.ToSlash(path)
			for _, row := range rows { // by its path, or by its name in the row of a folder beside or above it
				rest, _ := strings.CutPrefix(name, floor+"/")
				if strings.Contains(row, "`"+name+"`") || strings.Contains(row, "`"+folder(name, 2)) && strings.Contains(row, "`"+d.Name()+"`") ||
					strings.HasPrefix(row, "| `"+floor+"`") && strings.Contains(row, "`"+rest+"`") {
					return nil
				}
			}
			t.Errorf("docs/ARCHITECTURE.md has no word for %s", name)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

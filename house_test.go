// Package house holds the rules of the house as tests: DESIGN section 6 in Go. Each rule is a
// function from the parsed tree to complaints, so that it is tested itself, on a tree that breaks it.
package house

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const module = "github.com/sapwood-mqtt/sapwood"

// exceptions are what may be larger than the house allows: "dir/file.go", "dir.Func", "dir.Type" or
// "dir", with the reason. One that is no longer needed fails too.
func exceptions() map[string]string {
	return map[string]string{
		"broker": "one machine whose parts share the shards that own the clients; what can stand alone is below it",
	}
}

// The numbers of the house.
const (
	maxFileLines     = 800
	maxFuncLines     = 100
	maxMethods       = 40
	maxFields        = 30
	maxPackageLines  = 5000
	forbiddenPackage = " util common helpers types defs base shared manager core pkg "
)

// dir is one directory with Go files.
type dir struct {
	path  string // from the root, with slashes; "." for the root
	files []file
}

type file struct {
	path  string
	lines int
	*ast.File
}

func (f *file) test() bool { return strings.HasSuffix(f.path, "_test.go") }

// production lists the files that are neither tests nor generated.
func (d *dir) production() []file {
	return slices.DeleteFunc(slices.Clone(d.files), func(f file) bool { return f.test() || ast.IsGenerated(f.File) })
}

// tree is the parsed repository.
type tree struct {
	fset *token.FileSet
	dirs []*dir
}

func (t *tree) at(pos token.Pos) string {
	p := t.fset.Position(pos)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

func (t *tree) lines(n ast.Node) int {
	return t.fset.Position(n.End()).Line - t.fset.Position(n.Pos()).Line + 1
}

// add parses one file into the tree.
func (t *tree) add(name, source string) error {
	f, err := parser.ParseFile(t.fset, name, source, parser.ParseComments)
	if err != nil {
		return err
	}
	at := path.Dir(name)
	i := slices.IndexFunc(t.dirs, func(d *dir) bool { return d.path == at })
	if i < 0 {
		t.dirs = append(t.dirs, &dir{path: at})
		i = len(t.dirs) - 1
	}
	t.dirs[i].files = append(t.dirs[i].files, file{name, strings.Count(source, "\n"), f})
	return nil
}

// repository parses every Go file of this module, whatever system it is for.
func repository(t *testing.T) *tree {
	t.Helper()
	tr := &tree{fset: token.NewFileSet()}
	err := filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			_, modErr := os.Stat(filepath.Join(name, "go.mod"))
			if name != "." && (modErr == nil || strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || e.Name() == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return tr.add(filepath.ToSlash(name), string(source))
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// rules are all of them, by name.
func rules() map[string]func(*tree) []string {
	return map[string]func(*tree) []string{
		"size":     sizes,
		"packages": packages,
		"docs":     docs,
		"state":    state,
		"exit":     exits,
		"sleep":    sleeps,
		"imports":  imports,
	}
}

func TestHouse(t *testing.T) {
	tr := repository(t)
	used := map[string]bool{}
	for name, rule := range rules() {
		for _, complaint := range rule(tr) {
			what, _, _ := strings.Cut(complaint, ": ")
			if exceptions()[what] != "" {
				used[what] = true
				continue
			}
			t.Errorf("%s: %s", name, complaint)
		}
	}
	for what, why := range exceptions() {
		if !used[what] {
			t.Errorf("exception %s (%s) is no longer needed: remove it", what, why)
		}
	}
}

// sizes keeps files, functions, types and packages readable in one sitting.
func sizes(t *tree) (bad []string) {
	for _, d := range t.dirs {
		total := 0
		methods := map[string]int{}
		for _, f := range d.production() {
			total += f.lines
			if f.lines > maxFileLines {
				bad = append(bad, fmt.Sprintf("%s: %d lines, more than %d: split it by what it is about", f.path, f.lines, maxFileLines))
			}
			for _, decl := range f.Decls {
				switch decl := decl.(type) {
				case *ast.FuncDecl:
					name := d.path + "." + decl.Name.Name
					if recv := receiver(decl); recv != "" {
						name = d.path + "." + recv + "." + decl.Name.Name
						methods[recv]++
					}
					if n := t.lines(decl); n > maxFuncLines {
						bad = append(bad, fmt.Sprintf("%s: %d lines, more than %d: name its parts", name, n, maxFuncLines))
					}
				case *ast.GenDecl:
					bad = append(bad, fields(d, decl)...)
				}
			}
		}
		for recv, n := range methods {
			if n > maxMethods {
				bad = append(bad, fmt.Sprintf("%s.%s: %d methods, more than %d: there is a second type in it", d.path, recv, n, maxMethods))
			}
		}
		if total > maxPackageLines {
			bad = append(bad, fmt.Sprintf("%s: %d lines, more than %d: it is two packages", d.path, total, maxPackageLines))
		}
	}
	return bad
}

func fields(d *dir, decl *ast.GenDecl) (bad []string) {
	for _, spec := range decl.Specs {
		ts, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		if st, ok := ts.Type.(*ast.StructType); ok && st.Fields.NumFields() > maxFields {
			bad = append(bad, fmt.Sprintf("%s.%s: %d fields, more than %d: group them", d.path, ts.Name.Name, st.Fields.NumFields(), maxFields))
		}
	}
	return bad
}

// receiver is the name of the type that a method belongs to, "" for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	typ := f.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name
		default:
			return "?"
		}
	}
}

// packages asks for one doc comment each, and for names that say something.
func packages(t *tree) (bad []string) {
	for _, d := range t.dirs {
		production := d.production()
		if len(production) == 0 {
			continue
		}
		var documented []string
		for _, f := range production {
			if f.Doc != nil {
				documented = append(documented, f.path)
			}
		}
		if len(documented) != 1 {
			bad = append(bad, fmt.Sprintf("%s: %d package comments %v: one says what it is and what it may not do", d.path, len(documented), documented))
		}
		if name := production[0].Name.Name; strings.Contains(forbiddenPackage, " "+name+" ") {
			bad = append(bad, fmt.Sprintf("%s: a package called %s can hold anything: name it by what it holds", d.path, name))
		}
	}
	return bad
}

// docs asks every exported name for a comment. A group of constants or variables may share one.
func docs(t *tree) (bad []string) {
	missing := func(pos token.Pos, name string) {
		bad = append(bad, fmt.Sprintf("%s: exported %s has no doc comment", t.at(pos), name))
	}
	for _, d := range t.dirs {
		for _, f := range d.production() {
			for _, decl := range f.Decls {
				switch decl := decl.(type) {
				case *ast.FuncDecl:
					recv := receiver(decl)
					if decl.Name.IsExported() && decl.Doc == nil && (recv == "" || ast.IsExported(recv)) {
						missing(decl.Pos(), decl.Name.Name)
					}
				case *ast.GenDecl:
					for _, spec := range decl.Specs {
						switch spec := spec.(type) {
						case *ast.TypeSpec:
							if spec.Name.IsExported() && spec.Doc == nil && decl.Doc == nil {
								missing(spec.Pos(), spec.Name.Name)
							}
						case *ast.ValueSpec:
							if spec.Names[0].IsExported() && spec.Doc == nil && spec.Comment == nil && decl.Doc == nil {
								missing(spec.Pos(), spec.Names[0].Name)
							}
						}
					}
				}
			}
		}
	}
	return bad
}

// exits leaves the end of the process to main.
func exits(t *tree) (bad []string) {
	for _, d := range t.dirs {
		for _, f := range d.production() {
			if f.Name.Name == "main" {
				continue
			}
			for _, c := range calls(f.File) {
				if c.name == "os.Exit" || strings.HasPrefix(c.name, "log.Fatal") {
					bad = append(bad, fmt.Sprintf("%s: %s outside cmd: return the error", t.at(c.pos), c.name))
				}
			}
		}
	}
	return bad
}

// sleeps keeps tests from guessing how long something takes.
func sleeps(t *tree) (bad []string) {
	for _, d := range t.dirs {
		for _, f := range d.files {
			if !f.test() {
				continue
			}
			for _, c := range calls(f.File) {
				// Inside a testing/synctest bubble a sleep takes no time and is exact.
				if c.name == "time.Sleep" && !c.bubble {
					bad = append(bad, fmt.Sprintf("%s: time.Sleep in a test: use testing/synctest or wait on the condition", t.at(c.pos)))
				}
			}
		}
	}
	return bad
}

// call is a call of a package's function.
type call struct {
	name   string
	pos    token.Pos
	bubble bool // inside the arguments of synctest.Test
}

func calls(f *ast.File) (found []call) {
	var bubble ast.Node
	ast.Inspect(f, func(n ast.Node) bool {
		if bubble != nil && n != nil && n.Pos() > bubble.End() {
			bubble = nil
		}
		c, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sel, ok := c.Fun.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				name := x.Name + "." + sel.Sel.Name
				found = append(found, call{name, c.Pos(), bubble != nil})
				if name == "synctest.Test" {
					bubble = c
				}
			}
		}
		return true
	})
	return found
}

// state keeps packages without memory: no init, no variable that anything writes to.
func state(t *tree) (bad []string) {
	for _, d := range t.dirs {
		written := writes(d)
		for _, f := range d.production() {
			for _, decl := range f.Decls {
				switch decl := decl.(type) {
				case *ast.FuncDecl:
					if decl.Name.Name == "init" && decl.Recv == nil {
						bad = append(bad, fmt.Sprintf("%s: func init runs before anybody asked: call it from New", t.at(decl.Pos())))
					}
				case *ast.GenDecl:
					if decl.Tok != token.VAR || embedded(decl) {
						continue
					}
					for _, spec := range decl.Specs {
						vs := spec.(*ast.ValueSpec)
						for i, name := range vs.Names {
							if why := mutable(vs, i, written[name.Name]); why != "" {
								bad = append(bad, fmt.Sprintf("%s.%s: a package variable that %s: make it a field, or a function that returns it", d.path, name.Name, why))
							}
						}
					}
				}
			}
		}
	}
	return bad
}

// mutable says why a package variable counts as state, "" when it does not: an error, a compiled
// regular expression, an interface check, a pool, or a table that nothing in its package writes to.
func mutable(vs *ast.ValueSpec, i int, written bool) string {
	name := vs.Names[i]
	switch {
	case name.Name == "_":
		return ""
	case i >= len(vs.Values):
		return "begins empty, so that something must fill it"
	case written:
		return "its package writes to"
	}
	switch v := vs.Values[i].(type) {
	case *ast.CompositeLit:
		typ := text(v.Type)
		if typ == "sync.Pool" { // keeps memory, not meaning: nobody can tell whether it is there
			return ""
		}
		if strings.HasPrefix(typ, "sync.") || strings.HasPrefix(typ, "atomic.") {
			return "is a " + typ
		}
		if name.IsExported() && (strings.HasPrefix(typ, "[]") || strings.HasPrefix(typ, "map")) {
			return "everybody can write to"
		}
	case *ast.CallExpr:
		switch fn := text(v.Fun); fn {
		case "errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer", "crc32.MakeTable", "netip.MustParseAddr", "netip.MustParsePrefix", "time.Unix", "time.Date":
		default:
			if _, conversion := v.Fun.(*ast.ArrayType); !conversion {
				return "is made by " + fn
			}
		}
	}
	return ""
}

// text writes the part of an expression that the rules look at.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return text(e.X) + "." + e.Sel.Name
	case *ast.ArrayType:
		if e.Len == nil {
			return "[]" + text(e.Elt)
		}
		return "[n]" + text(e.Elt)
	case *ast.MapType:
		return "map"
	case *ast.IndexExpr:
		return text(e.X)
	}
	return fmt.Sprintf("%T", e)
}

func embedded(decl *ast.GenDecl) bool {
	has := func(doc *ast.CommentGroup) bool {
		return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed") })
	}
	return has(decl.Doc) || slices.ContainsFunc(decl.Specs, func(s ast.Spec) bool { return has(s.(*ast.ValueSpec).Doc) })
}

// writes collects the names of package variables that production code of a directory assigns to,
// also by element or field. A name that the function declares itself is not the package's.
func writes(d *dir) map[string]bool {
	written := map[string]bool{}
	for _, f := range d.production() {
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			assigned, local := map[string]bool{}, map[string]bool{}
			ast.Inspect(fn, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					names := assigned
					if n.Tok == token.DEFINE {
						names = local
					}
					for _, e := range n.Lhs {
						names[root(e)] = true
					}
				case *ast.IncDecStmt:
					assigned[root(n.X)] = true
				case *ast.RangeStmt:
					local[root(n.Key)], local[root(n.Value)] = true, true
				case *ast.Field:
					for _, name := range n.Names {
						local[name.Name] = true
					}
				case *ast.ValueSpec:
					for _, name := range n.Names {
						local[name.Name] = true
					}
				}
				return true
			})
			for name := range assigned {
				written[name] = written[name] || !local[name]
			}
		}
	}
	return written
}

// root is the variable at the bottom of what is assigned to: x in x.f[i].
func root(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// TestExportedAPI keeps what `go doc -all` says about the packages that others build on.
func TestExportedAPI(t *testing.T) {
	for _, name := range []string{"mqtt", "broker"} {
		golden := filepath.Join("docs", "api", name+".txt")
		if !hasGo(name) {
			continue
		}
		got := goDoc(t, name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("the exported API of %s is not what %s says; look at the change and run: go test . -update", name, golden)
		}
	}
}

func goDoc(t *testing.T, name string) []byte {
	t.Helper()
	out, err := exec.Command("go", "doc", "-all", "./"+name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func hasGo(name string) bool {
	files, err := filepath.Glob(filepath.Join(name, "*.go"))
	return err == nil && len(files) > 0
}

// Command elsewhere type-checks and vets this module as it is on other systems, by their names as GOOS has them:
//
//	go -C tools run ./elsewhere darwin windows
//
// go vet would first compile everything that is imported, for each of them: minutes, where this takes seconds. It leaves out the analyzers that have
// to know how imported packages are written, such as printf; files that are for all systems were seen by them already.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/analysis/passes/assign"
	"golang.org/x/tools/go/analysis/passes/atomic"
	"golang.org/x/tools/go/analysis/passes/bools"
	"golang.org/x/tools/go/analysis/passes/buildtag"
	"golang.org/x/tools/go/analysis/passes/composite"
	"golang.org/x/tools/go/analysis/passes/copylock"
	"golang.org/x/tools/go/analysis/passes/defers"
	"golang.org/x/tools/go/analysis/passes/errorsas"
	"golang.org/x/tools/go/analysis/passes/ifaceassert"
	"golang.org/x/tools/go/analysis/passes/lostcancel"
	"golang.org/x/tools/go/analysis/passes/nilfunc"
	"golang.org/x/tools/go/analysis/passes/shift"
	"golang.org/x/tools/go/analysis/passes/stdmethods"
	"golang.org/x/tools/go/analysis/passes/stringintconv"
	"golang.org/x/tools/go/analysis/passes/structtag"
	"golang.org/x/tools/go/analysis/passes/unmarshal"
	"golang.org/x/tools/go/analysis/passes/unreachable"
	"golang.org/x/tools/go/analysis/passes/unsafeptr"
	"golang.org/x/tools/go/packages"
)

func main() {
	good := len(os.Args) > 1
	for _, system := range os.Args[1:] {
		fmt.Println("GOOS=" + system)
		ok, err := check(system)
		if err != nil {
			fmt.Fprintln(os.Stderr, "elsewhere:", err)
		}
		good = good && ok && err == nil
	}
	if !good {
		os.Exit(1)
	}
}

func check(system string) (ok bool, err error) {
	own, err := filepath.Abs("..")
	if err != nil {
		return false, err
	}
	all, err := packages.Load(&packages.Config{
		Mode: packages.LoadAllSyntax, Dir: "..", Tests: true, Env: append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0"), ParseFile: parseOwn(own),
	}, "./...")
	if err != nil {
		return false, fmt.Errorf("load the packages: %w", err)
	}
	if len(all) < 100 {
		return false, fmt.Errorf("only %d packages were found", len(all))
	}
	failed := 0
	for _, p := range all {
		for _, err := range p.Errors {
			fmt.Fprintln(os.Stderr, err)
			failed++
		}
	}
	packages.Visit(all, nil, func(p *packages.Package) { p.IllTyped = false }) // what parseOwn took away left imports unused
	if failed > 0 {
		return false, nil
	}
	found, err := checker.Analyze([]*analysis.Analyzer{
		assign.Analyzer, atomic.Analyzer, bools.Analyzer, buildtag.Analyzer, composite.Analyzer, copylock.Analyzer, defers.Analyzer, errorsas.Analyzer,
		ifaceassert.Analyzer, lostcancel.Analyzer, nilfunc.Analyzer, shift.Analyzer, stdmethods.Analyzer, stringintconv.Analyzer, structtag.Analyzer,
		unmarshal.Analyzer, unreachable.Analyzer, unsafeptr.Analyzer,
	}, all, nil)
	if err != nil {
		return false, fmt.Errorf("vet: %w", err)
	}
	ok = true
	for act := range found.All() {
		if act.Err != nil {
			return false, fmt.Errorf("vet %s: %w", act.Package.PkgPath, act.Err)
		}
		ok = ok && len(act.Diagnostics) == 0
	}
	return ok, found.PrintText(os.Stderr, 0)
}

// parseOwn leaves out how functions outside the directory own work: only what they are called with matters here, and SQLite alone is a million lines.
func parseOwn(own string) func(*token.FileSet, string, []byte) (*ast.File, error) {
	return func(set *token.FileSet, name string, src []byte) (*ast.File, error) {
		file, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution|parser.ParseComments)
		if file == nil || strings.HasPrefix(name, own) || !strings.HasSuffix(name, ".go") { // what runs the tests has no such name
			return file, err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Type.TypeParams == nil && f.Name.Name != "init" {
				f.Body = nil
			}
		}
		return file, err
	}
}

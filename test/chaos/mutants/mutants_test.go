package mutants

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
	"testing"
)

var (
	all    = flag.Bool("all", false, "run all mutants, not only a sample")
	only   = flag.String("only", "", "run the mutants whose names match this regular expression")
	rounds = flag.Int("rounds", 4, "how often each way to find a mutant is tried")
	report = flag.Bool("report", false, "write what found them into docs/reliability.md")
)

const root = "../../.."

// sample are those that every change has to find: one of the broker, one of the engine.
var sample = []string{"SUBSCRIBE is not stored"}

// TestMutants runs mutants until each is found out, and the whole broker, which has to pass.
func TestMutants(t *testing.T) {
	chosen := regexp.MustCompile(*only)
	var rows []string
	for _, m := range Mutants() {
		switch {
		case *only != "" && !chosen.MatchString(m.Name):
			continue
		case *only == "" && !*all && !slices.Contains(sample, m.Name):
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			rows = append(rows, hunt(t, &m))
		})
	}
	for _, r := range rows {
		t.Log(r)
	}
}

// hunt tries to find a mutant and returns its row of the table.
func hunt(t *testing.T, m *Mutant) string {
	overlay, err := m.Overlay(root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	for range *rounds {
		for _, try := range m.Try {
			tries++
			found, err := try.Run(t.Context(), root, overlay, tries)
			if err != nil {
				t.Fatal(err)
			}
			if found != "" {
				return fmt.Sprintf("| %s | `%s` | %s | %s | %d |", m.Name, m.File, try.Test, found, tries)
			}
		}
	}
	t.Errorf("not found in %d tries", tries)
	return ""
}

// TestList: every mutant can still be made of the source as it is.
func TestList(t *testing.T) {
	names := map[string]bool{}
	for _, m := range Mutants() {
		if _, err := m.Overlay(root, t.TempDir()); err != nil {
			t.Error(err)
		}
		if m.Old == m.New || len(m.Try) == 0 || names[m.Name] {
			t.Errorf("%s: breaks nothing, is never tried, or is there twice", m.Name)
		}
		names[m.Name] = true
	}
}

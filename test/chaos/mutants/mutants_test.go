package mutants

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/test/chaos/section"
)

var (
	all    = flag.Bool("all", false, "run all mutants, not only a sample")
	only   = flag.String("only", "", "run the mutants whose names match this regular expression")
	rounds = flag.Int("rounds", 8, "how often each way to find a mutant is tried")
	report = flag.Bool("report", false, "write what found them into docs/reliability.md")
)

const root = "../../.."

// sample are those that every change has to find.
var sample = []string{"SUBSCRIBE is not stored"}

// TestMutants runs mutants until each is found out.
func TestMutants(t *testing.T) {
	chosen := regexp.MustCompile(*only)
	var table strings.Builder
	table.WriteString("| broken | in | test | what it found | tries |\n|---|---|---|---|---|\n")
	for _, m := range Mutants() {
		if !*all && *only == "" && !slices.Contains(sample, m.Name) || !chosen.MatchString(m.Name) {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			row := hunt(t, &m)
			table.WriteString(row)
			t.Log(row)
		})
	}
	if *report && !t.Failed() {
		if err := section.Replace(root+"/docs/reliability.md", "mutants", table.String()); err != nil {
			t.Fatal(err)
		}
	}
}

// hunt tries to find a mutant and returns its row of the table.
func hunt(t *testing.T, m *Mutant) string {
	t.Helper()
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
				return fmt.Sprintf("| %s | `%s` | %s | %s | %d |\n", m.Name, m.File, try, found, tries)
			}
		}
	}
	t.Fatalf("not found in %d tries", tries)
	return ""
}

// TestWhole: whatever finds mutants finds nothing wrong with the broker as it is.
func TestWhole(t *testing.T) {
	if !*all { // test/chaos does the same
		return
	}
	done := map[string]bool{}
	for _, m := range Mutants() {
		for _, try := range m.Try {
			if done[try.String()] {
				continue
			}
			done[try.String()] = true
			for seed := range *rounds {
				if found, err := try.Run(t.Context(), root, "", seed); err != nil || found != "" {
					t.Errorf("%s finds %q in a whole broker (%v)", try, found, err)
				}
			}
		}
	}
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
	for _, name := range sample {
		if !names[name] {
			t.Errorf("there is no mutant %q for the sample", name)
		}
	}
}

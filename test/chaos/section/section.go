// Package section writes what a test has measured into a document. It knows nothing of what it writes.
package section

import (
	"fmt"
	"os"
	"strings"
)

// Replace puts text into a Markdown file between the markers of a name: <!-- name: begin --> and <!-- name: end -->,
// each alone on its line.
func Replace(file, name, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := fmt.Sprintf("<!-- %s: begin -->\n", name), fmt.Sprintf("<!-- %s: end -->\n", name)
	before, rest, begins := strings.Cut(string(old), begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return fmt.Errorf("%s has no markers %q and %q", file, begin, end)
	}
	return os.WriteFile(file, []byte(before+begin+text+end+after), 0o644)
}

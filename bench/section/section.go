// Package section puts what a measurement wrote into a page of documentation, between two markers
// that name the command. It changes nothing outside of them.
package section

import (
	"fmt"
	"os"
	"strings"
)

// Begin and End are the markers of a command's section.
func Begin(command string) string { return "<!-- " + command + ": begin -->" }

// End is the marker behind the section.
func End(command string) string { return "<!-- " + command + ": end -->" }

// Replace puts text, which ends with a line break, between the command's markers in the file. A
// file without them stays as it is and is an error.
func Replace(file, command, text string) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("write the section of %s: %w", command, err)
	}
	head, rest, found := strings.Cut(string(page), Begin(command))
	_, tail, closed := strings.Cut(rest, End(command))
	if !found || !closed {
		return fmt.Errorf("write the section of %s: %s lacks the markers %q and %q", command, file, Begin(command), End(command))
	}
	page = []byte(head + Begin(command) + "\n" + text + End(command) + tail)
	if err := os.WriteFile(file, page, 0o644); err != nil {
		return fmt.Errorf("write the section of %s: %w", command, err)
	}
	return nil
}

package screen

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Table writes rows in columns, for people. The last column is cut where the terminal ends; without one nothing is cut.
type Table struct {
	w     io.Writer
	width int // of the terminal; 0 = none
	rows  [][]string
}

// NewTable begins a table with its heads.
func NewTable(w io.Writer, heads ...string) *Table {
	return &Table{w: w, width: width(w), rows: [][]string{heads}}
}

// width is that of a terminal, 0 where there is none.
func width(w io.Writer) int {
	if f := Terminal(w); f != nil {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return width
		}
	}
	return 0
}

// Lines writes rows one at a time, as they come, in columns of a width that is known before. A cell that is longer moves the rest.
type Lines struct {
	w      io.Writer
	widths []int // of all columns but the last
}

// NewLines begins with the widths of all columns but the last.
func NewLines(w io.Writer, widths ...int) *Lines { return &Lines{w, widths} }

// Line writes a row.
func (l *Lines) Line(cells ...string) error {
	var line strings.Builder
	for i, c := range cells {
		c = Printable(c)
		line.WriteString(c)
		if i < len(l.widths) {
			line.WriteString(strings.Repeat(" ", max(0, l.widths[i]-utf8.RuneCountInString(c))+2))
		}
	}
	_, err := io.WriteString(l.w, fit(strings.TrimRight(line.String(), " "), width(l.w))+"\n")
	return err
}

// Row adds a row. What could act on a terminal is shown as what it is.
func (t *Table) Row(cells ...string) {
	for i, c := range cells {
		cells[i] = Printable(c)
	}
	t.rows = append(t.rows, cells)
}

// Flush writes the table.
func (t *Table) Flush() error {
	widths := make([]int, len(t.rows[0]))
	for _, r := range t.rows {
		for i, c := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, r := range t.rows {
		var line strings.Builder
		for i, c := range r {
			line.WriteString(c)
			if i < len(r)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]+2-utf8.RuneCountInString(c)))
			}
		}
		b.WriteString(fit(strings.TrimRight(line.String(), " "), t.width) + "\n")
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}

// Listing shows items one by one: as lines of JSON for programs, which appear at once, else as rows of a table.
type Listing struct {
	json  bool
	table *Table
}

// NewListing begins with the heads of the table.
func NewListing(w io.Writer, asJSON bool, heads ...string) *Listing {
	return &Listing{asJSON, NewTable(w, heads...)}
}

// Item shows one: v is what a program gets.
func (l *Listing) Item(v any, cells ...string) error {
	if l.json {
		return Line(l.table.w, v)
	}
	l.table.Row(cells...)
	return nil
}

// Flush writes what has not appeared yet.
func (l *Listing) Flush() error {
	if l.json {
		return nil
	}
	return l.table.Flush()
}

// fit cuts a line to a width, 0 = any.
func fit(line string, width int) string {
	if width <= 1 || utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width-1]) + "…"
}

// Moment is a time for people, in their zone; "-" for none.
func Moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

// List writes names in one cell.
func List(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",")
}

// Fact writes one line of a description.
func Fact(w io.Writer, name, value string) {
	if value != "" {
		fmt.Fprintf(w, "%-12s %s\n", name, Printable(value))
	}
}

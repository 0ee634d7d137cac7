package screen

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Table writes rows in columns, for people. A line is cut where the terminal ends, but a sentence in the last column goes on below where there is no
// room for it; without a terminal nothing is cut.
type Table struct {
	w     io.Writer
	width int // of the terminal; 0 = none
	room  int // that a sentence wants
	rows  [][]string
}

// NewTable begins a table with its heads.
func NewTable(w io.Writer, heads ...string) *Table {
	return &Table{w: w, width: width(w), room: room, rows: [][]string{heads}}
}

// Whole has no sentence cut: where one does not fit it stands below.
func (t *Table) Whole() *Table {
	t.room = math.MaxInt
	return t
}

// width is that of a terminal, 0 where there is none.
func width(w io.Writer) int {
	if f := Terminal(w); f != nil {
		if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 { // as POSIX has it
			return n
		}
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
	for i, c := range cells {
		cells[i] = Printable(c)
	}
	_, err := io.WriteString(l.w, lay(cells, l.widths, width(l.w), room))
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
		b.WriteString(lay(r, widths, t.width, t.room))
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}

// The room that a sentence wants beside other columns if it may be cut, and what stands before it below them.
const (
	room   = 30
	indent = "    "
)

// lay makes one row of cells: a line, or more where the last cell is a sentence and the terminal is too narrow for it; width 0 = any.
func lay(cells []string, widths []int, width, room int) string {
	var line strings.Builder
	last := len(cells) - 1
	for i, c := range cells[:last] {
		least := 0
		if i < len(widths) {
			least = widths[i]
		}
		line.WriteString(c + strings.Repeat(" ", max(0, least-utf8.RuneCountInString(c))+2))
	}
	left := width - utf8.RuneCountInString(line.String())
	if text := cells[last]; width >= 5*len(indent) && left < room && utf8.RuneCountInString(text) > left && strings.Contains(text, " ") {
		return fit(strings.TrimRight(line.String(), " "), width) + "\n" + wrap(text, width-len(indent))
	}
	return fit(strings.TrimRight(line.String()+cells[last], " "), width) + "\n"
}

// wrap breaks a text into indented lines between its words.
func wrap(text string, width int) string {
	var b strings.Builder
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			b.WriteString(indent + fit(line, width) + "\n")
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	b.WriteString(indent + fit(line, width) + "\n")
	return b.String()
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

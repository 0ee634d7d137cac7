package screen

import (
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Rows writes rows one by one, for what goes on: the columns have a width from the begin, and a row ends where the terminal does.
type Rows struct {
	w      io.Writer
	width  int // of the terminal; 0 = none
	widths []int
}

// NewRows begins with the columns' least widths.
func NewRows(w io.Writer, widths ...int) *Rows {
	r := &Rows{w: w, widths: widths}
	if f := Terminal(w); f != nil {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			r.width = width
		}
	}
	return r
}

// Row writes one. What could act on a terminal is shown as what it is.
func (r *Rows) Row(cells ...string) error {
	var b strings.Builder
	for i, c := range cells {
		c = Printable(c)
		b.WriteString(c)
		if i < len(cells)-1 {
			least := 0
			if i < len(r.widths) {
				least = r.widths[i]
			}
			b.WriteString(strings.Repeat(" ", max(least-utf8.RuneCountInString(c), 0)+2))
		}
	}
	_, err := io.WriteString(r.w, fit(strings.TrimRight(b.String(), " "), r.width)+"\n")
	return err
}

package settings

import (
	"fmt"
	"strings"
)

// Where a value can come from, weakest first.
const (
	Default = "default"
	File    = "file"
	Env     = "env"
	Flag    = "flag"
)

// Origin is where a value came from.
type Origin struct {
	Kind string `json:"kind"`           // default, file, env or flag
	Name string `json:"name,omitempty"` // of the file, the variable or the flag
	Line int    `json:"line,omitempty"` // in the file, from 1
	Col  int    `json:"column,omitempty"`

	Refers string `json:"refers,omitempty"` // what the value takes its text from: file /path, variable NAME, credential NAME
}

// String writes an origin as a person would look it up.
func (o Origin) String() string {
	text := Default
	switch o.Kind {
	case File:
		text = fmt.Sprintf("%s:%d", o.Name, o.Line)
	case Env:
		text = "environment " + o.Name
	case Flag:
		text = "flag " + o.Name
	}
	if o.Refers != "" {
		text += ", from " + o.Refers
	}
	return text
}

// Problem is one thing that is wrong with a value, where, and what puts it right.
type Problem struct {
	From    Origin `json:"from"`
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
	Source  string `json:"source,omitempty"` // the line of the file
}

// Error is the problem on one line.
func (p Problem) Error() string {
	var b strings.Builder
	switch p.From.Kind {
	case File:
		fmt.Fprintf(&b, "%s:%d:%d: ", p.From.Name, p.From.Line, p.From.Col)
	case Env, Flag:
		fmt.Fprintf(&b, "%s: ", p.From.Name)
	}
	if p.Key != "" {
		b.WriteString(p.Key + " ")
	}
	b.WriteString(p.Message)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// Text is the problem as a paragraph: for a file, with the line and a caret below the place.
func (p Problem) Text() string {
	if p.From.Kind != File || p.Source == "" {
		return p.Error()
	}
	number := fmt.Sprintf("%5d | ", p.From.Line)
	before := []rune(p.Source)
	before = before[:min(max(p.From.Col-1, 0), len(before))]
	// A tab before the place stays a tab, so that the caret stands below it on every terminal.
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(before))
	return p.Error() + "\n" + number + p.Source + "\n" + strings.Repeat(" ", len(number)) + indent + "^"
}

// Problems is everything that is wrong, in the order in which it was found.
type Problems []Problem

// Error is the first problem on one line, with the number of the others.
func (ps Problems) Error() string {
	switch len(ps) {
	case 0:
		return "no problem"
	case 1:
		return ps[0].Error()
	}
	return fmt.Sprintf("%s (and %d more)", ps[0].Error(), len(ps)-1)
}

// didYouMean suggests the candidate nearest to word, or nothing when none is near.
func didYouMean(word string, candidates []string) string {
	if near := nearest(word, candidates); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

func nearest(word string, candidates []string) string {
	best, bestAt := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		if d := distance(word, c); d < bestAt {
			best, bestAt = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

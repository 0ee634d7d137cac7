package settings

import (
	"fmt"

	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"
)

// What a file may be before the parser, which recurses, gets to see it.
const (
	maxFile  = 1 << 20 // bytes
	maxDepth = 32      // sections and lists within each other

	maxProblems = 100 // that are told at once
	maxShown    = 500 // bytes of a line that a problem shows
)

// bounded tells whether the file may be parsed, and why it may not. Anchors and aliases are never followed, so that what a
// file says is as long as the file.
func (l *loader) bounded() bool {
	if len(l.src.Data) > maxFile {
		l.bad(Origin{Kind: File, Name: l.src.File, Line: 1, Col: 1}, "", fmt.Sprintf("has %d bytes, but can have at most %d", len(l.src.Data), maxFile), "")
		return false
	}
	var s scanner.Scanner
	s.Init(string(l.src.Data))
	var d depth
	for {
		tokens, err := s.Scan()
		if err != nil { // the end; what else is wrong, the parser tells
			return true
		}
		for _, t := range tokens {
			if d.after(t) > maxDepth {
				l.bad(l.at(t), "", fmt.Sprintf("is nested deeper than %d sections and lists", maxDepth), "")
				l.problems[len(l.problems)-1].Source = ""
				return false
			}
		}
	}
}

// depth counts how deep a token is.
type depth struct {
	flow    int   // brackets and braces that are open
	columns []int // of the blocks that are
}

func (d *depth) after(t *token.Token) int {
	switch t.Type {
	case token.MappingStartType, token.SequenceStartType:
		d.flow++
	case token.MappingEndType, token.SequenceEndType:
		d.flow = max(d.flow-1, 0)
	case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
		if d.flow > 0 || t.Position == nil {
			break
		}
		at := t.Position.Column
		if t.Type == token.MappingValueType { // its key is as deep as the line is indented
			at = t.Position.IndentNum + 1
		}
		for len(d.columns) > 0 && d.columns[len(d.columns)-1] >= at {
			d.columns = d.columns[:len(d.columns)-1]
		}
		d.columns = append(d.columns, at)
	}
	return d.flow + len(d.columns)
}

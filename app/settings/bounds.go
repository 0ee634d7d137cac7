package settings

import (
	"fmt"

	"github.com/goccy/go-yaml/lexer"
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
	flow := 0
	var columns []int // of the block that each token opens
	for _, t := range lexer.Tokenize(string(l.src.Data)) {
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow = max(flow-1, 0)
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			if flow > 0 || t.Position == nil {
				continue
			}
			at := t.Position.Column
			if t.Type == token.MappingValueType { // its key is as deep as the line is indented
				at = t.Position.IndentNum + 1
			}
			for len(columns) > 0 && columns[len(columns)-1] >= at {
				columns = columns[:len(columns)-1]
			}
			columns = append(columns, at)
		}
		if flow+len(columns) > maxDepth {
			l.bad(l.at(t), "", fmt.Sprintf("is nested deeper than %d sections and lists", maxDepth), "")
			l.problems[len(l.problems)-1].Source = ""
			return false
		}
	}
	return true
}

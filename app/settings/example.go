package settings

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Example writes the struct that v points to as a commented file. Read back, it gives the same
// struct: it is the defaults, written out.
func Example(v any) string {
	var b strings.Builder
	value := reflect.ValueOf(v).Elem()
	n := describe(value.Type())
	n.refer(value)
	n.example(&b, value, "")
	return strings.TrimPrefix(b.String(), "\n")
}

// example writes the children of a section at one depth of indentation.
func (n *node) example(b *strings.Builder, v reflect.Value, indent string) {
	for i, c := range n.children {
		field := v.Field(c.field)
		if indent == "" || c.kind != leaf || i > 0 && n.children[i-1].kind != leaf {
			b.WriteByte('\n')
		}
		c.comment(b, indent)
		switch c.kind {
		case section:
			fmt.Fprintf(b, "%s%s:\n", indent, c.name)
			c.example(b, field, indent+"  ")
		case list:
			if field.Len() == 0 {
				for _, line := range wrap("Each has "+strings.Join(c.children[0].names(), ", ")+".", 96-len(indent)) {
					fmt.Fprintf(b, "%s# %s\n", indent, line)
				}
				fmt.Fprintf(b, "%s%s: []\n", indent, c.name)
				continue
			}
			fmt.Fprintf(b, "%s%s:\n", indent, c.name)
			for i := range field.Len() {
				var element strings.Builder
				c.children[0].example(&element, field.Index(i), indent+"    ")
				b.WriteString(dashed(element.String(), indent+"  "))
			}
		default:
			fmt.Fprintf(b, "%s%s: %s\n", indent, c.name, c.yaml(field))
		}
	}
}

// comment writes what a reader needs before the value.
func (n *node) comment(b *strings.Builder, indent string) {
	text := sentence(n.doc)
	if n.oneOf != nil {
		text += " One of: " + strings.Join(n.oneOf, ", ") + "."
	}
	if n.exceeded != "" {
		text += " When exceeded: " + sentence(n.exceeded)
	}
	for _, line := range wrap(text, 96-len(indent)) {
		fmt.Fprintf(b, "%s# %s\n", indent, line)
	}
}

// sentence ends a tag's text where its writer did not.
func sentence(text string) string {
	if text == "" || strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}

// yaml is a leaf's value with the quotes that YAML needs.
func (n *node) yaml(v reflect.Value) string {
	if n.elem != nil && !n.secret {
		return string(n.jsonDefault(v))
	}
	if n.typeName() == typeText || n.secret {
		text := n.show(v)
		if text == "" || numeric(text) || strings.ContainsAny(text, "#{}[]&*!|>'\"%@`,") || strings.Contains(text, ": ") {
			return string(mustJSON(text))
		}
		return text
	}
	return n.format(v)
}

// numeric tells whether YAML would take a text for a number.
func numeric(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

// dashed puts the dash of a list element on its first key; the comments before it stay above.
func dashed(element, indent string) string {
	lines := strings.SplitAfter(element, "\n")
	for i, line := range lines {
		if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "#") {
			lines[i] = indent + "- " + strings.TrimLeft(line, " ")
			break
		}
	}
	return strings.Join(lines, "")
}

// wrap breaks text into lines of at most width characters, where a word allows.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

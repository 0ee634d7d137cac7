package settings

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema describes the file as a JSON Schema (draft 2020-12), with the contents of the struct that
// v points to as the defaults.
func Schema(v any, id, title string) *jsonschema.Schema {
	value := reflect.ValueOf(v).Elem()
	n := describe(value.Type())
	n.refer(value)
	s := n.schema(value)
	s.Schema, s.ID, s.Title = "https://json-schema.org/draft/2020-12/schema", id, title
	return s
}

func (n *node) schema(v reflect.Value) *jsonschema.Schema {
	s := &jsonschema.Schema{Description: n.description()}
	switch n.kind {
	case section:
		s.Type = "object"
		s.Properties = map[string]*jsonschema.Schema{}
		s.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}}
		for _, c := range n.children {
			s.Properties[c.name] = c.schema(v.Field(c.field))
			s.PropertyOrder = append(s.PropertyOrder, c.name)
		}
	case list:
		s.Type = "array"
		s.Items = n.children[0].schema(n.children[0].fresh())
	default:
		n.leafSchema(s, v)
	}
	return s
}

func (n *node) description() string {
	if n.exceeded == "" {
		return sentence(n.doc)
	}
	return sentence(n.doc) + " When exceeded: " + sentence(n.exceeded)
}

// leafSchema describes a value. A size and a duration have forms of their own.
func (n *node) leafSchema(s *jsonschema.Schema, v reflect.Value) {
	if !n.secret {
		s.Default = n.jsonDefault(v)
	}
	n.form(s)
}

// form says how a value may be written.
func (n *node) form(s *jsonschema.Schema) {
	if n.elem != nil {
		s.Type, s.Items = "array", &jsonschema.Schema{}
		n.elem.form(s.Items)
		return
	}
	integer := &jsonschema.Schema{Type: "integer", Minimum: jsonschema.Ptr(0.0)}
	duration := &jsonschema.Schema{Type: "string", Pattern: `^(0|[0-9]+d|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`}
	switch n.typeName() {
	case typeSize:
		s.AnyOf = []*jsonschema.Schema{integer, {Type: "string", Pattern: `^[0-9]+ ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$`}}
	case typeDuration:
		if n.unit == unitSeconds {
			s.AnyOf = []*jsonschema.Schema{integer, duration}
			return
		}
		s.Type, s.Pattern = duration.Type, duration.Pattern
	case typeBool:
		s.Type = "boolean"
	case typeInt:
		s.Type, s.Minimum = integer.Type, integer.Minimum
		s.Minimum = n.bound(n.min, s.Minimum)
		s.Maximum = n.bound(n.max, nil)
	case typeFloat:
		s.Type = "number"
		s.Minimum, s.Maximum = n.bound(n.min, nil), n.bound(n.max, nil)
	default:
		s.Type = "string"
		for _, one := range n.oneOf {
			s.Enum = append(s.Enum, one)
		}
	}
}

func (n *node) bound(tag string, otherwise *float64) *float64 {
	if tag == "" {
		return otherwise
	}
	f, err := strconv.ParseFloat(tag, 64)
	if err != nil {
		panic(fmt.Sprintf("settings: bound %q of %s: %v", tag, n.name, err))
	}
	return &f
}

// jsonDefault is v as it would stand in the file.
func (n *node) jsonDefault(v reflect.Value) json.RawMessage {
	if n.elem != nil {
		return mustJSON(n.values(v))
	}
	text := n.format(v)
	switch n.typeName() {
	case typeBool, typeInt, typeFloat:
		return json.RawMessage(text)
	case typeSize:
		if strings.Trim(text, "0123456789") == "" {
			return json.RawMessage(text)
		}
	}
	return mustJSON(text)
}

// values are those of a list as they would stand in the file.
func (n *node) values(v reflect.Value) []json.RawMessage {
	all := make([]json.RawMessage, v.Len())
	for i := range all {
		all[i] = n.elem.jsonDefault(v.Index(i))
	}
	return all
}

// mustJSON encodes text and lists of it, which cannot fail.
func mustJSON(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

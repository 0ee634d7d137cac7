// Package mosquitto turns a configuration of Mosquitto, mosquitto.conf(5), into one of Sapwood. Every line of it is either
// expressed in the result or told in the report with the reason why not. It is text in and text out: it opens nothing by
// itself, checks nothing that a file names, and never repeats a password.
package mosquitto

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// How a line got on.
const (
	Mapped   = "mapped"        // it means the same
	Differs  = "differs"       // it is expressed, and Note says what is different
	Needless = "not needed"    // what it asks for is so in any case
	None     = "no equivalent" // Note says why, or what to do instead
	Invalid  = "not understood"
)

// Line is what became of one line, or, where Line is 0, of a default of Mosquitto's that is not one of ours.
type Line struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Option string `json:"option"`
	Value  string `json:"value,omitempty"`
	Result string `json:"result"`
	Key    string `json:"key,omitempty"` // the setting that it became
	Note   string `json:"note,omitempty"`
}

// String is the line as a person reads it.
func (l Line) String() string {
	at := "default"
	if l.Line > 0 {
		at = fmt.Sprintf("%s:%d", l.File, l.Line)
	}
	text := fmt.Sprintf("%s: %s", at, strings.TrimSpace(l.Option+" "+l.Value))
	if l.Key != "" {
		text += " -> " + l.Key
	}
	text += ": " + l.Result
	if l.Note != "" {
		text += ": " + l.Note
	}
	return text
}

// Files are the files that a configuration may include.
type Files interface {
	Read(path string) ([]byte, error)
	List(dir string) ([]string, error) // names of the files in it, without the directory
}

// Result is a configuration of Sapwood and how it came about.
type Result struct {
	YAML   string
	Report []Line
}

// Import turns the configuration in the file called name.
func Import(name string, files Files) (Result, error) {
	c := &conversion{files: files, level: -1}
	if err := c.read(name, 0); err != nil {
		return Result{}, err
	}
	for i := range c.options {
		if o := &c.options[i]; o.name == "per_listener_settings" {
			c.perListener = o.value == "true"
		}
	}
	c.begin()
	for i := range c.options {
		c.take(&c.options[i])
	}
	return c.result()
}

// option is one line.
type option struct {
	file  string
	line  int
	name  string
	value string
}

// conversion is a configuration being turned.
type conversion struct {
	files       Files
	options     []option
	report      []Line
	perListener bool
	mixed       bool // listeners ask different backends who their clients are

	common    scope       // what holds for all listeners, without per_listener_settings
	lost      []*listener // that could not be read
	first     *listener
	listeners []*listener
	now       *listener // that lines are about
	bridge    string    // that lines are about, "" = none

	limits, sys, delivery, overload yaml.MapSlice
	location                        string // of what is kept
	kept, stored                    bool   // whether it is, and whether that was said
	expiring, sized                 bool   // what was said
	level                           int    // of the log, -1 = nothing said
}

// scope is what decides who may connect and what they may do.
type scope struct {
	anonymous              *bool
	passwords, acl, plugin string
}

// maxIncluded bounds how many lines are read, with all that is included.
const maxIncluded = 100_000

func (c *conversion) read(name string, depth int) error {
	text, err := c.files.Read(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	for i, line := range bytes.Split(text, []byte("\n")) {
		if len(line) > 0 && line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if key == "" {
			continue
		}
		o := option{name, i + 1, key, strings.TrimLeft(value, " ")}
		if len(c.options) == maxIncluded {
			return fmt.Errorf("%s: more than %d lines", name, maxIncluded)
		}
		if key != "include_dir" {
			c.options = append(c.options, o)
			continue
		}
		if depth == 4 {
			return fmt.Errorf("%s:%d: include_dir within include_dir within include_dir", name, i+1)
		}
		if err := c.include(&o, depth); err != nil {
			return err
		}
	}
	return nil
}

// include reads what ends in .conf, in the order of the names.
func (c *conversion) include(o *option, depth int) error {
	names, err := c.files.List(o.value)
	if err != nil {
		return fmt.Errorf("%s:%d: include_dir: %w", o.file, o.line, err)
	}
	slices.Sort(names)
	n := 0
	for _, name := range names {
		if strings.HasSuffix(name, ".conf") {
			n++
			if err := c.read(path.Join(o.value, name), depth+1); err != nil {
				return err
			}
		}
	}
	c.note(o, Mapped, "", fmt.Sprintf("%d files are read in this place", n))
	return nil
}

// note reports on a line.
func (c *conversion) note(o *option, result, key, note string) {
	value := o.value
	if strings.Contains(o.name, "password") && o.name != "password_file" || strings.Contains(o.name, "_psk") || strings.HasPrefix(o.name, "auth_opt") ||
		strings.HasPrefix(o.name, "plugin_opt") || strings.Contains(o.name, "kpass") {
		value = "***"
	}
	c.report = append(c.report, Line{File: o.file, Line: o.line, Option: o.name, Value: value, Result: result, Key: key, Note: note})
}

// take finds what an option means. Inside of a bridge all options are the bridge's, up to the next listener.
func (c *conversion) take(o *option) {
	switch {
	case o.name == "listener":
		c.bridge = ""
		c.listen(o)
		return
	case o.name == "connection":
		c.bridge = o.value
		c.note(o, None, "", "there are no bridges yet")
		return
	case c.bridge != "" && isBridgeOption(o.name):
		c.note(o, None, "", "of the bridge "+c.bridge+": there are no bridges yet")
		return
	}
	if c.takeListener(o) || c.takeScope(o) || c.takeLimit(o) || c.takeGeneral(o) {
		return
	}
	if why, ok := without(o.name); ok {
		c.note(o, None, "", why)
		return
	}
	if isBridgeOption(o.name) {
		c.note(o, None, "", "there are no bridges yet")
		return
	}
	c.note(o, Invalid, "", "mosquitto.conf(5) has no such option")
}

// result writes the configuration.
func (c *conversion) result() (Result, error) {
	listeners := c.open()
	authn, authz := c.access(listeners)
	out := yaml.MapSlice{}
	add := func(key string, v yaml.MapSlice) {
		if len(v) > 0 {
			out = append(out, yaml.MapItem{Key: key, Value: v})
		}
	}
	if !c.stored {
		c.fallback("persistence", "false", Mapped, "durability: memory", "a restart forgets everything, as Mosquitto does unless it is told otherwise; leave it out to keep everything")
	}
	if !c.kept {
		out = append(out, yaml.MapItem{Key: "durability", Value: "memory"})
	} else if c.location != "" {
		out = append(out, yaml.MapItem{Key: "data", Value: path.Join(c.location, "sapwood")})
	}
	var list []yaml.MapSlice
	for _, l := range listeners {
		list = append(list, c.yaml(l))
	}
	out = append(out, yaml.MapItem{Key: "listeners", Value: list})
	add("authentication", authn)
	add("authorization", authz)
	if c.level >= 0 {
		add("log", yaml.MapSlice{{Key: "level", Value: [...]string{"debug", "info", "warn", "error"}[c.level]}})
	}
	if !c.expiring {
		c.fallback("persistent_client_expiration", "", Mapped, "limits.max_session_expiry: 0s", "sessions last until their clients end them, or for as long as a client of MQTT 5 asks")
		c.limits = append(c.limits, yaml.MapItem{Key: "max_session_expiry", Value: "0s"})
	}
	add("limits", c.limits)
	add("delivery", c.delivery)
	add("overload", c.overload)
	add("sys", c.sys)
	text, err := yaml.MarshalWithOptions(out, yaml.IndentSequence(true))
	if err != nil {
		return Result{}, fmt.Errorf("write the configuration: %w", err)
	}
	return Result{YAML: c.head() + string(text), Report: c.report}, nil
}

// fallback reports on a default.
func (c *conversion) fallback(name, value, result, key, note string) {
	c.report = append(c.report, Line{Option: name, Value: value, Result: result, Key: key, Note: note})
}

// head tells in the file itself what is missing in it.
func (c *conversion) head() string {
	var b strings.Builder
	b.WriteString("# Made from a configuration of Mosquitto by sapwood import mosquitto.\n")
	for _, l := range c.report {
		if l.Result != Mapped && l.Result != Needless {
			b.WriteString("# " + strings.Map(printable, l.String()) + "\n")
		}
	}
	b.WriteString("\n")
	return b.String()
}

// printable keeps a comment on its line.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r == '\u0085' || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == '\ufffd' {
		return '?'
	}
	return r
}

var errValue = errors.New("the value cannot be read")

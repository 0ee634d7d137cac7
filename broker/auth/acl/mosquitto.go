package acl

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// ParseMosquitto reads a Mosquitto ACL file (mosquitto.conf(5), "acl_file"). name is the file's, for the names of the
// rules and for errors, of which there is one for every bad line.
//
// The rules answer as Mosquitto 2.0 does: the lines of a client's own user, or those before the first user for
// anonymous clients, decide before pattern lines; in each, deny lines before others; write is to publish, retained or
// not, and read is to receive. Subscriptions are not judged: who subscribes to more than it may read gets what it may.
// Two things are stricter. In a pattern, a client id or user name with a wildcard or '/' fits nothing. And of the server's
// own topics, those that begin with '$', only $SYS and those that the file names can be subscribed to.
func ParseMosquitto(name string, text []byte) ([]auth.Rule, error) {
	m := mosquitto{name: name, user: "", reserved: []string{"#", "$SYS/#"}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m.line++
		if err := m.read(lines.Text()); err != nil {
			m.errs = append(m.errs, fmt.Errorf("%s:%d: %w", name, m.line, err))
		}
	}
	if err := lines.Err(); err != nil {
		m.errs = append(m.errs, fmt.Errorf("%s:%d: %w", name, m.line+1, err))
	}
	if err := errors.Join(m.errs...); err != nil {
		return nil, err
	}
	return append(m.rules, auth.Rule{
		Name: name + " (subscriptions are not judged)", Actions: auth.ActionsOf(auth.Subscribe), Topics: m.reserved, Priority: linesOfUsers,
	}), nil
}

// linesOfUsers is the priority of rules for one user; patterns have 0.
const linesOfUsers = 1

// mosquitto is a file being read.
type mosquitto struct {
	name     string
	line     int
	user     string   // whose lines these are, "" = of anonymous clients
	reserved []string // what can be subscribed to
	rules    []auth.Rule
	errs     []error
}

// read takes one line.
func (m *mosquitto) read(line string) error {
	if strings.HasPrefix(line, "#") {
		return nil
	}
	line = strings.Trim(strings.TrimRight(line, " \t\r\n\v\f"), " ")
	if line == "" {
		return nil
	}
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimLeft(rest, " ")
	switch word {
	case "user":
		switch {
		case rest == "":
			return errors.New("the user has no name")
		case isPattern(rest):
			return errors.New("a user name with * cannot be told from a pattern here")
		}
		m.user = rest
		return nil
	case "topic":
		return m.rule(rest, auth.Who{Users: []string{m.user}}, linesOfUsers, false)
	case "pattern":
		return m.rule(rest, auth.Who{}, 0, true)
	}
	return fmt.Errorf("%q begins no line; there are user, topic and pattern", word)
}

// rule makes the rule of a topic or pattern line: an access, which may be missing, and a filter, which may hold spaces.
func (m *mosquitto) rule(text string, who auth.Who, priority int, pattern bool) error {
	access, filter, found := strings.Cut(text, " ")
	if filter = strings.TrimLeft(filter, " "); !found {
		access, filter = "readwrite", text
	}
	if filter == "" {
		return errors.New("the topic is missing")
	}
	r := auth.Rule{Name: fmt.Sprintf("%s:%d", m.name, m.line), Who: who, Priority: priority}
	switch access {
	case "read":
		r.Actions = auth.ActionsOf(auth.Receive)
	case "write":
		r.Actions = auth.ActionsOf(auth.Publish)
	case "readwrite":
		r.Actions = auth.ActionsOf(auth.Publish, auth.Receive)
	case "deny":
		r.Actions, r.Deny = auth.ActionsOf(auth.Publish, auth.Receive), true
	default:
		return fmt.Errorf("the access %q is none of read, write, readwrite and deny", access)
	}
	if err := topic.ValidFilter(filter); err != nil {
		return err
	}
	if first, _, _ := strings.Cut(filter, "/"); first[:min(1, len(first))] == "$" {
		own := strings.ReplaceAll(first, "{", "{{") + "/#"
		if !slices.Contains(m.reserved, own) && !strings.Contains(own, "%") {
			m.reserved = append(m.reserved, own)
		}
	}
	filter = strings.ReplaceAll(filter, "{", "{{")
	if pattern {
		filter = strings.NewReplacer("%c", "{client}", "%u", "{user}").Replace(filter)
	}
	r.Topics = []string{filter}
	m.rules = append(m.rules, r)
	return nil
}

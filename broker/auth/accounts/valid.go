package accounts

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// How long things may be, in bytes, and how many.
const (
	maxName   = 256
	maxNote   = 1024
	maxGroups = 64
	maxTopics = 1000
)

// valid says what is wrong with what a change would put; it wraps ErrInvalid.
func (c *Change) valid() error {
	n := 0
	why := ""
	if c.User != nil {
		n++
		why = c.invalidName(c.User.Name)
		if why == "" && !c.Delete {
			why = c.User.invalid()
		}
	}
	if c.Group != nil {
		n++
		if why = c.invalidName(c.Group.Name); why == "" {
			why = invalidNote(c.Group.Note)
		}
	}
	if c.Rule != nil {
		n++
		if why = invalidName(c.Rule.ID); why == "" && !c.Delete {
			why = c.Rule.invalid()
		}
	}
	if c.Ban != nil {
		n++
		if why = invalidName(c.Ban.ID); why == "" && !c.Delete {
			why = c.Ban.invalid()
		}
	}
	switch {
	case n != 1:
		return fmt.Errorf("%w: a change is about one item, not %d", ErrInvalid, n)
	case why != "":
		return fmt.Errorf("%w: %s", ErrInvalid, why)
	}
	return nil
}

func (u *User) invalid() string {
	if u.Kind != Person && u.Kind != Device {
		return fmt.Sprintf("the kind is %q, but must be person or device", u.Kind)
	}
	if u.Password != "" {
		if _, err := phc.Parse(u.Password); err != nil {
			return "the password " + err.Error()
		}
	}
	if len(u.Groups) > maxGroups {
		return fmt.Sprintf("%d groups are more than %d", len(u.Groups), maxGroups)
	}
	for i, g := range u.Groups {
		if why := invalidName(g); why != "" {
			return "a group: " + why
		}
		for _, other := range u.Groups[:i] {
			if g == other {
				return fmt.Sprintf("the group %q is there twice", g)
			}
		}
	}
	if u.ClientID != "" {
		if why := invalidName(u.ClientID); why != "" {
			return "the client id: " + why
		}
	}
	return invalidNote(u.Note)
}

func (r *Rule) invalid() string {
	if r.Actions == 0 {
		return "it is about no action: publish, subscribe or receive"
	}
	if len(r.Topics) == 0 || len(r.Topics) > maxTopics {
		return fmt.Sprintf("it has %d topics, but must have 1 to %d", len(r.Topics), maxTopics)
	}
	for _, f := range r.Topics {
		if err := topic.ValidFilter([]byte(f)); err != nil {
			return fmt.Sprintf("the topic filter %q: %v", f, err)
		}
	}
	if r.Name != "" {
		if why := invalidName(r.Name); why != "" {
			return "the name: " + why
		}
	}
	return invalidNote(r.Note)
}

func (b *Ban) invalid() string {
	switch b.Subject {
	case BanClient, BanUser, BanPattern:
		if b.Value == "" || len(b.Value) > 65535 || !utf8.ValidString(b.Value) {
			return "its value is empty, too long or no UTF-8"
		}
	case BanAddress:
		_, err := netip.ParseAddr(b.Value)
		if _, err2 := netip.ParsePrefix(b.Value); err != nil && err2 != nil {
			return fmt.Sprintf("%q is neither an address nor a network such as 192.0.2.0/24", b.Value)
		}
	default:
		return fmt.Sprintf("the subject is %q, but must be client, user, address or pattern", b.Subject)
	}
	return invalidNote(b.Reason)
}

// invalidName is that of invalidUser, but what is there under a name of former times can be removed.
func (c *Change) invalidName(name string) string {
	if c.Delete {
		return invalidName(name)
	}
	return invalidUser(name)
}

// invalidUser says what is wrong with the name of a user or a group. In rules, * stands for any characters: who is called so could
// not be told from others.
func invalidUser(name string) string {
	if strings.Contains(name, "*") {
		return "the name has a *, which in rules stands for any characters"
	}
	return invalidName(name)
}

// invalidName says what is wrong with a name or an id. What it takes can be shown and logged as it is.
func invalidName(name string) string {
	switch {
	case name == "":
		return "the name is empty"
	case len(name) > maxName:
		return fmt.Sprintf("the name has %d bytes, more than %d", len(name), maxName)
	case !utf8.ValidString(name):
		return "the name is no UTF-8"
	case strings.ContainsFunc(name, unprintable):
		return "the name has control or invisible characters"
	case strings.TrimSpace(name) != name:
		return "the name begins or ends with a space"
	}
	return ""
}

func invalidNote(note string) string {
	switch {
	case len(note) > maxNote:
		return fmt.Sprintf("the note has %d bytes, more than %d", len(note), maxNote)
	case !utf8.ValidString(note) || strings.ContainsFunc(note, func(r rune) bool { return unprintable(r) && r != '\n' }):
		return "the note has control characters"
	}
	return ""
}

// unprintable are control characters, and those that make text read as something else.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) || r == utf8.RuneError
}

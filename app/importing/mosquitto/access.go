package mosquitto

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// takeScope takes what is about who may connect and what they may do.
func (c *conversion) takeScope(o *option) bool {
	s := &c.common
	if c.perListener {
		s = &c.now.scope
	}
	switch o.name {
	case "per_listener_settings":
		if _, ok := c.boolean(o); ok {
			c.note(o, Mapped, "listeners.authentication", "")
		}
	case "allow_anonymous":
		if on, ok := c.boolean(o); ok {
			s.anonymous = &on
			c.note(o, Mapped, "listeners.anonymous", "")
		}
	case "password_file":
		s.passwords = o.value
		c.note(o, Mapped, "authentication.password.files", "")
	case "acl_file":
		s.acl = o.value
		c.note(o, Mapped, "authorization.acl_file", "")
	case "plugin", "auth_plugin", "global_plugin", "plugin_load", "plugin_use":
		s.plugin = o.value
		why := "plugins of Mosquitto cannot be loaded; there are authentication by HTTP, JWT, LDAP, PostgreSQL and certificates in authentication.chain"
		if strings.Contains(o.value, "dynamic_security") || strings.Contains(o.value, "dynsec") {
			why = "users, groups and rules are changed at run time by the API and the commands of sapwood"
		}
		c.note(o, None, "", why)
	default:
		return false
	}
	return true
}

func (c *conversion) scopeOf(l *listener) *scope {
	if c.perListener {
		return &l.scope
	}
	return &c.common
}

// open tells whether clients without credentials get in.
func (s *scope) open() bool { return s.anonymous != nil && *s.anonymous }

// chain is who is asked about a listener's clients.
func (c *conversion) chain(l *listener) []string {
	s := c.scopeOf(l)
	switch {
	case l.identity != "" && l.required:
		return []string{"certificate"}
	case s.passwords != "" || !s.open():
		return []string{"password"} // without a file nobody gets in, as with Mosquitto
	}
	return nil
}

// access writes who may connect and what they may do.
func (c *conversion) access(listeners []*listener) (authn, authz yaml.MapSlice) {
	var files, acls, identities, free []string
	chain := c.chain(listeners[0])
	for _, l := range listeners {
		s := c.scopeOf(l)
		c.mixed = c.mixed || !slices.Equal(c.chain(l), chain)
		files, acls, identities = addNew(files, s.passwords), addNew(acls, s.acl), addNew(identities, l.identity)
		if s.acl == "" {
			free = append(free, l.address())
		}
		if s.open() && s.passwords != "" {
			c.fallback("allow_anonymous", "true", Differs, "authentication.chain",
				"with a password_file too, Mosquitto lets clients without a user name in as nobody; here all clients of "+l.address()+" need a password")
		}
		if s.open() && s.plugin != "" {
			c.fallback("plugin", s.plugin, Differs, "listeners.anonymous", "whom the plugin refused gets in at "+l.address()+": set authentication before you use this file")
		}
	}
	if !c.mixed && len(chain) > 0 {
		authn = append(authn, yaml.MapItem{Key: "chain", Value: chain})
	}
	if len(files) > 0 {
		authn = append(authn, yaml.MapItem{Key: "password", Value: yaml.MapSlice{{Key: "files", Value: files}}})
	}
	if len(files) > 1 {
		c.fallback("password_file", strings.Join(files, ", "), Differs, "authentication.password.files", "users of any of these files can use every listener that asks for a password")
	}
	if len(identities) > 0 {
		authn = append(authn, yaml.MapItem{Key: "certificate", Value: yaml.MapSlice{
			{Key: "identity", Value: identities[0]}, {Key: "match_username", Value: "ignore"},
		}})
	}
	if len(identities) > 1 {
		c.fallback("use_subject_as_username", "", Differs, "authentication.certificate.identity", "listeners cannot differ in what of a certificate is the user name: it is "+identities[0])
	}
	c.caps(listeners)
	return authn, c.rules(acls, free, listeners)
}

// rules writes the ACL file, and that everything is allowed where there is none.
func (c *conversion) rules(acls, free []string, listeners []*listener) (authz yaml.MapSlice) {
	if len(acls) > 0 {
		authz = append(authz, yaml.MapItem{Key: "acl_file", Value: acls[0]})
	}
	for _, other := range acls[min(1, len(acls)):] {
		c.fallback("acl_file", other, None, "", "there is one ACL file, which holds for all listeners: "+acls[0]+"; write the rules of this one as authorization.rules with listeners")
	}
	if len(free) == 0 {
		return authz
	}
	rule := yaml.MapSlice{
		{Key: "name", Value: "everything, as without acl_file"},
		{Key: "allow", Value: []string{"publish", "subscribe", "receive"}},
		{Key: "topics", Value: []string{"#", "$SYS/#"}},
	}
	if len(free) < len(listeners) {
		rule = append(rule, yaml.MapItem{Key: "listeners", Value: free})
	}
	return append(authz, yaml.MapItem{Key: "rules", Value: []yaml.MapSlice{rule}})
}

// caps writes what Mosquitto limits by listener and we for all.
func (c *conversion) caps(listeners []*listener) {
	f := func(key string, of func(*listener) (*int, *option)) {
		same := true
		first, _ := of(listeners[0])
		for _, l := range listeners {
			v, _ := of(l)
			same = same && (v == nil) == (first == nil) && (v == nil || *v == *first)
		}
		for _, l := range listeners {
			v, from := of(l)
			switch {
			case v == nil:
			case same:
				c.note(from, Mapped, "limits."+key, "")
			default:
				c.note(from, None, "", "limits."+key+" holds for all listeners, and they differ in it")
			}
		}
		for _, l := range c.lost {
			if _, from := of(l); from != nil {
				c.note(from, None, "", "it belongs to a listener that was not understood")
			}
		}
		if same && first != nil {
			c.limits = append(c.limits, yaml.MapItem{Key: key, Value: *first})
		}
	}
	f("max_qos", func(l *listener) (*int, *option) { return l.qos, l.qosFrom })
	f("max_topic_aliases", func(l *listener) (*int, *option) { return l.alias, l.aliasFrom })
}

func addNew(all []string, one string) []string {
	if one == "" || slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

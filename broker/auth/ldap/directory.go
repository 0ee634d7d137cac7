package ldap

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/grant"
)

// find searches for a user's one entry.
func (b *Backend) find(c *conn, user string) (*ldap.Entry, error) {
	if err := b.serve(c); err != nil {
		return nil, err
	}
	list, err := b.search(c, b.cfg.Base, ldap.ScopeWholeSubtree, fill(b.cfg.Filter, ldap.EscapeFilter, user, ""), b.cfg.Name, 2)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, auth.ErrUnknown
	case len(list) > 1:
		return nil, b.refuse("several entries fit user %q", user)
	}
	return list[0], nil
}

// read reads one entry.
func (b *Backend) read(c *conn, dn string) (*ldap.Entry, error) {
	if err := b.serve(c); err != nil {
		return nil, err
	}
	list, err := b.search(c, dn, ldap.ScopeBaseObject, "(objectClass=*)", b.cfg.Name, 1)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, b.refuse("%s may not be read by who searches, so that the name is not known", dn)
	}
	return list[0], nil
}

// search is one search, whose result may be shorter than the truth only where more than most fit.
func (b *Backend) search(c *conn, base string, scope int, filter, attribute string, most int) ([]*ldap.Entry, error) {
	seconds := max(1, int(b.cfg.Timeout.Seconds()))
	question := ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, most, seconds, false, filter, []string{attribute}, nil)
	question.EnforceSizeLimit = true // here too
	r, err := c.Search(question)
	var l *ldap.Error
	switch {
	case err == nil:
		return r.Entries, nil
	case r != nil && (errors.Is(err, ldap.ErrSizeLimitExceeded) || errors.As(err, &l) && l.ResultCode == ldap.LDAPResultSizeLimitExceeded):
		return r.Entries, nil
	case scope == ldap.ScopeBaseObject && ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInsufficientAccessRights):
		return nil, nil
	}
	return nil, fmt.Errorf("search: %w", err)
}

// identity makes an identity of a user's entry.
func (b *Backend) identity(c *conn, e *ldap.Entry, user string) (*auth.Identity, error) {
	name, err := b.nameOf(e, user)
	if err != nil {
		return nil, err
	}
	id := &auth.Identity{Name: name, By: b.name, Claims: map[string]string{claimDN: e.DN, claimLogin: user}}
	if b.cfg.GroupBase != "" {
		if err := b.serve(c); err != nil {
			return nil, err
		}
		filter := fill(b.cfg.GroupFilter, ldap.EscapeFilter, name, e.DN)
		list, err := b.search(c, b.cfg.GroupBase, ldap.ScopeWholeSubtree, filter, b.cfg.GroupName, grant.MaxGroups+1)
		if err != nil {
			return nil, err
		}
		for _, g := range list {
			id.Groups = append(id.Groups, g.GetEqualFoldAttributeValues(b.cfg.GroupName)...)
		}
	}
	if err := grant.Identity(id); err != nil {
		return nil, b.refuse("%s: %v", e.DN, err)
	}
	return id, nil
}

// nameOf is the name as the directory writes it. Of several, it is the one that was typed.
func (b *Backend) nameOf(e *ldap.Entry, user string) (string, error) {
	names := e.GetEqualFoldAttributeValues(b.cfg.Name)
	if len(names) == 1 {
		return names[0], nil
	}
	for _, n := range names {
		if strings.EqualFold(n, strings.TrimSpace(user)) {
			return n, nil
		}
	}
	return "", b.refuse("%s has %d values of %s, none of which is the user name", e.DN, len(names), b.cfg.Name)
}

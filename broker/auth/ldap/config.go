package ldap

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/sapwood-mqtt/sapwood/broker/auth/upstream"
)

// Config says which directory is asked, and how a user is found in it. Its zero value is not usable: start from DefaultConfig.
type Config struct {
	URL         string        `yaml:"url" doc:"ldaps://host, ldap://host or ldapi:///path/to/socket, with a port if it is not the usual one."`
	StartTLS    bool          `yaml:"start_tls" doc:"Encrypt an ldap:// connection before anything is said; if the server cannot, nothing is."`
	TLS         upstream.TLS  `yaml:"tls" doc:"How the server is verified."`
	Plaintext   bool          `yaml:"plaintext" doc:"Leave to send passwords to another machine unencrypted, readable for all on the way."`
	Timeout     time.Duration `yaml:"timeout" doc:"How long an answer may take, connecting included." exceeded:"the client is refused"`
	Connections int           `yaml:"connections" min:"1" max:"1000" doc:"How many connections are used at most."`

	UserDN       string `yaml:"user_dn" doc:"The user's distinguished name, where it follows from the user name, such as uid={user},ou=people,dc=example,dc=com. Empty = it is searched for."`
	BindDN       string `yaml:"bind_dn" doc:"Who Sapwood is when it searches; empty = anonymous, or with user_dn, the user."`
	BindPassword string `yaml:"bind_password" secret:"true" doc:"Its password."`
	Base         string `yaml:"base" doc:"Where users are searched for, with all that is below."`
	Filter       string `yaml:"filter" doc:"How a user is found; exactly one entry must fit."`
	Name         string `yaml:"name_attribute" doc:"The attribute of the user's entry that is the client's name. What is typed is not: directories take Anna, ANNA and anna for one, rules and sessions do not."`

	GroupBase   string `yaml:"group_base" doc:"Where groups are searched for; empty = no groups."`
	GroupFilter string `yaml:"group_filter" doc:"How a user's groups are found."`
	GroupName   string `yaml:"group_attribute" doc:"The attribute that is a group's name."`
}

// DefaultConfig is the one of a process that was told nothing: it has no URL yet.
func DefaultConfig() Config {
	return Config{
		Timeout: 5 * time.Second, Connections: 8,
		Filter: "(uid={user})", Name: "uid", GroupFilter: "(member={dn})", GroupName: "cn",
	}
}

// Check tells what cannot be.
func (c *Config) Check(bad func(key, message, fix string)) {
	if c.URL != "" {
		if _, err := c.server(); err != nil {
			bad("url", err.Error(), "give it as in ldaps://ldap.example.com")
		}
	}
	if c.Timeout <= 0 {
		bad("timeout", "must be above 0s", "leave it at 5s")
	}
	if c.UserDN != "" {
		if err := c.checkDN(); err != nil {
			bad("user_dn", err.Error(), "write it as in uid={user},ou=people,dc=example,dc=com")
		}
	}
	for key, f := range map[string]string{"filter": c.Filter, "group_filter": c.GroupFilter} {
		if _, err := ldap.CompileFilter(fill(f, ldap.EscapeFilter, "x", "x")); err != nil {
			bad(key, err.Error(), "write it as in (uid={user})")
		}
	}
	if !strings.Contains(c.Filter, "{user}") {
		bad("filter", "does not ask for {user}", "write it as in (uid={user})")
	}
	if !strings.Contains(c.GroupFilter, "{user}") && !strings.Contains(c.GroupFilter, "{dn}") {
		bad("group_filter", "asks for neither {user} nor {dn}, so that everybody would be in all groups", "write it as in (member={dn})")
	}
	if c.Name == "" {
		bad("name_attribute", "is empty", "leave it at uid; Active Directory has sAMAccountName")
	}
	if c.BindDN != "" && c.BindPassword == "" {
		bad("bind_password", "is empty, and a bind without a password is anonymous", "give it, or leave bind_dn empty too")
	}
}

func (c *Config) checkDN() error {
	if !strings.Contains(c.UserDN, "{user}") {
		return errors.New("does not contain {user}")
	}
	_, err := ldap.ParseDN(fill(c.UserDN, ldap.EscapeDN, "x", ""))
	return err
}

// Usable tells what is missing for the backend to be asked at all.
func (c *Config) Usable() error {
	switch {
	case c.URL == "":
		return errors.New("nobody could be asked: set url")
	case c.UserDN == "" && c.Base == "":
		return errors.New("nobody could be found: set user_dn, or base")
	}
	var err error
	c.Check(func(key, message, _ string) { err = errors.Join(err, fmt.Errorf("%s %s", key, message)) })
	return err
}

// place is where a server is.
type place struct {
	network, address string
	host             string // to verify it by
	tls              bool   // from the first byte
}

// server tells where the server is, and that talking to it is safe.
func (c *Config) server() (place, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.User != nil {
		return place{}, errors.New("is not the URL of a server")
	}
	if u.Scheme == "ldapi" {
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return place{}, errors.New("names no socket: ldapi:///path/to/socket")
		}
		return place{network: "unix", address: u.Path}, nil
	}
	if u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
		return place{}, errors.New("is not the URL of a server")
	}
	p := place{network: "tcp", host: u.Hostname()}
	port := "389"
	switch {
	case u.Scheme == "ldaps" && c.StartTLS:
		return p, errors.New("is encrypted from the start: set start_tls to false")
	case u.Scheme == "ldaps":
		p.tls, port = true, "636"
	case u.Scheme != "ldap":
		return p, errors.New("is not ldap, ldaps or ldapi")
	case !c.StartTLS && !c.Plaintext && !upstream.Local(u.Hostname()):
		return p, errors.New("is unencrypted to another machine: who is on the way could read passwords and answer in the server's place")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	p.address = net.JoinHostPort(u.Hostname(), port)
	return p, nil
}

// fill puts what a user is into a template, escaped so that it stays one value.
func fill(template string, escape func(string) string, user, dn string) string {
	return strings.NewReplacer("{user}", escape(user), "{dn}", escape(dn)).Replace(template)
}

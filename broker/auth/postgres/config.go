package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/upstream"
)

// Config says which database is asked, and what. Its zero value is not usable: start from DefaultConfig.
type Config struct {
	Host        string        `yaml:"host" doc:"Host of the server, or the directory of its Unix socket, such as /var/run/postgresql."`
	Port        int           `yaml:"port" min:"1" max:"65535" doc:"Its port; also part of the socket's name."`
	Database    string        `yaml:"database" doc:"The database."`
	User        string        `yaml:"user" doc:"Who Sapwood is there. Give it no more than SELECT on what the queries read."`
	Password    string        `yaml:"password" secret:"true" doc:"Its password."`
	TLS         upstream.TLS  `yaml:"tls" doc:"How the server is verified. On this machine TLS is used if anything is set here; to another it always is."`
	Plaintext   bool          `yaml:"plaintext" doc:"Leave to send hashes of passwords from another machine unencrypted, readable for all on the way."`
	Connections int           `yaml:"connections" min:"1" max:"1000" doc:"How many connections are used at most, and one more to listen."`
	Timeout     time.Duration `yaml:"timeout" doc:"How long the answer to a query may take, connecting included; the server ends a statement after it too." exceeded:"the client is refused"`
	Query       string        `yaml:"query" doc:"The hash of a user's password: $1 is the user name, $2 (if it occurs) the client id. No row: not known here; NULL: no password is good. A hash is a text as of argon2id, bcrypt or Mosquitto's password file."`
	Groups      string        `yaml:"groups" doc:"Query for the names of the user's groups, one a row, with the same parameters; empty = none."`
	Rules       string        `yaml:"rules" doc:"Query for the user's own rules, one a row as JSON, with the same parameters; empty = none."`
	Notify      string        `yaml:"notify" doc:"Channel to listen on: NOTIFY with a user name, or with nothing for all, makes what changed act at once. Empty = do not listen."`
}

// DefaultConfig is the one of a process that was told nothing: it has no query yet.
func DefaultConfig() Config {
	return Config{Host: "127.0.0.1", Port: 5432, Database: "sapwood", User: "sapwood", Connections: 8, Timeout: 5 * time.Second, Notify: "sapwood_auth"}
}

// Check tells what cannot be.
func (c *Config) Check(bad func(key, message, fix string)) {
	for key, text := range map[string]string{"query": c.Query, "groups": c.Groups, "rules": c.Rules} {
		if _, err := parameters(text); err != nil {
			bad(key, err.Error(), "use $1 for the user name and $2 for the client id")
		}
	}
	if strings.ContainsFunc(c.Notify, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_') }) || len(c.Notify) > 63 {
		bad("notify", "is no plain name of a channel", "use small letters, digits and _")
	}
	if c.Timeout < time.Millisecond {
		bad("timeout", "must be at least 1ms", "leave it at 5s")
	}
	if c.Host == "" || c.Database == "" || c.User == "" {
		bad("host", "and database and user must be given", "host: 127.0.0.1, database: sapwood, user: sapwood")
	}
}

// Usable tells what is missing for the backend to be asked at all.
func (c *Config) Usable() error {
	n, err := parameters(c.Query)
	switch {
	case c.Query == "":
		return errors.New("nothing could be asked: set query, such as SELECT hash FROM users WHERE name = $1")
	case err != nil:
		return fmt.Errorf("query %w", err)
	case n == 0:
		return errors.New("query does not ask about $1, the user name, so that everybody would have one password")
	}
	return nil
}

// local tells whether the server is on this machine.
func (c *Config) local() bool { return strings.HasPrefix(c.Host, "/") || upstream.Local(c.Host) }

// encrypted tells whether TLS is used. There is no form that tries it and goes on without.
func (c *Config) encrypted() bool {
	switch {
	case strings.HasPrefix(c.Host, "/"):
		return false
	case c.TLS != upstream.TLS{}:
		return true
	}
	return !c.local() && !c.Plaintext
}

var parameter = regexp.MustCompile(`\$(\d+)`)

// parameters is how many a query has; those it leaves out before the last count too.
func parameters(query string) (n int, err error) {
	for _, found := range parameter.FindAllStringSubmatch(query, -1) {
		i, err := strconv.Atoi(found[1])
		if err != nil || i < 1 || i > 2 {
			return 0, fmt.Errorf("asks about %s: there are $1 and $2", found[0])
		}
		n = max(n, i)
	}
	if n == 2 && !strings.Contains(query, "$1") {
		return 0, errors.New("asks about $2 without $1, the user name")
	}
	return n, nil
}

// address is the server for people.
func (c *Config) address() string {
	u := url.URL{Scheme: "postgres", User: url.User(c.User), Host: fmt.Sprintf("%s:%d", c.Host, c.Port), Path: c.Database}
	return u.String()
}

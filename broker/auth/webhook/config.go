package webhook

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/upstream"
)

// Config says whom to ask. Its zero value is not usable: start from DefaultConfig.
type Config struct {
	URL         string        `yaml:"url" doc:"Where each attempt to connect is sent with POST; https, or http on this machine or with plaintext."`
	Format      string        `yaml:"format" enum:"json,form" doc:"How it is sent. The answer is JSON in any case."`
	Headers     []Header      `yaml:"headers" doc:"What is sent along, such as Authorization."`
	TLS         upstream.TLS  `yaml:"tls" doc:"How the server is verified."`
	Plaintext   bool          `yaml:"plaintext" doc:"Leave to send passwords to another machine by http, readable for all on the way."`
	Timeout     time.Duration `yaml:"timeout" doc:"How long an answer may take." exceeded:"the client is refused"`
	Connections int           `yaml:"connections" min:"1" max:"1000" doc:"How many questions are asked at once; each takes a connection, which is kept for the next."`
	Refresh     bool          `yaml:"refresh" doc:"Whether the server also answers about clients that are connected: action refresh, with the name but without a password. Then groups and rules that change act while the client is there."`
}

// Header is one that is sent along.
type Header struct {
	Name  string `yaml:"name" doc:"Name of the header."`
	Value string `yaml:"value" secret:"true" doc:"Its value."`
}

// DefaultConfig is the one of a process that was told nothing: it has no URL yet.
func DefaultConfig() Config {
	return Config{Format: "json", Headers: []Header{}, Timeout: 5 * time.Second, Connections: 64}
}

// Check tells what cannot be.
func (c *Config) Check(bad func(key, message, fix string)) {
	if c.URL != "" {
		if err := c.checkURL(); err != nil {
			bad("url", err.Error(), "give it as in https://auth.example.com/mqtt")
		}
	}
	if c.Timeout <= 0 {
		bad("timeout", "must be above 0s", "leave it at 5s")
	}
	for _, h := range c.Headers {
		if err := h.check(); err != nil {
			bad("headers", err.Error(), "write it as in name: Authorization")
		}
	}
}

// Usable tells what is missing for the backend to be asked at all.
func (c *Config) Usable() error {
	if c.URL == "" {
		return errors.New("nobody could be asked: set url")
	}
	return c.checkURL()
}

func (c *Config) checkURL() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Fragment != "":
		return errors.New("is not the URL of a server")
	case u.User != nil:
		return errors.New("contains a password, which logs would show: send an Authorization header")
	case u.Scheme == "https", u.Scheme == "http" && (c.Plaintext || upstream.Local(u.Hostname())):
		return nil
	case u.Scheme == "http":
		return errors.New("is http to another machine: who is on the way could read passwords and answer in the server's place")
	}
	return errors.New("must be https")
}

func (h *Header) check() error {
	token := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	switch {
	case h.Name == "" || strings.ContainsFunc(h.Name, token):
		return errors.New("a header has a name of letters, digits and -")
	case strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return errors.New("the value of header " + h.Name + " has a control character, such as the end of a line")
	case http.CanonicalHeaderKey(h.Name) == "Content-Type" || http.CanonicalHeaderKey(h.Name) == "Content-Length":
		return errors.New("header " + h.Name + " is ours")
	}
	return nil
}

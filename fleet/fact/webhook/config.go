package webhook

import (
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/post"
)

// Config says whom to tell. The zero value tells nobody; start from DefaultConfig.
type Config struct {
	URL       string        `yaml:"url" reload:"restart" doc:"Where events are sent with POST, as JSON; https, or http on this machine or with plaintext; empty = nowhere."`
	Kinds     []string      `yaml:"kinds" reload:"restart" doc:"Which kinds of events; empty = all."`
	Secret    string        `yaml:"secret" secret:"true" reload:"restart" doc:"Key of the signature in the header Sapwood-Signature; empty = none."`
	Bearer    string        `yaml:"bearer" secret:"true" reload:"restart" doc:"Token that is sent as Authorization: Bearer; empty = none."`
	Plaintext bool          `yaml:"plaintext" reload:"restart" doc:"Leave to send events to another machine by http, readable for all on the way."`
	CAFile    string        `yaml:"ca_file" reload:"restart" doc:"PEM file of the authorities one of which must have signed the server's certificate; empty = those of the system."`
	Batch     int           `yaml:"batch" reload:"restart" min:"1" max:"1000" doc:"How many events one request has at most."`
	Timeout   time.Duration `yaml:"timeout" reload:"restart" doc:"How long an answer may take." exceeded:"the request is sent again"`
	Tries     int           `yaml:"tries" reload:"restart" min:"1" max:"20" doc:"How often a request is sent." exceeded:"its events are given up, which is counted, and for a while nothing is sent"`
}

// DefaultConfig has no URL yet.
func DefaultConfig() Config {
	return Config{Kinds: []string{}, Batch: 100, Timeout: 5 * time.Second, Tries: 5}
}

// Check tells what cannot be.
func (c *Config) Check(bad func(key, message, fix string)) {
	if _, err := fact.CheckKinds(c.Kinds); err != nil {
		bad("kinds", err.Error(), "see docs/events.md for the kinds")
	}
	if c.Timeout <= 0 {
		bad("timeout", "must be above 0s", "leave it at 5s")
	}
	if strings.ContainsFunc(c.Bearer, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		bad("bearer", "has a character that no token has, such as the end of a line", "remove it")
	}
	if c.URL == "" {
		return
	}
	if err := post.CheckURL(c.URL, c.Plaintext, "bearer"); err != nil {
		bad("url", err.Error(), "give it as in https://example.com/mqtt-events")
	}
}

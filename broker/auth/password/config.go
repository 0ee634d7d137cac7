// Package password authenticates by user name and password: against accounts, and against password files as Mosquitto has them. It
// bounds what guessing may cost the broker, and slows who guesses. It knows no database and no sockets.
package password

import (
	"fmt"
	"time"
)

// Config is the section authentication.password.
type Config struct {
	Files       []string      `yaml:"files" doc:"Password files as mosquitto_passwd writes them, looked at in this order after the users of the database. They are read again when they change."`
	Queue       int           `yaml:"queue" doc:"How many passwords may wait to be hashed. As many are hashed at once as there are cores; one takes some 30 ms." exceeded:"CONNACK 0x89 Server busy"`
	MaxLength   int           `yaml:"max_length" doc:"The longest password that is looked at, in bytes." exceeded:"CONNACK 0x86 Bad user name or password, without hashing it"`
	MaxFailures int           `yaml:"max_failures" doc:"How many wrong passwords a user may send from one address before there is a wait. From one address, all users together may send ten times as many."`
	MaxWait     time.Duration `yaml:"max_wait" doc:"The longest of these waits; the first is a second, and each is twice the one before." exceeded:"CONNACK 0x9F Connection rate exceeded"`
	CacheSize   int           `yaml:"cache_size" doc:"How many credentials that were right are remembered, so that they need not be hashed again when their clients reconnect; 0 remembers none."`
	CacheTTL    time.Duration `yaml:"cache_ttl" doc:"How long they are remembered after they were used last. Those of a user that is changed are forgotten at once."`
}

// DefaultConfig is what a file that says nothing means.
func DefaultConfig() Config {
	return Config{Queue: 128, MaxLength: 1024, MaxFailures: 5, MaxWait: time.Minute, CacheSize: 100_000, CacheTTL: 24 * time.Hour}
}

// Check holds the rules that no tag can say.
func (c *Config) Check(bad func(key, message, fix string)) {
	for i, f := range c.Files {
		if f == "" {
			bad(fmt.Sprintf("files[%d]", i), "is empty", "name a file, or remove the line")
		}
	}
	if c.Queue < 1 || c.Queue > 10_000 {
		bad("queue", fmt.Sprintf("is %d, but must be 1 to 10000", c.Queue), "leave it out for 128")
	}
	if c.MaxLength < 1 || c.MaxLength > 65535 {
		bad("max_length", fmt.Sprintf("is %d, but must be 1 to 65535", c.MaxLength), "leave it out for 1024")
	}
	if c.MaxFailures < 1 {
		bad("max_failures", fmt.Sprintf("is %d, which lets nobody in", c.MaxFailures), "leave it out for 5")
	}
	if c.MaxWait < time.Second || c.MaxWait > 24*time.Hour {
		bad("max_wait", fmt.Sprintf("is %v, but must be 1s to 24h", c.MaxWait), "leave it out for 1m")
	}
	if c.CacheSize < 0 || c.CacheSize > 10_000_000 {
		bad("cache_size", fmt.Sprintf("is %d, but must be 0 to 10000000", c.CacheSize), "leave it out for 100000")
	}
	if c.CacheTTL < 0 {
		bad("cache_ttl", "is negative", "leave it out for 24h")
	}
}

package chain

import (
	"time"
)

// Cache is how long a backend's answers are good for, where it wants them kept. The zero value keeps none.
type Cache struct {
	Entries int           `yaml:"entries" doc:"How many answers are kept for each backend that asks a server (http, postgres, ldap); as many clients may return at once without a question to it. 0 keeps none." exceeded:"the answer that was not used for the longest time is forgotten"`
	TTL     time.Duration `yaml:"ttl" doc:"How long credentials that were right count as right without asking. What a backend says of itself has changed counts at once."`
	Refused time.Duration `yaml:"refused_ttl" doc:"How long a no, or that a backend does not know somebody, is remembered; at most an eighth of the entries is used for that."`
}

// Circuit is what keeps a server that fails from being asked on and on. The zero value never opens.
type Circuit struct {
	Failures int           `yaml:"failures" doc:"After so many failures in a row a backend is not asked for a while, and who needs it is refused at once. 0 always asks."`
	Wait     time.Duration `yaml:"wait" doc:"How long it is not asked at first. Then one attempt tries; each time that fails too, the wait doubles."`
	Longest  time.Duration `yaml:"longest_wait" doc:"The longest it is not asked."`
}

// Refresh is how what is known of clients that are connected is kept true.
type Refresh struct {
	Every time.Duration `yaml:"every" doc:"How often the groups and rules of connected clients are asked for again, of backends that can tell without a password. 0s never asks."`
	Stale time.Duration `yaml:"stale" doc:"How long groups and rules hold while their backend cannot be asked. Then its clients are disconnected. 0s lets them hold."`
}

// DefaultCache is the one of a process that was told nothing.
func DefaultCache() Cache {
	return Cache{Entries: 100_000, TTL: 5 * time.Minute, Refused: 5 * time.Second}
}

// DefaultCircuit is the one of a process that was told nothing.
func DefaultCircuit() Circuit {
	return Circuit{Failures: 5, Wait: time.Second, Longest: time.Minute}
}

// DefaultRefresh is the one of a process that was told nothing.
func DefaultRefresh() Refresh {
	return Refresh{Every: 5 * time.Minute, Stale: time.Hour}
}

// Check tells what cannot be.
func (c *Cache) Check(bad func(key, message, fix string)) {
	if c.Entries > 10_000_000 {
		bad("entries", "is more than 10000000", "leave it at 100000")
	}
	if c.Refused > time.Minute {
		bad("refused_ttl", "is more than 1m: who mended a password would have to wait for it", "leave it at 5s")
	}
}

// Check tells what cannot be.
func (c *Circuit) Check(bad func(key, message, fix string)) {
	if c.Failures > 0 && c.Wait <= 0 {
		bad("wait", "must be above 0s", "leave it at 1s")
	}
	if c.Longest < c.Wait {
		bad("longest_wait", "is less than wait", "leave it at 1m")
	}
}

// Check tells what cannot be.
func (c *Refresh) Check(bad func(key, message, fix string)) {
	if c.Every > 0 && c.Every < time.Second {
		bad("every", "is less than 1s", "leave it at 5m")
	}
}

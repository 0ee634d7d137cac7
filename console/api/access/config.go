package access

import "time"

// Rate says how often the API may be called.
type Rate struct {
	Credential int `yaml:"credential" min:"0" doc:"Requests per second by one login, user or key; ten times as many at once. 0 limits nothing; commands on the same machine are not limited." exceeded:"429 Too Many Requests"`
	Address    int `yaml:"address" min:"0" doc:"Requests per second from one address (of IPv6, a network of 64 bits) that nobody vouches for, such as logins; ten times as many at once. 0 limits nothing." exceeded:"429 Too Many Requests"`
}

// Sessions says how long a login of the console lasts.
type Sessions struct {
	Idle     time.Duration `yaml:"idle" doc:"A login ends when it was not used for so long; an open page uses it."`
	Lifetime time.Duration `yaml:"lifetime" doc:"A login ends after so long, used or not."`
	Confirm  time.Duration `yaml:"confirm" doc:"So long after the password was given, operators and keys may be changed; then it is asked for again."`
}

// Auditing says how much of the audit log is kept.
type Auditing struct {
	Entries int           `yaml:"entries" min:"1000" max:"10000000" doc:"Entries that are kept; the oldest go first."`
	Age     time.Duration `yaml:"age" doc:"Entries older than this go; 0s keeps them."`
}

// Config is what can be set of access to the API.
type Config struct {
	Rate     Rate
	Sessions Sessions
	Audit    Auditing
}

// DefaultConfig is what holds without a word.
func DefaultConfig() Config {
	return Config{
		Rate:     Rate{Credential: 200, Address: 20},
		Sessions: Sessions{Idle: time.Hour, Lifetime: 12 * time.Hour, Confirm: 10 * time.Minute},
		Audit:    Auditing{Entries: 100_000, Age: 365 * 24 * time.Hour},
	}
}

// Check refuses what would keep everybody out.
func (s *Sessions) Check(bad func(key, message, fix string)) {
	const least = time.Minute
	for key, d := range map[string]time.Duration{"idle": s.Idle, "lifetime": s.Lifetime, "confirm": s.Confirm} {
		if d < least {
			bad(key, "is "+d.String()+", in which nobody gets anything done", "take at least 1m")
		}
	}
}

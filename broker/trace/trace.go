// Package trace is what can be told of single packets: the look-back ring, which keeps the heads of the last packets of
// every client in bounded memory, and taps, which hand packets on as they come and go. It knows packets and bytes, but no
// connection, no client and no clock: the broker hands in what it saw and when. A Ring belongs to one event loop; a Tap may be
// filled by several.
package trace

import (
	"errors"
	"fmt"
	"time"
)

// Config says what is kept for looking back.
type Config struct {
	Enabled      bool          `yaml:"enabled" reload:"restart" doc:"Keep the heads of the last packets of every client, to look back at. Live traces are there in any case."`
	Memory       int64         `yaml:"memory" reload:"restart" unit:"bytes" doc:"What that may take for all clients together." exceeded:"what is oldest is forgotten first"`
	PayloadBytes int           `yaml:"payload_bytes" reload:"restart" unit:"bytes" doc:"How much of each payload is kept with it; 0 keeps none, at most 96."`
	Keep         time.Duration `yaml:"keep" reload:"restart" unit:"duration" doc:"How long it is kept of a client id whose session has ended; that of the last 4,096 for each processor."`
}

// Defaults keeps heads in 64 MiB, and no payloads.
func Defaults() Config {
	return Config{Enabled: true, Memory: 64 << 20, Keep: time.Hour}
}

// Verify tells what in c cannot be.
func (c *Config) Verify() error {
	var errs []error
	if c.Memory < 1<<20 || c.Memory > 64<<30 {
		errs = append(errs, fmt.Errorf("trace.memory is %d: it has to be 1 MiB to 64 GiB", c.Memory))
	}
	if c.PayloadBytes < 0 || c.PayloadBytes > maxPayload {
		errs = append(errs, fmt.Errorf("trace.payload_bytes is %d: it has to be 0 to %d", c.PayloadBytes, maxPayload))
	}
	if c.Keep < 0 || c.Keep > 24*time.Hour {
		errs = append(errs, fmt.Errorf("trace.keep is %v: it has to be 0s to 24h", c.Keep))
	}
	return errors.Join(errs...)
}

// Check is Verify, key by key, for the configuration file.
func (c *Config) Check(bad func(key, message, fix string)) {
	if c.Memory < 1<<20 || c.Memory > 64<<30 {
		bad("memory", fmt.Sprintf("is %d", c.Memory), "take 1 MiB to 64 GiB, or trace.enabled: false")
	}
	if c.PayloadBytes < 0 || c.PayloadBytes > maxPayload {
		bad("payload_bytes", fmt.Sprintf("is %d", c.PayloadBytes), fmt.Sprintf("take 0 to %d", maxPayload))
	}
	if c.Keep < 0 || c.Keep > 24*time.Hour {
		bad("keep", fmt.Sprintf("is %v", c.Keep), "take 0s to 24h")
	}
}

// Direction is that of a packet, as the broker sees it.
type Direction uint8

// The directions. The zero value is that of a note, which is no packet.
const (
	None Direction = iota
	In
	Out
)

// String is the direction as it stands in JSON.
func (d Direction) String() string { return [...]string{"", "in", "out"}[d] }

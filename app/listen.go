package app

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
)

// SettingError is a setting that is well written and still cannot be had on this machine.
type SettingError struct {
	Key   string // such as "listeners[0].address"
	Value string
	Why   string
	Fix   string // "" where Why says it
	Err   error  // what the system said
}

// Error is one line that names the setting and the way out.
func (e *SettingError) Error() string {
	if e.Fix == "" {
		return fmt.Sprintf("%s %s: %s", e.Key, e.Value, e.Why)
	}
	return fmt.Sprintf("%s %s: %s; %s", e.Key, e.Value, e.Why, e.Fix)
}

// Unwrap gives what the system said.
func (e *SettingError) Unwrap() error { return e.Err }

// cannotListen turns what the system said about an address into what a person can do about it.
func cannotListen(key, address string, err error) *SettingError {
	e := &SettingError{Key: key, Value: address, Err: err}
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Why, e.Fix = "another process listens there", "stop it or choose another; port 0 takes a free one"
	case errors.Is(err, fs.ErrPermission):
		e.Why, e.Fix = "this user may not listen there", "a TCP port below 1024 needs CAP_NET_BIND_SERVICE, a socket a directory that can be written to"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Why, e.Fix = "this machine has no such address", "use one of its own, 127.0.0.1, or 0.0.0.0 for all"
	case errors.As(err, &dns):
		e.Why, e.Fix = "the name "+dns.Name+" has no address", "use an IP address"
	case errors.Is(err, fs.ErrNotExist):
		e.Why, e.Fix = "the directory of the socket does not exist", "create it or choose another"
	default:
		e.Why, e.Fix = err.Error(), "choose another address"
	}
	return e
}

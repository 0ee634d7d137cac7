package app

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// exposure is how far others can get at an address, by what protects it and what its section gives leave to.
type exposure struct {
	address       string
	http          bool
	authenticated bool // somebody asks who they are
	encrypted     bool // with TLS
	anonymous     bool // leave to let everybody in
	plaintext     bool // leave to do without TLS
}

// exposure is that of a listener in this configuration.
func (c *Config) exposure(l Listener) exposure {
	asked := len(l.Backends) > 0 || len(c.Authentication.Chain) > 0
	return exposure{
		address: l.Address, authenticated: asked && !l.Anonymous, encrypted: l.TLS.Enabled(), anonymous: l.Anonymous, plaintext: l.Plaintext,
	}
}

// exposure is that of the HTTP side, where the API asks everybody who they are.
func (h *HTTP) exposure() exposure {
	if h.Off() {
		return exposure{address: "unix:"}
	}
	return exposure{address: h.Address, http: true, authenticated: true, encrypted: h.TLS.Enabled(), plaintext: h.Plaintext}
}

// refusal is why nothing may listen there, and what would put it right; "" where it may.
func (e exposure) refusal() (why, fix string) {
	switch {
	case !public(e.address):
	case !e.authenticated && !e.anonymous:
		return e.address + " can be reached from other machines, and nothing here asks clients who they are",
			"set authentication.chain, such as [password], listen on 127.0.0.1, or set anonymous: true on this listener to let everybody in"
	case e.authenticated && !e.encrypted && !e.plaintext && !e.anonymous:
		return e.address + " can be reached from other machines, and without TLS whoever listens in learns passwords",
			"listen on 127.0.0.1, set tls, or set plaintext: true to do without"
	}
	return "", ""
}

// warning is what the leave that a section gives makes possible; "" where there is nothing to warn of.
func (e exposure) warning() string {
	what := "the listener " + e.address
	if e.http {
		what = "http.address " + e.address
	}
	switch {
	case !public(e.address):
	case !e.authenticated && !e.encrypted:
		return fmt.Sprintf("%s lets everybody in from other machines, without authentication and without TLS (anonymous: true)", what)
	case !e.authenticated:
		return fmt.Sprintf("%s lets everybody in from other machines, without authentication (anonymous: true)", what)
	case !e.encrypted:
		return fmt.Sprintf("%s can be reached from other machines without TLS: whoever listens in learns passwords (plaintext: true)", what)
	}
	return ""
}

// Warnings are what the configuration leaves open to other machines, by leave of its sections.
func (c *Config) Warnings() []string {
	var all []string
	for _, l := range c.Listeners {
		if w := c.exposure(l).warning(); w != "" {
			all = append(all, w)
		}
	}
	if w := c.HTTP.exposure().warning(); w != "" {
		all = append(all, w)
	}
	return all
}

// public tells whether other machines can reach an address; one that cannot be an address is wrong in another way.
func public(address string) bool {
	return !strings.HasPrefix(address, "unix:") && checkHostPort(address) == "" && !loopback(address)
}

// loopback tells whether only this machine can reach the address. An empty host is every address
// of the machine, and a name other than localhost could be anything.
func loopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

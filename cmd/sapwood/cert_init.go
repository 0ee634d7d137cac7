package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
)

// certInitCmd is `sapwood cert init`.
type certInitCmd struct {
	pki
	validity
	Names   []string `arg:"" optional:"" help:"DNS names and addresses that clients reach the broker by. Without any: those of this machine."`
	Name    string   `default:"Sapwood private CA" placeholder:"TEXT" help:"Name of the authority."`
	CADays  int      `name:"ca-days" default:"3650" placeholder:"N" help:"How long the authority holds, in days (3650)."`
	Address string   `default:"0.0.0.0:8883" placeholder:"ADDRESS" help:"Address in the lines for the configuration."`
}

// Help is the long part of the help page.
func (*certInitCmd) Help() string {
	return `Writes ca.crt, ca.key, ca.crl, server.crt and server.key (ECDSA P-256) and prints the lines for the
configuration. Overwrites nothing. Private keys can be read by you alone.

Examples:

    sapwood cert init
    sapwood cert init broker.example.com 192.0.2.10 --dir /etc/sapwood/pki`
}

// Run makes an authority and what a server needs.
func (c *certInitCmd) Run(std *streams) error {
	if c.Names == nil {
		c.Names = privateca.LocalNames()
	}
	ca, err := privateca.New(c.Name, (&validity{c.CADays}).until())
	if err != nil {
		return err
	}
	server, err := ca.Server(c.Names, c.until())
	if err != nil {
		return err
	}
	dir := c.dir()
	if err := dir.Create(ca); err != nil {
		return exists(err)
	}
	if err := dir.WriteServer(server); err != nil {
		return exists(err)
	}
	return c.explain(std, dir)
}

// exists says what to do about a file that is in the way.
func exists(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; nothing is overwritten: name another --dir, or remove it", err)
	}
	return err
}

// explain tells what the files are for.
func (c *certInitCmd) explain(std *streams, dir privateca.Dir) error {
	at, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	abs := privateca.Dir(at)
	cert, key := abs.Server()
	_, err = fmt.Fprintf(std.out, `Made in %s:
  ca.crt                  the authority: clients trust the broker by it, the broker its clients
  ca.key                  what it signs with: keep it secret, best not on the broker's machine
  ca.crl                  its revocation list, empty
  server.crt, server.key  for %s

In sapwood.yaml:

listeners:
  - address: %s
    tls:
      certificate: %s
      key: %s
      client_ca: %s
      client_certificate: required
      crl: %s
authentication:
  chain: [certificate]

A certificate for a client: sapwood cert client NAME%s
What they may do: sapwood config explain authorization
`, c.Dir, strings.Join(c.Names, ", "), c.Address, cert, key, abs.AuthorityCert(), abs.List(), c.flag())
	return err
}

// flag is --dir as the next command needs it.
func (p *pki) flag() string {
	if p.Dir == "./sapwood-pki" {
		return ""
	}
	return " --dir " + p.Dir
}

// certServerCmd is `sapwood cert server`.
type certServerCmd struct {
	pki
	validity
	Names []string `arg:"" optional:"" help:"DNS names and addresses that clients reach the broker by. Without any: those of the present certificate."`
}

// Help is the long part of the help page.
func (*certServerCmd) Help() string {
	return `Replaces server.crt and server.key: to renew them, or for other names. A running broker takes them over
by itself; no client is disconnected.

Examples:

    sapwood cert server
    sapwood cert server broker.example.com 192.0.2.10 --days 90`
}

// Run replaces the server's certificate.
func (c *certServerCmd) Run(std *streams) error {
	dir := c.dir()
	ca, err := dir.Open()
	if err != nil {
		return err
	}
	file, _ := dir.Server()
	if c.Names == nil {
		certs, err := readChain(file)
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w; name what clients reach the broker by", err)
		}
		if err != nil {
			return err
		}
		for _, a := range certs[0].IPAddresses {
			c.Names = append(c.Names, a.String())
		}
		c.Names = append(certs[0].DNSNames, c.Names...)
	}
	server, err := ca.Server(c.Names, c.until())
	if err != nil {
		return err
	}
	if err := dir.ReplaceServer(server); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s  for %s, until %s\n", file, strings.Join(c.Names, ", "), day(server.Cert.NotAfter))
	return err
}

package main

import (
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport/privateca"
)

// certCmd is `sapwood cert`.
type certCmd struct {
	Init   certInitCmd   `cmd:"" help:"Make a private authority and a server certificate."`
	Server certServerCmd `cmd:"" help:"Issue a new server certificate."`
	Client certClientCmd `cmd:"" help:"Issue certificates for clients."`
	Revoke certRevokeCmd `cmd:"" help:"Put client certificates on the revocation list."`
	Show   certShowCmd   `cmd:"" help:"Show the certificates of a file or of a server."`
}

// pki is where a private authority is.
type pki struct {
	Dir string `default:"./sapwood-pki" placeholder:"DIR" help:"Directory of the authority (./sapwood-pki)."`
}

func (p *pki) dir() privateca.Dir { return privateca.Dir(p.Dir) }

// validity is how long what is issued holds.
type validity struct {
	Days int `default:"825" placeholder:"N" help:"How long it holds, in days (825); never longer than the authority."`
}

func (v *validity) until() time.Time { return time.Now().AddDate(0, 0, v.Days) }

// Package upstream is how the broker talks to a server that it trusts with its clients' credentials: encrypted, and only
// once the server has proved who it is. It is a part that backends have in common. There is no setting that leaves the
// proof out; plain text is for the same machine, or by explicit leave. It asks nothing of the server.
package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// TLS is how a server proves itself, and we to it. The zero value trusts the system's authorities.
type TLS struct {
	CA          string `yaml:"ca" doc:"PEM file of the authorities one of which must have signed the server's certificate; empty = those of the system."`
	Certificate string `yaml:"certificate" doc:"PEM file of the certificate that Sapwood shows, where the server asks for one."`
	Key         string `yaml:"key" doc:"PEM file of its key."`
	ServerName  string `yaml:"server_name" doc:"The name that the server's certificate must carry, where it is not the host of the address."`
}

// Check tells what cannot be.
func (t *TLS) Check(bad func(key, message, fix string)) {
	if (t.Certificate == "") != (t.Key == "") {
		bad("certificate", "and key belong together", "give both or neither")
	}
}

// Files are those that it reads.
func (t *TLS) Files() (files []string) {
	for _, f := range []string{t.CA, t.Certificate, t.Key} {
		if f != "" {
			files = append(files, f)
		}
	}
	return files
}

// Client reads the files. host is whom the connections go to. A file of authorities that is empty, or cannot be read, is an
// error: the answer to it is no connection, never one that is not verified.
func (t *TLS) Client(host string) (*tls.Config, error) {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	if t.CA != "" {
		data, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read authorities: %s holds no certificate", t.CA)
		}
	}
	if t.Certificate != "" || t.Key != "" {
		pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read our certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if c.ServerName == "" {
		return nil, errors.New("no name to verify the server by: set tls.server_name")
	}
	return c, nil
}

// Local tells whether a host is this machine: localhost, or a loopback address. A name is not looked up.
func Local(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Unmap().IsLoopback()
}

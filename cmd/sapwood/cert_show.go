package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// certShowCmd is `sapwood cert show`.
type certShowCmd struct {
	What   string        `arg:"" name:"file|host:port" help:"PEM file with certificates, or a server that speaks TLS."`
	Key    string        `placeholder:"PEM" help:"Private key that should match. Without it: the file's own, or the one beside it that ends in .key."`
	CAFile string        `name:"cafile" placeholder:"PEM" help:"Authorities that should have signed it. Without it: the system's."`
	Name   string        `name:"servername" placeholder:"NAME" help:"Name to ask a server for, and that its certificate must have (the host)."`
	Wait   time.Duration `name:"connect-timeout" default:"10s" placeholder:"10s" help:"How long a server may take to answer."`
	JSON   bool          `help:"Print it as JSON."`
}

// exitUnfit is the exit code for certificates that are not to be used.
const exitUnfit = 3

// Help is the long part of the help page.
func (*certShowCmd) Help() string {
	return `Exit status: 0 when the first certificate holds now and nothing named contradicts it, 1 if it could not be
read, 2 for a wrong command line, 3 when it does not hold now, does not match its key, or is not
signed by --cafile.

Examples:

    sapwood cert show sapwood-pki/server.crt --cafile sapwood-pki/ca.crt
    sapwood cert show broker.example.com:8883
    sapwood cert show --json localhost:8883 --cafile sapwood-pki/ca.crt`
}

// certShown is what the command tells.
type certShown struct {
	Certificates []certDetail `json:"certificates"`
	KeyFile      string       `json:"key_file,omitempty"`
	KeyMatches   *bool        `json:"key_matches,omitempty"`
	TLS          string       `json:"tls,omitempty"`     // the version that a server speaks
	Trusted      bool         `json:"trusted"`           // by --cafile, or the system
	Why          string       `json:"trust,omitempty"`   // why not
	Problem      string       `json:"problem,omitempty"` // what makes it unfit
}

// certDetail is one certificate of a chain.
type certDetail struct {
	transport.CertificateStatus
	Key         string   `json:"key"`
	Usage       []string `json:"usage"`
	Fingerprint string   `json:"sha256"`
}

// Run shows a chain.
func (c *certShowCmd) Run(ctx context.Context, std *streams) error {
	v := &certShown{}
	name := c.Name
	chain, err := readChain(c.What)
	host, _, hostErr := net.SplitHostPort(c.What)
	if errors.Is(err, fs.ErrNotExist) && hostErr == nil {
		if name == "" {
			name = host
		}
		chain, v.TLS, err = c.ask(ctx, name)
	} else if err == nil {
		err = c.match(v, chain[0])
	}
	if err != nil {
		return err
	}
	now := time.Now()
	for _, cert := range chain {
		v.Certificates = append(v.Certificates, detail(cert, now))
	}
	if err := c.verify(v, chain, name); err != nil {
		return err
	}
	if v.Problem == "" && (now.After(chain[0].NotAfter) || now.Before(chain[0].NotBefore)) {
		v.Problem = "it does not hold now"
	}
	if c.JSON {
		err = screen.JSON(std.out, v)
	} else {
		err = c.print(std, v)
	}
	if err == nil && v.Problem != "" {
		return coded{exitUnfit, errors.New(c.What + ": " + v.Problem)}
	}
	return err
}

// readChain reads the certificates of a PEM file.
func readChain(file string) (chain []*x509.Certificate, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		chain = append(chain, cert)
	}
	if chain == nil {
		return nil, fmt.Errorf("%s: no certificate in PEM form", file)
	}
	return chain, nil
}

// ask gets the chain that a server shows. It is looked at, not believed.
func (c *certShowCmd) ask(ctx context.Context, name string) ([]*x509.Certificate, string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: name}}
	conn, err := dialer.DialContext(ctx, "tcp", c.What)
	if err != nil {
		return nil, "", coded{exitFailed, withAdvice(err, adviceOnNetwork(err))}
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	return state.PeerCertificates, tls.VersionName(state.Version), nil
}

// match compares a certificate with its private key, if there is one.
func (c *certShowCmd) match(v *certShown, leaf *x509.Certificate) error {
	v.KeyFile = c.Key
	if v.KeyFile == "" {
		beside := strings.TrimSuffix(c.What, filepath.Ext(c.What)) + ".key"
		switch data, err := os.ReadFile(c.What); {
		case err == nil && strings.Contains(string(data), "PRIVATE KEY-----"):
			v.KeyFile = c.What
		case beside != c.What && readable(beside):
			v.KeyFile = beside
		default:
			return nil
		}
	}
	key, err := os.ReadFile(v.KeyFile)
	if err != nil {
		return err
	}
	_, err = tls.X509KeyPair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), key)
	ok := err == nil
	v.KeyMatches = &ok
	if !ok {
		v.Problem = "it does not match " + v.KeyFile
	}
	return nil
}

func readable(file string) bool {
	f, err := os.Open(file)
	if err == nil {
		f.Close()
	}
	return err == nil
}

// verify asks whether the authorities have signed the chain, for a name where there is one.
func (c *certShowCmd) verify(v *certShown, chain []*x509.Certificate, name string) error {
	o := x509.VerifyOptions{DNSName: name, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, cert := range chain[1:] {
		o.Intermediates.AddCert(cert)
	}
	if c.CAFile != "" {
		authorities, err := readChain(c.CAFile)
		if err != nil {
			return err
		}
		o.Roots = x509.NewCertPool()
		for _, a := range authorities {
			o.Roots.AddCert(a)
		}
	}
	_, err := chain[0].Verify(o)
	if v.Trusted = err == nil; v.Trusted {
		return nil
	}
	v.Why = strings.TrimPrefix(err.Error(), "x509: ")
	if c.CAFile != "" && v.Problem == "" {
		v.Problem = "not trusted by " + c.CAFile + ": " + v.Why
	}
	return nil
}

// detail describes one certificate.
func detail(cert *x509.Certificate, now time.Time) certDetail {
	sum := sha256.Sum256(cert.Raw)
	d := certDetail{CertificateStatus: transport.Describe(cert, now), Fingerprint: hex.EncodeToString(sum[:]), Usage: []string{}}
	switch key := cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		d.Key = "ECDSA " + key.Curve.Params().Name
	case *rsa.PublicKey:
		d.Key = fmt.Sprintf("RSA %d", key.N.BitLen())
	case ed25519.PublicKey:
		d.Key = "Ed25519"
	default:
		d.Key = cert.PublicKeyAlgorithm.String()
	}
	if cert.IsCA {
		d.Usage = append(d.Usage, "authority")
	}
	for _, usage := range cert.ExtKeyUsage {
		switch usage {
		case x509.ExtKeyUsageServerAuth:
			d.Usage = append(d.Usage, "server")
		case x509.ExtKeyUsageClientAuth:
			d.Usage = append(d.Usage, "client")
		case x509.ExtKeyUsageAny:
			d.Usage = append(d.Usage, "any")
		}
	}
	return d
}

// print writes it for people.
func (c *certShowCmd) print(std *streams, v *certShown) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			fmt.Fprintf(&b, "  %-8s %s\n", name, text)
		}
	}
	for i, d := range v.Certificates {
		if i == 0 {
			b.WriteString(c.What + "\n")
		} else {
			fmt.Fprintf(&b, "chain %d\n", i)
		}
		left := fmt.Sprintf("%d days left", d.Days)
		if d.Days < 0 {
			left = fmt.Sprintf("expired %d days ago", -d.Days)
		}
		line("subject", "%q", d.Subject)
		line("names", "%s", strings.Join(d.Names, ", "))
		line("issuer", "%q", d.Issuer)
		line("valid", "%s to %s, %s", day(d.NotBefore), day(d.NotAfter), left)
		line("key", "%s", d.Key)
		line("use", "%s", strings.Join(d.Usage, ", "))
		line("serial", "%s", d.Serial)
		line("sha256", "%s", d.Fingerprint)
	}
	if v.KeyMatches != nil {
		b.WriteString(map[bool]string{true: "matches ", false: "DOES NOT match "}[*v.KeyMatches] + v.KeyFile + "\n")
	}
	if v.TLS != "" {
		b.WriteString("spoken: " + v.TLS + "\n")
	}
	by := c.CAFile
	if by == "" {
		by = "this system"
	}
	if v.Trusted {
		b.WriteString("trusted by " + by + "\n")
	} else {
		b.WriteString("not trusted by " + by + ": " + v.Why + "\n")
	}
	_, err := std.out.Write([]byte(b.String()))
	return err
}

// day writes a date.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

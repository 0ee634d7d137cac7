package transport

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// own are the certificates that a listener shows.
type own struct {
	pairs []*pair
	sum   []byte // of the files
}

// pair is one certificate with its key.
type pair struct {
	file   string
	cert   tls.Certificate
	issuer *x509.Certificate // nil if the file does not hold it
	loaded time.Time

	staple  Staple    // zero = none
	retry   time.Time // no fetch before
	unasked error     // why there is no fresh staple
}

// maxFile bounds what is read: a revocation list of a million entries fits.
const maxFile = 64 << 20

// read reads a file whole, within the bound.
func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	return data, err
}

// readOwn reads the certificates and keys.
func (c *Certificates) readOwn() (*own, error) {
	o := &own{}
	sum := sha256.New()
	for i, file := range c.cfg.Certificate {
		keyFile := file
		if len(c.cfg.Key) > 0 {
			keyFile = c.cfg.Key[i]
		}
		chain, err := read(file)
		if err != nil {
			return nil, err
		}
		key, err := read(keyFile)
		if err != nil {
			return nil, err
		}
		p, err := newPair(file, chain, keyFile, key)
		if err != nil {
			return nil, err
		}
		p.loaded = c.opt.Now()
		o.pairs = append(o.pairs, p)
		fmt.Fprintf(sum, "%d %d\n", len(chain), len(key))
		sum.Write(chain)
		sum.Write(key)
	}
	if c.cfg.Staple != "" && c.cfg.Staple != Fetch {
		response, err := read(c.cfg.Staple)
		if err != nil {
			return nil, err
		}
		if err := o.pairs[0].readStaple(c.opt.Stapler, c.cfg.Staple, response); err != nil {
			return nil, err
		}
		sum.Write(response)
	}
	o.sum = sum.Sum(nil)
	return o, nil
}

// newPair joins a chain and its key.
func newPair(file string, chain []byte, keyFile string, key []byte) (*pair, error) {
	certs, err := parseCertificates(file, chain)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(key, []byte("ENCRYPTED")) {
		return nil, fmt.Errorf("%s: the key is encrypted; store it without a passphrase, readable by this user alone", keyFile)
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "tls: ")
		if keyFile != file {
			return nil, fmt.Errorf("%s with %s: %s", file, keyFile, text)
		}
		return nil, fmt.Errorf("%s: %s", file, text)
	}
	p := &pair{file: file, cert: cert}
	for _, other := range certs[1:] {
		if certs[0].CheckSignatureFrom(other) == nil {
			p.issuer = other
		}
	}
	return p, nil
}

// parseCertificates reads every certificate of a PEM file and passes over keys. Unlike pem.Decode alone it does not pass over
// what is damaged: a file that is being written would lose the end of its chain in silence.
func parseCertificates(file string, data []byte) ([]*x509.Certificate, error) {
	blocks, err := decodeAll(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var certs []*x509.Certificate
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %s", file, len(certs)+1, strings.TrimPrefix(err.Error(), "x509: "))
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s: no certificate in PEM form", file)
	}
	return certs, nil
}

// decodeAll gives the blocks of a PEM file, and an error if one is damaged.
func decodeAll(data []byte) (blocks []*pem.Block, err error) {
	want := bytes.Count(data, []byte("-----BEGIN "))
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		blocks = append(blocks, b)
	}
	if len(blocks) != want {
		return nil, errors.New("a PEM block is damaged or cut off")
	}
	return blocks, nil
}

// holds says so when a certificate is not to be used at a time.
func (p *pair) holds(now time.Time) error {
	leaf := p.cert.Leaf
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("%s: expired on %s", p.file, date(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("%s: not valid before %s", p.file, date(leaf.NotBefore))
	}
	return nil
}

// served is the certificate as a handshake shows it. A staple past its time is worse than none.
func (p *pair) served(now time.Time) tls.Certificate {
	cert := p.cert
	if now.Before(p.staple.Until) {
		cert.OCSPStaple = p.staple.Response
	}
	return cert
}

// date writes a moment for people.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

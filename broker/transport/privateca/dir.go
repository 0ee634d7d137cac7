package privateca

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Dir is the directory that holds an authority: ca.crt, ca.key, ca.crl, and what it has issued.
type Dir string

// The files of a directory.
func (d Dir) file(name string) string { return filepath.Join(string(d), name) }

// AuthorityCert is the file with the authority's certificate.
func (d Dir) AuthorityCert() string { return d.file("ca.crt") }

// List is the file with its revocation list.
func (d Dir) List() string { return d.file("ca.crl") }

// Server are the files of the server's certificate and key.
func (d Dir) Server() (cert, key string) { return d.file("server.crt"), d.file("server.key") }

// Clients is the directory with the certificates and keys of clients.
func (d Dir) Clients() string { return d.file("clients") }

// Client are the files of a client's certificate and key.
func (d Dir) Client(name string) (cert, key string) {
	escaped := url.PathEscape(name)
	if strings.HasPrefix(escaped, ".") {
		escaped = "%2E" + escaped[1:]
	}
	base := filepath.Join(d.Clients(), escaped)
	return base + ".crt", base + ".key"
}

// Create writes a new authority and its empty revocation list into the directory, which is made. It overwrites nothing, and
// writes nothing where there is an authority or a server's certificate.
func (d Dir) Create(a *Authority) error {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return err
	}
	cert, key := d.Server()
	for _, file := range []string{d.AuthorityCert(), d.file("ca.key"), d.List(), cert, key} {
		if _, err := os.Lstat(file); err == nil {
			return &fs.PathError{Op: "create", Path: file, Err: fs.ErrExist}
		}
	}
	if err := writePair(d.AuthorityCert(), d.file("ca.key"), &Issued{a.Cert, a.Key}); err != nil {
		return err
	}
	return d.Revoke(a, nil)
}

// Open reads the authority.
func (d Dir) Open() (*Authority, error) {
	pair, err := tls.LoadX509KeyPair(d.AuthorityCert(), d.file("ca.key"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no authority: make one with sapwood cert init --dir %s", d, d)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%s: what is in it is not an authority", d.AuthorityCert())
	}
	return &Authority{pair.Leaf, key}, nil
}

// WriteServer writes a server's certificate and key; it overwrites none.
func (d Dir) WriteServer(i *Issued) error {
	cert, key := d.Server()
	return writePair(cert, key, i)
}

// ReplaceServer puts a new certificate and key in the place of those there are. A running broker sees a pair that does not match for
// a moment, and keeps the old one until it does.
func (d Dir) ReplaceServer(i *Issued) error {
	cert, key := d.Server()
	text, err := i.KeyPEM()
	if err != nil {
		return err
	}
	return errors.Join(replace(key, text, 0o600), replace(cert, i.CertPEM(), 0o644))
}

// WriteClient writes a client's certificate and key; it overwrites none.
func (d Dir) WriteClient(name string, i *Issued) error {
	cert, key := d.Client(name)
	if err := os.MkdirAll(filepath.Dir(cert), 0o755); err != nil {
		return err
	}
	return writePair(cert, key, i)
}

// Serial finds the serial number of a client by its name.
func (d Dir) Serial(name string) (*big.Int, error) {
	file, _ := d.Client(name)
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: no certificate in PEM form", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cert.SerialNumber, nil
}

// Revoke adds serial numbers to the revocation list, which holds until the authority itself ends: it changes when somebody
// revokes, not by the calendar.
func (d Dir) Revoke(a *Authority, serials []*big.Int) error {
	var before *x509.RevocationList
	data, err := os.ReadFile(d.List())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if before, err = parseList(data); err != nil {
			return fmt.Errorf("%s: %w", d.List(), err)
		}
	}
	der, err := a.Revoke(before, serials, time.Now(), a.Cert.NotAfter)
	if err != nil {
		return err
	}
	return replace(d.List(), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o644)
}

func parseList(data []byte) (*x509.RevocationList, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no revocation list in PEM form")
	}
	return x509.ParseRevocationList(block.Bytes)
}

// writePair writes a key and then its certificate, both new.
func writePair(certFile, keyFile string, i *Issued) error {
	key, err := i.KeyPEM()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(certFile); err == nil {
		return &fs.PathError{Op: "create", Path: certFile, Err: fs.ErrExist}
	}
	if err := create(keyFile, key, 0o600); err != nil {
		return err
	}
	return create(certFile, i.CertPEM(), 0o644)
}

// create writes a file that must not be there yet.
func create(file string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = bytes.NewReader(data).WriteTo(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// replace writes a file in one step: who reads it sees the old or the new one, whole.
func replace(file string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

package transport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Trusting is TLS towards a server whose certificate one of a PEM file's authorities must have signed; nil, the standard library's
// defaults with the system's authorities, for "". A file without a certificate is an error, never trust in everybody.
func Trusting(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("read authorities: %s holds no certificate", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

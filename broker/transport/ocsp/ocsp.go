// Package ocsp reads and fetches OCSP responses (RFC 6960) for the certificates that a listener shows. It asks nobody about the
// certificates of clients: revocation lists are for those.
package ocsp

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
)

// Stapler is a transport.Stapler. Its zero value is ready for use, and safe for concurrent use.
type Stapler struct {
	Client *http.Client // nil = http.DefaultClient
}

var _ transport.Stapler = Stapler{}

// maxResponse bounds what a responder may send; responses have one to three kilobytes.
const maxResponse = 64 << 10

// Read implements transport.Stapler.
func (Stapler) Read(response []byte, leaf, issuer *x509.Certificate) (transport.Staple, error) {
	r, err := ocsp.ParseResponseForCert(response, leaf, issuer)
	if err != nil {
		return transport.Staple{}, fmt.Errorf("OCSP response: %s", strings.TrimPrefix(err.Error(), "ocsp: "))
	}
	// RFC 6960 4.2.2.2: whom the issuer lets answer in its place says so in its certificate.
	if r.Certificate != nil && !r.Certificate.Equal(issuer) && !slices.Contains(r.Certificate.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return transport.Staple{}, errors.New("OCSP response: signed by somebody who may not")
	}
	switch r.Status {
	case ocsp.Good:
	case ocsp.Revoked:
		return transport.Staple{}, fmt.Errorf("OCSP response: our own certificate was revoked on %s; replace it", r.RevokedAt.UTC().Format(time.DateOnly))
	default:
		return transport.Staple{}, errors.New("OCSP response: the responder does not know the certificate")
	}
	until := r.NextUpdate
	if until.IsZero() { // newer information is always to be had
		until = r.ThisUpdate.Add(24 * time.Hour)
	}
	return transport.Staple{
		Response: bytes.Clone(response), Until: until, Refresh: r.ThisUpdate.Add(until.Sub(r.ThisUpdate) / 2),
	}, nil
}

// Fetch implements transport.Stapler.
func (s Stapler) Fetch(ctx context.Context, leaf, issuer *x509.Certificate) (transport.Staple, error) {
	if len(leaf.OCSPServer) == 0 {
		return transport.Staple{}, errors.New("the certificate names no OCSP responder: set ocsp_staple to a file, or leave it empty")
	}
	question, err := ocsp.CreateRequest(leaf, issuer, nil)
	if err != nil {
		return transport.Staple{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, leaf.OCSPServer[0], bytes.NewReader(question))
	if err != nil {
		return transport.Staple{}, err
	}
	request.Header.Set("Content-Type", "application/ocsp-request")
	client := s.Client
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(request)
	if err != nil {
		return transport.Staple{}, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxResponse))
	if err != nil {
		return transport.Staple{}, err
	}
	if answer.StatusCode != http.StatusOK {
		return transport.Staple{}, fmt.Errorf("%s answered %s", leaf.OCSPServer[0], answer.Status)
	}
	staple, err := s.Read(body, leaf, issuer)
	if err == nil && time.Now().After(staple.Until) {
		err = fmt.Errorf("%s answered with a response past its time", leaf.OCSPServer[0])
	}
	return staple, err
}

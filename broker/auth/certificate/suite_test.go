package certificate

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/authtest"
)

func TestSuite(t *testing.T) {
	cert := made(t, x509.Certificate{Subject: pkix.Name{CommonName: "meter-7"}})
	authtest.Run(t, authtest.Harness{
		New: func(t *testing.T) auth.Authenticator { return open(t, DefaultConfig(), began) },
		Right: func() *auth.Attempt {
			peer := authtest.Peer()
			peer.Cert = cert
			return &auth.Attempt{Peer: peer, ClientID: "c1", Username: "meter-7", HasUser: true}
		},
		Name:        "meter-7",
		UnknownUser: authtest.Refused, // the certificate is another's
	})
}

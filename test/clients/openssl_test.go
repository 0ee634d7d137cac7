package clients

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// openssl connects with openssl s_client, and returns what it prints once it has printed what is awaited so many times, or ends by itself. It
// keeps the connection until then, for what the broker sends late: tickets, and in TLS 1.3 its judgement of the client's certificate.
func openssl(t *testing.T, addr, await string, times int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", addr}, args...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out journal
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan bool)
	go func() { cmd.Wait(); close(ended) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for running := true; running && strings.Count(out.String(), await) < times; {
		select {
		case <-ended:
			running = false
		case <-tick.C:
		}
	}
	stdin.Close()
	<-ended
	return out.String()
}

// prints wants openssl to say something.
func prints(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("openssl does not print %q, but\n%s", part, out)
		}
	}
}

// TestOpenSSL asks what a listener with TLS speaks.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	strict := fmt.Sprintf("  - {address: \"127.0.0.1:0\", tls: {certificate: %s/server.crt, key: %[1]s/server.key, min_version: \"1.3\"}}\n", env.pki)
	b := startConfigured(t, "listeners:\n"+listener("mqtts")+listener("wss")+strict+"http: {address: \"127.0.0.1:0\"}\nlimits: {connect_timeout: 5s}\n")
	const ready = "Verify return code"
	ca := []string{"-CAfile", authority(), "-verify_return_error"}
	old := []string{"-cipher", "DEFAULT@SECLEVEL=0"} // without it openssl itself refuses these
	with := func(i int, await string, args ...string) string {
		t.Helper()
		return openssl(t, b.at(i), await, 1, append(args, ca...)...)
	}
	const refusal = "alert protocol version"
	for i := range 3 {
		prints(t, with(i, ready, append(old, "-tls1")...), refusal)
		prints(t, with(i, ready, append(old, "-tls1_1")...), refusal)
		prints(t, with(i, ready, "-tls1_3"), "Verify return code: 0 (ok)", "New, TLSv1.3", "No ALPN negotiated")
	}
	prints(t, with(0, ready, "-tls1_2"), "Verify return code: 0 (ok)", "New, TLSv1.2", "ECDHE", "Secure Renegotiation IS supported")
	prints(t, with(2, ready, "-tls1_2"), refusal)
	prints(t, with(0, ready, append(old, "-tls1_2", "-cipher", "kRSA:RC4:3DES:CBC:NULL:aNULL@SECLEVEL=0")...), "handshake failure")

	for _, args := range [][]string{{"-noservername"}, {"-servername", "localhost", "-verify_hostname", "localhost"}, {"-servername", "another.example.com"}, {"-verify_ip", "127.0.0.1"}} {
		prints(t, with(0, ready, args...), "Verify return code: 0 (ok)")
	}
	for i, alpn := range []string{"mqtt", "http/1.1"} {
		prints(t, with(i, ready, "-alpn", alpn), "ALPN protocol: "+alpn)
		prints(t, with(i, ready, "-alpn", "other,"+alpn), "ALPN protocol: "+alpn)
		prints(t, with(i, ready, "-alpn", "h2"), "alert no application protocol")
	}

	for i, version := range []string{"-tls1_2", "-tls1_3", "-tls1_3"} {
		saved := filepath.Join(t.TempDir(), "session")
		// In TLS 1.3 openssl tells of the ticket only when the broker ends the connection, on which nobody speaks MQTT.
		out := with(i, "SSL-Session:", version, "-sess_out", saved)
		prints(t, out, "New, TLSv1.")
		until(t, "a session to resume", func() bool { _, err := os.Stat(saved); return err == nil })
		prints(t, with(i, ready, version, "-sess_in", saved), "Reused, TLSv1.")
	}
	if n := strings.Count(openssl(t, b.at(0), "", 0, "-tls1_2", "-reconnect"), "Reused, TLSv1.2"); n != 5 {
		t.Errorf("%d of 5 connections resume the first", n)
	}
}

// issued makes a client certificate that holds until then, and writes it and its key to files; without an authority it signs itself.
func issued(t *testing.T, name string, until time.Time, authority *tls.Certificate) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: until.Add(-24 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, crypto.PrivateKey(secret)
	if authority != nil {
		parent, signer = authority.Leaf, authority.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &secret.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "client.crt"), filepath.Join(t.TempDir(), "client.key")
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	write(t, cert, text("CERTIFICATE", der))
	write(t, key, text("PRIVATE KEY", encoded))
	return cert, key
}

// TestBadClientCertificates: a client certificate that does not hold is refused with an alert, to openssl and to mosquitto_pub, and the
// log says why.
func TestBadClientCertificates(t *testing.T) {
	t.Parallel()
	ours, err := tls.LoadX509KeyPair(authority(), filepath.Join(env.pki, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := *ours.Leaf // it has our authority's name, and another key
	leaf.PublicKey = secret.Public()
	forger := tls.Certificate{Leaf: &leaf, PrivateKey: secret}
	soon := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name       string
		until      time.Time
		authority  *tls.Certificate
		alert, log string
	}{
		{"expired", time.Now().Add(-time.Hour), &ours, "alert certificate expired", "expired"},
		{"not yet", time.Now().Add(48 * time.Hour), &ours, "alert", "is not yet valid"},
		{"self-signed", soon, nil, "alert unknown ca", "unknown authority"},
		{"forged", soon, &forger, "alert", "certificate"},
		{"good", soon, &ours, "", ""},
		{"none", soon, nil, "alert", "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := startConfigured(t, fmt.Sprintf(`
authentication: {chain: [certificate]}
listeners: [{name: doors, address: "127.0.0.1:0", tls: {certificate: %[1]s/server.crt, key: %[1]s/server.key, client_ca: %[1]s/ca.crt}}]
http: {address: "127.0.0.1:0"}
`, env.pki))
			cert, key := issued(t, c.name, c.until, c.authority)
			args := []string{"--cert", cert, "--key", key}
			if c.name == "none" {
				args = nil
			}
			m := &mosquitto{t, "mqttv5", b.at(0), append([]string{"--cafile", authority()}, args...)}
			if c.name == "good" {
				m.run("mosquitto_pub", "-t", "a", "-m", "x", "-q", "1")
				return
			}
			m.refused("Error")
			for _, version := range []string{"-tls1_2", "-tls1_3"} {
				args := []string{version, "-CAfile", authority()}
				if c.name != "none" {
					args = append(args, "-cert", cert, "-key", key)
				}
				prints(t, openssl(t, b.at(0), " alert ", 1, args...), c.alert)
			}
			b.logs("listener=doors", "remote=127.0.0.1:", c.log)
		})
	}
}

package clients

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The doors, as kind.doors and options.door name them, are tcp, mqtts, ws and wss: MQTT on TCP and on TLS, within WebSocket frames on TCP and on TLS.

// makeAuthority has the binary make an authority and a server certificate for this machine.
func makeAuthority(dir string) (*x509.CertPool, error) {
	if out, err := exec.Command(env.binary, "cert", "init", "localhost", "127.0.0.1", "::1", "--dir", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make an authority: %w\n%s", err, out)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.crt is no certificate")
	}
	return roots, nil
}

// authority is the file with the certificate that clients believe.
func authority() string { return filepath.Join(env.pki, "ca.crt") }

// trusting is what Go's clients check servers with.
func trusting() *tls.Config { return &tls.Config{RootCAs: env.roots, MinVersion: tls.VersionTLS12} }

// url is where a client finds the broker, in the words that paho, autopaho and mqtt.js have in common.
func (o *options) url() string {
	switch o.door {
	case "ws", "wss":
		return o.door + "://" + o.addr + "/mqtt"
	case "mqtts":
		return "mqtts://" + o.addr
	}
	return "mqtt://" + o.addr
}

// listener is a line of configuration: a listener on a free port of this machine for that door.
func listener(door string) string { return listenerAt(door, "127.0.0.1:0", "") }

// listenerAt is listener at an address, with more settings ("key: value, ").
func listenerAt(door, address, more string) string {
	s := fmt.Sprintf("  - {%saddress: %q", more, address)
	if door == "ws" || door == "wss" {
		s += ", protocol: websocket"
	}
	if door == "mqtts" || door == "wss" {
		s += fmt.Sprintf(", tls: {certificate: %s/server.crt, key: %[1]s/server.key}", env.pki)
	}
	return s + "}\n"
}

// startDoor is startBroker with another listener.
func startDoor(t *testing.T, door string) string {
	t.Helper()
	if door == "tcp" {
		return startBroker(t)
	}
	return startConfigured(t, "listeners:\n"+listener(door)+"http: {address: \"127.0.0.1:0\"}\n").at(0)
}

// behind moves faults to after what a door needs to open: they are meant for MQTT.
func behind(door string, plan []fault) []fault {
	toll := map[string]int{"mqtts": 3000, "ws": 500, "wss": 3500}[door]
	moved := make([]fault, len(plan))
	for i, f := range plan {
		moved[i] = fault{f.after + toll, f.kind}
	}
	return moved
}

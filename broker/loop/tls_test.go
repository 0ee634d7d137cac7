package loop

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/test/selfsigned"
)

var certificate = sync.OnceValues(func() (*selfsigned.Certificate, error) { return selfsigned.New("loop") })

func tlsPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	cert, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	ours, peer := tcpPair(t)
	server := tls.Server(ours, &tls.Config{Certificates: []tls.Certificate{cert.Certificate}, SessionTicketsDisabled: true})
	client := tls.Client(peer, &tls.Config{InsecureSkipVerify: true})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := get(t, done); err != nil {
		t.Fatal(err)
	}
	return server, client
}

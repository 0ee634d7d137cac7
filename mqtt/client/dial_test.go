package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
	"github.com/sapwood-mqtt/sapwood/test/selfsigned"
)

// A real socket of each kind: what is written before Close arrives, though the
// server still sends and reads late.
func TestSockets(t *testing.T) {
	pair := certificate(t)
	f := func(name, network, address string, secure bool) {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			o := client.Options{Address: listener.Addr().String()}
			switch {
			case network == "unix":
				o.Address = "unix:" + address
			case secure:
				o.Address = "mqtts://ann:p%40ss@" + o.Address
				o.TLS = &tls.Config{RootCAs: pair.Roots}
				listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair.Certificate}})
			default:
				o.Address = "mqtt://ann:p%40ss@" + o.Address
			}
			far := make(chan net.Conn)
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				far <- conn
			}()
			b := &bench{t: t, v: mqtt.V5, opt: o}
			done := b.dial()
			s := serverEnd(t, <-far)
			s.want(mqtt.CONNECT)
			if p := &s.Connect; network == "tcp" && (string(p.Username) != "ann" || string(p.Password) != "p@ss") {
				t.Errorf("credentials %q %q", p.Username, p.Password)
			}
			s.connack(mqtt.Connack{})
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			large := message("a", 0)
			large.Payload = make([]byte, 100_000)
			closed := make(chan error, 1)
			go func() {
				for range 10 {
					if _, err := b.c.Publish(context.Background(), &large); err != nil {
						t.Error(err)
					}
				}
				closed <- b.c.Close(context.Background())
			}()
			s.publish(message("unread", 0))
			for range 10 {
				s.want(mqtt.PUBLISH)
				s.publish(message("unread", 0))
			}
			s.wantDisconnect(mqtt.Success)
			s.cut()
			if err := <-closed; err != nil {
				t.Error(err)
			}
		})
	}
	f("TCP", "tcp", "127.0.0.1:0", false)
	f("TLS", "tcp", "127.0.0.1:0", true)
	f("Unix", "unix", filepath.Join(t.TempDir(), "s"), false)
}

func serverEnd(t *testing.T, conn net.Conn) *far { return &far{t: t, v: mqtt.V5, conn: conn} }

func certificate(t *testing.T) *selfsigned.Certificate {
	t.Helper()
	c, err := selfsigned.New("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTLSToAStranger(t *testing.T) {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate(t).Certificate}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
	}()
	_, err = client.Dial(t.Context(), client.Options{Address: "mqtts://" + listener.Addr().String()})
	if stranger := new(x509.UnknownAuthorityError); !errors.As(err, stranger) {
		t.Error(err)
	}
}

func TestBadOptions(t *testing.T) {
	f := func(o client.Options, want string) {
		t.Helper()
		_, err := client.Dial(t.Context(), o)
		if !errors.Is(err, client.ErrOptions) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	f(client.Options{}, "no host")
	f(client.Options{Address: "unix:"}, "no host")
	f(client.Options{Address: "ws://localhost"}, `scheme "ws"`)
	f(client.Options{Address: "mqtt://u:secret%zz@localhost"}, "percent-encode")
	f(client.Options{Address: "mqtt://localhost/topic"}, "goes on")
	f(client.Options{Address: "localhost", Version: 9}, "version 9")
	f(client.Options{Address: "localhost", Version: mqtt.V311}, "client id")
	f(client.Options{Address: "localhost", Version: mqtt.V311, CleanStart: true, Password: []byte("secret")}, "user name")
	f(client.Options{Address: "localhost", ClientID: strings.Repeat("x", 65536)}, "65,535")
}

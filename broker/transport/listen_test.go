package transport_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
)

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := transport.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestPortZeroTakesAFreePort(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	if port := l.Addr().(*net.TCPAddr).Port; port == 0 {
		t.Error("the port is still 0")
	}
	dial(t, l)
}

func TestPortInUse(t *testing.T) { // F246
	l := listen(t, "127.0.0.1:0")
	if _, err := transport.Listen(l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, "unix:"+path)
	dial(t, l)
	if _, err := transport.Listen("unix:" + path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("over a live socket: got %v, want EADDRINUSE", err)
	}
	dial(t, l) // the attempt has not harmed the owner

	// A process that is killed leaves its file behind.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	dial(t, listen(t, "unix:"+path))
}

func TestUnixSocketSparesOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := transport.Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("got %v", err)
	}
	if data, err := os.ReadFile(path); string(data) != "data" {
		t.Errorf("the file was harmed: %q, %v", data, err)
	}
}

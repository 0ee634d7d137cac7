package clients

import (
	"testing"

	"github.com/sapwood-mqtt/sapwood/test/selfsigned"
)

// certificate makes a server certificate for this machine, signed by itself, as two files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	c, err := selfsigned.New("localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if cert, key, err = c.Write(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

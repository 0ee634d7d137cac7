// Package transport turns an address into a net.Listener, TCP and Unix sockets, and files into the TLS that a listener
// speaks: its certificates, whose client certificates it believes, and how both change while connections live. It accepts and
// closes connections, never reads or writes one, and decides nothing about who a client is.
package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
)

// Listen opens host:port as TCP, or unix:/path as a Unix socket. Port 0 takes a free port. A socket
// file whose process is gone is replaced; one that is alive, or any other file, is an error.
func Listen(address string) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		// The event loops set keep-alive on the listener, for all connections at once.
		quiet := net.ListenConfig{KeepAlive: -1}
		return quiet.Listen(context.Background(), "tcp", address)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// removeStale removes a socket file that nobody listens on. net removes the file when its listener
// closes, so only a process that was killed leaves one behind.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return &os.PathError{Op: "listen", Path: path, Err: syscall.EADDRINUSE}
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

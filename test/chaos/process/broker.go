//go:build linux

// Package process does to a real broker process, under load, what happens to processes: it is killed, paused and
// restarted, and its disk fills up or fails. It judges nothing itself; that is the history's part.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
)

// Server is a program that can be put to the test.
type Server struct {
	Name string
	// Command writes what configuration the program needs into conf and returns its command line. It keeps
	// its data in data and listens on port of 127.0.0.1.
	Command func(conf, data string, port int) ([]string, error)
	// Tidy has the running program tidy up its data, as an operator may at any moment; nil = it has no such thing.
	Tidy func(ctx context.Context, data string) error
}

// Sapwood is our own binary with a configuration, in YAML, beside what the run itself sets.
func Sapwood(binary, config string) Server {
	return Server{Name: "sapwood", Tidy: compact, Command: func(conf, data string, port int) ([]string, error) {
		file := filepath.Join(conf, "sapwood.yaml")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, err
		}
		return []string{binary, "serve", "--config", file, "--data", data, "--mqtt", fmt.Sprintf("127.0.0.1:%d", port), "--http", "127.0.0.1:0"}, nil
	}}
}

// Mosquitto is Eclipse Mosquitto with persistence as it comes: a broker known to lose messages when killed, by which the
// checker is checked.
func Mosquitto(binary string) Server {
	return Server{Name: "mosquitto", Command: func(conf, data string, port int) ([]string, error) {
		if err := os.MkdirAll(data, 0o700); err != nil {
			return nil, err
		}
		file := filepath.Join(conf, "mosquitto.conf")
		text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\nmax_queued_messages 0\nuser root\n", port, data)
		return []string{binary, "-c", file}, os.WriteFile(file, []byte(text), 0o600)
	}}
}

// Broker is one server over the lives of its processes. Its methods but Dial are for one goroutine.
type Broker struct {
	log     *history.Log
	command []string
	port    int
	output  tail

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
}

// New prepares a server. conf and data are directories of its own.
func New(s Server, conf, data string, log *history.Log) (*Broker, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	command, err := s.Command(conf, data, port)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", s.Name, err)
	}
	return &Broker{log: log, command: command, port: port}, nil
}

// freePort finds a port that nobody gets by chance while the broker is away: below those that the system gives to
// outgoing connections.
func freePort() (int, error) {
	for range 100 {
		port := 10000 + rand.IntN(20000)
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, ln.Close()
		}
	}
	return 0, errors.New("no free port")
}

// Dial connects to the broker.
func (b *Broker) Dial() (net.Conn, error) {
	return net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", b.port), time.Second)
}

// Start starts the process and does not wait until it is ready.
func (b *Broker) Start() error {
	b.cmd = exec.Command(b.command[0], b.command[1:]...)
	b.cmd.Stdout, b.cmd.Stderr = &b.output, &b.output
	b.cmd.SysProcAttr = diesWithUs()
	if err := b.cmd.Start(); err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	exited := make(chan struct{})
	b.exited = exited
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait() // its state tells how it ended
		close(exited)
	}(b.cmd)
	return nil
}

// readyTime is how long a start may take on a busy machine.
const readyTime = time.Minute

// Ready waits until the broker takes connections.
func (b *Broker) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := b.Dial(); err == nil {
			b.log.Add(history.Event{Kind: history.Up})
			return conn.Close()
		}
		select {
		case <-b.exited:
			return fmt.Errorf("the broker did not start: %s\n%s", b.cmd.ProcessState, &b.output)
		case <-ctx.Done():
			return fmt.Errorf("the broker is not ready: %w\n%s", context.Cause(ctx), &b.output)
		case <-tick.C:
		}
	}
}

// Alive tells, by an error, that the process has ended although nobody asked it to.
func (b *Broker) Alive() error {
	select {
	case <-b.exited:
		return fmt.Errorf("the broker ended by itself: %s\n%s", b.cmd.ProcessState, &b.output)
	default:
		return nil
	}
}

// Kill ends the process at once.
func (b *Broker) Kill() error {
	if err := b.Alive(); err != nil {
		return err
	}
	if err := b.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill the broker: %w", err)
	}
	<-b.exited
	b.log.Add(history.Event{Kind: history.Down, Topic: "SIGKILL"})
	return nil
}

// stopTime is how long a stop may take.
const stopTime = time.Minute

// Terminate asks the process to end, and waits until it has. That it does not end well is an error.
func (b *Broker) Terminate() error {
	if err := b.Alive(); err != nil {
		return err
	}
	if err := terminate(b.cmd.Process); err != nil {
		return fmt.Errorf("stop the broker: %w", err)
	}
	late := time.AfterFunc(stopTime, func() { b.cmd.Process.Kill() })
	<-b.exited
	inTime := late.Stop()
	clean := inTime && b.cmd.ProcessState.Success()
	b.log.Add(history.Event{Kind: history.Down, Topic: "SIGTERM", Clean: clean})
	if !clean {
		return fmt.Errorf("the broker did not stop well: %s\n%s", b.cmd.ProcessState, &b.output)
	}
	return nil
}

// Close makes sure that no process is left behind.
func (b *Broker) Close() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill() // it may be gone
	<-b.exited
}

// Output is the end of what the processes wrote.
func (b *Broker) Output() string { return b.output.String() }

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const tailBytes = 16 << 10

// Write keeps p, and lets go of the oldest.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if t.buf.Len() > 2*tailBytes {
		t.buf.Next(t.buf.Len() - tailBytes)
	}
	return len(p), nil
}

// String is what was kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(t.buf.String())
}

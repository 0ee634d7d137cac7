package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// brokerCore and loadCore are where the two sides of a measurement run.
const (
	brokerCore = "0"
	loadCore   = "1"
)

// A broker is one of the compared. command makes its command line and environment
// for a listener on the loopback address.
type broker struct {
	name    string
	command func(dir string, port int) (args, env []string, err error)
}

// sapwood runs the built binary with everything off that the others do not have on.
func sapwood(binary, config string) broker {
	return broker{"Sapwood", func(dir string, port int) ([]string, []string, error) {
		args := []string{binary, "serve", "--http=off", "--mqtt=127.0.0.1:" + strconv.Itoa(port), "--data=" + filepath.Join(dir, "data")}
		if config != "" {
			args = append(args, "--config="+config)
		}
		return args, []string{"SAPWOOD_SYS_INTERVAL=0s", "SAPWOOD_LOG_LEVEL=error"}, nil
	}}
}

// mosquittoConf: nothing is stored, logged or dropped.
const mosquittoConf = `listener %d 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
max_connections -1
set_tcp_nodelay true
sys_interval 0
log_type none
`

func mosquitto(binary string) broker {
	return broker{"Mosquitto", func(dir string, port int) ([]string, []string, error) {
		file := filepath.Join(dir, "mosquitto.conf")
		err := os.WriteFile(file, fmt.Appendf(nil, mosquittoConf, port), 0o644)
		return []string{binary, "-c", file}, nil, err
	}}
}

// running is a started broker.
type running struct {
	cmd     *exec.Cmd
	exited  chan error
	address string
	dir     string
}

// start runs the broker on its core, with no memory of an earlier run, and returns
// when it accepts connections.
func (b broker) start(ctx context.Context) (*running, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sapwood-compare-")
	if err != nil {
		return nil, err
	}
	args, env, err := b.command(dir, port)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", brokerCore}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", b.name, err), os.RemoveAll(dir))
	}
	r := &running{cmd: cmd, exited: make(chan error, 1), address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), dir: dir}
	go func() { r.exited <- cmd.Wait() }()
	if err := r.ready(ctx); err != nil {
		r.stop()
		return nil, fmt.Errorf("start %s: %w", b.name, err)
	}
	return r, nil
}

// freePort finds a port that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// startTime is how long a broker may take until it accepts connections.
const startTime = 10 * time.Second

func (r *running) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", r.address); err == nil {
			return c.Close()
		}
		select {
		case err := <-r.exited:
			r.exited <- err
			return fmt.Errorf("ended at once: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// pid is the broker's process: taskset becomes it.
func (r *running) pid() int { return r.cmd.Process.Pid }

// stop ends the broker, first politely, and removes what it left.
func (r *running) stop() {
	r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.exited:
	case <-time.After(startTime):
		r.cmd.Process.Kill()
		<-r.exited
	}
	os.RemoveAll(r.dir)
}

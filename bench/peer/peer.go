// Package peer starts the brokers that are measured, each alone on its core, and ends them. It
// knows their command lines and nothing of MQTT; it measures nothing.
package peer

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The cores that the two sides of a measurement run on, as taskset takes them.
const (
	BrokerCore = "0"
	LoadCore   = "1"
)

// Broker is one of those that are measured.
type Broker struct {
	Name string
	// Command makes the command line and what it adds to the environment, for a listener on a port
	// of the loopback address. What the broker keeps goes below dir.
	Command func(dir string, port int) (args, env []string, err error)
	// Announces is how the line begins that the broker prints when clients can connect; "" = it
	// prints none, and connections are tried until one succeeds.
	Announces string
	// Cores are those that it may use, as taskset takes them; "" = BrokerCore.
	Cores string
}

// Sapwood runs the built binary with everything off that the others do not have on. durability and
// config may be empty; http is an address or "off".
func Sapwood(binary, config, durability, http string) Broker {
	return Broker{Name: "Sapwood", Announces: "{", Command: func(dir string, port int) ([]string, []string, error) {
		args := []string{binary, "serve", "--json", "--http=" + http, "--mqtt=127.0.0.1:" + strconv.Itoa(port), "--data=" + filepath.Join(dir, "data")}
		if config != "" {
			args = append(args, "--config="+config)
		}
		env := []string{"SAPWOOD_SYS_INTERVAL=0s", "SAPWOOD_LOG_LEVEL=error"}
		if durability != "" {
			env = append(env, "SAPWOOD_DURABILITY="+durability)
		}
		return args, env, nil
	}}
}

// With is the broker with more in its environment.
func (b Broker) With(variables ...string) Broker {
	command := b.Command
	b.Command = func(dir string, port int) (args, env []string, err error) {
		args, env, err = command(dir, port)
		return args, append(env, variables...), err
	}
	return b
}

// mosquittoConf: nothing is logged or dropped.
const mosquittoConf = `listener %d 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_inflight_messages 0
max_connections -1
set_tcp_nodelay true
sys_interval 0
log_type none
`

// Mosquitto runs Debian's; persistence are further lines of its configuration file, which may name
// its directory as %s.
func Mosquitto(name, binary, persistence string) Broker {
	return Broker{Name: name, Command: func(dir string, port int) ([]string, []string, error) {
		file := filepath.Join(dir, "mosquitto.conf")
		text := fmt.Sprintf(mosquittoConf, port) + strings.ReplaceAll(persistence, "%s", dir+"/") + "user root\n"
		err := os.WriteFile(file, []byte(text), 0o644)
		return []string{binary, "-c", file}, nil, err
	}}
}

// natsConf: acknowledged means synced.
const natsConf = `server_name: bench
listen: 127.0.0.1:-1
jetstream { store_dir: %q, sync_interval: always, max_memory_store: 1GiB, max_file_store: 100GiB }
mqtt { listen: "127.0.0.1:%d", max_ack_pending: 65535 }
logfile: %q
max_pending: 1GiB
`

// NATS runs the server of the module bench/peer/nats with JetStream, syncing after every write.
func NATS(binary string) Broker {
	return Broker{Name: "NATS", Command: func(dir string, port int) ([]string, []string, error) {
		file := filepath.Join(dir, "nats.conf")
		err := os.WriteFile(file, fmt.Appendf(nil, natsConf, filepath.Join(dir, "data"), port, filepath.Join(dir, "log")), 0o644)
		return []string{binary, "-c", file}, nil, err
	}}
}

// Running is a started broker.
type Running struct {
	Address string        // host:port
	Dir     string        // where it keeps what it keeps
	Took    time.Duration // from exec until clients could connect
	Said    string        // the line that said so, of brokers that announce it

	cmd       *exec.Cmd
	exited    chan error
	announced chan struct{} // closed when it said that it is ready, or that it never will
	temporary bool
}

// Start runs the broker with no memory of an earlier run, in a new directory below parent
// ("" = the system's for temporary files) that Stop removes, and returns when it accepts connections.
func (b Broker) Start(ctx context.Context, parent string) (*Running, error) {
	dir, err := os.MkdirTemp(parent, "sapwood-bench-")
	if err != nil {
		return nil, err
	}
	r, err := b.StartIn(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	r.temporary = true
	return r, nil
}

// StartIn runs the broker on a directory that stays.
func (b Broker) StartIn(ctx context.Context, dir string) (*Running, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args, env, err := b.Command(dir, port)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", cmp.Or(b.Cores, BrokerCore)}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", b.Name, err)
	}
	r := &Running{
		Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Dir: dir,
		cmd: cmd, exited: make(chan error, 1), announced: make(chan struct{}),
	}
	go func() {
		lines := bufio.NewScanner(out)
		for said := false; lines.Scan(); {
			if !said && b.Announces != "" && strings.HasPrefix(lines.Text(), b.Announces) {
				said, r.Said = true, lines.Text()
				close(r.announced)
			}
		}
		r.exited <- cmd.Wait()
	}()
	if err := r.ready(ctx, b.Announces != ""); err != nil {
		r.Stop()
		return nil, fmt.Errorf("start %s: %w", b.Name, err)
	}
	r.Took = time.Since(began)
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

// How long a broker may take until it accepts connections, and to end.
const (
	startTime = 2 * time.Minute
	stopTime  = 20 * time.Second
)

func (r *Running) ready(ctx context.Context, announces bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if !announces {
			if c, err := net.Dial("tcp", r.Address); err == nil {
				return c.Close()
			}
		}
		select {
		case <-r.announced:
			return nil
		case err := <-r.exited:
			r.exited <- err
			return fmt.Errorf("ended at once: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// PID is the broker's process: taskset becomes it.
func (r *Running) PID() int { return r.cmd.Process.Pid }

// Stop ends the broker, first politely, and removes what it left if Start made the directory.
func (r *Running) Stop() {
	r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.exited:
	case <-time.After(stopTime):
		r.cmd.Process.Kill()
		<-r.exited
	}
	r.remove()
}

// Kill ends the broker as a crash would.
func (r *Running) Kill() {
	r.cmd.Process.Kill()
	<-r.exited
	r.remove()
}

func (r *Running) remove() {
	if r.temporary {
		os.RemoveAll(r.Dir)
	}
}

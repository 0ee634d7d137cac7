package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// F237: the kernel ends the broker for its memory, in the middle of work: as kill -9, nothing acknowledged is lost.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	k := &kept{data: filepath.Join(t.TempDir(), "data"), first: 1}
	p := launch(t, k.data)
	subscribeAway(t, p).drop()
	pub := k.publisher(t, p)
	k.publish(pub, 100)
	how := limitMemory(t, p.Cmd.Process.Pid)
	gone := make(chan error, 1)
	go func() { gone <- p.Cmd.Wait() }()
	published := make(chan struct{})
	go func() { // until the end
		defer close(published)
		for k.next(pub) == nil {
		}
	}()
	// Packets that are never finished.
	unfinished := append([]byte{0x30, 0xC0, 0x84, 0x3D, 0, 1, 't', 0}, make([]byte, 900_000)...)
	for i := 0; len(gone) == 0 && i < 1000; i++ {
		c, err := tryDial(t, p.addr, "eater", mqtt.V5)
		if err != nil {
			break
		}
		c.send("CONNECT clean")
		c.write(unfinished)
	}
	err := <-gone
	<-published
	status := p.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	if how == "cgroup" && status.Signal() != syscall.SIGKILL || status.ExitStatus() == 0 {
		t.Fatalf("%s: it ended by %v: %s", how, err, &p.Logs)
	}
	t.Logf("%s: %v after %d messages", how, err, k.last)

	p = launch(t, k.data)
	k.last++ // not acknowledged: it may be there
	unsure := k.last
	k.publish(k.publisher(t, p), k.last+11-k.last%10)
	a := &after{t: t}
	a.drain(k, p)
	if len(a.missing) != 1 || a.missing[0] != unsure {
		a.lost()
	}
	p.Kill()
}

// limitMemory leaves a process little more memory than it has: by a control group, so that the kernel kills it, or where
// that cannot be had by a limit of its address space.
func limitMemory(t *testing.T, pid int) string {
	t.Helper()
	const more = 16 << 20
	if group := memoryGroup(t); group != "" {
		name := "memory.max" // version 2
		if _, err := os.Stat(filepath.Join(group, name)); err != nil {
			name = "memory.limit_in_bytes"
		}
		put := func(name string, n int) bool {
			return os.WriteFile(filepath.Join(group, name), []byte(strconv.Itoa(n)), 0o600) == nil
		}
		if put(name, status(t, pid, "VmRSS")+more) && put("cgroup.procs", pid) {
			return "cgroup"
		}
	}
	n := uint64(status(t, pid, "VmSize") + more)
	if err := unix.Prlimit(pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: n, Max: n}, nil); err != nil {
		t.Fatal(err)
	}
	return "address space"
}

// memoryGroup makes a control group below the one of this process; "" = it cannot be made.
func memoryGroup(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) < 3 || parts[1] != "" && parts[1] != "memory" {
			continue
		}
		group := filepath.Join("/sys/fs/cgroup", parts[1], parts[2], fmt.Sprint("sapwood-test-", os.Getpid()))
		if os.Mkdir(group, 0o700) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(group) })
		for _, name := range []string{"memory.max", "memory.limit_in_bytes"} {
			if _, err := os.Stat(filepath.Join(group, name)); err == nil {
				return group
			}
		}
	}
	return ""
}

// status is a figure of a process in bytes.
func status(t *testing.T, pid int, name string) (n int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatalf("no %s: %v", name, err)
	}
	return n << 10
}

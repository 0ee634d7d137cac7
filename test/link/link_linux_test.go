//go:build netns

// Package link runs clients behind a bad network: a namespace of their own, whose only way out is a pair of TUN devices
// between which this process carries the packets, late, in another order, or not at all. It needs root and iproute2:
//
//	go test -tags netns ./test/link
package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// weather is what a link does to packets. The zero value does nothing.
type weather struct {
	delay   time.Duration          // each way
	loss    float64                // share of the packets
	reorder float64                // share that comes later than those behind it
	up      func(port uint16) bool // packets of this client port do not reach the broker
	down    func(port uint16) bool // nor the client
}

// link is one bad link: the broker's end is here, the clients' end is in a namespace.
type link struct {
	near, far string // addresses
	ns        *os.File
	ends      [2]*os.File
	running   sync.WaitGroup

	mu      sync.Mutex
	weather weather
	random  *rand.Rand
	carried int
	lost    int
}

// late is a packet on its way.
type late struct {
	at     time.Time
	packet []byte
}

// queued is how many packets may be on their way in one direction; what comes then is lost, as in a router.
const queued = 4096

// newLink makes a namespace and a link to it, which the test's end removes.
func newLink(t *testing.T, mtu int) *link {
	t.Helper()
	id := fmt.Sprintf("%d", os.Getpid()%10000)
	n := os.Getpid() % 200
	l := &link{near: fmt.Sprintf("10.78.%d.1", n), far: fmt.Sprintf("10.78.%d.2", n), random: rand.New(rand.NewPCG(1, 2))}
	name := "sapwood" + id
	ip(t, "netns", "add", name)
	t.Cleanup(func() { ip(t, "netns", "del", name) })
	var err error
	if l.ns, err = os.Open("/run/netns/" + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.ns.Close() })
	for i, device := range []string{"swn" + id, "swf" + id} {
		if l.ends[i], err = tun(device); err != nil {
			t.Fatalf("make a TUN device: %v", err)
		}
	}
	ip(t, "link", "set", "swf"+id, "netns", name)
	ip(t, "addr", "add", l.near, "peer", l.far, "dev", "swn"+id)
	ip(t, "link", "set", "swn"+id, "mtu", fmt.Sprint(mtu), "up")
	ip(t, "-n", name, "addr", "add", l.far, "peer", l.near, "dev", "swf"+id)
	ip(t, "-n", name, "link", "set", "swf"+id, "mtu", fmt.Sprint(mtu), "up")
	for i := range l.ends {
		ahead := make(chan late, queued)
		l.running.Go(func() { l.take(i, ahead) })
		l.running.Go(func() { l.give(l.ends[1-i], ahead) })
	}
	t.Cleanup(func() {
		l.ends[0].Close()
		l.ends[1].Close()
		l.running.Wait()
	})
	return l
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s (this test needs root and iproute2)", strings.Join(args, " "), err, out)
	}
}

// tun makes a TUN device that gives bare IP packets.
func tun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var request [unix.IFNAMSIZ + 64]byte
	copy(request[:unix.IFNAMSIZ-1], name)
	binary.NativeEndian.PutUint16(request[unix.IFNAMSIZ:], unix.IFF_TUN|unix.IFF_NO_PI)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return nil, errors.Join(errno, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// set changes the weather.
func (l *link) set(w weather) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.weather = w
}

// take reads what one side sends and decides what becomes of it.
func (l *link) take(from int, ahead chan<- late) {
	defer close(ahead)
	buf := make([]byte, 64<<10)
	for {
		n, err := l.ends[from].Read(buf)
		if err != nil {
			return
		}
		at, ok := l.fate(from, buf[:n])
		if !ok {
			continue
		}
		select {
		case ahead <- late{at, append([]byte(nil), buf[:n]...)}:
		default:
		}
	}
}

// fate tells when a packet arrives, if it does.
func (l *link) fate(from int, packet []byte) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.weather
	l.carried++
	block, offset := w.down, 2 // from the broker: the client's is the destination port
	if from == 1 {
		block, offset = w.up, 0
	}
	if header := int(packet[0]&15) * 4; packet[0]>>4 == 4 && packet[9] == unix.IPPROTO_TCP && len(packet) >= header+4 {
		if block != nil && block(binary.BigEndian.Uint16(packet[header+offset:])) {
			return time.Time{}, false
		}
	}
	if l.random.Float64() < w.loss {
		l.lost++
		return time.Time{}, false
	}
	at := time.Now().Add(w.delay)
	if l.random.Float64() < w.reorder {
		at = at.Add(w.delay / 10)
	}
	return at, true
}

// give hands packets on in the order in which they arrive.
func (l *link) give(to *os.File, ahead <-chan late) {
	var waiting []late
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for len(waiting) > 0 && time.Until(waiting[0].at) <= 0 {
			if _, err := to.Write(waiting[0].packet); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
			waiting = waiting[1:]
		}
		if len(waiting) > 0 {
			timer.Reset(time.Until(waiting[0].at))
		}
		select {
		case p, ok := <-ahead:
			if !ok {
				return
			}
			i := len(waiting)
			for i > 0 && p.at.Before(waiting[i-1].at) {
				i--
			}
			waiting = append(waiting[:i], append([]late{p}, waiting[i:]...)...)
		case <-timer.C:
		}
	}
}

// dial connects from behind the link.
func (l *link) dial(ctx context.Context, port string) (net.Conn, error) {
	runtime.LockOSThread() // a socket belongs to the namespace of the thread that makes it
	own, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		return nil, err
	}
	defer own.Close()
	if err := unix.Setns(int(l.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp4", net.JoinHostPort(l.near, port))
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, errors.Join(err, back) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return c, err
}

package clients

import (
	"net"
	"sync"
	"testing"
	"time"
)

// fault is how the proxy spoils one connection, once that many bytes (both directions) went through.
type fault struct {
	after int
	kind  string
}

// The kinds of fault. The last byte that passes is anywhere, also in the middle of a packet.
const (
	cut   = "cut"   // both sides see the end of the stream
	reset = "reset" // both sides see RST
	stall = "stall" // nothing moves for a moment, then everything goes on
	deaf  = "deaf"  // what the broker says is lost, what the client says arrives; then cut
	mute  = "mute"  // what the client says is lost, what the broker says arrives; then cut
)

// A stalled, deaf or mute connection lasts for a moment, a deaf or mute one also for no more than some bytes.
const (
	moment = 50 * time.Millisecond
	some   = 600
)

// proxy stands between one client and the broker. The connections through it meet the planned faults
// in order; once they are used up nothing happens any more.
type proxy struct {
	addr   string
	broker string
	ln     net.Listener

	mu     sync.Mutex
	plan   []fault
	met    int
	links  map[*link]bool
	closed bool
}

// startProxy listens until the test ends.
func startProxy(t *testing.T, broker string, plan ...fault) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: ln.Addr().String(), broker: broker, ln: ln, plan: plan, links: map[*link]bool{}}
	go p.accept()
	t.Cleanup(p.down)
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		broker, err := net.Dial("tcp", p.broker)
		if err != nil {
			client.Close()
			continue
		}
		l := &link{proxy: p, client: client.(*net.TCPConn), broker: broker.(*net.TCPConn), left: -1}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			l.end(false)
			continue
		}
		p.links[l] = true
		l.expect()
		p.mu.Unlock()
		go l.copy(l.broker, l.client, deaf)
		go l.copy(l.client, l.broker, mute)
	}
}

// down ends every connection without a word, and takes no further ones.
func (p *proxy) down() {
	p.ln.Close()
	p.mu.Lock()
	p.closed = true
	links := p.links
	p.links = map[*link]bool{}
	p.mu.Unlock()
	for l := range links {
		l.end(false)
	}
}

// faults is how many of the planned ones have happened.
func (p *proxy) faults() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.met
}

// link is one connection through the proxy.
type link struct {
	proxy          *proxy
	client, broker *net.TCPConn

	mu     sync.Mutex // also held while a chunk is written, so that left counts what really went through
	kind   string
	left   int // bytes until the fault; negative when none is to come
	active string
}

// expect takes the next planned fault. The proxy's lock is held.
func (l *link) expect() {
	if p := l.proxy; len(p.plan) > 0 {
		l.kind, l.left = p.plan[0].kind, p.plan[0].after
		p.plan = p.plan[1:]
	}
}

// copy moves bytes from one side to the other; the fault called loses has this direction's bytes lost.
func (l *link) copy(from, to *net.TCPConn, loses string) {
	defer func() {
		l.end(false)
		l.proxy.mu.Lock()
		delete(l.proxy.links, l)
		l.proxy.mu.Unlock()
	}()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if err := l.pass(to, buf[:n], loses); err != nil {
			return
		}
	}
}

func (l *link) pass(to *net.TCPConn, b []byte, loses string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.active == loses {
		return nil
	}
	if l.left > len(b) {
		l.left -= len(b)
	} else if l.left >= 0 {
		if _, err := to.Write(b[:l.left]); err != nil {
			return err
		}
		b = b[l.left:]
		l.left = -1
		l.strike()
	}
	if l.active == loses {
		return nil
	}
	_, err := to.Write(b)
	return err
}

// strike is the fault. The lock is held.
func (l *link) strike() {
	if l.active == "" {
		l.proxy.mu.Lock()
		l.proxy.met++
		l.proxy.mu.Unlock()
	}
	switch l.active = l.kind; l.active {
	case cut, reset:
		l.end(l.active == reset)
	case deaf, mute:
		l.kind, l.left = cut, some
		time.AfterFunc(moment, func() { l.end(false) })
	case stall:
		// The lock is what stops both directions.
		<-time.After(moment)
		l.active = ""
		l.proxy.mu.Lock()
		l.expect()
		l.proxy.mu.Unlock()
	}
}

func (l *link) end(rst bool) {
	if rst {
		l.client.SetLinger(0)
		l.broker.SetLinger(0)
	}
	l.client.Close()
	l.broker.Close()
}

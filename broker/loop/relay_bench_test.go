package loop

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The relay benchmarks measure a server in a process of its own: this test
// binary, started again with relayEnv set. It relays frames of 64 bytes that
// begin with the sender's number; a connection's first frame says its number.
const (
	relayEnv  = "LOOP_TEST_RELAY"
	frameSize = 64
)

func TestMain(m *testing.M) {
	if shape := os.Getenv(relayEnv); shape != "" {
		serveRelay(shape)
		return
	}
	// Go's netpoller opens its descriptors when it is first needed; noLeak is to find them there already.
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		ln.Close()
	}
	os.Exit(m.Run())
}

type relay struct {
	funcs
	l     *Loop
	shape string
	conns []*Conn
	turns int
}

func (r *relay) Turn(time.Time) { r.turns++ }

func (r *relay) Data(c *Conn, b []byte) (int, int) {
	used := 0
	for ; len(b)-used >= frameSize; used += frameSize {
		f := b[used : used+frameSize]
		if c.State == nil {
			id := int(binary.LittleEndian.Uint32(f))
			for len(r.conns) <= id {
				r.conns = append(r.conns, nil)
			}
			r.conns[id] = c
			c.State = id
			c.Write(f)
			continue
		}
		switch r.shape {
		case "pairs":
			r.conns[c.State.(int)^1].Write(f)
		case "fanin":
			r.conns[0].Write(f)
		case "fanout":
			s := r.l.End(append(r.l.Begin(frameSize), f...))
			for _, to := range r.conns[1:] {
				to.Send(s)
			}
		}
	}
	return used, frameSize
}

// serveRelay prints its address, then for each line it reads its CPU time,
// turns and heap.
func serveRelay(shape string) {
	shape, secure := strings.CutSuffix(shape, "+tls")
	r := &relay{shape: shape}
	l, err := New(r, Options{})
	if err != nil {
		panic(err)
	}
	r.l = l
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go l.Run()
	in := &Reception{Pick: func() *Loop { return l }}
	if secure {
		y, err := newTLSLayers()
		if err != nil {
			panic(err)
		}
		in.Layers = func() *Layers { return y }
	}
	go Accept(ln, nil, in)
	fmt.Println(ln.Addr())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() == "gc" {
			runtime.GC()
			debug.FreeOSMemory()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Println(processTime().Nanoseconds(), r.turns, m.HeapAlloc+m.StackInuse, m.Mallocs, residentBytes())
	}
}

type relayProcess struct {
	addr string
	in   io.WriteCloser
	out  *bufio.Scanner
}

func startRelay(b testing.TB, shape string) *relayProcess {
	b.Helper()
	args := []string{os.Args[0]}
	if path, err := exec.LookPath("taskset"); err == nil {
		args = []string{path, "-c", "0", os.Args[0]}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), relayEnv+"="+shape)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p := &relayProcess{in: in, out: bufio.NewScanner(out)}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	p.out.Scan()
	p.addr = p.out.Text()
	return p
}

// numbers asks the server: CPU time in ns, turns, heap and stack bytes,
// allocations, resident bytes.
func (p *relayProcess) numbers(what string) (n [5]float64) {
	fmt.Fprintln(p.in, what)
	p.out.Scan()
	for i, f := range strings.Fields(p.out.Text()) {
		n[i], _ = strconv.ParseFloat(f, 64)
	}
	return n
}

// generator sends frames, window of them per source at first and one more for
// each that arrived, or rate per second, until total have arrived.
type generator struct {
	funcs
	l       *Loop
	conns   []*Conn
	sources []*Conn
	fan     int // deliveries per frame
	window  int
	rate    float64
	hello   int
	ready   chan struct{}
	got     int
	sent    int
	total   int
	begin   time.Time
	done    chan struct{}
	frame   [frameSize]byte
}

func (g *generator) send(c *Conn) {
	if g.sent*g.fan < g.total {
		g.sent++
		binary.LittleEndian.PutUint32(g.frame[:], uint32(c.State.(int)))
		c.Write(g.frame[:])
	}
}

func (g *generator) Data(c *Conn, b []byte) (int, int) {
	used := 0
	for ; len(b)-used >= frameSize; used += frameSize {
		if g.hello > 0 {
			if g.hello--; g.hello == 0 {
				close(g.ready)
			}
			continue
		}
		if g.got++; g.got == g.total {
			close(g.done)
		}
		if g.rate == 0 && g.got%g.fan == 0 {
			g.send(g.conns[binary.LittleEndian.Uint32(b[used:])])
		}
	}
	return used, frameSize
}

func (g *generator) Turn(now time.Time) {
	if g.rate > 0 && g.total > 0 && g.got < g.total {
		for due := int(now.Sub(g.begin).Seconds() * g.rate / float64(g.fan)); g.sent < due && g.sent*g.fan < g.total; {
			g.send(g.sources[g.sent%len(g.sources)])
		}
		g.l.WakeAt(now) // spin: timers are too coarse
	}
}

func benchRelay(b *testing.B, shape string, conns int, sources func(i int) bool, fan, window int, rate float64) {
	p := startRelay(b, shape)
	g := &generator{fan: fan, window: window, rate: rate, hello: conns, ready: make(chan struct{}), done: make(chan struct{})}
	g.l = start(b, g, Options{})
	for i := range conns {
		nc := dialRelay(b, p.addr, shape, nil)
		var f [frameSize]byte
		binary.LittleEndian.PutUint32(f[:], uint32(i))
		nc.Write(f[:])
		attachTo(g.l, nc, nil, func(c *Conn) {
			c.State = i
			g.conns = append(g.conns, c)
			if sources(i) {
				g.sources = append(g.sources, c)
			}
		})
	}
	wait(b, g.ready)
	before := p.numbers("")
	b.ResetTimer()
	on(b, g.l, func() {
		g.total, g.begin = (b.N+fan-1)/fan*fan, time.Now()
		if rate == 0 {
			for range window {
				for _, c := range g.sources {
					g.send(c)
				}
			}
		}
	})
	<-g.done
	b.StopTimer()
	after := p.numbers("")
	n := float64(g.total)
	b.ReportMetric((after[0]-before[0])/n/1000, "server-µs/msg")
	b.ReportMetric(n/(after[1]-before[1]), "msgs/turn")
	b.ReportMetric((after[3]-before[3])/n, "server-allocs/msg")
}

func BenchmarkRelay(b *testing.B) {
	all := func(int) bool { return true }
	butFirst := func(i int) bool { return i > 0 }
	first := func(i int) bool { return i == 0 }
	for _, pace := range []struct {
		name string
		rate float64
	}{{"burst", 0}, {"20k", 20_000}} {
		b.Run("pairs/"+pace.name, func(b *testing.B) { benchRelay(b, "pairs", 1000, all, 1, 8, pace.rate) })
		b.Run("fanin/"+pace.name, func(b *testing.B) { benchRelay(b, "fanin", 101, butFirst, 1, 16, pace.rate) })
	}
	b.Run("fanout/burst", func(b *testing.B) { benchRelay(b, "fanout", 1001, first, 1000, 16, 0) })
	for _, pace := range []struct {
		name string
		rate float64
	}{{"burst", 0}, {"20k", 20_000}} {
		b.Run("pairs+tls/"+pace.name, func(b *testing.B) { benchRelay(b, "pairs+tls", 200, all, 1, 8, pace.rate) })
	}
	b.Run("fanout+tls/burst", func(b *testing.B) { benchRelay(b, "fanout+tls", 201, first, 200, 16, 0) })
	b.Run("fanout/50k", func(b *testing.B) { benchRelay(b, "fanout", 1001, first, 1000, 16, 50_000) })
}

// dialRelay connects to a relay of this shape, with TLS if it has it.
func dialRelay(b testing.TB, addr, shape string, sessions tls.ClientSessionCache) net.Conn {
	nc, err := net.Dial("tcp", addr)
	if err == nil && strings.HasSuffix(shape, "+tls") {
		c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, ServerName: "relay", ClientSessionCache: sessions})
		nc, err = c, c.Handshake()
	}
	if err != nil {
		b.Fatal(err)
	}
	return nc
}

// BenchmarkHandshake is what a TLS handshake costs the server's process, full and resumed.
func BenchmarkHandshake(b *testing.B) {
	for _, resume := range []bool{false, true} {
		b.Run(map[bool]string{false: "full", true: "resumed"}[resume], func(b *testing.B) {
			p := startRelay(b, "pairs+tls")
			var sessions tls.ClientSessionCache
			if resume {
				sessions = tls.NewLRUClientSessionCache(10)
			}
			var f [frameSize]byte
			once := func() {
				nc := dialRelay(b, p.addr, "pairs+tls", sessions)
				nc.Write(f[:])
				if _, err := io.ReadFull(nc, f[:]); err != nil {
					b.Fatal(err)
				}
				nc.Close()
			}
			once()
			before := p.numbers("")
			b.ResetTimer()
			for range b.N {
				once()
			}
			b.StopTimer()
			after := p.numbers("")
			cpu := (after[0] - before[0]) / float64(b.N)
			b.ReportMetric(cpu/1000, "server-µs/handshake")
			b.ReportMetric(1e9/cpu, "handshakes/core-s")
		})
	}
}

// BenchmarkIdle measures what an idle connection costs the server's process.
func BenchmarkIdle(b *testing.B) {
	b.Run("tcp", func(b *testing.B) { benchIdle(b, "pairs") })
	b.Run("tls", func(b *testing.B) { benchIdle(b, "pairs+tls") })
}

func benchIdle(b *testing.B, shape string) {
	const conns = 5000
	for range b.N {
		p := startRelay(b, shape)
		before := p.numbers("gc")
		open := make([]net.Conn, 0, conns)
		for i := range conns {
			nc := dialRelay(b, p.addr, shape, nil)
			open = append(open, nc)
			var f [frameSize]byte
			binary.LittleEndian.PutUint32(f[:], uint32(i))
			nc.Write(f[:])
			if _, err := io.ReadFull(nc, f[:]); err != nil {
				b.Fatal(err)
			}
		}
		after := p.numbers("gc")
		b.ReportMetric((after[2]-before[2])/conns, "heap+stack-B/conn")
		b.ReportMetric((after[4]-before[4])/conns, "resident-B/conn")
		for _, nc := range open {
			nc.Close()
		}
	}
}

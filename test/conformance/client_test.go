package conformance

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// patience bounds every wait for something that has to come; it is never waited out by a test that
// passes.
const patience = time.Minute

// client is one connection to the broker. Its goroutine reads what comes in; the test takes it
// out one by one.
type client struct {
	t    testing.TB
	name string
	conn net.Conn
	v    mqtt.Version
	done chan struct{} // closed when nothing more comes

	mu     sync.Mutex
	change *sync.Cond
	got    []arrival
	err    error  // why nothing more comes
	pings  []bool // PINGREQs without an answer: true = a barrier's, whose answer nobody else sees
	passed int    // barriers answered
}

// arrival is a packet that came, as a line.
type arrival struct {
	line string
	at   time.Time
}

// dial connects. v is the version in which what comes is read.
func dial(t testing.TB, addr, name string, v mqtt.Version) *client {
	t.Helper()
	c, err := tryDial(t, addr, name, v)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tryDial connects to a broker that may be gone.
func tryDial(t testing.TB, addr, name string, v mqtt.Version) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{t: t, name: name, conn: conn, v: v, done: make(chan struct{})}
	c.change = sync.NewCond(&c.mu)
	go c.read()
	t.Cleanup(func() {
		conn.Close()
		<-c.done
	})
	return c, nil
}

func (c *client) read() {
	defer close(c.done)
	r := bufio.NewReader(c.conn)
	for {
		p, err := readPacket(r, c.v)
		c.mu.Lock()
		switch {
		case err != nil:
			c.err = err
		case p.Type == mqtt.PINGRESP && len(c.pings) > 0:
			barrier := c.pings[0]
			c.pings = c.pings[1:]
			if barrier {
				c.passed++
				break
			}
			fallthrough
		default:
			c.got = append(c.got, arrival{packettext.Format(p), time.Now()})
		}
		c.change.Broadcast()
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// readPacket reads one packet of its own memory.
func readPacket(r *bufio.Reader, v mqtt.Version) (*mqtt.Packet, error) {
	head, err := r.Peek(2)
	if err != nil {
		return nil, err
	}
	h, n, err := mqtt.ParseHeader(head)
	for size := 3; err == nil && n == 0; size++ {
		if head, err = r.Peek(size); err == nil {
			h, n, err = mqtt.ParseHeader(head)
		}
	}
	if err != nil {
		return nil, err
	}
	whole := make([]byte, n+h.Length)
	if _, err := io.ReadFull(r, whole); err != nil {
		return nil, err
	}
	p := &mqtt.Packet{}
	if err := p.Decode(v, h, whole[n:], mqtt.Limits{}); err != nil {
		return nil, fmt.Errorf("the broker sent %s: %w", hex.EncodeToString(whole), err)
	}
	return p, nil
}

// write sends bytes. A connection that the broker has closed meanwhile swallows them.
func (c *client) write(b []byte) {
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.conn.Write(b)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatalf("%s: the broker does not read", c.name)
	}
}

// send sends the packets of lines in one write.
func (c *client) send(lines ...string) {
	c.t.Helper()
	var out []byte
	for _, line := range lines {
		before := len(out)
		var err error
		if out, err = packettext.Encode(out, c.v, line); err != nil {
			c.t.Fatal(err)
		}
		if out[before] == byte(mqtt.PINGREQ)<<4 {
			c.mu.Lock()
			c.pings = append(c.pings, false)
			c.mu.Unlock()
		}
	}
	c.write(out)
}

// await waits, holding mu, until ok.
func (c *client) await(ok func() bool) bool {
	timer := time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.change.Broadcast()
	})
	defer timer.Stop()
	deadline := time.Now().Add(patience)
	for !ok() && time.Now().Before(deadline) {
		c.change.Wait()
	}
	return ok()
}

// next takes out the next packet; an error tells that none came.
func (c *client) next() (arrival, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.await(func() bool { return len(c.got) > 0 || c.err != nil })
	if len(c.got) == 0 {
		if c.err == nil {
			return arrival{}, errors.New("nothing came")
		}
		return arrival{}, fmt.Errorf("the connection ended: %w", c.err)
	}
	a := c.got[0]
	c.got = c.got[1:]
	return a, nil
}

// expect fails unless the next packet is as the line says (see match).
func (c *client) expect(line string) arrival {
	c.t.Helper()
	a, err := c.next()
	if err == nil {
		err = match(c.v, line, a.line)
	}
	if err != nil {
		c.t.Fatalf("%s < %s: %v", c.name, line, err)
	}
	return a
}

// exchange sends a line and expects another.
func (c *client) exchange(line, answer string) {
	c.t.Helper()
	c.send(line)
	c.expect(answer)
}

// expectClosed fails unless the broker closes the connection without sending anything more.
func (c *client) expectClosed() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.await(func() bool { return c.err != nil || len(c.got) > 0 })
	switch {
	case len(c.got) > 0:
		c.t.Fatalf("%s: got %s, want the connection closed", c.name, c.got[0].line)
	case c.err == nil:
		c.t.Fatalf("%s: the connection is still open", c.name)
	case errors.As(c.err, new(*mqtt.Error)):
		c.t.Fatalf("%s: %v", c.name, c.err)
	}
}

// open tells whether the connection has not ended, as far as is known.
func (c *client) open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil
}

// barrier waits until the broker has dealt with all that was sent to it before on this connection, and
// what followed from it on the same shard has been received.
func (c *client) barrier() {
	c.t.Helper()
	c.mu.Lock()
	c.pings = append(c.pings, true)
	want := c.passed + len(c.pings) - countFalse(c.pings)
	c.mu.Unlock()
	c.write(mqtt.AppendPing(nil, mqtt.PINGREQ))
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.await(func() bool { return c.passed >= want || c.err != nil }) {
		c.t.Fatalf("%s: no answer to PINGREQ", c.name)
	}
}

func countFalse(list []bool) (n int) {
	for _, b := range list {
		if !b {
			n++
		}
	}
	return n
}

// drop cuts the connection without DISCONNECT.
func (c *client) drop() {
	c.conn.Close()
	<-c.done
}

package books

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// peer is one connection of the generator. Its goroutine counts what comes in.
type peer struct {
	t    testing.TB
	id   string
	conn net.Conn
	done chan struct{} // closed when nothing more comes
	open chan struct{} // closed when it may read

	write sync.Mutex // whole packets

	mu      sync.Mutex
	change  *sync.Cond
	mute    bool // acknowledges nothing
	got     [3]int
	again   int // with DUP
	owed    []string
	yes, no int // answers to its own messages
	pongs   int
	other   []string
	ended   bool
}

// join connects a client; words are those of its CONNECT.
func (b *broker) join(words string) *peer {
	b.t.Helper()
	p := b.dial(words)
	p.begin()
	p.expect("CONNACK 0x00")
	return p
}

// dial connects and sends a CONNECT; nothing is read before begin.
func (b *broker) dial(words string) *peer {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.mqtt)
	if err != nil {
		b.t.Fatal(err)
	}
	id, _, _ := strings.Cut(words, " ")
	p := &peer{t: b.t, id: id, conn: conn, done: make(chan struct{}), open: make(chan struct{})}
	p.change = sync.NewCond(&p.mu)
	go p.read()
	b.t.Cleanup(func() {
		conn.Close()
		p.begin()
		<-p.done
	})
	p.send("CONNECT v5 id=" + words)
	return p
}

// begin lets it read.
func (p *peer) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

func (p *peer) read() {
	defer close(p.done)
	<-p.open
	r := bufio.NewReaderSize(p.conn, 64<<10)
	var packet mqtt.Packet
	var body []byte
	for {
		head, n, err := header(r)
		if err == nil {
			if cap(body) < head.Length {
				body = make([]byte, head.Length)
			}
			if _, err = r.Discard(n); err == nil {
				_, err = io.ReadFull(r, body[:head.Length])
			}
		}
		if err == nil {
			err = packet.Decode(mqtt.V5, head, body[:head.Length], mqtt.Limits{})
		}
		var answer string
		p.mu.Lock()
		if err != nil {
			p.ended = true
		} else {
			answer = p.take(&packet)
		}
		p.change.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
		if answer != "" {
			p.push(answer)
		}
	}
}

// header is that of the next packet, with its size.
func header(r *bufio.Reader) (mqtt.Header, int, error) {
	for size := 2; ; size++ {
		b, err := r.Peek(size)
		if err != nil {
			return mqtt.Header{}, 0, err
		}
		if h, n, err := mqtt.ParseHeader(b); err != nil || n != 0 {
			return h, n, err
		}
	}
}

// take counts a packet and tells the answer to it.
func (p *peer) take(m *mqtt.Packet) string {
	switch m.Type {
	case mqtt.PUBLISH:
		p.got[m.Publish.QoS]++
		if m.Publish.Dup {
			p.again++
		}
		if m.Publish.QoS == 0 {
			return ""
		}
		answer := fmt.Sprintf("PUBACK id=%d", m.Publish.ID)
		if m.Publish.QoS == 2 {
			answer = fmt.Sprintf("PUBREC id=%d", m.Publish.ID)
		}
		if p.mute {
			p.owed = append(p.owed, answer)
			return ""
		}
		return answer
	case mqtt.PUBREL:
		return fmt.Sprintf("PUBCOMP id=%d", m.Ack.ID)
	case mqtt.PUBREC:
		if m.Ack.Reason >= 0x80 {
			p.no++
			return ""
		}
		return fmt.Sprintf("PUBREL id=%d", m.Ack.ID)
	case mqtt.PUBACK, mqtt.PUBCOMP:
		if m.Ack.Reason >= 0x80 {
			p.no++
		} else {
			p.yes++
		}
	case mqtt.PINGRESP:
		p.pongs++
	default:
		p.other = append(p.other, packettext.Format(m))
	}
	return ""
}

// push writes packets; a connection that the broker closed meanwhile swallows them.
func (p *peer) push(lines ...string) {
	var out []byte
	for _, line := range lines {
		var err error
		if out, err = packettext.Encode(out, mqtt.V5, line); err != nil {
			p.t.Error(err)
			return
		}
	}
	p.raw(out)
}

func (p *peer) raw(out []byte) {
	p.write.Lock()
	defer p.write.Unlock()
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = p.conn.Write(out) // whether it came is seen by what comes back
}

func (p *peer) send(lines ...string) { p.push(lines...) }

// until waits for a condition on what came in.
func (p *peer) until(what string, ok func() bool) {
	p.t.Helper()
	late := time.AfterFunc(patience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.change.Broadcast()
	})
	defer late.Stop()
	end := time.Now().Add(patience)
	p.mu.Lock()
	defer p.mu.Unlock()
	for !ok() {
		if !time.Now().Before(end) {
			p.t.Fatalf("%s: no %s: got %v messages, %d and %d answers, %v, ended %v", p.id, what, p.got, p.yes, p.no, p.other, p.ended)
		}
		p.change.Wait()
	}
}

// expect waits for a packet that is neither a message nor an answer to one.
func (p *peer) expect(prefix string) {
	p.t.Helper()
	p.until(prefix, func() bool {
		for i, line := range p.other {
			if strings.HasPrefix(line, prefix) {
				p.other = append(p.other[:i], p.other[i+1:]...)
				return true
			}
		}
		return false
	})
}

// subscribe makes subscriptions, in the words of a SUBSCRIBE.
func (p *peer) subscribe(filters string) {
	p.t.Helper()
	p.send("SUBSCRIBE id=1 " + filters)
	p.expect("SUBACK")
}

// idle waits until the broker has taken all that was sent.
func (p *peer) idle() {
	p.t.Helper()
	p.mu.Lock()
	want := p.pongs + 1
	p.mu.Unlock()
	p.send("PINGREQ")
	p.until("PINGRESP", func() bool { return p.pongs >= want })
}

// window is how many messages are published before their answers are waited for.
const window = 500

// give publishes n messages and waits until each was answered; no is how many answers were refusals. words are those of a PUBLISH.
func (p *peer) give(n, qos int, topic, words string) (no int) {
	p.t.Helper()
	p.mu.Lock()
	refused := p.no
	p.mu.Unlock()
	for n > 0 {
		part := min(n, window)
		n -= part
		p.mu.Lock()
		answered := p.yes + p.no
		p.mu.Unlock()
		var lines []string
		for i := range part {
			line := fmt.Sprintf(`PUBLISH topic=%s %s`, topic, words)
			if qos > 0 {
				line += fmt.Sprintf(" qos=%d id=%d", qos, i+1)
			}
			if !strings.Contains(words, `"`) {
				line += fmt.Sprintf(` "%d"`, i)
			}
			lines = append(lines, line)
		}
		p.send(lines...)
		if qos > 0 {
			p.until("answers", func() bool { return p.yes+p.no == answered+part })
		} else {
			p.idle()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.no - refused
}

// received waits for n messages at a QoS.
func (p *peer) received(n, qos int) {
	p.t.Helper()
	p.until(fmt.Sprintf("%d messages at QoS %d", n, qos), func() bool { return p.got[qos] >= n })
}

// leave disconnects and waits until the broker has closed the connection.
func (p *peer) leave(words string) {
	p.t.Helper()
	p.begin()
	p.send("DISCONNECT " + words)
	p.until("end", func() bool { return p.ended })
}

// cut ends the connection without a word.
func (p *peer) cut() {
	p.conn.Close()
	p.begin()
	<-p.done
}

// silent has it acknowledge nothing from now on.
func (p *peer) silent() *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
	return p
}

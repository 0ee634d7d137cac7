package load

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// testBroker is the least of a broker that every scenario runs against. meddle, if
// set, is given every message on its way to a subscriber and returns what shall
// arrive in its place.
type testBroker struct {
	address string
	meddle  func(n int, m message) []message

	mu       sync.Mutex
	sessions map[string]*testSession
	retained map[string]message
	groups   map[string]int // messages so far, per shared filter
	routed   int
}

type message struct {
	topic   string
	payload string
	qos     mqtt.QoS
}

type testSession struct {
	conn    net.Conn // nil while away
	version mqtt.Version
	filters map[string]mqtt.QoS
	queue   []message
	id      uint16
}

func startBroker(t *testing.T, meddle func(int, message) []message) *testBroker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &testBroker{
		address: l.Addr().String(), meddle: meddle, sessions: map[string]*testSession{},
		retained: map[string]message{}, groups: map[string]int{},
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { b.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return b
}

// serve reads one client's packets until the connection ends.
func (b *testBroker) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	var s *testSession
	version := mqtt.V311
	for {
		h, body, err := readPacket(in)
		if err != nil || h.Type == mqtt.DISCONNECT {
			break
		}
		var p mqtt.Packet
		if err := p.Decode(version, h, body, mqtt.Limits{UserProperties: 10, PropertyBytes: 1000}); err != nil {
			break
		}
		b.mu.Lock()
		if h.Type == mqtt.CONNECT {
			version = p.Connect.Version
			s = b.connect(c, &p.Connect)
		} else {
			b.packet(c, s, &p)
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s != nil && s.conn == c {
		s.conn = nil
	}
}

func readPacket(in *bufio.Reader) (mqtt.Header, []byte, error) {
	for n := 2; ; n++ {
		b, err := in.Peek(n)
		if err != nil {
			return mqtt.Header{}, nil, err
		}
		h, size, err := mqtt.ParseHeader(b)
		if err != nil {
			return h, nil, err
		}
		if size > 0 {
			in.Discard(size)
			body := make([]byte, h.Length)
			_, err := io.ReadFull(in, body)
			return h, body, err
		}
	}
}

func (b *testBroker) connect(c net.Conn, p *mqtt.Connect) *testSession {
	id := string(p.ClientID)
	s := b.sessions[id]
	present := s != nil && !p.CleanStart
	if !present {
		s = &testSession{filters: map[string]mqtt.QoS{}}
		b.sessions[id] = s
	}
	s.conn, s.version = c, p.Version
	ack := mqtt.Connack{SessionPresent: present}
	c.Write(ack.AppendTo(nil, s.version, 0))
	queue := s.queue
	s.queue = nil
	for _, m := range queue {
		s.deliver(m)
	}
	return s
}

func (b *testBroker) packet(c net.Conn, s *testSession, p *mqtt.Packet) {
	answer := func(t mqtt.Type, id uint16) { c.Write((&mqtt.Ack{ID: id}).AppendTo(nil, t, s.version, 0)) }
	switch p.Type {
	case mqtt.SUBSCRIBE:
		ack := mqtt.Suback{ID: p.Subscribe.ID}
		for _, f := range p.Subscribe.Filters {
			s.filters[string(f.Filter)] = f.Options.QoS()
			ack.Reasons = append(ack.Reasons, mqtt.ReasonCode(f.Options.QoS()))
		}
		c.Write(ack.AppendTo(nil, mqtt.SUBACK, s.version, 0))
		for _, m := range b.retained {
			b.offer(s, m)
		}
	case mqtt.PUBLISH:
		m := message{string(p.Publish.Topic), string(p.Publish.Payload), p.Publish.QoS}
		b.publish(m, p.Publish.Retain)
		switch m.qos {
		case 1:
			answer(mqtt.PUBACK, p.Publish.ID)
		case 2:
			answer(mqtt.PUBREC, p.Publish.ID)
		}
	case mqtt.PUBREC:
		answer(mqtt.PUBREL, p.Ack.ID)
	case mqtt.PUBREL:
		answer(mqtt.PUBCOMP, p.Ack.ID)
	case mqtt.PINGREQ:
		c.Write(mqtt.AppendPing(nil, mqtt.PINGRESP))
	}
}

func (b *testBroker) publish(m message, retain bool) {
	if retain && m.payload == "" {
		delete(b.retained, m.topic)
	} else if retain {
		b.retained[m.topic] = m
	}
	all := []message{m}
	if b.meddle != nil {
		all = b.meddle(b.routed, m)
	}
	b.routed++
	for _, m := range all {
		turn := map[string]int{}
		for id, s := range b.sessions {
			for filter := range s.filters {
				if strings.HasPrefix(filter, "$share/") {
					turn[filter]++
					// The members take turns; the index in this walk is not stable, the id is.
					if !strings.HasSuffix(id, string(rune('0'+b.groups[filter]%2))) {
						continue
					}
				}
				b.offerFilter(s, filter, m)
			}
		}
		for filter := range turn {
			b.groups[filter]++
		}
	}
}

func (b *testBroker) offer(s *testSession, m message) {
	for filter := range s.filters {
		b.offerFilter(s, filter, m)
	}
}

func (b *testBroker) offerFilter(s *testSession, filter string, m message) {
	plain := strings.TrimPrefix(filter, "$share/bench/")
	if matches(strings.Split(plain, "/"), strings.Split(m.topic, "/")) {
		m.qos = min(m.qos, s.filters[filter])
		s.deliver(m)
	}
}

func matches(filter, topic []string) bool {
	for i, level := range filter {
		if level == "#" {
			return true
		}
		if i >= len(topic) || level != "+" && level != topic[i] {
			return false
		}
	}
	return len(filter) == len(topic)
}

func (s *testSession) deliver(m message) {
	if s.conn == nil {
		s.queue = append(s.queue, m)
		return
	}
	p := mqtt.Publish{Topic: []byte(m.topic), Payload: []byte(m.payload), QoS: m.qos}
	if m.qos > 0 {
		if s.id++; s.id == 0 {
			s.id = 1
		}
		p.ID = s.id
	}
	s.conn.Write(p.AppendTo(nil, s.version))
}

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/peer"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// serverMode is the argument that makes this program the bare server: directory and port follow.
const serverMode = "bare-server"

// bareServerName is the bare server's name among the brokers.
const bareServerName = "bare server"

// bareServerBroker runs this program as the bare server.
func bareServerBroker() (peer.Broker, error) {
	self, err := os.Executable()
	return peer.Broker{Name: bareServerName, Command: func(dir string, port int) ([]string, []string, error) {
		return []string{self, serverMode, dir, strconv.Itoa(port)}, nil, nil
	}}, err
}

// bareServer is the bare loop behind sockets: what is left of a broker that only takes a PUBLISH, appends it
// to a file, syncs, acknowledges and hands it to one receiver. It matches no topics, knows no
// sessions, checks nothing and remembers nothing, so it is the floor of what the system's sockets and the disk cost
// together with exactly the load that the brokers get. It belongs to its loop's goroutine; the file to
// the committer's.
type bareServer struct {
	loop      *loop.Loop
	file      *os.File
	at        int64
	receivers map[string]*remote // by the first levels of their topics
	gathering *group
	syncing   bool
	spare     *group
	work      chan *group
}

// remote is a connection, nil when it is gone.
type remote struct {
	conn *loop.Conn
	id   uint16
}

// group is what one write and one sync keep.
type group struct {
	bytes []byte
	items []kept
	err   error
}

// kept is one PUBLISH of a group.
type kept struct {
	from, to   int // in group.bytes
	id         int // offset of the packet identifier
	sender, by *remote
}

func serveBare(dir string, port string) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	if err := prepare(f); err != nil {
		return err
	}
	s := &bareServer{file: f, receivers: map[string]*remote{}, gathering: new(group), spare: new(group), work: make(chan *group, 1)}
	if s.loop, err = loop.New(s, loop.Options{}); err != nil {
		return err
	}
	go s.commit() // until the process ends, as all here
	go s.loop.Run()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		s.loop.Attach(c)
	}
}

// commit writes and syncs a group at a time and gives it back.
func (s *bareServer) commit() {
	for g := range s.work {
		if s.at+int64(len(g.bytes)) > bareSize {
			s.at = 0
		}
		_, err := s.file.WriteAt(g.bytes, s.at)
		s.at += int64(len(g.bytes))
		g.err = errors.Join(err, fdatasync(s.file))
		s.loop.Post(func() { s.committed(g) })
	}
}

// committed hands everything in g to its receiver and acknowledges it.
func (s *bareServer) committed(g *group) {
	s.syncing = false
	if g.err != nil {
		fmt.Fprintln(os.Stderr, "bare server:", g.err)
		return // nothing is acknowledged any more
	}
	for _, k := range g.items {
		frame := g.bytes[k.from:k.to]
		if k.sender.conn != nil {
			k.sender.conn.Write([]byte{byte(mqtt.PUBACK) << 4, 2, frame[k.id], frame[k.id+1]})
		}
		if k.by == nil || k.by.conn == nil {
			continue
		}
		if k.by.id++; k.by.id == 0 {
			k.by.id = 1
		}
		binary.BigEndian.PutUint16(frame[k.id:], k.by.id)
		k.by.conn.Write(frame)
	}
	g.bytes, g.items = g.bytes[:0], g.items[:0]
	s.spare = g
}

// Opened implements loop.Handler.
func (s *bareServer) Opened(c *loop.Conn) { c.State = &remote{conn: c} }

// Data implements loop.Handler.
func (s *bareServer) Data(c *loop.Conn, b []byte) (used, need int) {
	r := c.State.(*remote)
	for {
		h, size, err := mqtt.ParseHeader(b[used:])
		if err != nil {
			c.Abort(err)
			return len(b), 0
		}
		if size == 0 || len(b)-used < size+h.Length {
			return used, size + h.Length
		}
		frame := b[used : used+size+h.Length]
		used += len(frame)
		switch h.Type {
		case mqtt.CONNECT:
			c.Write([]byte{byte(mqtt.CONNACK) << 4, 2, 0, 0})
		case mqtt.SUBSCRIBE:
			if err := s.subscribe(r, h, frame[size:]); err != nil {
				c.Abort(err)
				return len(b), 0
			}
		case mqtt.PUBLISH:
			s.publish(r, frame, size)
		case mqtt.DISCONNECT:
			c.Close()
		}
	}
}

func (s *bareServer) subscribe(r *remote, h mqtt.Header, body []byte) error {
	var p mqtt.Packet
	if err := p.Decode(mqtt.V311, h, body, mqtt.Limits{}); err != nil {
		return err
	}
	answer := mqtt.Suback{ID: p.Subscribe.ID}
	for _, f := range p.Subscribe.Filters {
		s.receivers[strings.TrimSuffix(string(f.Filter), "+")] = r
		answer.Reasons = append(answer.Reasons, mqtt.ReasonCode(f.Options.QoS()))
	}
	r.conn.Write(answer.AppendTo(nil, mqtt.SUBACK, mqtt.V311, 0))
	return nil
}

// publish takes a PUBLISH with QoS 1 into the group that gathers.
func (s *bareServer) publish(r *remote, frame []byte, head int) {
	g := s.gathering
	from := len(g.bytes)
	g.bytes = append(g.bytes, frame...)
	topic := frame[head+2:][:binary.BigEndian.Uint16(frame[head:])]
	levels := 0
	for i := len(topic); i > 0; i-- {
		if topic[i-1] == '/' {
			levels = i
			break
		}
	}
	g.items = append(g.items, kept{from, len(g.bytes), head + 2 + len(topic), r, s.receivers[string(topic[:levels])]})
}

// Drained implements loop.Handler.
func (s *bareServer) Drained(*loop.Conn) {}

// Closed implements loop.Handler.
func (s *bareServer) Closed(c *loop.Conn, _ error) { c.State.(*remote).conn = nil }

// Turn sends off what gathered while the last group was synced.
func (s *bareServer) Turn(time.Time) {
	if s.syncing || len(s.gathering.items) == 0 {
		return
	}
	s.syncing = true
	s.work <- s.gathering
	s.gathering = s.spare
}

package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// shape is a flow of messages: publishers send a block each, subscribers read all of it, and so on.
type shape struct {
	name        string
	publishers  int
	subscribers int
	absent      bool // subscribers have left: each copy is dropped
	topics      int
	payload     int
	qos         mqtt.QoS
	block       int // messages of each publisher at a time
}

func shapes() []shape {
	return []shape{
		{name: "1 → 1", publishers: 1, subscribers: 1, topics: 1, payload: 64, block: 500},
		{name: "1 → 1, 1 KiB", publishers: 1, subscribers: 1, topics: 1, payload: 1024, block: 200},
		{name: "1 → 1, QoS 1", publishers: 1, subscribers: 1, topics: 1, payload: 64, qos: 1, block: 500},
		{name: "1 → 1, 10,000 topics", publishers: 1, subscribers: 1, topics: 10_000, payload: 64, block: 500},
		{name: "1 → 1, 100,000 topics", publishers: 1, subscribers: 1, topics: 100_000, payload: 64, block: 500},
		{name: "fan-out 1 → 100", publishers: 1, subscribers: 100, topics: 1, payload: 64, block: 100},
		{name: "fan-in 100 → 1", publishers: 100, subscribers: 1, topics: 100, payload: 64, block: 20},
		{name: "dropped, 10 absent", publishers: 1, subscribers: 10, absent: true, topics: 1, payload: 64, block: 500},
	}
}

// rig is the clients of a shape at one broker.
type rig struct {
	shape
	subs   []net.Conn
	pubs   []net.Conn
	blocks [][]byte // of PUBLISHes, all of one length; those of publisher i are i, i+publishers, …
	turn   int      // the block that comes next
	size   int      // of a PUBLISH
	buffer []byte
	acks   []byte
}

func (s shape) rig(address string) (*rig, error) {
	r := &rig{shape: s}
	for i := range s.subscribers {
		c, err := join(address, fmt.Sprint("s", i), !s.absent)
		if err != nil {
			return nil, err
		}
		sub := mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: []byte("bench/#"), Options: mqtt.SubOptions(s.qos)}}}
		if err := exchange(c, sub.AppendTo(nil, mqtt.V311), 5); err != nil {
			return nil, err
		}
		if s.absent {
			if _, err := c.Write((&mqtt.Disconnect{}).AppendTo(nil, mqtt.V311, 0)); err != nil {
				return nil, err
			}
			if err := c.Close(); err != nil {
				return nil, err
			}
			continue
		}
		r.subs = append(r.subs, c)
	}
	for i := range s.publishers {
		c, err := join(address, fmt.Sprint("p", i), true)
		if err != nil {
			return nil, err
		}
		r.pubs = append(r.pubs, c)
	}
	r.fill()
	return r, nil
}

// fill makes the blocks. Each topic is in as many messages, in an order without pattern.
func (r *rig) fill() {
	n := max(r.publishers*r.block, r.topics)
	order := make([]int, n)
	for i := range order {
		order[i] = i % r.topics
	}
	if r.publishers == 1 {
		random := rand.New(rand.NewPCG(1, 2))
		random.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	for from := 0; from < n; from += r.block {
		var b []byte
		for i := range r.block {
			topic := order[from+i]
			if r.publishers > 1 { // each stays with its own
				topic = from / r.block
			}
			p := mqtt.Publish{Topic: fmt.Appendf(nil, "bench/site%02d/device%04d", topic%100, topic/100), Payload: make([]byte, r.payload), QoS: r.qos}
			if r.qos > 0 {
				p.ID = uint16(i + 1)
			}
			before := len(b)
			b = p.AppendTo(b, mqtt.V311)
			r.size = len(b) - before
		}
		r.blocks = append(r.blocks, b)
	}
	r.buffer = make([]byte, r.size*r.block*r.publishers)
}

// copies are what a round delivers, or drops.
func (r *rig) copies() int { return r.publishers * r.block * r.subscribers }

// round sends a block of each publisher and waits until all is done.
func (r *rig) round() error {
	for i, p := range r.pubs {
		if _, err := p.Write(r.blocks[(r.turn+i)%len(r.blocks)]); err != nil {
			return err
		}
	}
	r.turn = (r.turn + len(r.pubs)) % len(r.blocks)
	for _, s := range r.subs {
		if _, err := io.ReadFull(s, r.buffer); err != nil {
			return err
		}
		if r.qos > 0 {
			if err := r.acknowledge(s); err != nil {
				return err
			}
		}
	}
	for _, p := range r.pubs {
		switch {
		case r.absent:
			if err := exchange(p, mqtt.AppendPing(nil, mqtt.PINGREQ), 2); err != nil {
				return err
			}
		case r.qos > 0:
			if _, err := io.ReadFull(p, r.buffer[:4*r.block]); err != nil {
				return err
			}
		}
	}
	return nil
}

// acknowledge answers the PUBLISHes in the buffer, and waits until that was read.
func (r *rig) acknowledge(s net.Conn) error {
	r.acks = r.acks[:0]
	for b := r.buffer; len(b) > 0; b = b[r.size:] {
		at := r.size - r.payload - 2
		r.acks = append(r.acks, byte(mqtt.PUBACK)<<4, 2, b[at], b[at+1])
	}
	return exchange(s, mqtt.AppendPing(r.acks, mqtt.PINGREQ), 2)
}

// close ends the clients.
func (r *rig) close() {
	for _, c := range append(r.pubs, r.subs...) {
		c.Close()
	}
}

// join connects with a session that lasts no longer than the connection, or with one that does.
func join(address, id string, clean bool) (net.Conn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return c, exchange(c, (&mqtt.Connect{Version: mqtt.V311, CleanStart: clean, ClientID: []byte(id)}).AppendTo(nil), 4)
}

// exchange sends something and reads so many bytes of answer.
func exchange(c net.Conn, out []byte, n int) error {
	if _, err := c.Write(out); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, n))
	return err
}

package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Filter says what a tap takes. One of Client, Topic and Network is set.
type Filter struct {
	Client  string
	Topic   string       // a topic filter: messages of these topics, whoever sends or gets them
	Network netip.Prefix // of clients' addresses
	Payload int          // bytes that are kept of each payload
}

// Verify tells why f cannot be.
func (f *Filter) Verify() error {
	n := 0
	for _, set := range []bool{f.Client != "", f.Topic != "", f.Network.IsValid()} {
		if set {
			n++
		}
	}
	if n != 1 {
		return errors.New("a trace is of one client, one topic filter or one address")
	}
	if f.Topic != "" {
		if err := topic.ValidFilter(f.Topic); err != nil {
			return fmt.Errorf("the topic filter %q: %w", f.Topic, err)
		}
	}
	if f.Payload < 0 {
		return errors.New("the bytes of a payload cannot be below 0")
	}
	return nil
}

// Takes tells whether a packet is of interest. about is what it is about, "" = no topic.
func (f *Filter) Takes(client string, address netip.Addr, about string) bool {
	switch {
	case f.Client != "":
		return client == f.Client
	case f.Topic != "":
		return about != "" && topic.Match(f.Topic, about)
	}
	return f.Network.Contains(address)
}

// The bounds of what a tap holds that nobody has read yet.
const (
	queuePackets = 4096
	queueBytes   = 8 << 20
)

// Tap takes packets as they pass, until it is closed. Its reader may be slow: what does not fit is counted, and nobody waits. It
// has one reader; all methods may be called from any goroutine.
type Tap struct {
	Filter

	missed atomic.Uint64
	ready  chan struct{} // something is there, or it is closed
	end    func()

	mu     sync.Mutex
	queue  []Packet
	timer  *time.Timer // nil = it has no end of its own
	bytes  int
	closed bool
}

// NewTap makes a tap. end is called once, when it is closed.
func NewTap(f Filter, end func()) *Tap {
	return &Tap{Filter: f, ready: make(chan struct{}, 1), end: end}
}

// Offer hands the tap a packet, whose Raw becomes its own. It never waits for the reader.
func (t *Tap) Offer(p Packet) {
	t.mu.Lock()
	switch {
	case t.closed:
	case len(t.queue) >= queuePackets || t.bytes+len(p.Raw) > queueBytes:
		t.missed.Add(1)
	default:
		t.queue = append(t.queue, p)
		t.bytes += len(p.Raw)
		if len(t.queue) == 1 {
			t.wake()
		}
	}
	t.mu.Unlock()
}

func (t *Tap) wake() {
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// Next waits for packets and appends all that there are to list. io.EOF says that the tap is closed and empty.
func (t *Tap) Next(ctx context.Context, list []Packet) ([]Packet, error) {
	for {
		t.mu.Lock()
		n, closed := len(t.queue), t.closed
		list = append(list, t.queue...)
		clear(t.queue)
		t.queue, t.bytes = t.queue[:0], 0
		t.mu.Unlock()
		switch {
		case n > 0:
			return list, nil
		case closed:
			return list, io.EOF
		}
		select {
		case <-t.ready:
		case <-ctx.Done():
			return list, ctx.Err()
		}
	}
}

// Missed is how many packets did not fit because they were not read fast enough.
func (t *Tap) Missed() uint64 { return t.missed.Load() }

// CloseAfter has the tap end after a time.
func (t *Tap) CloseAfter(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.timer = time.AfterFunc(d, t.Close)
	}
}

// Close ends the tap. What it holds can still be read.
func (t *Tap) Close() {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
	t.wake()
	t.mu.Unlock()
	if first && t.end != nil {
		t.end()
	}
}

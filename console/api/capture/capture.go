// Package capture keeps the live traces that somebody asked for: each has a bounded buffer that several may watch and that can be
// written as lines of JSON or as a pcapng file. It knows no HTTP and no broker, but takes what taps give.
package capture

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/broker/trace/pcapng"
)

// The bounds.
const (
	MaxTraces  = 8                // that run at a time, and are kept
	MaxTime    = time.Hour        // of one
	maxPackets = 50_000           // in one buffer
	maxBytes   = 16 << 20         // in one buffer
	keep       = 30 * time.Minute // how long one that has ended is kept
)

// ErrFull says that there are as many traces as are allowed.
var ErrFull = errors.New("there are as many traces as are allowed: delete one")

// Source begins taps.
type Source func(ctx context.Context, f trace.Filter, d time.Duration) (*trace.Tap, error)

// Desk has all traces. Its methods may be called from any goroutine.
type Desk struct {
	source Source

	mu     sync.Mutex
	traces []*Trace // oldest first
	closed bool
	run    sync.WaitGroup
}

// NewDesk makes a desk without traces.
func NewDesk(s Source) *Desk { return &Desk{source: s} }

// Info describes a trace.
type Info struct {
	ID           string    `json:"id"`
	Client       string    `json:"client,omitempty"`
	Topic        string    `json:"topic,omitempty"`
	Address      string    `json:"address,omitempty"`
	PayloadBytes int       `json:"payload_bytes" doc:"How much of each payload is kept."`
	By           string    `json:"by,omitempty" doc:"Who began it."`
	Began        time.Time `json:"began"`
	Ends         time.Time `json:"ends" doc:"When it ends, or has ended."`
	Running      bool      `json:"running"`
	Packets      uint64    `json:"packets" doc:"Taken so far, notes too."`
	Kept         int       `json:"kept" doc:"Of those, how many are in the buffer; the oldest go first."`
	Bytes        int       `json:"bytes" doc:"What the buffer holds."`
	Missed       uint64    `json:"missed" doc:"Packets that came too fast to be taken."`
}

// Trace is one of them. Its methods may be called from any goroutine.
type Trace struct {
	info Info // but for its figures
	tap  *trace.Tap

	mu      sync.Mutex
	packets []trace.Packet
	first   uint64 // number of packets[0]: how many are gone
	bytes   int
	ended   time.Time     // zero = it runs
	changed chan struct{} // closed as soon as there is more, and made anew
}

// Begin begins a trace. The time has to be above 0 and at most MaxTime.
func (d *Desk) Begin(ctx context.Context, f trace.Filter, address, by string, length time.Duration) (*Trace, error) {
	if length <= 0 || length > MaxTime {
		return nil, fmt.Errorf("a trace lasts at most %v", MaxTime)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.New("the process is stopping")
	}
	if err := d.makeRoom(); err != nil {
		return nil, err
	}
	tap, err := d.source(ctx, f, length)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	t := &Trace{tap: tap, changed: make(chan struct{}), info: Info{
		ID: rand.Text()[:12], Client: f.Client, Topic: f.Topic, Address: address, PayloadBytes: f.Payload, By: by, Began: now, Ends: now.Add(length),
	}}
	d.traces = append(d.traces, t)
	d.run.Go(t.fill)
	return t, nil
}

// makeRoom forgets what has ended long ago, and if need be what has ended first.
func (d *Desk) makeRoom() error {
	d.sweep()
	if len(d.traces) < MaxTraces {
		return nil
	}
	for i, t := range d.traces {
		if !t.running() {
			d.traces = slices.Delete(d.traces, i, i+1)
			return nil
		}
	}
	return ErrFull
}

func (d *Desk) sweep() {
	d.traces = slices.DeleteFunc(d.traces, func(t *Trace) bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		return !t.ended.IsZero() && time.Since(t.ended) > keep
	})
}

// All are the traces that run, or have ended not long ago; oldest first.
func (d *Desk) All() []*Trace {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	return slices.Clone(d.traces)
}

// Find returns a trace, nil = there is none.
func (d *Desk) Find(id string) *Trace {
	for _, t := range d.All() {
		if t.info.ID == id {
			return t
		}
	}
	return nil
}

// Delete ends a trace and forgets it; false = there is none.
func (d *Desk) Delete(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.traces, func(t *Trace) bool { return t.info.ID == id })
	if i < 0 {
		return false
	}
	d.traces[i].tap.Close()
	d.traces = slices.Delete(d.traces, i, i+1)
	return true
}

// Close ends all traces.
func (d *Desk) Close() {
	d.mu.Lock()
	d.closed = true
	for _, t := range d.traces {
		t.tap.Close()
	}
	d.mu.Unlock()
	d.run.Wait()
}

// fill takes what the tap gives until that is closed.
func (t *Trace) fill() {
	var list []trace.Packet
	for {
		var err error
		list, err = t.tap.Next(context.Background(), list[:0])
		t.mu.Lock()
		for i := range list {
			t.bytes += len(list[i].Raw)
		}
		t.packets = append(t.packets, list...)
		n := 0
		for ; len(t.packets)-n > maxPackets || t.bytes > maxBytes; n++ {
			t.bytes -= len(t.packets[n].Raw)
		}
		t.first += uint64(n)
		t.packets = slices.Delete(t.packets, 0, n)
		if err != nil {
			t.ended = time.Now().UTC()
		}
		close(t.changed)
		t.changed = make(chan struct{})
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (t *Trace) running() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended.IsZero()
}

// Info describes the trace as it is now.
func (t *Trace) Info() Info {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.info
	i.Running, i.Packets, i.Kept, i.Bytes, i.Missed = t.ended.IsZero(), t.first+uint64(len(t.packets)), len(t.packets), t.bytes, t.tap.Missed()
	if !i.Running {
		i.Ends = t.ended
	}
	return i
}

// some is how many packets a reader gets at a time.
const some = 256

// Read returns packets from a number on, of those that are still kept, and the number after them. With none, changed is closed as soon
// as there are more, or is nil when there will be none.
func (t *Trace) Read(from uint64) (list []trace.Packet, next uint64, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from = max(from, t.first)
	if at := from - t.first; at < uint64(len(t.packets)) {
		list = slices.Clone(t.packets[at:min(at+some, uint64(len(t.packets)))])
		return list, from + uint64(len(list)), t.changed
	}
	if t.ended.IsZero() {
		changed = t.changed
	}
	return nil, from, changed
}

// each calls do for all packets that are kept.
func (t *Trace) each(do func(p *trace.Packet) error) error {
	for at := uint64(0); ; {
		list, next, _ := t.Read(at)
		if len(list) == 0 {
			return nil
		}
		for i := range list {
			if err := do(&list[i]); err != nil {
				return err
			}
		}
		at = next
	}
}

// JSON writes the packets as lines of JSON.
func (t *Trace) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return t.each(func(p *trace.Packet) error { return e.Encode(p.Line()) })
}

// PCAP writes the packets as a pcapng file.
func (t *Trace) PCAP(w io.Writer) error {
	c := pcapng.NewWriter(w, "Sapwood")
	return t.each(func(p *trace.Packet) error {
		text := p.Text
		if p.Dir != trace.None && !p.Bad {
			text = ""
		}
		if p.Dir == trace.None && !p.Closed { // there is no frame that it could be said with
			return nil
		}
		return c.Write(&pcapng.Packet{
			At: time.UnixMilli(p.At), Client: p.Client, Address: p.Address, Out: p.Dir == trace.Out, Version: byte(p.Version), Data: p.Raw, Size: p.Size,
			Comment: text, Closed: p.Closed,
		})
	})
}

// Prefix reads an address or a network.
func Prefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network", s)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/trace"
)

// leaver is a client id whose session has ended, or that was refused, and what can still be looked back at.
type leaver struct {
	id  string
	log trace.Log
	at  int64
}

// departed are the last of those, in the order in which they left.
type departed struct {
	byID map[string]*leaver
	row  []*leaver // also such as were replaced: byID tells
	keep int64     // ms
}

// maxDeparted is how many a shard remembers.
const maxDeparted = 4096

// add remembers one more.
func (d *departed) add(ring *trace.Ring, l *leaver) {
	d.byID[l.id] = l
	d.row = append(d.row, l)
	for len(d.byID) > maxDeparted || len(d.row) > 2*maxDeparted {
		d.shift(ring)
	}
}

// take returns the log of one who is back.
func (d *departed) take(id string) trace.Log {
	l := d.byID[id]
	if l == nil {
		return trace.Log{}
	}
	delete(d.byID, id)
	return l.log
}

// shift forgets who left first.
func (d *departed) shift(ring *trace.Ring) {
	l := d.row[0]
	d.row[0] = nil
	if d.row = d.row[1:]; d.byID[l.id] == l {
		delete(d.byID, l.id)
		ring.Forget(&l.log)
	}
}

// expire forgets who left too long ago, and who is back.
func (d *departed) expire(ring *trace.Ring, now int64) {
	for len(d.row) > 0 && (d.row[0].at+d.keep <= now || d.byID[d.row[0].id] != d.row[0]) {
		d.shift(ring)
	}
}

// began gives a client what is remembered of its client id.
func (t *traces) began(c *client) { c.trace = t.past.take(c.id) }

// ended remembers a client whose session is over.
func (t *traces) ended(c *client) {
	if t.ring != nil {
		t.past.add(t.ring, &leaver{id: c.id, log: *c.log(), at: t.sh.now})
		c.trace = trace.Log{}
	}
}

// logOf is where to note something about a client id of this shard that need not have a session. Of those who were never let
// in no more are remembered than fit beside those who were.
func (t *traces) logOf(id string) *trace.Log {
	if c := t.sh.byID[id]; c != nil {
		return c.log()
	}
	l := t.past.byID[id]
	if l == nil {
		if len(t.past.byID) >= maxDeparted/2 {
			return nil
		}
		l = &leaver{id: id, at: t.sh.now}
		t.past.add(t.ring, l)
	}
	return &l.log
}

// TraceOptions say what a live trace takes, and how long.
type TraceOptions struct {
	trace.Filter
	For time.Duration // 0 = until it is closed
}

// maxTaps is how many live traces there may be at a time.
const maxTaps = 16

// ErrTraces says that there are as many live traces as are allowed.
var ErrTraces = errors.New("there are as many traces as are allowed; end one")

// Trace begins a live trace. It takes packets from now on, until it is closed or its time is over, and must be read: what does
// not fit is counted. While it is on, packets cost more.
func (k *Control) Trace(ctx context.Context, o TraceOptions) (*trace.Tap, error) {
	if err := o.Verify(); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	var tap *trace.Tap
	tap = trace.NewTap(o.Filter, func() {
		for _, sh := range k.b.shards {
			sh.loop.Post(func() { sh.traces.unplug(tap) })
		}
	})
	full := false
	for i, sh := range k.b.shards {
		err := k.in(ctx, sh, func() {
			if i == 0 && len(sh.traces.taps) >= maxTaps { // the first one has all of them
				full = true
				return
			}
			sh.traces.taps = append(sh.traces.taps, tap)
		})
		if full {
			err = ErrTraces
		}
		if err != nil {
			tap.Close()
			return nil, err
		}
	}
	if o.For > 0 {
		tap.CloseAfter(o.For)
	}
	return tap, nil
}

// unplug takes out a tap.
func (t *traces) unplug(tap *trace.Tap) {
	t.taps = slices.DeleteFunc(t.taps, func(x *trace.Tap) bool { return x == tap })
	if len(t.taps) == 0 {
		t.taps, t.raw = nil, nil
	}
}

// LookBack is what was kept of a client id's packets.
type LookBack struct {
	Connected bool
	Remote    string        // address, while connected
	Entries   []trace.Entry // oldest first
}

// ErrNotTraced says that packets are not kept to look back at.
var ErrNotTraced = errors.New("nothing is kept to look back at: trace.enabled is false")

// LookBack is what is kept of a client id, also of one that is gone: see trace.Config.
func (w *View) LookBack(ctx context.Context, id string) (LookBack, error) {
	var found LookBack
	err := ErrNoClient
	sh := w.b.shardOf(id)
	if failed := w.in(ctx, sh, func() {
		t := &sh.traces
		c, gone := sh.byID[id], t.past.byID[id]
		switch {
		case t.ring == nil:
			err = ErrNotTraced
		case c != nil:
			found, err = LookBack{Connected: c.s.Connected(), Entries: t.ring.Entries(c.log())}, nil
			if found.Connected {
				found.Remote = c.remote()
			}
		case gone != nil:
			found, err = LookBack{Entries: t.ring.Entries(&gone.log)}, nil
		}
	}); failed != nil {
		return LookBack{}, failed
	}
	return found, err
}

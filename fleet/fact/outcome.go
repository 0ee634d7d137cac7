package fact

import "sync/atomic"

// Outcome is what became of the facts that a sink was given.
type Outcome struct {
	Sent    uint64
	Dropped uint64 // given up, or too fast for the sink
	Failing string // why it delivers none at present; "" = it does
}

// Count keeps a sink's Outcome. The zero value is ready; its methods may be called from any goroutine.
type Count struct {
	sent, dropped atomic.Uint64
	failing       atomic.Pointer[string]
}

// Took counts facts that were delivered: the sink works.
func (c *Count) Took(n int) {
	c.sent.Add(uint64(n))
	c.failing.Store(nil)
}

// Lost counts facts that nobody tried to deliver.
func (c *Count) Lost(n uint64) { c.dropped.Add(n) }

// Failed counts facts that were given up, and why. It tells whether the sink worked until now.
func (c *Count) Failed(n int, err error) (news bool) {
	c.dropped.Add(uint64(n))
	why := err.Error()
	return c.failing.Swap(&why) == nil
}

// Outcome tells what was counted.
func (c *Count) Outcome() Outcome {
	o := Outcome{Sent: c.sent.Load(), Dropped: c.dropped.Load()}
	if why := c.failing.Load(); why != nil {
		o.Failing = *why
	}
	return o
}

package tally

// Client is what one client sent and what became of what was meant for it. The zero Client is ready; a client that only
// waits needs none.
type Client struct {
	In, Out   [3]uint64 // messages by QoS: taken over from it, written to it
	InBytes   uint64    // payloads
	OutBytes  uint64
	InRate    Rate
	OutRate   Rate
	Publisher Publisher // the client as topics remember it

	Queued int32  // copies as its session last said
	Found  int32  // see Lines
	Start  uint64 // queued when the broker started
	Meant  uint64 // copies that came for it

	Acknowledged uint64
	Resent       uint64 // of Out[1] and Out[2]
	Requeued     uint64
	Rare         *Rare // nil = nothing of the kind
}

// Rare is what most clients never have.
type Rare struct {
	Dropped        [Reasons]uint64
	Ended          [Ends]uint64 // its own messages, denied or refused
	Unacknowledged uint64
	Crashed        int64 // queued when earlier runs were saved last, less what the starts after crashes found
	Stopped        int64 // the same of clean stops
}

// Seldom returns the part that most clients do not have.
func (c *Client) Seldom() *Rare {
	if c.Rare == nil {
		c.Rare = new(Rare)
	}
	return c.Rare
}

// Dropped is the sum over the reasons.
func (c *Client) Dropped() uint64 {
	if c.Rare == nil {
		return 0
	}
	return sum(c.Rare.Dropped[:])
}

// Difference is how many more copies came for the client than are accounted for: 0 when the law holds.
func (c *Client) Difference() int64 {
	n := int64(c.Start+c.Meant) + int64(c.Found) - int64(c.Out[0]+c.Acknowledged+c.Requeued) - int64(c.Queued)
	if c.Rare != nil {
		n -= int64(sum(c.Rare.Dropped[:])+c.Rare.Unacknowledged) + c.Rare.Crashed + c.Rare.Stopped
	}
	return n
}

// Received is the sum of In.
func (c *Client) Received() uint64 { return c.In[0] + c.In[1] + c.In[2] }

// Sent is the sum of Out.
func (c *Client) Sent() uint64 { return c.Out[0] + c.Out[1] + c.Out[2] }

// Rates reads the rates as they are now.
func (c *Client) Rates(slot uint32) (in, out Rates) {
	return c.InRate.At(slot, c.Received()), c.OutRate.At(slot, c.Sent())
}

// Copy returns what others may keep.
func (c *Client) Copy() Client {
	d := *c
	if c.Rare != nil {
		rare := *c.Rare
		d.Rare = &rare
	}
	return d
}

// Publisher is a client id by number, as Publishers gave it; 0 = none.
type Publisher uint32

// publishers is how many client ids are remembered before it begins anew; a number is 12 bits of the beginning and 20 of
// the place.
const (
	publishers    = 1 << 17
	publisherBits = 20
)

// Publishers gives client ids numbers, so that a topic remembers its last publisher without a pointer. When
// 131,072 were given out it begins anew, and who published last is not known of the topics of before.
type Publishers struct {
	ids    []string
	byID   map[string]Publisher
	begins uint32
}

// Number returns the number of a client id, was if that is still its.
func (p *Publishers) Number(id string, was Publisher) Publisher {
	if was != 0 && uint32(was)>>publisherBits == p.begins {
		return was
	}
	if n, ok := p.byID[id]; ok {
		return n
	}
	if p.byID == nil || len(p.ids) == publishers {
		p.begins = p.begins%(1<<(32-publisherBits)-1) + 1
		p.ids, p.byID = p.ids[:0], make(map[string]Publisher)
	}
	n := Publisher(p.begins<<publisherBits | uint32(len(p.ids)))
	p.ids = append(p.ids, id)
	p.byID[id] = n
	return n
}

// ID is the client id of a number, "" if it is not known any more.
func (p *Publishers) ID(n Publisher) string {
	if i := int(n & (1<<publisherBits - 1)); n != 0 && uint32(n)>>publisherBits == p.begins && i < len(p.ids) {
		return p.ids[i]
	}
	return ""
}

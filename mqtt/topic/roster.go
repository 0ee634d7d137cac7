package topic

import "slices"

// Entry is one subscription as the index knows it: a handle for who subscribed, and 32 bits to which the broker gives
// a meaning.
type Entry struct{ ID, Options uint32 }

const entryBytes = 8

// roster is the entries of one filter, at most one per ID, in no particular order. n tells where they are:
//
//	0         there are none
//	1         e is the entry
//	2 to 64   in a run of the slab; e.ID is its unit
//	isCrowd   in a crowd; e.ID is its place
//
// The zero roster is empty.
type roster struct {
	e Entry
	n uint8
}

const (
	rosterRun = longestRun // the most entries in a run
	isCrowd   = 255
	crowdEnd  = rosterRun / 2 // a crowd that has shrunk to this becomes a run again
)

// rosters holds the entries of all rosters of one owner that have more than one. The zero value is ready.
type rosters struct {
	runs   slab[Entry]
	crowds []*crowd
	holes  []uint32 // free places in crowds
}

// set adds e to r, or replaces the entry that has its ID.
func (s *rosters) set(r *roster, e Entry) (replaced bool) {
	switch r.n {
	case 0:
		*r = roster{e, 1}
		return false
	case 1:
		if r.e.ID == e.ID {
			r.e = e
			return true
		}
		s.toRun(r, []Entry{r.e, e})
		return false
	case isCrowd:
		return s.crowds[r.e.ID].set(e)
	}
	n := int(r.n)
	have := s.runs.run(r.e.ID, n)
	if i := indexID(have, e.ID); i >= 0 {
		have[i] = e
		return true
	}
	switch {
	case n == rosterRun:
		s.toCrowd(r, have, e)
	case n&(n-1) == 0: // the run is full
		old := r.e.ID
		r.e.ID = s.runs.alloc(n + 1)
		r.n++
		copy(s.runs.run(r.e.ID, n), have)
		s.runs.run(r.e.ID, n+1)[n] = e
		s.runs.release(old, n)
	default:
		s.runs.run(r.e.ID, n+1)[n] = e
		r.n++
	}
	return false
}

// remove takes the entry with this ID out of r.
func (s *rosters) remove(r *roster, id uint32) (existed bool) {
	switch r.n {
	case 0:
		return false
	case 1:
		if r.e.ID != id {
			return false
		}
		*r = roster{}
		return true
	case isCrowd:
		return s.leaveCrowd(r, id)
	}
	n := int(r.n)
	have := s.runs.run(r.e.ID, n)
	i := indexID(have, id)
	if i < 0 {
		return false
	}
	have[i] = have[n-1]
	have = have[:n-1]
	r.n--
	old := r.e.ID
	switch {
	case n == 2:
		*r = roster{have[0], 1}
		s.runs.release(old, n)
	case runClass(n-1) < runClass(n):
		r.e.ID = s.runs.alloc(n - 1)
		copy(s.runs.run(r.e.ID, n-1), have)
		s.runs.release(old, n)
	}
	return true
}

// appendTo appends the entries of r to dst.
func (s *rosters) appendTo(dst []Entry, r roster) []Entry {
	switch r.n {
	case 0:
		return dst
	case 1:
		return append(dst, r.e)
	case isCrowd:
		return append(dst, s.crowds[r.e.ID].entries...)
	}
	return append(dst, s.runs.run(r.e.ID, int(r.n))...)
}

func (s *rosters) toRun(r *roster, entries []Entry) {
	if s.runs.per == 0 {
		s.runs = newSlab[Entry](1)
	}
	u := s.runs.alloc(len(entries))
	copy(s.runs.run(u, len(entries)), entries)
	*r = roster{Entry{ID: u}, uint8(len(entries))}
}

func (s *rosters) toCrowd(r *roster, have []Entry, e Entry) {
	c := &crowd{}
	for _, one := range have {
		c.set(one)
	}
	c.set(e)
	s.runs.release(r.e.ID, len(have))
	*r = roster{n: isCrowd}
	if last := len(s.holes) - 1; last >= 0 {
		r.e.ID = s.holes[last]
		s.holes = s.holes[:last]
		s.crowds[r.e.ID] = c
		return
	}
	r.e.ID = uint32(len(s.crowds))
	s.crowds = append(s.crowds, c)
}

func (s *rosters) leaveCrowd(r *roster, id uint32) bool {
	c := s.crowds[r.e.ID]
	if !c.remove(id) {
		return false
	}
	if len(c.entries) <= crowdEnd {
		s.crowds[r.e.ID] = nil
		s.holes = append(s.holes, r.e.ID)
		s.toRun(r, c.entries)
	}
	return true
}

func (s *rosters) bytes() int {
	n := s.runs.bytes() + cap(s.crowds)*8 + cap(s.holes)*4
	for _, c := range s.crowds {
		if c != nil {
			n += cap(c.entries)*entryBytes + c.places.bytes()
		}
	}
	return n
}

func indexID(entries []Entry, id uint32) int {
	for i := range entries {
		if entries[i].ID == id {
			return i
		}
	}
	return -1
}

// crowd is a roster of many: the entries, and a table from ID to place + 1, so that one of 100,000 leaves as fast as
// one of ten.
type crowd struct {
	entries []Entry
	places  table
}

// hashID spreads consecutive IDs over the table; different IDs have different hashes.
func hashID(id uint32) uint32 { return id * 0x9E3779B1 }

// find returns the slot of an ID and its place + 1, or 0 if it is not here.
func (c *crowd) find(id uint32) (at int, place uint32) {
	hash := hashID(id)
	for at, place = c.places.first(hash); place != 0; at, place = c.places.next(hash, at) {
		if c.entries[place-1].ID == id {
			return at, place
		}
	}
	return 0, 0
}

func (c *crowd) set(e Entry) (replaced bool) {
	if _, place := c.find(e.ID); place != 0 {
		c.entries[place-1] = e
		return true
	}
	c.entries = append(c.entries, e)
	c.places.insert(hashID(e.ID), uint32(len(c.entries)))
	return false
}

func (c *crowd) remove(id uint32) (existed bool) {
	at, place := c.find(id)
	if place == 0 {
		return false
	}
	last := len(c.entries) - 1
	if int(place) != last+1 { // the last one takes the place that has come free
		moved, _ := c.find(c.entries[last].ID)
		c.places.slots[moved].ref = place
		c.entries[place-1] = c.entries[last]
	}
	c.places.remove(at)
	c.entries = c.entries[:last]
	if cap(c.entries) > 4*last {
		c.entries = slices.Clip(slices.Clone(c.entries))
	}
	return true
}

package topic

// slot is one place of a table. ref 0 means empty.
type slot struct{ hash, ref uint32 }

const slotBytes = 8

// table maps hashes to references; what a reference means, and whether it is the one that is sought, only the owner
// knows. Open addressing with linear probing; removal closes the gap, so that churn leaves no tombstones. Positions
// come from the high bits of the hash, so that the size can be any number and growth can be gentle.
// The zero table is empty and ready.
type table struct {
	slots []slot
	used  int
}

const (
	tableMin = 8
	// A table grows by half when four fifths are used and shrinks when a fifth is: 8 bytes cost about 12 on average.
	tableFull = 5
)

func (t *table) home(hash uint32) int {
	return int(uint64(hash) * uint64(len(t.slots)) >> 32)
}

func (t *table) after(i int) int {
	if i++; i < len(t.slots) {
		return i
	}
	return 0
}

// first returns the first slot that holds the hash, and its reference; 0 if there is none.
func (t *table) first(hash uint32) (at int, ref uint32) {
	if len(t.slots) == 0 {
		return 0, 0
	}
	return t.seek(hash, t.home(hash))
}

// next returns the slot after at that holds the hash, and its reference; 0 if there is none.
func (t *table) next(hash uint32, at int) (int, uint32) {
	return t.seek(hash, t.after(at))
}

func (t *table) seek(hash uint32, at int) (int, uint32) {
	for {
		s := t.slots[at]
		if s.hash == hash || s.ref == 0 {
			return at, s.ref
		}
		at = t.after(at)
	}
}

// insert adds a reference, which the owner knows to be new.
func (t *table) insert(hash, ref uint32) {
	if (t.used+1)*tableFull > len(t.slots)*(tableFull-1) {
		t.resize(max(tableMin, len(t.slots)*3/2))
	}
	t.used++
	t.place(slot{hash, ref})
}

func (t *table) place(s slot) {
	i := t.home(s.hash)
	for t.slots[i].ref != 0 {
		i = t.after(i)
	}
	t.slots[i] = s
}

// remove empties the slot at position i and moves up what had been pushed beyond it.
func (t *table) remove(i int) {
	t.used--
	n := len(t.slots)
	hole := i
	for j := t.after(i); t.slots[j].ref != 0; j = t.after(j) {
		// The slot at j may fill the hole unless its home lies after the hole, cyclically.
		if (j-t.home(t.slots[j].hash)+n)%n >= (j-hole+n)%n {
			t.slots[hole] = t.slots[j]
			hole = j
		}
	}
	t.slots[hole] = slot{}
	switch {
	case t.used == 0 && n > tableMin:
		t.slots = nil
	case n > tableMin && t.used*tableFull < n:
		t.resize(max(tableMin, t.used*2))
	}
}

// drop removes the slot that holds exactly this hash and reference.
func (t *table) drop(hash, ref uint32) {
	for at, r := t.first(hash); r != 0; at, r = t.next(hash, at) {
		if r == ref {
			t.remove(at)
			return
		}
	}
}

func (t *table) resize(n int) {
	old := t.slots
	t.slots = make([]slot, n)
	for _, s := range old {
		if s.ref != 0 {
			t.place(s)
		}
	}
}

func (t *table) bytes() int { return cap(t.slots) * slotBytes }

// tables is a large table in parts, so that what waits for one resize waits for a 64th of it.
type tables [64]table

// of returns the part that is responsible for a 64-bit hash; within it the low 32 bits count.
func (t *tables) of(hash uint64) *table { return &t[hash>>58] }

func (t *tables) bytes() int {
	n := 0
	for i := range t {
		n += t[i].bytes()
	}
	return n
}

package topic

// slot is one place of a table. ref 0 means empty.
type slot struct{ hash, ref uint32 }

const slotBytes = 8

// table maps hashes to references; what a reference means, and whether it is the one that is sought, only the owner
// knows. The slots are sorted by hash with gaps between them: the place of a hash is guessed from its size and is at
// most a few slots to the right of the guess. So a search ends at the first greater hash, growth is one pass and can
// be gentle, and removal closes the gap, so that churn leaves no tombstones.
// The zero table is empty and ready.
type table struct {
	slots []slot // the last one is always empty
	homes int    // guesses are below this; the slots beyond take what does not fit to the left
	used  int
}

const (
	tableMin  = 8
	tableTail = 8
	// A table grows by half when four fifths of it are used and shrinks when a fifth is: an entry of 8 bytes costs
	// about 12 on average.
	tableFull = 5
)

func (t *table) home(hash uint32) int {
	return int(uint64(hash) * uint64(t.homes) >> 32)
}

// first returns the first slot that holds the hash, and its reference; 0 if there is none.
func (t *table) first(hash uint32) (at int, ref uint32) {
	if t.homes == 0 {
		return 0, 0
	}
	at = t.home(hash)
	for t.slots[at].hash < hash && t.slots[at].ref != 0 {
		at++
	}
	if s := t.slots[at]; s.hash == hash {
		return at, s.ref
	}
	return 0, 0
}

// next returns the slot after at if it holds the same hash, and its reference; else 0.
func (t *table) next(hash uint32, at int) (int, uint32) {
	at++
	if s := t.slots[at]; s.hash == hash {
		return at, s.ref
	}
	return 0, 0
}

// insert adds a reference, which the owner knows to be new.
func (t *table) insert(hash, ref uint32) {
	if (t.used+1)*tableFull > t.homes*(tableFull-1) {
		t.resize(max(tableMin, t.homes*3/2), tableTail)
	}
	at := t.home(hash)
	for t.slots[at].ref != 0 && t.slots[at].hash <= hash {
		at++
	}
	gap := at
	for t.slots[gap].ref != 0 {
		gap++
	}
	if gap == len(t.slots)-1 { // keep the last slot empty
		t.resize(t.homes, 2*(len(t.slots)-t.homes))
	}
	copy(t.slots[at+1:gap+1], t.slots[at:gap])
	t.slots[at] = slot{hash, ref}
	t.used++
}

// remove empties the slot at position i and moves back what had been pushed to the right.
func (t *table) remove(i int) {
	end := i + 1
	for t.slots[end].ref != 0 && t.home(t.slots[end].hash) < end {
		end++
	}
	copy(t.slots[i:], t.slots[i+1:end])
	t.slots[end-1] = slot{}
	t.used--
	switch {
	case t.homes <= tableMin:
	case t.used == 0:
		*t = table{}
	case t.used*tableFull < t.homes:
		t.resize(max(tableMin, t.used*2), tableTail)
	}
}

// drop removes the slot that holds exactly this hash and reference, if there is one.
func (t *table) drop(hash, ref uint32) {
	for at, r := t.first(hash); r != 0; at, r = t.next(hash, at) {
		if r == ref {
			t.remove(at)
			return
		}
	}
}

// resize spreads the slots over a new number of homes, with tail slots beyond them or more.
func (t *table) resize(homes, tail int) {
	old := t.slots
	t.homes = homes
	t.slots = make([]slot, homes+tail)
	at := -1
	for _, s := range old {
		if s.ref == 0 {
			continue
		}
		at = max(at+1, t.home(s.hash))
		if at >= len(t.slots)-1 { // only if the hashes are very uneven
			t.slots = append(t.slots, make([]slot, tail)...)
		}
		t.slots[at] = s
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

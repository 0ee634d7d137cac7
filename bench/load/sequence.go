package load

// Tally is what became of the messages that a set of receivers was owed.
type Tally struct {
	Sent       uint64 `json:"sent"`       // messages published
	Received   uint64 `json:"received"`   // deliveries, duplicates included
	Lost       uint64 `json:"lost"`       // deliveries owed and not made
	Duplicated uint64 `json:"duplicated"` // deliveries made again
	Reordered  uint64 `json:"reordered"`  // deliveries that came after a later one of the same pair
	Foreign    uint64 `json:"foreign"`    // messages that are not of this run or not for this receiver
}

func (t *Tally) wrong() uint64 { return t.Lost + t.Duplicated + t.Reordered + t.Foreign }

// sequence follows one publisher's numbers 0, 1, 2 … as one receiver sees them.
type sequence struct {
	next    uint64              // all below were seen, or are in missing
	missing map[uint64]struct{} // skipped and not seen since; nil while nothing was skipped
}

// maxMissing bounds the memory of one sequence: beyond, a gap counts as lost at once
// and a latecomer out of it as a duplicate.
const maxMissing = 1 << 16

// see takes the next number that arrived. Loss is counted when the gap shows and
// taken back if the number comes late.
func (s *sequence) see(n uint64, t *Tally) {
	t.Received++
	switch {
	case n == s.next:
		s.next++
	case n > s.next:
		s.skip(n, t)
	default:
		if _, late := s.missing[n]; late {
			delete(s.missing, n)
			t.Lost--
			t.Reordered++
		} else {
			t.Duplicated++
		}
	}
}

func (s *sequence) skip(to uint64, t *Tally) {
	t.Lost += to - s.next
	if s.missing == nil {
		s.missing = map[uint64]struct{}{}
	}
	for m := s.next; m < to && len(s.missing) < maxMissing; m++ {
		s.missing[m] = struct{}{}
	}
	s.next = to + 1
}

// finish counts as lost what was sent and did not even leave a gap behind.
func (s *sequence) finish(sent uint64, t *Tally) {
	if sent > s.next {
		t.Lost += sent - s.next
		s.next = sent
	}
}

// pool follows one publisher's numbers over a group of receivers of which exactly
// one gets each: a bit per number. Order between receivers is free.
type pool struct {
	bits []uint64
	seen uint64
}

func (p *pool) see(n uint64, t *Tally) {
	t.Received++
	word, bit := int(n>>6), uint64(1)<<(n&63)
	for word >= len(p.bits) {
		p.bits = append(p.bits, 0)
	}
	if p.bits[word]&bit != 0 {
		t.Duplicated++
		return
	}
	p.bits[word] |= bit
	p.seen++
}

func (p *pool) finish(sent uint64, t *Tally) { t.Lost += sent - min(sent, p.seen) }

package tally

// slotTime is how long a rate is counted before it is folded into its averages, ms.
const slotTime = 5000

// Rate is how many messages come per second: in the last whole five seconds, and as averages over 1, 5 and 15 minutes
// like those of a load. The zero Rate is ready. It counts nothing itself, so that a message costs it one comparison: it is told a
// total that somebody counts anyhow. Nobody sweeps it: it is folded before the first message of another five seconds is
// counted, and as it is read.
type Rate struct {
	slot    uint32
	base    uint32 // the total as slot began
	last    float32
	average [3]float32
}

// minutes of the averages.
var minutes = [3]float64{1, 5, 15}

// keeps are what five seconds leave of the averages: e^(-5/60), e^(-5/300) and e^(-5/900).
var keeps = [3]float64{0.9200444146293233, 0.9834714538216175, 0.9944598480048967}

// Slot is the five seconds in which a moment of the steady clock (ms) lies.
func Slot(now int64) uint32 { return uint32(now / slotTime) }

// Counts tells that the total may be counted on in slot; if not, Fold comes first.
func (r *Rate) Counts(slot uint32) bool { return r.slot == slot }

// Fold begins another slot, with the total before its first message.
func (r *Rate) Fold(slot uint32, total uint64) {
	if r.slot == 0 {
		r.slot, r.base = slot, uint32(total)
		return
	}
	gone := slot - r.slot
	if int32(gone) <= 0 {
		return
	}
	now := float64(uint32(total)-r.base) * 1000 / slotTime
	for i, keep := range keeps {
		r.average[i] = float32((now + keep*(float64(r.average[i])-now)) * power(keep, gone-1))
	}
	r.last = float32(now)
	if gone > 1 {
		r.last = 0
	}
	r.slot, r.base = slot, uint32(total)
}

// power is x to the n.
func power(x float64, n uint32) float64 {
	p := 1.0
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			p *= x
		}
		x *= x
	}
	return p
}

// Rates are messages per second.
type Rates struct {
	Now     float32    // the last whole five seconds
	Average [3]float32 // over 1, 5 and 15 minutes
}

// At reads the rate as it is now, with the total so far.
func (r Rate) At(slot uint32, total uint64) Rates {
	r.Fold(slot, total)
	return Rates{r.last, r.average}
}

// noRate is what is less than this.
const noRate = 1e-6

// fade has averages go on without messages.
func (r *Rates) fade(keep *[3]float32) {
	if *r == (Rates{}) {
		return
	}
	r.Now = 0
	for i := range r.Average {
		if r.Average[i] *= keep[i]; r.Average[i] < noRate {
			r.Average[i] = 0
		}
	}
}

func (r *Rates) add(o Rates) {
	r.Now += o.Now
	for i, a := range o.Average {
		r.Average[i] += a
	}
}

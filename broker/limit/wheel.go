package limit

// The wheel's grain in ms, and how many of it there are: what is later than a turn of it comes up early, to be put in again.
const (
	grain  = 16
	grains = 64
)

// Wheel reminds of values when their time has come, or earlier if that is more than a second away. Adding and reminding cost
// the same however many there are. The zero value is empty. It belongs to one goroutine.
type Wheel[T any] struct {
	slots [grains][]T
	spare []T
	at    int64 // the next slot, counted from time 0
	n     int
}

// Add puts v in, to be reminded of at a time later than now; both in ms.
func (w *Wheel[T]) Add(now, at int64, v T) {
	if w.n == 0 {
		w.at = now/grain + 1
	}
	slot := min(max((at+grain-1)/grain, now/grain+1), w.at+grains-1) % grains
	w.slots[slot] = append(w.slots[slot], v)
	w.n++
}

// Due calls do for what is due. It may call Add.
func (w *Wheel[T]) Due(now int64, do func(T)) {
	for w.n > 0 && w.at <= now/grain {
		list := w.slots[w.at%grains]
		w.slots[w.at%grains] = w.spare[:0]
		w.at++
		w.n -= len(list)
		for _, v := range list {
			do(v)
		}
		clear(list)
		w.spare = list[:0]
	}
}

// Next is when to call Due again, false = never as things are.
func (w *Wheel[T]) Next() (at int64, any bool) { return w.at * grain, w.n > 0 }

package tally

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// traffic is a generator of known pace: when each message comes, in ms of a fed clock.
type traffic struct {
	name string
	at   []int64
	end  int64

	weighed [3]int // of the averages: how many, until when, their weight then
	until   [3]int64
	weight  [3]float64
}

// sent is what came in [from, to) ms.
func (x *traffic) sent(from, to int64) int {
	i, _ := slices.BinarySearch(x.at, from)
	j, _ := slices.BinarySearch(x.at, to)
	return j - i
}

// averages are the mean rates until a moment by the generator's own times, weighed as a load average weighs: what was t ago counts
// e^(-t/minutes). Moments do not go back.
func (x *traffic) averages(now int64) (per [3]float64) {
	for i, m := range minutes {
		over := m * 60_000
		for ; x.weighed[i] < len(x.at) && x.at[x.weighed[i]] < now; x.weighed[i]++ {
			at := x.at[x.weighed[i]]
			x.weight[i] = x.weight[i]*math.Exp(-float64(at-x.until[i])/over) + 1
			x.until[i] = at
		}
		per[i] = x.weight[i] * math.Exp(-float64(now-x.until[i])/over) * 1000 / over
	}
	return per
}

// pace adds messages at so many a second from one moment to another, seconds; with chance they come when they will.
func (x *traffic) pace(from, to, perSecond float64, chance *rand.Rand) {
	for t := from * 1000; t < to*1000; {
		x.at = append(x.at, int64(t))
		gap := 1000 / perSecond
		if chance != nil {
			gap *= chance.ExpFloat64()
		}
		t += gap
	}
}

// start is a moment of the clock as the broker's is, in the midst of five seconds.
const start = 1_800_000_000_000 + 1700

// paces are the traffics of the tests; each is in order.
func paces() []*traffic {
	chance := rand.New(rand.NewPCG(5, 5))
	all := []*traffic{
		{name: "constant", end: 3600},
		{name: "constant, slow", end: 3600},
		{name: "by chance", end: 1800},
		{name: "step up", end: 1800},
		{name: "step down", end: 1800},
		{name: "bursts", end: 1200},
		{name: "one burst", end: 600},
		{name: "stop", end: 1800},
		{name: "stop and go", end: 1200},
	}
	all[0].pace(0, 3600, 100, nil)
	all[1].pace(0, 3600, 0.3, nil)
	all[2].pace(0, 1800, 40, chance)
	all[3].pace(0, 601.3, 10, nil)
	all[3].pace(601.3, 1800, 200, nil)
	all[4].pace(0, 602.9, 200, nil)
	all[4].pace(602.9, 1800, 10, nil)
	for s := 0.0; s < 1200; s += 17.3 {
		all[5].pace(s, s+0.2, 1000, nil)
	}
	all[6].pace(3.299, 3.3, 1_000_000, nil) // the last moment of five seconds
	all[7].pace(0, 654.4, 50, nil)
	for s := 0.0; s < 1200; s += 211 {
		all[8].pace(s, s+77.7, 30, nil)
	}
	for _, x := range all {
		for i := range x.at {
			x.at[i] += start
		}
		x.end = x.end*1000 + start
	}
	return all
}

// border is where the last whole five seconds ended.
func border(now int64) int64 { return now - now%slotTime }

// averageError is how far an average may be from the generator's: what comes within five seconds is taken as evenly spread over them.
var averageError = [3]float64{0.045, 0.009, 0.003}

// is compares rates that were read at a moment with those of the generator.
func (x *traffic) is(t *testing.T, what string, now int64, got Rates) {
	t.Helper()
	at := border(now)
	if want := float64(x.sent(at-slotTime, at)) / 5; math.Abs(float64(got.Now)-want) > 1e-6*want { // but for its 32 bits
		t.Errorf("%s at %.1f s: now %v a second, the generator sent %v", what, float64(now-start)/1000, got.Now, want)
	}
	for i, want := range x.averages(at) {
		got := float64(got.Average[i])
		if math.Abs(got-want) > averageError[i]*want+1e-6 {
			t.Errorf("%s at %.1f s: %v minutes %v a second, the generator's %v: %.1f %%", what, float64(now-start)/1000, minutes[i], got, want, 100*(got/want-1))
		}
	}
}

// moments are when rates are read: some in each phase, and at borders of five seconds.
func (x *traffic) moments() (all []int64) {
	chance := rand.New(rand.NewPCG(1, uint64(len(x.at))))
	for range 40 {
		now := start + chance.Int64N(x.end-start)
		all = append(all, now, border(now), border(now)+slotTime-1)
	}
	all = append(all, x.end, x.end+10_000, x.end+300_000)
	slices.Sort(all)
	return all
}

// TestRateOfGenerator: at any moment the rate now is exactly what a generator of known pace sent in the last whole five seconds, and each average is
// the generator's own, whether the pace is constant, by chance, steps, bursts or stops, and whether anybody reads or not.
func TestRateOfGenerator(t *testing.T) {
	for _, x := range paces() {
		t.Run(x.name, func(t *testing.T) {
			var c Client
			c.In[1] = 1<<32 - 1000 // much came before; the rate counts in 32 bits
			sent := 0
			half := traffic{at: make([]int64, 0, len(x.at)/2+1)}
			for i := 0; i < len(x.at); i += 2 {
				half.at = append(half.at, x.at[i])
			}
			for _, now := range x.moments() {
				for ; sent < len(x.at) && x.at[sent] < now; sent++ {
					slot := Slot(x.at[sent])
					if !c.InRate.Counts(slot) {
						c.InRate.Fold(slot, c.Received())
					}
					c.In[sent%3]++
					if sent%2 == 0 {
						if !c.OutRate.Counts(slot) {
							c.OutRate.Fold(slot, c.Sent())
						}
						c.Out[sent%3]++
					}
				}
				in, out := c.Rates(Slot(now))
				x.is(t, "in", now, in)
				half.is(t, "out", now, out)
			}
		})
	}
}

// TestRatesOfTree: the same by topic and by branch, with the messages of each topic on two loops.
func TestRatesOfTree(t *testing.T) {
	all := paces()
	end := slices.MaxFunc(all, func(x, y *traffic) int { return cmp.Compare(x.end, y.end) }).end
	type event struct {
		at    int64
		topic int
	}
	var events []event
	whole := traffic{name: "whole", end: end}
	for i, x := range all {
		for _, at := range x.at {
			events = append(events, event{at, i})
			whole.at = append(whole.at, at)
		}
	}
	slices.SortStableFunc(events, func(x, y event) int { return cmp.Compare(x.at, y.at) })
	slices.Sort(whole.at)

	names := NewNames(1000)
	loops := []*Topics{NewTopics(names, 16, 1<<16), NewTopics(names, 16, 1<<16)}
	name := func(i int) []byte {
		return fmt.Appendf(nil, "plant/%s", strings.ReplaceAll(all[i].name, " ", "_"))
	}
	v := NewView(names) // one for all moments: those without messages fade
	last := int64(0)
	at := 0
	for _, now := range whole.moments() {
		for ; at < len(events) && events[at].at < now; at++ {
			e := events[at]
			if e.at != last { // as a shard does when the time changes
				for _, loop := range loops {
					loop.Settle()
				}
				last = e.at
			}
			loop := loops[at%3%2]
			tag, _ := loop.Tag(name(e.topic))
			if !loop.Again(tag, 0, 4, 1) {
				loop.Settle()
				loop.Published(tag, e.at, Slot(e.at), &Message{Name: name(e.topic), Payload: []byte("long"), Publisher: 1, Copies: 1})
			}
		}
		v.Begin(Slot(now))
		for _, loop := range loops {
			loop.Settle()
			loop.Touched(v)
		}
		for some, sums := range v.Changed(4) {
			for _, loop := range loops {
				loop.Read(Slot(now), some, sums)
			}
		}
		v.End([Weights][][]Heavy{})
		for i, x := range all {
			if topic := names.Find(name(i)); topic != 0 {
				x.is(t, string(name(i)), now, ratesOf(v.Own(topic)))
			}
		}
		whole.is(t, "branch", now, ratesOf(v.Branch(names.Find([]byte("plant")))))
	}
}

func ratesOf(_ *Counts, r *Rates) Rates { return *r }

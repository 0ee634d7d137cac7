package vitals

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/fleet/history"
)

// counts are those that Now tells of the last hour.
type counts struct {
	dropped     [session.Whys]uint64
	storeErrors uint64
	panics      uint64
	commits     uint64
}

// plus is c and by together.
func (c counts) plus(by *counts) counts {
	for i := range c.dropped {
		c.dropped[i] += by.dropped[i]
	}
	c.storeErrors += by.storeErrors
	c.panics += by.panics
	c.commits += by.commits
	return c
}

// minus is what was counted after from.
func (c counts) minus(from *counts) counts {
	for i := range c.dropped {
		c.dropped[i] -= from.dropped[i]
	}
	c.storeErrors -= from.storeErrors
	c.panics -= from.panics
	c.commits -= from.commits
	return c
}

// minute is what was counted up to a time of the last hour, by this process and those before it in that hour.
type minute struct {
	at time.Time
	counts
}

// recall takes from the history what earlier processes counted in the hour before this one: a restart does not make it well.
func (v *Vitals) recall() {
	if v.o.History == nil {
		return
	}
	oldest := v.o.History.Figures().Oldest
	if oldest.IsZero() {
		return
	}
	since := minute{at: v.began.Add(-time.Hour)}
	if oldest.After(since.at) {
		since.at = oldest
	}
	found, step := v.o.History.Query(history.Query{
		Match: func(metric, _ string) bool {
			return metric == "messages_dropped" || metric == "store_errors" || metric == "panics"
		},
		From: since.at, To: v.began, Step: time.Second, // the finest there is: a point is of all of its step
	})
	type increase struct {
		at time.Time
		by counts
	}
	var all []increase
	for _, s := range found {
		for _, p := range s.Points {
			n := uint64(math.Round(p.Value * step.Seconds()))
			if n == 0 {
				continue
			}
			x := increase{at: time.Unix(p.At, 0).Add(step)}
			switch s.Metric {
			case "store_errors":
				x.by.storeErrors = n
			case "panics":
				x.by.panics = n
			default:
				for i := range x.by.dropped {
					if s.Labels == labelsOf([]string{"reason"}, []string{whyName(i)}) {
						x.by.dropped[i] = n
					}
				}
			}
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b increase) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	v.mu.Lock()
	defer v.mu.Unlock()
	v.past = append(v.past[:0], since)
	for _, x := range all {
		v.earlier = v.earlier.plus(&x.by)
		v.past = append(v.past, minute{x.at, v.earlier})
	}
}

// counted is what had been counted by a reading.
func (v *Vitals) counted(s *Snapshot) counts {
	c := counts{dropped: s.raw.Dropped, storeErrors: s.raw.StoreErrors, panics: s.raw.Panics}
	if s.store != nil {
		c.commits = s.store.Commits
	}
	return c.plus(&v.earlier)
}

// remember keeps a reading each minute for an hour.
func (v *Vitals) remember(s *Snapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s.At.Sub(v.kept) >= time.Minute {
		v.kept = s.At
		v.past = append(v.past, minute{s.At, v.counted(s)})
	}
	for len(v.past) > 1 && s.At.Sub(v.past[1].at) >= time.Hour {
		v.past = v.past[1:]
	}
}

// lately is what was counted since the last hour began, or what is known of it.
func (v *Vitals) lately(s *Snapshot) (counts, time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counted(s).minus(&v.past[0].counts), v.past[0].at
}

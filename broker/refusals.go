package broker

import (
	"net/netip"
	"sync"
	"time"
)

// maxSums is how many kinds of refusals, or losses of a shard, are told apart within a second.
const maxSums = 1024

// refusals sums up what repeats among those who do not get in, so that a flood of them is a few events.
type refusals struct {
	mu    sync.Mutex
	table map[refusalKey]*Refused // its Count is what came since it was last told
}

type refusalKey struct {
	listener, client, user, cause string
	address                       netip.Addr
}

// tell tells the first of a kind and counts the others.
func (r *refusals) tell(b *Broker, e Refused) {
	now := time.UnixMilli(b.clock(time.Now()))
	if first := r.count(&e, now); first {
		e.Count, e.First, e.Last = 1, now, now
		b.tell(e)
	}
}

func (r *refusals) count(e *Refused, now time.Time) (first bool) {
	k := refusalKey{e.Listener, e.ClientID, e.User, e.Cause, e.Address.Addr()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.table[k] == nil && len(r.table) >= maxSums {
		k = refusalKey{cause: e.Cause}
	}
	x := r.table[k]
	if x == nil {
		if r.table == nil {
			r.table = make(map[refusalKey]*Refused)
		}
		kept := *e
		if k.listener == "" {
			kept = Refused{Before: e.Before, Cause: e.Cause, Reason: e.Reason, Text: e.Text}
		}
		r.table[k] = &kept
		return true
	}
	if x.Count == 0 {
		x.First = now
	}
	x.Count, x.Last = x.Count+1, now
	return false
}

// flush tells what has repeated, and forgets what has not.
func (r *refusals) flush(b *Broker) {
	var told []Refused
	r.mu.Lock()
	for k, x := range r.table {
		if x.Count == 0 {
			delete(r.table, k)
			continue
		}
		told = append(told, *x)
		x.Count = 0
	}
	r.mu.Unlock()
	for i := range told {
		b.tell(told[i])
	}
}

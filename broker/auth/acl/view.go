package acl

import (
	"slices"
	"sync/atomic"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

// view is what of a policy concerns one client: the audiences that it belongs to, shared with others, and what it was
// answered lately.
type view struct {
	policy    *policy
	audiences []*audience
	err       error // the rules that came with its identity cannot be understood: it may do nothing
	answers   atomic.Pointer[answers]
}

// ownOrder is the place of the first rule that came with an identity, behind all others.
const ownOrder = 1 << 30

// bind makes the view of a client.
func (p *policy) bind(who *auth.Principal) *view {
	v := &view{policy: p}
	v.gather(p, who)
	if len(who.Rules) == 0 {
		return v
	}
	own, err := compileFrom(who.Rules, ownOrder)
	if err != nil {
		v.err = err
		return v
	}
	v.gather(own, who)
	return v
}

// gather adds the audiences of p that include a client.
func (v *view) gather(p *policy, who *auth.Principal) {
	if p.everyone != nil {
		v.audiences = append(v.audiences, p.everyone)
	}
	look := func(list []*audience) {
		for _, a := range list {
			if includes(a.who, who) && !slices.Contains(v.audiences, a) {
				v.audiences = append(v.audiences, a)
			}
		}
	}
	look(p.others)
	if len(p.named) == 0 {
		return
	}
	look(p.named[naming{client, who.ClientID}])
	look(p.named[naming{user, who.Name}])
	look(p.named[naming{commonName, who.Peer.CommonName()}])
	for _, g := range who.Groups {
		look(p.named[naming{group, g}])
	}
	for name, value := range who.Claims {
		look(p.named[naming{claim, name + "=" + value}])
	}
}

// decide finds the rule that decides, the hard way.
func (v *view) decide(who *auth.Principal, q *auth.Question) search {
	s := search{who: who, q: q}
	if v.err != nil {
		return s
	}
	for _, a := range v.audiences {
		s.walk(&a.root, 0, noGroup)
	}
	return s
}

// answers are a client's latest, each in one word: the sum of the question and in its lowest two bits the answer. Other
// goroutines may read and write at the same time; whose word goes lost asks again.
type answers struct {
	lost  atomic.Uint32 // words that had to make room
	words []atomic.Uint64
}

// How many answers a client has room for: most ask about a few topics.
const (
	fewAnswers  = 8
	manyAnswers = 1024
)

const (
	yes = 1
	no  = 2
)

func (a *answers) word(sum uint64) *atomic.Uint64 {
	return &a.words[sum>>3&uint64(len(a.words)-1)]
}

func (v *view) recall(sum uint64) (allowed, known bool) {
	a := v.answers.Load()
	if a == nil {
		return false, false
	}
	w := a.word(sum).Load()
	return w == sum|yes, w&^3 == sum
}

func (v *view) remember(sum uint64, allowed bool) {
	answer := uint64(no)
	if allowed {
		answer = yes
	}
	a := v.answers.Load()
	if a == nil {
		a = v.room(nil, fewAnswers)
	}
	w := a.word(sum)
	if old := w.Load(); old != 0 && old&^3 != sum && int(a.lost.Add(1)) > 4*len(a.words) && len(a.words) < manyAnswers {
		w = v.room(a, 4*len(a.words)).word(sum)
	}
	w.Store(sum | answer)
}

// room makes room for n answers in the place of a, unless somebody else just has.
func (v *view) room(a *answers, n int) *answers {
	v.answers.CompareAndSwap(a, &answers{words: make([]atomic.Uint64, min(n, manyAnswers))})
	return v.answers.Load()
}

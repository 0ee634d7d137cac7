package auth

import (
	"hash/maphash"
	"net/netip"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Action is what a client wants to do with a topic.
type Action uint8

// The actions.
const (
	Publish   Action = iota + 1 // to a topic name, also by a will
	Subscribe                   // to a topic filter, without its "$share/group/"
	Receive                     // a message of a topic name, however it was subscribed to
)

// String is the action as rules name it.
func (a Action) String() string {
	switch a {
	case Publish:
		return "publish"
	case Subscribe:
		return "subscribe"
	case Receive:
		return "receive"
	}
	return "nothing"
}

// Question is what an authorizer is asked: may the client do this? Topic is a view. The zero value asks nothing. It is
// used by one goroutine at a time; the same one may be asked about many clients.
type Question struct {
	Action Action
	QoS    mqtt.QoS // of the publication, or asked for by the subscription
	Retain bool     // the publication is to be retained
	Topic  []byte
	sum    uint64
}

// Sum stands for the question in a cache: it is hashed once, however many are asked. Different questions have
// the same sum by chance alone, once in 2^62; its two lowest bits are 0.
func (q *Question) Sum(seed maphash.Seed) uint64 {
	if q.sum == 0 {
		rest := uint64(q.Action)<<16 | uint64(q.QoS)<<8
		if q.Retain {
			rest |= 1
		}
		q.sum = (maphash.Bytes(seed, q.Topic)^rest*0x9e3779b97f4a7c15)&^3 | 4
	}
	return q.sum
}

// Authorizer tells whether a client may do something. It is asked on the message
// path, from several goroutines, and must not block.
type Authorizer interface {
	Authorize(p *Principal, q *Question) bool
	// Explain tells what decides, and why. It may take longer.
	Explain(p *Principal, q *Question) Decision
}

// Decision is an authorizer's answer with its reason.
type Decision struct {
	Allowed bool   `json:"allowed"`
	Rule    string `json:"rule,omitempty"` // the name of the rule that decided; "" = none fits
	Why     string `json:"why"`            // one sentence
}

// Actions is a set of actions.
type Actions uint8

// ActionsOf makes a set.
func ActionsOf(list ...Action) (s Actions) {
	for _, a := range list {
		s |= 1 << a
	}
	return s
}

// Has tells whether a is in the set.
func (s Actions) Has(a Action) bool { return s&(1<<a) != 0 }

// Rule allows or denies actions on topics to some clients. Of all rules that fit a question, the one with the highest
// priority decides; among equals a denial wins; if none fits, the answer is no.
type Rule struct {
	Name     string // how explanations call it, such as "acl.rules[3]" or "rule 17"
	Deny     bool
	Actions  Actions
	Topics   []string // filters; {client}, {user}, {cn}, {group} and {claim.x} stand for the client's own, "{{" for a brace
	Who      Who
	QoS      []mqtt.QoS // of a publication, or asked for by a subscription, that it fits; empty = all
	Retain   *bool      // of publications it fits only those that are retained, or are not; nil = both
	Priority int
}

// Who are the clients that a rule is about: all of its conditions have to hold. An empty one always does; of several
// values one suffices. In texts * stands for any characters; what a client does not have, such as the name of an anonymous one,
// fits "" alone. The zero value is everybody.
type Who struct {
	Users       []string
	Groups      []string
	Clients     []string // client ids
	CommonNames []string // of certificates
	Listeners   []string
	Addresses   []netip.Prefix
	Claims      map[string]string
}

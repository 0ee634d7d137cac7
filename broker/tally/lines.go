// Package tally counts what becomes of messages: for the whole broker, for each client and for each topic.
//
// The law. A message that comes in ends in exactly one way:
//
//	Received + Wills + Own = Routed + Unheard + Denied + Refused
//
// and so does every copy of it that is meant for a receiver. For one event loop, at any moment between two of its
// tasks:
//
//	Start + Found + Copies + Got = Mailed + Sent0 + Acknowledged + Dropped + Unacknowledged + Requeued + TakenBack
//	                             + Queued + Waiting + Ending
//
// and for one receiver, on its own loop:
//
//	Start + Found + Meant = Sent0 + Acknowledged + Dropped + Unacknowledged + Requeued + Queued
//
// The sum over all loops is the broker's; Mailed less Got is then what travels between loops. No side is made from the
// other: each number is counted where the thing happens, Queued is what the sessions say.
//
// Everything but Names belongs to one event loop: there is no lock and no clock in it, and it knows nothing of sockets,
// sessions and stores.
package tally

// Reasons is how many reasons to drop a copy there may be; the owner's are below it, from 1.
const Reasons = 24

// End is how a message ends that is routed to nobody because it is not to be.
type End uint8

// The ends. Those before deniedEnd are denials, the others refusals.
const (
	DeniedByRule End = iota // the authorizer, or a reserved topic
	DeniedByGate            // Options.Gates
	DeniedByWard            // its publisher is in quarantine
	deniedEnd               // the refusals follow
	RateLimited             // more than its publisher may send
	Overloaded              // the broker sheds it
	StoreUnwell             // the store takes nothing new
	Ends                    // the size of an array by End
)

// String is the end as it stands in metrics and events.
func (e End) String() string {
	return [Ends]string{"rule", "gate", "quarantine", "", "rate_limited", "overloaded", "store_unwell"}[e]
}

// Denied tells a denial from a refusal.
func (e End) Denied() bool { return e < deniedEnd }

// Lines are the counts of one event loop, or of all of them. All grow but Queued, Waiting and Ending, which are what
// there is now.
type Lines struct {
	// Messages that came in.
	Received uint64 // from clients, taken over by their sessions
	Wills    uint64 // a will that the store did not take counts again
	Own      uint64 // the server's own, and those of its API

	// What became of them.
	Routed  uint64       // meant for somebody
	Unheard uint64       // for nobody: no subscription matched
	Ended   [Ends]uint64 // denied and refused

	// Where copies come from.
	Start  uint64 // queued when the broker started
	Found  int64  // read from the store before the loop that stored them told us, less those told by now
	Copies uint64 // a receiver was found, for a message published, retained, or requeued
	Got    uint64 // from other loops

	// Where they end.
	Mailed         uint64 // to other loops
	Sent0          uint64 // QoS 0, written to the connection's output
	Acknowledged   uint64 // QoS 1 by PUBACK, QoS 2 by PUBREC
	Dropped        [Reasons]uint64
	Unacknowledged uint64 // sent, and the session ended before the acknowledgement
	Requeued       uint64 // gone on to another member of a shared subscription, where they count as copies anew
	TakenBack      uint64 // the store did not keep them; they are tried again

	// Where they are.
	Queued  int64 // in sessions: waiting or in flight
	Waiting int64 // for the store
	Ending  int64 // in sessions that are over and whose queue is being looked through

	// Beside the law.
	Resent   uint64          // QoS 1 and 2, sent again to a client that came back
	BytesIn  uint64          // payloads, of Received
	BytesOut uint64          // payloads written
	NotKept  [Reasons]uint64 // retained messages that were not retained, or expired
}

// Add adds o to l.
func (l *Lines) Add(o *Lines) {
	l.Received += o.Received
	l.Wills += o.Wills
	l.Own += o.Own
	l.Routed += o.Routed
	l.Unheard += o.Unheard
	for i, n := range o.Ended {
		l.Ended[i] += n
	}
	l.Start += o.Start
	l.Found += o.Found
	l.Copies += o.Copies
	l.Got += o.Got
	l.Mailed += o.Mailed
	l.Sent0 += o.Sent0
	l.Acknowledged += o.Acknowledged
	for i, n := range o.Dropped {
		l.Dropped[i] += n
	}
	l.Unacknowledged += o.Unacknowledged
	l.Requeued += o.Requeued
	l.TakenBack += o.TakenBack
	l.Queued += o.Queued
	l.Waiting += o.Waiting
	l.Ending += o.Ending
	l.Resent += o.Resent
	l.BytesIn += o.BytesIn
	l.BytesOut += o.BytesOut
	for i, n := range o.NotKept {
		l.NotKept[i] += n
	}
}

// AllDropped is the sum over the reasons.
func (l *Lines) AllDropped() uint64 { return sum(l.Dropped[:]) }

// AllEnded is how many messages were denied, and how many refused.
func (l *Lines) AllEnded() (denied, refused uint64) {
	return sum(l.Ended[:deniedEnd]), sum(l.Ended[deniedEnd:])
}

// Messages is how many more messages came in than ended: 0 when the law holds.
func (l *Lines) Messages() int64 {
	denied, refused := l.AllEnded()
	return int64(l.Received + l.Wills + l.Own - l.Routed - l.Unheard - denied - refused)
}

// Difference is how many more copies began than are accounted for: 0 when the law holds.
func (l *Lines) Difference() int64 {
	in := int64(l.Start+l.Copies+l.Got) + l.Found
	out := l.Mailed + l.Sent0 + l.Acknowledged + l.AllDropped() + l.Unacknowledged + l.Requeued + l.TakenBack
	return in - int64(out) - l.Queued - l.Waiting - l.Ending
}

// Moving is how many copies travel between loops, as far as the lines of all loops were read at one moment.
func (l *Lines) Moving() int64 { return int64(l.Mailed - l.Got) }

func sum(n []uint64) (total uint64) {
	for _, x := range n {
		total += x
	}
	return total
}

// Package session is one client's MQTT conversation as a state machine: what
// arrived and when goes in, an ordered list of effects comes out.
//
// It is pure: no socket, clock, lock, goroutine or store. Its owner performs the
// effects in their order and tells the outcome of those that have one (Routed,
// Subscribed, Fetched, Stored). That a message is stored before it is acknowledged
// can be read in the list.
package session

import "github.com/sapwood-mqtt/sapwood/mqtt"

// Turn is when something happens: the owner's clock, and the batch it collects.
type Turn struct {
	Now   int64  // milliseconds of the owner's steady clock
	Batch uint64 // number of the store batch that a Keep emitted now becomes part of

	// Receiver is asked about what has waited, as its turn comes to be sent; nil = the client may have everything.
	Receiver Receiver
}

// Receiver tells whether the client may have a message. That it might when the message came says nothing.
type Receiver interface {
	MayReceive(m *mqtt.Message) bool
}

// Kind says what an effect asks of the owner.
type Kind uint8

// The effects.
const (
	// Send sends a control packet other than PUBLISH and CONNACK: Type, ID, Reason, Codes, Text.
	Send Kind = iota + 1
	// SendConnack answers CONNECT: Reason, Flag (session present), Text.
	SendConnack
	// SendPublish sends Msg to the client: ID, QoS, Retain, Dup, SubIDs. Flag tells that it is too close to
	// the client's Maximum Packet Size for a topic alias.
	SendPublish
	// Route hands the PUBLISH just given over to authorise, store and deliver; answer with Routed.
	Route
	// Authorize asks which filters of the SUBSCRIBE just given are granted; answer with Subscribed. Codes
	// holds the verdict so far.
	Authorize
	// AddSubscription enters Sub; Flag tells that the filter was subscribed before.
	AddSubscription
	// RemoveSubscription removes Sub; Flag tells that there was none as far as the session knows.
	RemoveSubscription
	// Replay sends the retained messages that match Sub.
	Replay
	// Keep adds a change to the batch Turn.Batch: Change, and ID or Seq.
	Keep
	// Fetch asks for the queued messages Seq to To; answer with Fetched, with the same ID.
	Fetch
	// Drop says that a message does not reach the client: Why, Msg if known.
	Drop
	// Requeue gives Msg back to the shared subscription Text, to go to another member; QoS is its own. Why tells what
	// becomes of it when there is no other.
	Requeue
	// PublishWill publishes the will Msg; its Expires is an interval.
	PublishWill
	// Authenticate hands over the AUTH just given: Flag tells that it begins an exchange. Answer with AuthStep or
	// Kick.
	Authenticate
	// SendAuth sends an AUTH of the connection's method: Reason, and Text is its Authentication Data.
	SendAuth
	// Close ends the connection: Reason, Text. With a failure code a v5 client gets a DISCONNECT first.
	Close
	// End says that the session is over and everything of it is to be forgotten: Flag tells that it is
	// in the store, Seq is the first position of its queue that was never sent and To how many messages wait there.
	End
	// More says that there is more to send than one turn should: call Continue in the next.
	More
)

// Change is what a Keep effect changes.
type Change uint8

// The changes.
const (
	PutSession Change = iota + 1 // the session's own data
	Settle                       // Seq is acknowledged, expired or dropped
	Release                      // PUBREC came for Seq
	Receive                      // packet identifier ID of a QoS 2 message
	Complete                     // PUBREL came for ID
)

// Why tells why a message did not reach a client.
type Why uint8

// The reasons for which messages are dropped.
const (
	Expired      Why = iota + 1 // its Message Expiry Interval passed
	TooLarge                    // larger than the client's Maximum Packet Size
	QueueFull                   // the session's queue is at its limit
	SlowConsumer                // QoS 0, and the client does not read fast enough
	Offline                     // QoS 0, and the client is not connected
	SessionEnded                // the session ended with the message waiting
	ServerFull                  // the broker's total queue limit
	Denied                      // not authorised to receive it
	StoreFailed                 // the store could not keep it
	RetainedFull                // the limit on retained messages
	StoreUnwell                 // the store takes nothing new: not retained, or not held until it does
	RateLimited                 // QoS 0, beyond what its publisher may send or its receiver may get in the time
	Overloaded                  // QoS 0, and the broker is overloaded
	Removed                     // an operator took it out of the queue
	whyEnd
)

// Whys is the number of reasons plus one: the size of an array indexed by Why.
const Whys = int(whyEnd)

// String is the reason as it stands in metrics and events.
func (w Why) String() string {
	return [Whys]string{
		"", "expired", "too_large", "queue_full", "slow_consumer", "offline",
		"session_ended", "server_full", "denied", "store_failed", "retained_full", "store_unwell",
		"rate_limited", "overloaded", "removed",
	}[w]
}

// Sentence says the reason in one sentence, for people.
func (w Why) Sentence() string {
	return [Whys]string{
		"",
		"its Message Expiry Interval passed before it could be sent",
		"it is larger than the client's Maximum Packet Size",
		"the queue of the client's session is at its limit",
		"it was sent at QoS 0 and the client does not read fast enough",
		"it was sent at QoS 0 and the client is not connected",
		"the session ended while it waited",
		"the limit on everything that waits in the broker is reached",
		"the client may not receive it",
		"the store could not keep it",
		"the limit on retained messages is reached",
		"the store takes nothing new at present",
		"it is beyond what its publisher may send, or its receiver may get, in the time",
		"it was sent at QoS 0 and the broker is overloaded",
		"an operator took it out of the queue",
	}[w]
}

// Effect is one thing for the owner to do; Kind says which fields count.
type Effect struct {
	Kind   Kind
	Type   mqtt.Type
	Change Change
	Why    Why
	Reason mqtt.ReasonCode
	QoS    mqtt.QoS
	Retain bool
	Dup    bool
	Flag   bool
	ID     uint16
	Seq    uint64
	To     uint64
	Msg    *mqtt.Message
	SubIDs []uint32
	Codes  []mqtt.ReasonCode
	Sub    *Subscription
	Text   string
}

// Package store is the contract of what must survive a crash: sessions with
// their subscriptions, queues and packet identifiers, and retained messages.
//
// It holds the interface and its vocabulary only; storetest is the suite that
// every engine passes. An engine knows nothing of sockets or of the protocol.
package store

import "github.com/sapwood-mqtt/sapwood/mqtt"

// SessionID names a session for ever: a number is never used twice.
type SessionID uint64

// Store keeps what batches tell it. All methods may be called from any
// goroutine; Load before anything else and once.
type Store interface {
	// Load hands over everything that is kept: each session once, then each
	// retained message once. An error of a callback ends it and is returned.
	Load(session func(*Recovered) error, retained func(*mqtt.Message) error) error

	// Commit keeps a batch, whole or not at all. It fills in the Seq of every
	// target before it returns, and calls b.Done exactly once, before it returns
	// or later from any goroutine: with nil when the batch is kept as safely as the
	// engine promises, or with the reason why nothing of it was. Batches are
	// kept, and Done is called, in the order of the calls to Commit. The batch and what
	// it points to belong to the store until Done is called; messages it keeps
	// are held, not copied, and are never changed by anybody.
	Commit(b *Batch)

	// Read appends to dst the messages queued for a session from position from up
	// to and including to, in order and without those that are settled, until dst is
	// full (its capacity) or maxBytes of messages are read, but one at least. next is where to go on; it
	// is greater than to when the range is done. It may wait for a disk.
	Read(id SessionID, from, to uint64, dst []Queued, maxBytes int) (items []Queued, next uint64, err error)

	// Stats are the engine's present figures.
	Stats() Stats

	// Close ends all work; what was committed stays. A Commit after Close fails.
	Close() error
}

// Batch is a list of changes that are kept together or not at all.
type Batch struct {
	Records []Record
	// Done is called once with the outcome; it must not block.
	Done func(error)
}

// Op says what a record changes.
type Op uint8

// The changes.
const (
	// PutSession creates or replaces the session's own data (Record.Meta).
	PutSession Op = iota + 1
	// EndSession removes the session and everything that belongs to it.
	EndSession
	// Subscribe adds or replaces Record.Subscription.
	Subscribe
	// Unsubscribe removes the subscription to Record.Subscription.Filter.
	Unsubscribe
	// Enqueue adds Record.Message to the queue of every one of Record.Targets. The message
	// is kept once. A target whose session does not exist (any more) gets Seq 0.
	Enqueue
	// Settle removes position Record.Seq from the session's queue: acknowledged,
	// expired or dropped. Unknown positions are ignored.
	Settle
	// Release notes that the client has Record.Seq (PUBREC came): only PUBREL is
	// to be sent for it any more. The message itself need not be kept.
	Release
	// Receive notes the packet identifier of a QoS 2 message that came in.
	Receive
	// Complete forgets a packet identifier noted by Receive (PUBREL came).
	Complete
	// Retain keeps Record.Message as the retained message of its topic.
	Retain
	// Unretain removes the retained message of Record.Message.Topic.
	Unretain
)

// Record is one change; Op says which fields count.
type Record struct {
	Op           Op
	PacketID     uint16       // Receive, Complete
	Session      SessionID    // all but Enqueue, Retain, Unretain
	Seq          uint64       // Settle, Release
	Meta         *Session     // PutSession
	Subscription Subscription // Subscribe, Unsubscribe
	Message      *mqtt.Message
	Targets      []Target
}

// Target is one session that a message is queued for.
type Target struct {
	Session SessionID
	// Seq is the position in the session's queue, from 1, given by the store.
	// Positions grow by one; none is used twice.
	Seq      uint64
	Delivery Delivery
}

// Delivery is how one session gets a message.
type Delivery = mqtt.Delivery

// Queued is one message in a session's queue.
type Queued struct {
	Seq      uint64
	Released bool          // PUBREC came; Message may be nil
	Message  *mqtt.Message // not to be changed
	Delivery Delivery
}

// Session is a session's own data.
type Session struct {
	ID       SessionID
	ClientID string
	Owner    string // the identity that made it; empty = anonymous
	Version  mqtt.Version
	Expiry   uint32 // seconds, 0xFFFFFFFF = never
	// Disconnected is when the connection ended, in milliseconds of the steady clock;
	// 0 while connected.
	Disconnected int64
	Will         *Will
}

// Will is a will that is still to be published or cancelled.
type Will struct {
	Message *mqtt.Message // Expires counts from publication: it is the interval in ms
	Delay   uint32        // seconds
}

// Subscription is a topic filter, shared ones with their prefix, and what was granted.
type Subscription struct {
	Filter  string
	Options mqtt.SubOptions
	ID      uint32 // subscription identifier, 0 = none
}

// Recovered is one session as Load hands it over.
type Recovered struct {
	Session       Session
	Subscriptions []Subscription
	// Received holds the QoS 2 packet identifiers that came in and are not completed.
	Received []uint16
	// First is the oldest position not yet settled and Next the one that will be
	// given next; equal when the queue is empty.
	First, Next uint64
	// Messages and Bytes (mqtt.Message.Bytes) wait in the queue.
	Messages, Bytes int
}

// Stats are figures of a store.
type Stats struct {
	Sessions      int
	Subscriptions int
	Messages      int   // held for queues, each once
	Bytes         int64 // of those messages
	Retained      int
	RetainedBytes int64
}

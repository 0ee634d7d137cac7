// Package store is the contract of what must survive a crash: sessions with
// their subscriptions, queues and packet identifiers, and retained messages.
//
// It holds the interface and its vocabulary only; storetest is the suite that
// every engine passes. An engine knows nothing of sockets or of the protocol.
package store

import (
	"errors"
	"fmt"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// ErrClosed is the outcome of a call after Close.
var ErrClosed = errors.New("store is closed")

// ErrFull is why a batch that makes the store grow is refused while there is no room for it.
var ErrFull = errors.New("no space left for the store")

// SessionID names a session for ever: a number is never used twice.
type SessionID uint64

// Store keeps what batches tell it. All methods may be called from any
// goroutine; Load once and before anything but Past.
type Store interface {
	// Past tells what the engine remembers, as it was when it was opened.
	Past() Past

	// Load hands over everything that is kept: each session once, then each
	// retained message once, in no particular order. An error of a callback ends it
	// and is returned. What a callback gets is its own; it must not call the store.
	Load(session func(*Recovered) error, retained func(*mqtt.Message) error) error

	// Commit keeps a batch, whole or not at all; its records take effect in their
	// order. It fills in the Seq of every target before it returns, and calls b.Done
	// exactly once, before it returns or later from any goroutine: with nil when the
	// batch is kept as safely as the engine promises, or with the reason why nothing
	// of it was.
	//
	// There is one order of all batches: that in which Commit was called, and where
	// calls overlap, one of the engine's choice. The positions of every queue follow
	// it; when Done says that a batch is kept, so is everything before it that did not
	// fail. Done is called in that order, but for calls that overlap. When a batch
	// fails, its positions are lost: nothing is ever found there, and Seq may go
	// on behind them.
	//
	// A record for a session that does not exist (any more) changes nothing and is
	// no failure; a batch that does not pass Check fails.
	//
	// The batch and what it points to belong to the store until Done is called; the
	// caller may only read Seq, from when Commit has returned. Messages that the store keeps
	// are held, not copied, and are never changed by anybody; the rest is copied.
	Commit(b *Batch)

	// Read appends to dst the messages queued for a session at the positions from
	// to to, both included, in order and without those that are settled. It stops when
	// dst is full (its capacity; there must be room for one) or before the message that would make it
	// more than maxBytes (mqtt.Message.Bytes; released ones weigh nothing), but reads
	// one at least. next is where to go on: behind the last one read; greater than to when
	// the range is done. to is below the greatest uint64. Batches whose Done has
	// been called are seen, failed ones never. A session that does not exist has no
	// messages. It may wait for a disk.
	Read(id SessionID, from, to uint64, dst []Queued, maxBytes int) (items []Queued, next uint64, err error)

	// Health tells why batches that make the store grow (Batch.Grows) are refused at present, in
	// words for people; nil when they are taken. ErrFull is what errors.Is finds when space is all that lacks: what
	// gives back space, and what replaces a session's data or its subscription to the same filter, may then be kept all
	// the same. It costs little more than an atomic read, and the store gets well by itself.
	Health() error

	// Stats are the engine's present figures, after Close the last.
	Stats() Stats

	// Close ends all work; what was committed stays. Commit, Read and Load fail after
	// it with ErrClosed; a second Close does nothing.
	Close() error
}

// Batch is a list of changes that are kept together or not at all. It may be
// used again when Done has been called.
type Batch struct {
	Records []Record
	// Done is called once with the outcome; it must not block. nil = nobody asks.
	Done func(error)
}

// Check tells what is missing in a batch: an Op that does not exist, or a record without
// what its Op needs. Every engine refuses such a batch before it keeps anything.
func (b *Batch) Check() error {
	for i := range b.Records {
		r := &b.Records[i]
		ok := true
		switch r.Op {
		case PutSession:
			ok = r.Meta != nil && r.Meta.ID == r.Session
		case Enqueue, Retain, Unretain:
			ok = r.Message != nil
		case EndSession, Subscribe, Unsubscribe, Settle, Release, Receive, Complete:
		default:
			ok = false
		}
		if !ok {
			return fmt.Errorf("check batch: record %d (op %d) lacks what it needs", i, r.Op)
		}
	}
	return nil
}

// Grows tells whether keeping the batch takes room for good whatever is kept already: it has an Enqueue, a Retain or a
// Receive. A PutSession or a Subscribe is growth only to an engine that finds the session or the filter new.
func (b *Batch) Grows() bool {
	for i := range b.Records {
		switch b.Records[i].Op {
		case Enqueue, Retain, Receive:
			return true
		case PutSession, EndSession, Subscribe, Unsubscribe, Settle, Release, Complete, Unretain:
		}
	}
	return false
}

// Op says what a record changes.
type Op uint8

// The changes.
const (
	// PutSession creates a session, or replaces its own data (Record.Meta) and leaves
	// what belongs to it.
	PutSession Op = iota + 1
	// EndSession removes the session and everything that belongs to it.
	EndSession
	// Subscribe adds or replaces Record.Subscription.
	Subscribe
	// Unsubscribe removes the subscription to Record.Subscription.Filter.
	Unsubscribe
	// Enqueue adds Record.Message to the queue of every one of Record.Targets. The message
	// is kept once. A target whose session does not exist (any more) gets Seq 0; a
	// session that is named twice gets it twice.
	Enqueue
	// Settle removes position Record.Seq from the session's queue: acknowledged,
	// expired or dropped. Unknown positions are ignored.
	Settle
	// Release notes that the client has Record.Seq (PUBREC came): only PUBREL is
	// to be sent for it any more. The position stays, the message is let go. Unknown
	// positions are ignored.
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
	Session      SessionID    // all but Enqueue, Retain, Unretain; of PutSession that of Meta
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
	Released bool          // PUBREC came: Message is nil, Delivery is empty
	Message  *mqtt.Message // not to be changed
	Delivery Delivery      // nor what it points to
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
	// Unsent is the first position of the queue that was certainly never sent, as of this record; 0 = not known.
	Unsent uint64
	Will   *Will
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
	// Messages and Bytes (mqtt.Message.Bytes) wait in the queue; released positions
	// count in neither.
	Messages, Bytes int
}

// Stats are figures of a store.
type Stats struct {
	Sessions      int
	Subscriptions int
	Messages      int   // held for queues, once for each Enqueue that somebody has neither settled nor released
	Bytes         int64 // of those messages (mqtt.Message.Bytes)
	Retained      int
	RetainedBytes int64
}

// Past is what an engine remembers of the processes before.
type Past struct {
	// Session is the highest number that a session ever had, of those that ended too.
	Session SessionID
	// Commit is when the last batch was kept, in Unix milliseconds that never run backwards, over restarts
	// either; 0 = never.
	Commit int64
}

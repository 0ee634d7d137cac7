package broker

import (
	"net/netip"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Events is the door at which the broker tells what happened: it is called with one event after another, each a value of one of
// the types of this file. It is called on the broker's loops and on a few other goroutines, also from several at once, and must not
// block. What an event holds may be kept, but for a *mqtt.Message, which is a view. Events of one client come in the order in which
// they happened, but for those that are sums. A panic in it is counted and goes no further.
type Events func(Event)

// Event is one of: Connected, Refused, Disconnected, TakenOver, ProtocolError, SessionCreated, SessionResumed, SessionEnded,
// Subscribed, Unsubscribed, SubscriptionRests, SubscriptionResumes, WillSent, WillCancelled, Limited, Stalled, StallEnded,
// Quarantined, QuarantineEnded, BanChanged, OverloadChanged, StoreChanged, and the sums Dropped and Denied.
type Event interface{ event() }

// Party is who an event is about.
type Party struct {
	ClientID string         // empty where it is about nobody in particular
	User     string         // the identity; empty = anonymous
	Address  netip.AddrPort // of its connection, or its last one; invalid for a Unix socket, or if it is not known
	Listener string
}

// Connected is a client that was let in. SessionCreated or SessionResumed came just before.
type Connected struct {
	Party
	By         string // the backend that vouched; empty = nobody was asked
	Groups     []string
	CommonName string // of its certificate
	TLS        *TLS   // nil = none, or a proxy's
	Version    mqtt.Version
	KeepAlive  time.Duration // in force; 0 = off
	Expiry     time.Duration // of the session; negative = never
	CleanStart bool
	Assigned   bool // the client id was made up
	Resumed    bool // the session was there
	AuthMethod string
	Software   string        // what it says of itself; see softwareOf
	Will       *mqtt.Message // nil = none
	WillDelay  time.Duration
	Mount      string // what its topics begin with inside the broker
}

// TLS is what was agreed on for a connection.
type TLS struct {
	Version    uint16 // as in crypto/tls
	Cipher     uint16
	Resumed    bool   // of an earlier handshake
	ServerName string // that the client asked for
}

// Refused is a connection that did not get in: its CONNECT was refused, or it ended before there was one, or before it was answered. The first of a kind (by
// listener, address, names and Cause) is told at once; what repeats is counted and told once a second. Beyond 1,024 kinds in a
// second the rest is summed up by Cause alone. Nothing of Party but Address and Listener was proven.
type Refused struct {
	Party
	Before      bool            // there was no CONNECT
	Cause       string          // one of the Refused words, or the reason code's name in lower case with _
	Reason      mqtt.ReasonCode // of CONNACK
	Text        string          // what the client was told
	By          string          // the backend that said no, where one did
	Why         string          // what only the operator is told; empty if there is no more
	Waited      time.Duration   // of RefusedHangUp: for an answer
	Count       uint64
	First, Last time.Time
}

// RefusedHangUp is the Cause of a connection that the client ended before its CONNECT had an answer: nobody refused it.
const RefusedHangUp = "hung_up"

// What ended a connection before its CONNECT, beside the names of admission.Reason.
const (
	RefusedTLS       = "tls"             // the handshake failed
	RefusedWebSocket = "websocket"       // the upgrade, or a frame
	RefusedProxy     = "proxy"           // no PROXY header, or a bad one
	RefusedBanned    = "banned"          // the address is
	RefusedOverload  = "overloaded"      //
	RefusedTimeout   = "connect_timeout" // no CONNECT in time
	RefusedInput     = "not_mqtt"        // what came is no CONNECT
)

// Cause is by whom or what a connection was ended.
type Cause uint8

// The causes.
const (
	ByClient        Cause = iota + 1 // DISCONNECT; Disconnected.Reason is the client's
	ByClosing                        // the client closed the connection without DISCONNECT
	ByBreaking                       // the connection broke
	ByKeepAlive                      // the client was silent for too long
	ByTakeover                       // the client id connected anew
	ByAdmin                          // somebody asked for it through Control
	ByBan                            // banned
	ByShutdown                       // the broker stops
	ByProtocol                       // the client broke the protocol, or a limit of CONNACK
	ByStall                          // it read nothing for too long
	ByRate                           // it published more than allowed
	ByQueue                          // its queue is full, and delivery.overflow says so
	ByExpiry                         // its credentials have expired
	ByAuthenticator                  // it could not authenticate anew
	ByDenial                         // it published what it may not, and cannot be told otherwise
	ByStore                          // what it asked for could not be stored
	ByFault                          // a fault of the broker's own
	causeEnd
)

// String is the cause as it stands in facts and metrics.
func (c Cause) String() string {
	return [causeEnd]string{
		"", "client", "closed", "broken", "keep_alive", "taken_over", "admin", "banned", "shutdown", "protocol_error", "stalled",
		"rate", "queue_full", "credentials_expired", "reauthentication", "denied", "store", "fault",
	}[c]
}

// Disconnected is a client that has lost its connection. TakenOver or ProtocolError came just before, where that is the cause;
// SessionEnded, WillSent and Dropped may follow.
type Disconnected struct {
	Party
	Cause      Cause
	Reason     mqtt.ReasonCode // of the DISCONNECT that was sent, either way; a v3 client is not told
	Text       string          // for people; of ByClient the client's own reason string
	Version    mqtt.Version
	KeepAlive  time.Duration
	Expiry     time.Duration // of the session, from now on; 0 = it ends, negative = never
	For        time.Duration // that it was connected
	Received   uint64        // messages from the client on this connection
	Sent       uint64        // messages to it
	Queued     int           // QoS 1 and 2 messages that wait, or are not acknowledged
	QueueBytes int64
	Resumed    bool // the connection took up a session
}

// TakenOver is a client whose place is about to be taken by another connection with the same client id and identity.
type TakenOver struct {
	Party                   // that loses its connection
	By        Party         // who takes its place
	KeepAlive time.Duration // 0 = none
	For       time.Duration // that it was connected
	Silent    time.Duration // since it was last heard
}

// ProtocolError is a connected client that broke the protocol, or a limit that CONNACK tells. Disconnected follows.
type ProtocolError struct {
	Party
	Version mqtt.Version
	Reason  mqtt.ReasonCode
	Text    string
}

// SessionCreated is a session that begins.
type SessionCreated struct {
	Party
	Expiry time.Duration // 0 = it ends with the connection, negative = never
}

// SessionResumed is a session that is taken up by a connection.
type SessionResumed struct {
	Party
	Expiry        time.Duration
	Away          time.Duration // without a connection
	Queued        int           // QoS 1 and 2 messages that wait
	QueueBytes    int64
	Subscriptions int
}

// Ending is why a session ended.
type Ending uint8

// The endings.
const (
	EndExpired      Ending = iota // its expiry interval passed
	EndCleanStart                 // its client wanted a new one
	EndDisconnected               // it ends with its connection
	EndAdmin                      // somebody asked for it through Control
	EndReplaced                   // a newer one was in the store too
	EndOwn                        // the server's own client needs its client id
	endingEnd
)

// String is the ending as it stands in facts.
func (e Ending) String() string {
	return [endingEnd]string{"expired", "clean_start", "disconnected", "admin", "replaced", "own"}[e]
}

// SessionEnded is a session that is over.
type SessionEnded struct {
	Party
	Why           Ending
	Queued        int // QoS 1 and 2 messages that were not acknowledged: lost, but for those of shared subscriptions
	Subscriptions int
	Durable       bool    // it was to outlive its connection
	Totals        Traffic // over all its connections; what is lost by its end is not yet among the dropped
}

// Subscribed is one filter of a SUBSCRIBE.
type Subscribed struct {
	Party
	Filter  string          // with the mount point
	Options mqtt.SubOptions // as asked
	ID      uint32          // subscription identifier; 0 = none
	Code    mqtt.ReasonCode // the QoS granted, or why it was refused
	Again   bool            // it was subscribed before
}

// Unsubscribed is a subscription that its client gave back.
type Unsubscribed struct {
	Party
	Filter string
}

// SubscriptionRests is a subscription that its client may not have any more. It works again once it may.
type SubscriptionRests struct {
	Party
	Filter string
	auth.Decision
}

// SubscriptionResumes is a subscription that rested and works again.
type SubscriptionResumes struct {
	Party
	Filter string
}

// WillSent is a will that came due.
type WillSent struct {
	Party
	Topic     string
	QoS       mqtt.QoS
	Retain    bool
	Bytes     int
	Reason    mqtt.ReasonCode // a failure says why it was not published
	Receivers int
}

// WillCancelled is a will that will not be sent.
type WillCancelled struct {
	Party
	Topic     string
	Reconnect bool // the client came back within the will's delay; else it disconnected orderly
}

// Limited is a client or user that has reached a limit, or flaps: once until it was within the limit for a while. Or a client before MQTT 5 that
// publishes what the store does not take, so that nothing is read from it until the store is well.
type Limited struct {
	Party        // without a client id it is about the user
	What  string // the name of a limit.Reason, "flapping" or "store"
	Text  string // for people
}

// Stalled is a client that has taken nothing for a second though its output is full.
type Stalled struct {
	Party
	Pending int // bytes that wait for it in its output
	Queued  int // QoS 1 and 2 messages behind them
}

// StallEnded is a stalled client that reads again.
type StallEnded struct {
	Party
	For time.Duration
}

// Quarantined is a client that is kept apart from now on.
type Quarantined struct {
	Party
	Ban ban.Ban
}

// QuarantineEnded is a client that is not kept apart any more.
type QuarantineEnded struct{ Party }

// BanChanged is a ban that begins or ends, of whomever it is about.
type BanChanged struct {
	Banned       // what it did
	Ended   bool // it ends, because somebody said so
	Expired bool // it ends, because its time is over
}

// OverloadChanged is a change in what is shed. It is told on a goroutine of its own.
type OverloadChanged struct{ overload.State }

// StoreChanged is a store that takes nothing new, or does again.
type StoreChanged struct{ Err error } // nil = it is well

// Sums says how losses are summed up. The zero value has the defaults.
type Sums struct {
	Levels  int           // of topics, by which branches are told apart; 0 = 3
	Longest time.Duration // until a sum that goes on is told again; 0 = a minute
}

// Sum is what happened to several messages at once. It is told within a second; of what goes on without a pause another one is told after
// two seconds, four, and so on up to Sums.Longest, and at once when the client's connection ends.
type Sum struct {
	Branch      string // a topic, or the first levels of some and /#; "#" = all; "" = not known
	Topic       string // of the first one; "" = not known
	Count       uint64
	Bytes       uint64 // payloads, where they were at hand
	First, Last time.Time
}

// Dropped sums up messages that did not reach a client, by client, reason and branch. Beyond 1,024 such sums on a loop, what is left is
// summed up by reason, and about nobody.
type Dropped struct {
	Party // whom they did not reach; where Incoming who had published them
	Sum
	Why           session.Why
	Incoming      bool
	Connected     bool // Party was
	auth.Decision      // for session.Denied: what said so about the first one
}

// Denial is what a Denied came from.
type Denial uint8

// The denials.
const (
	DeniedByRule Denial = iota
	DeniedReserved
	DeniedByGate
	DeniedInQuarantine
	DeniedByRate     // a QoS 1 or 2 message; of QoS 0 Dropped tells
	DeniedByOverload // likewise
	DeniedByStore    // it takes nothing new
	denialEnd
)

// String is the denial as it stands in facts.
func (d Denial) String() string {
	return [denialEnd]string{"rule", "reserved", "gate", "quarantine", "rate_limited", "overloaded", "store"}[d]
}

// Denied sums up, as Dropped does, what a client was not allowed to do: publications, wills and filters that were refused.
type Denied struct {
	Party
	Sum
	Action        auth.Action
	From          Denial
	Reason        mqtt.ReasonCode // that the acknowledgement says, where there is one that can
	auth.Decision                 // about the first one
}

func (Connected) event()           {}
func (Refused) event()             {}
func (Disconnected) event()        {}
func (TakenOver) event()           {}
func (ProtocolError) event()       {}
func (SessionCreated) event()      {}
func (SessionResumed) event()      {}
func (SessionEnded) event()        {}
func (Subscribed) event()          {}
func (Unsubscribed) event()        {}
func (SubscriptionRests) event()   {}
func (SubscriptionResumes) event() {}
func (WillSent) event()            {}
func (WillCancelled) event()       {}
func (Limited) event()             {}
func (Stalled) event()             {}
func (StallEnded) event()          {}
func (Quarantined) event()         {}
func (QuarantineEnded) event()     {}
func (BanChanged) event()          {}
func (OverloadChanged) event()     {}
func (StoreChanged) event()        {}
func (Dropped) event()             {}
func (Denied) event()              {}

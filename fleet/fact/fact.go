// Package fact is the stream of facts: what happened in the broker and to it, one typed event each, with its time, its
// parties, its reason and a sentence that explains it. It keeps them in a bounded store, answers questions about the past
// and tells those who listen. It does not watch messages: what happens per message arrives here already summed up.
package fact

import "time"

// Kind says what happened.
type Kind string

// The kinds. Those of a connection carry its client, user, address and listener.
const (
	Connected           Kind = "connected"
	Refused             Kind = "refused" // a CONNECT, or a connection before it
	Disconnected        Kind = "disconnected"
	TakenOver           Kind = "taken_over" // Detail: by, by_address
	Denied              Kind = "denied"     // Topic; Detail: action, rule, text
	Subscribed          Kind = "subscribed" // Topic is the filter; Detail: qos, and refused or resting
	Unsubscribed        Kind = "unsubscribed"
	WillSent            Kind = "will_sent" // Topic
	WillFailed          Kind = "will_failed"
	WillCancelled       Kind = "will_cancelled"
	SessionCreated      Kind = "session_created"
	SessionResumed      Kind = "session_resumed" // Detail: queued, offline_for_seconds
	SessionEnded        Kind = "session_ended"   // Reason: expired, clean_start, disconnected, admin
	Limited             Kind = "limited"         // Reason: a limit.Reason, flapping, store
	Dropped             Kind = "dropped"         // Count messages; Topic is the branch, Reason a session.Why
	Stalled             Kind = "stalled"         // a client does not read; Detail: pending_bytes
	StallEnded          Kind = "stall_ended"
	ProtocolError       Kind = "protocol_error"
	Banned              Kind = "banned"
	Unbanned            Kind = "unbanned"
	Quarantined         Kind = "quarantined"
	QuarantineEnded     Kind = "quarantine_ended"
	OverloadChanged     Kind = "overload" // Reason: the level
	StoreChanged        Kind = "store"    // Reason: healthy, full, failed
	Started             Kind = "started"
	Stopping            Kind = "stopping"
	Reloaded            Kind = "reloaded" // Detail: the keys that changed
	Admin               Kind = "admin"    // what somebody did through the API; Detail: by, action, before, after
	Imbalance           Kind = "imbalance"
	CanaryFailed        Kind = "canary_failed"
	CanaryBack          Kind = "canary_back"
	NotRecorded         Kind = "not_recorded" // Count facts that came faster than they could be kept
	CertificateWarning  Kind = "certificate"
	BackendFailed       Kind = "backend_failed"
	BackendBack         Kind = "backend_back"
	RetainedDeleted     Kind = "retained_deleted"
	SubscriptionRests   Kind = "subscription_rests" // it may not be used at present
	SubscriptionResumes Kind = "subscription_resumes"
)

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{
		Connected, Refused, Disconnected, TakenOver, Denied, Subscribed, Unsubscribed, WillSent, WillFailed, WillCancelled, SessionCreated, SessionResumed,
		SessionEnded, Limited, Dropped, Stalled, StallEnded, ProtocolError, Banned, Unbanned, Quarantined, QuarantineEnded, OverloadChanged,
		StoreChanged, Started, Stopping, Reloaded, Admin, Imbalance, CanaryFailed, CanaryBack, NotRecorded, CertificateWarning, BackendFailed,
		BackendBack, RetainedDeleted, SubscriptionRests, SubscriptionResumes,
	}
}

// Fact is one event. The zero value of a field says that it does not apply.
type Fact struct {
	ID       uint64            `json:"id" doc:"Grows with time."`
	At       time.Time         `json:"at"`
	Kind     Kind              `json:"kind"`
	Client   string            `json:"client,omitempty"`
	User     string            `json:"user,omitempty" doc:"Absent = anonymous, or nobody in particular."`
	Address  string            `json:"address,omitempty"`
	Listener string            `json:"listener,omitempty"`
	Topic    string            `json:"topic,omitempty" doc:"A topic name, a filter, or a branch that ends in /#."`
	Reason   string            `json:"reason,omitempty" doc:"A short word that stays the same, for filters and metrics."`
	Code     uint8             `json:"code,omitempty" doc:"The MQTT reason code, where there is one."`
	Count    uint64            `json:"count,omitempty" doc:"How many, where several are told as one."`
	Text     string            `json:"text" doc:"One sentence."`
	Detail   map[string]string `json:"detail,omitempty" doc:"Evidence."`
}

// Query asks for facts; what is zero does not narrow.
type Query struct {
	Clients  []string  // any of them
	Kinds    []Kind    // any of them
	Topic    string    // facts about this topic, its branches, or what is below it if it ends in /#
	User     string    // exact
	Address  string    // exact, without the port
	Reason   string    // exact
	Text     string    // part of the sentence; the case of ASCII letters does not count
	From, To time.Time // To is excluded
	Before   uint64    // ids below; with Ascending, ids above After
	After    uint64
	Oldest   bool // the oldest first; else the newest
	Limit    int  // 0 = 100; at most 10,000
}

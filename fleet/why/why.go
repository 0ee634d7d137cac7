// Package why answers, in one sentence with its evidence, why a client is disconnected, silent or slow, and why it did not get
// a message. It reads the stream of facts and the broker's present state, and decides nothing and changes nothing: what it
// is asked about may have happened before anybody thought of asking.
package why

import (
	"context"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

// State is what the broker knows of a client id at present. The zero value of a field says that it does not apply.
type State struct {
	Connected   bool
	User        string
	Address     string
	Listener    string
	Since       time.Time     // it is connected, or has been disconnected
	KeepAlive   time.Duration // 0 = none
	Expiry      time.Duration // of the session once it is disconnected; negative = never
	Heard       time.Time     // any packet
	Published   time.Time     // its last PUBLISH
	Received    time.Time     // the last PUBLISH that it was sent
	Publishes   uint64        // since it connected
	Queued      int           // QoS 1 and 2 messages that wait
	QueueLimit  int
	QueueBytes  int64
	Inflight    int // sent, and not acknowledged
	Window      int // how many may be
	Oldest      time.Duration
	Pending     int // bytes that its connection does not take
	Quarantined bool
	DropsOldest bool // a full queue loses what has waited longest, else what comes
	Filters     []Filter
}

// Filter is a subscription.
type Filter struct {
	Filter  string
	QoS     uint8
	NoLocal bool
	Rests   bool // it may not be used at present
}

// Sources are where answers come from.
type Sources interface {
	// Facts are those that a query asks for.
	Facts(ctx context.Context, q fact.Query) ([]fact.Fact, error)
	// State is a client's; false = the broker knows no such client id.
	State(ctx context.Context, client string) (State, bool, error)
	// Topic is what is known of a topic name; false = nothing.
	Topic(ctx context.Context, name string) (Topic, bool, error)
	// Place is where the messages of a topic are on their way to a client.
	Place(ctx context.Context, client, name string) (Place, error)
	// MayReceive tells whether a client may receive messages of a topic, which rule says so and why.
	MayReceive(ctx context.Context, client, name string) (ok bool, rule, why string, err error)
}

// Topic is what is known of a topic name.
type Topic struct {
	Last      time.Time // a message was published
	Publisher string
	QoS       uint8
	Unsure    bool // the QoS is of a message before the last, or not known
	Messages  uint64
}

// Place is where the messages of a topic are on their way to a client, as far as that can be seen.
type Place struct {
	Waiting  int       // those of the topic in its queue
	Before   int       // messages of any topic that wait before the last of them
	Expires  time.Time // of the last of them; zero = never
	Partly   bool      // there is more in the queue than was looked through
	Inflight int       // those of the topic that were sent, and are not acknowledged
	SentAt   time.Time // the last of these; zero = not known
	Sent     time.Time // one of the topic was sent for the last time, as far as packets are kept
	Dropped  time.Time // likewise dropped
	SentLast bool      // the sent one came after the dropped one
	Why      string    // it was dropped for: a short word
	Text     string    // the same as the end of a sentence
}

// Verdict says in one word how a client is.
type Verdict string

// The verdicts on a client.
const (
	Fine         Verdict = "fine"
	Disconnected Verdict = "disconnected"
	Refused      Verdict = "refused" // it tries to connect
	Silent       Verdict = "silent"  // it is connected and sends nothing
	Slow         Verdict = "slow"    // it does not read, or not acknowledge, as fast as it should
	Hindered     Verdict = "hindered"
	Flapping     Verdict = "flapping"
	Unknown      Verdict = "unknown"
)

// Answer is a verdict with its reason.
type Answer struct {
	Client      string      `json:"client"`
	Topic       string      `json:"topic,omitempty"`
	Verdict     Verdict     `json:"verdict"`
	Cause       string      `json:"cause" doc:"A short word that stays the same, such as keep_alive or denied."`
	Text        string      `json:"text" doc:"One sentence."`
	Since       time.Time   `json:"since,omitzero"`
	Evidence    []fact.Fact `json:"evidence" doc:"The facts that say so, newest first."`
	Suggestions []string    `json:"suggestions" doc:"What to do about it."`
}

// Engine answers. Its methods may be called from any goroutine.
type Engine struct {
	src Sources
	now func() time.Time
}

// New makes an engine; now nil = time.Now.
func New(src Sources, now func() time.Time) *Engine {
	if now == nil {
		now = time.Now
	}
	return &Engine{src, now}
}

// window is how far back a client's facts are read, and how many of them.
const (
	window = 30 * 24 * time.Hour
	most   = 500
)

// shortly is how many facts about an address are read: they are looked for among those of everybody.
const shortly = 20

// history are facts about one client, newest first.
type history []fact.Fact

func (e *Engine) history(ctx context.Context, client string) (history, error) {
	return e.src.Facts(ctx, fact.Query{Clients: []string{client}, From: e.now().Add(-window), Limit: most})
}

// last is the newest fact of these kinds, nil = none.
func (h history) last(kinds ...fact.Kind) *fact.Fact {
	for i := range h {
		for _, k := range kinds {
			if h[i].Kind == k {
				return &h[i]
			}
		}
	}
	return nil
}

// since are the facts of these kinds that are not older than a time.
func (h history) since(t time.Time, kinds ...fact.Kind) (some history) {
	for i := range h {
		if h[i].At.Before(t) {
			break
		}
		for _, k := range kinds {
			if h[i].Kind == k {
				some = append(some, h[i])
			}
		}
	}
	return some
}

// count is how many happened, where some are told as one.
func (h history) count() (n uint64) {
	for i := range h {
		n += max(h[i].Count, 1)
	}
	return n
}

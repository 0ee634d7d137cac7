package vitals

import (
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/admission"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Stats are what the broker counts. Counts are of the time since the start.
type Stats struct {
	At            time.Time         `json:"at"`
	Uptime        float64           `json:"uptime_seconds"`
	Clients       Clients           `json:"clients"`
	Sockets       int               `json:"sockets" doc:"Open connections, with those that are no clients yet."`
	Subscriptions int               `json:"subscriptions" doc:"Shared ones included."`
	Shared        int               `json:"shared_subscriptions"`
	Retained      Amount            `json:"retained" doc:"Messages, without the broker's own below $SYS, as GET /api/v1/retained lists them. Bytes are what they weigh against limits.max_retained_bytes: topic, properties, payload and 128 for each."`
	RetainedOwn   int               `json:"retained_own" doc:"The broker's own below $SYS, which count against no limit."`
	Queued        Amount            `json:"queued" doc:"Messages kept for sessions that last: one that waits for many is counted once. Bytes are of all sessions, counted for each."`
	In            Flow              `json:"in"`
	Out           Flow              `json:"out"`
	Rates         Rates             `json:"rates"`
	Dropped       map[string]uint64 `json:"dropped" doc:"Messages that did not reach a receiver, by reason."`
	Denied        uint64            `json:"denied" doc:"Publishes and filters refused."`
	Refused       map[string]uint64 `json:"refused" doc:"CONNECTs, by reason code."`
	TurnedAway    map[string]uint64 `json:"turned_away" doc:"Connections closed as soon as they came, by reason."`
	Violations    map[string]uint64 `json:"violations" doc:"Connections closed for bad input, by reason code."`
	NotStored     map[string]uint64 `json:"not_stored" doc:"Refused because the store takes nothing new, by reason code."`
	Limited       map[string]uint64 `json:"limited" doc:"Publishes, deliveries and connects that met a rate, by which."`
	Shed          map[string]uint64 `json:"shed" doc:"What overload refused or dropped."`
	Comings
}

// Comings are how clients came and went, and what happened to single ones.
type Comings struct {
	Connects         uint64 `json:"connects"`
	Disconnects      uint64 `json:"disconnects"`
	Takeovers        uint64 `json:"takeovers"`
	ConnectTimeouts  uint64 `json:"connect_timeouts"`
	Banned           uint64 `json:"banned" doc:"Connections refused to those who are."`
	Flapping         uint64 `json:"flapping"`
	Stalled          uint64 `json:"stalled" doc:"Clients disconnected because they did not read."`
	Secured          uint64 `json:"tls_connects"`
	Resumed          uint64 `json:"tls_resumed"`
	HandshakesFailed uint64 `json:"tls_handshakes_failed"`
	FramingErrors    uint64 `json:"websocket_errors"`
	ProxyErrors      uint64 `json:"proxy_errors"`
	Subscribes       uint64 `json:"subscribes"`
	Wills            uint64 `json:"wills"`
	SessionsExpired  uint64 `json:"sessions_expired"`
	StoreErrors      uint64 `json:"store_errors" doc:"Batches that could not be kept and were not acknowledged."`
	HeldBack         uint64 `json:"held_back" doc:"Times a client was not read because the store did not take its message."`
	Panics           uint64 `json:"panics"`
}

// Clients are how many there are.
type Clients struct {
	Connected int64 `json:"connected"`
	Sessions  int64 `json:"sessions" doc:"Connected or waiting to be resumed."`
	Maximum   int64 `json:"maximum" doc:"Connected at a time, since the start."`
}

// Amount is a number of messages and their bytes.
type Amount struct {
	Messages int   `json:"messages"`
	Bytes    int64 `json:"bytes"`
}

// Flow is what went one way.
type Flow struct {
	Packets      uint64 `json:"packets"`
	Bytes        uint64 `json:"bytes"`
	Messages     uint64 `json:"messages" doc:"PUBLISHes."`
	MessageBytes uint64 `json:"message_bytes" doc:"Their payloads."`
}

// Rates are per second, of the last second.
type Rates struct {
	InMessages  float64 `json:"in_messages"`
	OutMessages float64 `json:"out_messages"`
	InBytes     float64 `json:"in_bytes"`
	OutBytes    float64 `json:"out_bytes"`
	Connects    float64 `json:"connects"`
	Disconnects float64 `json:"disconnects"`
	Drops       float64 `json:"drops"`
	Denied      float64 `json:"denied"`
	Refused     float64 `json:"refused"`
}

// rates compares two moments.
func rates(now, before *broker.Stats, seconds float64) (r Rates) {
	if before == nil || seconds <= 0 {
		return r
	}
	per := func(a, b uint64) float64 { return float64(a-b) / seconds }
	return Rates{
		InMessages: per(now.PublishReceived, before.PublishReceived), OutMessages: per(now.PublishSent, before.PublishSent),
		InBytes: per(now.BytesReceived, before.BytesReceived), OutBytes: per(now.BytesSent, before.BytesSent),
		Connects: per(now.Connects, before.Connects), Disconnects: per(now.Disconnects, before.Disconnects),
		Drops: per(now.TotalDropped(), before.TotalDropped()), Denied: per(now.Denied, before.Denied),
		Refused: per(sum(now.Refused[:]), sum(before.Refused[:])),
	}
}

func sum(counts []uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// statsOf says in JSON what the broker counted.
func statsOf(b *broker.Stats, at, began time.Time, queued Amount, r Rates) Stats {
	return Stats{
		At: at, Uptime: at.Sub(began).Seconds(),
		Clients: Clients{Connected: b.Connected, Sessions: b.Sessions, Maximum: b.MaxConnected}, Sockets: b.Sockets,
		Subscriptions: b.Subscriptions, Shared: b.Shared, Retained: Amount{b.Retained, b.RetainedBytes}, RetainedOwn: b.RetainedOwn, Queued: queued,
		In:    Flow{b.PacketsReceived, b.BytesReceived, b.PublishReceived, b.PublishBytesReceived},
		Out:   Flow{b.PacketsSent, b.BytesSent, b.PublishSent, b.PublishBytesSent},
		Rates: r, Denied: b.Denied,
		Dropped: named(b.Dropped[:], whyName), Refused: named(b.Refused[:], codeName), Violations: named(b.Violations[:], codeName),
		NotStored: named(b.NotStored[:], codeName), TurnedAway: named(b.TurnedAway[:], admissionName),
		Limited: named(b.Limited[:], limitName), Shed: named(b.Shed[:], shedName),
		Comings: comings(b),
	}
}

func comings(b *broker.Stats) Comings {
	return Comings{
		Connects: b.Connects, Disconnects: b.Disconnects, Takeovers: b.Takeovers, ConnectTimeouts: b.ConnectTimeouts,
		Banned: b.Banned, Flapping: b.Flapping, Stalled: b.Stalled, Secured: b.Secured, Resumed: b.Resumed,
		HandshakesFailed: b.HandshakesFailed, FramingErrors: b.FramingErrors, ProxyErrors: b.ProxyErrors,
		Subscribes: b.Subscribes, Wills: b.Wills, SessionsExpired: b.SessionsExpired, StoreErrors: b.StoreErrors,
		HeldBack: b.HeldBack, Panics: b.Panics,
	}
}

// named are the counts that are not zero, by their names.
func named(counts []uint64, name func(int) string) map[string]uint64 {
	m := map[string]uint64{}
	for i, n := range counts {
		if n > 0 {
			m[name(i)] += n
		}
	}
	return m
}

func whyName(i int) string       { return session.Why(i).String() }
func admissionName(i int) string { return admission.Reason(i).String() }
func limitName(i int) string     { return limit.Reason(i).String() }

// codeName is a reason code's name as it stands in metrics: not_authorized.
func codeName(i int) string {
	return strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(mqtt.ReasonCode(i).String()))
}

func shedName(i int) string {
	return [overload.Publish + 1]string{"", "connects", "qos0", "publishes"}[i]
}

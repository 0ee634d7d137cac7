// Package limit says what clients may ask of the broker, and how much of it per second: the configuration of every
// bound, and the token buckets that hold the rates. It knows no connection, no clock and no protocol: what is to be
// done when a limit is reached is its caller's affair.
package limit

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Limits bound what clients may ask of the broker. Every field has a default
// (Defaults); 0 means what its doc says.
type Limits struct {
	MaxPacketSize      int           `yaml:"max_packet_size" unit:"bytes" doc:"Largest packet accepted from a client." exceeded:"DISCONNECT 0x95 Packet too large, counted"`
	MaxConnectSize     int           `yaml:"max_connect_size" unit:"bytes" doc:"Largest packet accepted before a client is authenticated: the CONNECT with its will and credentials." exceeded:"the connection is closed"`
	ConnectTimeout     time.Duration `yaml:"connect_timeout" unit:"duration" doc:"How long a new connection may take to complete its CONNECT." exceeded:"the connection is closed"`
	MaxConnections     int           `yaml:"max_connections" unit:"connections" doc:"Connected clients at a time; 0 = as many as file descriptors allow." exceeded:"CONNACK 0x97 Quota exceeded (3.1.1: 0x03 Server unavailable)"`
	MaxKeepAlive       time.Duration `yaml:"max_keep_alive" unit:"duration" doc:"Longest keep-alive; longer ones and 0 (off) are clamped, v5 clients are told (Server Keep Alive). 0 = no clamp." exceeded:"clamped"`
	MaxSessionExpiry   time.Duration `yaml:"max_session_expiry" unit:"duration" doc:"Longest session expiry interval; also for 3.1.1 clients with clean session 0. 0 = sessions may last for ever." exceeded:"clamped; v5 clients are told (Session Expiry Interval)"`
	MaxClientIDBytes   int           `yaml:"max_client_id_bytes" unit:"bytes" doc:"Longest client id." exceeded:"CONNACK 0x85 Client Identifier not valid"`
	MaxTopicBytes      int           `yaml:"max_topic_bytes" unit:"bytes" doc:"Longest topic name or filter." exceeded:"0x90 Topic Name invalid, 0x8F Topic Filter invalid"`
	MaxTopicLevels     int           `yaml:"max_topic_levels" unit:"levels" doc:"Deepest topic name or filter." exceeded:"0x90 Topic Name invalid, 0x8F Topic Filter invalid"`
	MaxSubscriptions   int           `yaml:"max_subscriptions" unit:"subscriptions" doc:"Subscriptions of one client." exceeded:"SUBACK 0x97 Quota exceeded"`
	MaxFilters         int           `yaml:"max_filters_per_subscribe" unit:"filters" doc:"Topic filters in one SUBSCRIBE." exceeded:"SUBACK 0x97 Quota exceeded for those beyond"`
	ReceiveMaximum     int           `yaml:"receive_maximum" unit:"messages" doc:"QoS 1 and 2 messages from one v5 client that may be unacknowledged at a time (Receive Maximum in CONNACK)." exceeded:"DISCONNECT 0x93 Receive Maximum exceeded"`
	MaxInflight        int           `yaml:"max_inflight" unit:"messages" doc:"QoS 1 and 2 messages to one client that may be unacknowledged at a time; a v5 client's Receive Maximum lowers it." exceeded:"further ones wait in the queue"`
	MaxQueuedMessages  int           `yaml:"max_queued_messages" unit:"messages" doc:"QoS 1 and 2 messages that wait for one session. What is in flight (max_inflight) does not count while the client is connected; while it is away, all that it has not acknowledged does." exceeded:"delivery.overflow"`
	MaxQueuedBytes     int64         `yaml:"max_queued_bytes" unit:"bytes" doc:"Bytes of those messages." exceeded:"delivery.overflow"`
	MaxTotalQueued     int64         `yaml:"max_total_queued_bytes" unit:"bytes" doc:"Bytes of queued messages of all sessions together." exceeded:"PUBACK 0x97 Quota exceeded; counted as server_full"`
	MaxOutgoing        int           `yaml:"max_outgoing_messages" unit:"messages" doc:"Messages written for one client that its connection has not taken yet." exceeded:"QoS 0 is dropped and counted (slow_consumer), QoS 1 and 2 wait in the queue"`
	MaxOutgoingBytes   int           `yaml:"max_outgoing_bytes" unit:"bytes" doc:"Bytes written for one client that its connection has not taken yet." exceeded:"QoS 0 is dropped and counted (slow_consumer), QoS 1 and 2 wait in the queue"`
	MaxRetained        int           `yaml:"max_retained" unit:"messages" doc:"Retained messages, without the broker's own below $SYS." exceeded:"delivered but not retained, PUBACK 0x97 Quota exceeded, counted as retained_full"`
	MaxRetainedBytes   int64         `yaml:"max_retained_bytes" unit:"bytes" doc:"Bytes of retained messages." exceeded:"as max_retained"`
	MaxTopicAliases    int           `yaml:"max_topic_aliases" unit:"aliases" doc:"Topic aliases one client may set (Topic Alias Maximum in CONNACK)." exceeded:"DISCONNECT 0x94 Topic Alias invalid"`
	MaxSendAliases     int           `yaml:"max_send_aliases" unit:"aliases" doc:"Topic aliases set towards a client that allows them; 0 = none." exceeded:"further topics are sent in full"`
	MaxUserProperties  int           `yaml:"max_user_properties" unit:"properties" doc:"User properties in one packet." exceeded:"DISCONNECT or CONNACK 0x97 Quota exceeded"`
	MaxPropertyBytes   int           `yaml:"max_property_bytes" unit:"bytes" doc:"Bytes of properties in one packet." exceeded:"DISCONNECT or CONNACK 0x95 Packet too large"`
	MaximumQoS         int           `yaml:"max_qos" unit:"level" doc:"Highest QoS accepted and granted." exceeded:"DISCONNECT 0x9B QoS not supported"`
	MaxWillPayload     int           `yaml:"max_will_payload" unit:"bytes" doc:"Largest payload of a will." exceeded:"CONNACK 0x95 Packet too large"`
	RetainAvailable    bool          `yaml:"retain" doc:"Whether retained messages are accepted." exceeded:"DISCONNECT 0x9A Retain not supported"`
	SharedAvailable    bool          `yaml:"shared_subscriptions" doc:"Whether shared subscriptions are accepted." exceeded:"SUBACK 0x9E Shared Subscriptions not supported"`
	WildcardsAvailable bool          `yaml:"wildcard_subscriptions" doc:"Whether wildcard subscriptions are accepted." exceeded:"SUBACK 0xA2 Wildcard Subscriptions not supported"`
	ValidateUTF8       bool          `yaml:"validate_utf8_payloads" doc:"Whether a payload that claims to be UTF-8 (Payload Format Indicator 1) is checked." exceeded:"PUBACK or DISCONNECT 0x99 Payload format invalid"`
}

// Defaults returns the defaults.
func Defaults() Limits {
	return Limits{
		MaxPacketSize:      1 << 20,
		MaxConnectSize:     8 << 10,
		ConnectTimeout:     10 * time.Second,
		MaxConnections:     0,
		MaxKeepAlive:       0,
		MaxSessionExpiry:   30 * 24 * time.Hour,
		MaxClientIDBytes:   1024,
		MaxTopicBytes:      4096,
		MaxTopicLevels:     128,
		MaxSubscriptions:   10_000,
		MaxFilters:         1_000,
		ReceiveMaximum:     1_024,
		MaxInflight:        1_024,
		MaxQueuedMessages:  100_000,
		MaxQueuedBytes:     64 << 20,
		MaxTotalQueued:     4 << 30,
		MaxOutgoing:        100_000,
		MaxOutgoingBytes:   1 << 20,
		MaxRetained:        5_000_000,
		MaxRetainedBytes:   2 << 30,
		MaxTopicAliases:    16,
		MaxSendAliases:     16,
		MaxUserProperties:  64,
		MaxPropertyBytes:   16 << 10,
		MaximumQoS:         2,
		MaxWillPayload:     8 << 10,
		RetainAvailable:    true,
		SharedAvailable:    true,
		WildcardsAvailable: true,
		ValidateUTF8:       false,
	}
}

// Strategy is how a shared subscription chooses the member that gets a message.
type Strategy string

// The strategies. None chooses an offline member while another is online.
const (
	LeastLoaded     Strategy = "least_loaded"     // the most free quota; in turn among equals
	RoundRobin      Strategy = "round_robin"      // in turn
	StickyPublisher Strategy = "sticky_publisher" // the same member for the same publisher
	StickyTopic     Strategy = "sticky_topic"     // the same member for the same topic
)

// Overlap is what a client gets of a message that several of its subscriptions match.
type Overlap string

// The ways with overlapping subscriptions (MQTT5 3.3.4).
const (
	OverlapEach  Overlap = "each"  // one copy for each subscription
	OverlapMerge Overlap = "merge" // one copy, at the highest QoS, with all subscription identifiers
)

// Overflow is what happens to QoS 1 and 2 messages beyond a session's queue limits.
type Overflow string

// The overflow policies.
const (
	OverflowRefuse     Overflow = "refuse_newest"
	OverflowDropOldest Overflow = "drop_oldest"
	OverflowDisconnect Overflow = "disconnect"
)

// Delivery settles how messages reach their receivers.
type Delivery struct {
	Shared      Strategy `yaml:"shared" enum:"least_loaded,round_robin,sticky_publisher,sticky_topic" doc:"How a shared subscription chooses the member that gets a message. Offline members get none while another is online."`
	Overlapping Overlap  `yaml:"overlapping" enum:"each,merge" doc:"What a client gets of a message that several of its subscriptions match: one copy for each, or one with the highest QoS and all subscription identifiers."`
	Overflow    Overflow `yaml:"overflow" enum:"refuse_newest,drop_oldest,disconnect" doc:"What happens to QoS 1 and 2 messages beyond limits.max_queued_messages or _bytes: refused (the publisher gets 0x97 if nobody else got it), the oldest dropped, or the slow client disconnected with 0x97. All are counted."`

	StallTimeout time.Duration `yaml:"stall_timeout" unit:"duration" doc:"How long a client whose output is at limits.max_outgoing_bytes or _messages may take nothing of it; 0 = for ever." exceeded:"DISCONNECT 0x97 Quota exceeded, counted; its session stays"`
}

// DefaultDelivery returns the defaults.
func DefaultDelivery() Delivery {
	return Delivery{Shared: LeastLoaded, Overlapping: OverlapEach, Overflow: OverflowRefuse, StallTimeout: 5 * time.Minute}
}

// Verify tells what in l cannot be.
func (l *Limits) Verify() error {
	var errs []error
	within := func(name string, v, low, high int64) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("limits.%s is %d: it has to be %d to %d", name, v, low, high))
		}
	}
	within("max_packet_size", int64(l.MaxPacketSize), 128, 268_435_460)
	within("max_connect_size", int64(l.MaxConnectSize), 128, 268_435_460)
	within("connect_timeout", int64(l.ConnectTimeout), int64(10*time.Millisecond), int64(time.Hour))
	within("max_topic_bytes", int64(l.MaxTopicBytes), 1, 65535)
	within("max_client_id_bytes", int64(l.MaxClientIDBytes), 23, 65535)
	within("max_topic_levels", int64(l.MaxTopicLevels), 1, 65535)
	within("receive_maximum", int64(l.ReceiveMaximum), 1, 65535)
	within("max_inflight", int64(l.MaxInflight), 1, 65535)
	within("max_topic_aliases", int64(l.MaxTopicAliases), 0, 65535)
	within("max_send_aliases", int64(l.MaxSendAliases), 0, 65535)
	within("max_qos", int64(l.MaximumQoS), 0, 2)
	within("max_outgoing_bytes", int64(l.MaxOutgoingBytes), 4096, 1<<40)
	within("max_outgoing_messages", int64(l.MaxOutgoing), 1, 1<<40)
	within("max_connections", int64(l.MaxConnections), 0, 1<<40)
	within("max_subscriptions", int64(l.MaxSubscriptions), 0, 1<<40)
	within("max_filters_per_subscribe", int64(l.MaxFilters), 1, 1<<40)
	within("max_queued_messages", int64(l.MaxQueuedMessages), 1, 1<<40)
	within("max_queued_bytes", l.MaxQueuedBytes, 1, 1<<60)
	within("max_total_queued_bytes", l.MaxTotalQueued, 1, 1<<60)
	within("max_retained", int64(l.MaxRetained), 0, 1<<40)
	within("max_retained_bytes", l.MaxRetainedBytes, 0, 1<<60)
	for name, d := range map[string]time.Duration{"max_keep_alive": l.MaxKeepAlive, "max_session_expiry": l.MaxSessionExpiry} {
		if d < 0 || d > 0 && d < time.Second {
			errs = append(errs, fmt.Errorf("limits.%s is %v: it has to be 0 (no limit) or at least 1s", name, d))
		}
	}
	return errors.Join(errs...)
}

// Verify tells what in d cannot be.
func (d *Delivery) Verify() error {
	var errs []error
	if !slices.Contains([]Strategy{LeastLoaded, RoundRobin, StickyPublisher, StickyTopic}, d.Shared) {
		errs = append(errs, fmt.Errorf("delivery.shared is %q: it has to be least_loaded, round_robin, sticky_publisher or sticky_topic", d.Shared))
	}
	if !slices.Contains([]Overlap{OverlapEach, OverlapMerge}, d.Overlapping) {
		errs = append(errs, fmt.Errorf("delivery.overlapping is %q: it has to be each or merge", d.Overlapping))
	}
	if !slices.Contains([]Overflow{OverflowRefuse, OverflowDropOldest, OverflowDisconnect}, d.Overflow) {
		errs = append(errs, fmt.Errorf("delivery.overflow is %q: it has to be refuse_newest, drop_oldest or disconnect", d.Overflow))
	}
	return errors.Join(errs...)
}

// Package mqtt is the language: the control packets of MQTT 3.1, 3.1.1 and 5.0
// as Go values, and the way between them and bytes.
//
// It is pure: no goroutine, no clock, no I/O, no lock. Decoding does not copy:
// every byte slice of a decoded packet is a view into the buffer it was decoded
// from and lives as long as that buffer stays untouched.
package mqtt

// Version is the protocol level that a CONNECT carries.
type Version uint8

// The protocol levels in use.
const (
	V31  Version = 3 // MQTT 3.1, protocol name "MQIsdp"
	V311 Version = 4 // MQTT 3.1.1
	V5   Version = 5 // MQTT 5.0
)

// Type is the control packet type, bits 7-4 of the first byte (MQTT5 2.1.2).
type Type uint8

// The control packet types.
const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15
)

// QoS is a quality of service level: 0, 1 or 2.
type QoS uint8

// Packet is one control packet; Type says which of the parts below is in force.
// A Packet is meant to be reused: decoding overwrites only the part in force.
// PINGREQ and PINGRESP have no part.
type Packet struct {
	Type        Type
	Publish     Publish
	Ack         Ack // PUBACK, PUBREC, PUBREL, PUBCOMP
	Connect     Connect
	Connack     Connack
	Subscribe   Subscribe
	Suback      Suback // SUBACK, UNSUBACK
	Unsubscribe Unsubscribe
	Disconnect  Disconnect
	Auth        Auth
}

// Publish is a PUBLISH packet (MQTT5 3.3).
type Publish struct {
	Topic   []byte // empty only when TopicAlias stands for it
	Payload []byte
	ID      uint16 // 0 at QoS 0, never 0 otherwise
	QoS     QoS
	Retain  bool
	Dup     bool
	Props   MessageProperties
}

// MessageProperties are the properties of an application message: those of a
// PUBLISH and of a will (MQTT5 3.3.2.3, 3.1.3.2).
type MessageProperties struct {
	// Forward holds, still encoded and in their order, the properties that a
	// server passes on unaltered: Payload Format Indicator, Content Type,
	// Response Topic, Correlation Data, User Property. It contains no Message
	// Expiry Interval, Topic Alias, Subscription Identifier or Will Delay. The
	// Append functions (AppendContentType ...) build it, Each reads it.
	Forward []byte

	Expiry          uint32 // Message Expiry Interval in seconds, if HasExpiry
	HasExpiry       bool
	UTF8            bool     // Forward has Payload Format Indicator 1: the payload claims to be UTF-8
	TopicAlias      uint16   // 0 = none
	WillDelay       uint32   // seconds; only in a will
	SubscriptionIDs []uint32 // only from server to client
}

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP packet (MQTT5 3.4-3.7).
type Ack struct {
	ID     uint16
	Reason ReasonCode // Success before v5
	Props  Properties
}

// Connect is a CONNECT packet (MQTT5 3.1).
type Connect struct {
	Version    Version
	CleanStart bool   // Clean Session before v5
	KeepAlive  uint16 // seconds, 0 = off
	ClientID   []byte
	Will       *Will // nil = no will
	Username   []byte
	Password   []byte
	HasUser    bool
	HasPass    bool
	Props      Properties
}

// Will is the will of a CONNECT (MQTT5 3.1.2.5, 3.1.3.2-4).
type Will struct {
	Topic   []byte
	Payload []byte
	QoS     QoS
	Retain  bool
	Props   MessageProperties
}

// Connack is a CONNACK packet (MQTT5 3.2). Before v5 the writer maps Reason to
// the return codes of 3.1.1 (ReasonCode.ConnackV3).
type Connack struct {
	SessionPresent bool
	Reason         ReasonCode
	Props          Properties
}

// Subscribe is a SUBSCRIBE packet (MQTT5 3.8). The filters are well-formed UTF-8
// but not validated as topic filters: a bad one is answered one by one.
type Subscribe struct {
	ID      uint16
	Filters []Subscription
	Props   Properties // SubscriptionIDs holds the identifier, if any
}

// Subscription is a topic filter and its options (MQTT5 3.8.3.1).
type Subscription struct {
	Filter  []byte
	Options SubOptions
}

// SubOptions is the subscription options byte of MQTT 5: bits 0-1 maximum QoS,
// 2 No Local, 3 Retain As Published, 4-5 Retain Handling.
type SubOptions uint8

// QoS is the maximum QoS asked for.
func (o SubOptions) QoS() QoS { return QoS(o & 3) }

// NoLocal: not to the connection with the publisher's own client id.
func (o SubOptions) NoLocal() bool { return o&4 != 0 }

// RetainAsPublished: the RETAIN flag is passed on as it was published.
func (o SubOptions) RetainAsPublished() bool { return o&8 != 0 }

// RetainHandling is 0 (send retained), 1 (only if new) or 2 (do not send).
func (o SubOptions) RetainHandling() uint8 { return uint8(o>>4) & 3 }

// Suback is a SUBACK or UNSUBACK packet (MQTT5 3.9, 3.11).
type Suback struct {
	ID      uint16
	Reasons []ReasonCode // one per filter, in order; UNSUBACK has none before v5
	Props   Properties
}

// Unsubscribe is an UNSUBSCRIBE packet (MQTT5 3.10).
type Unsubscribe struct {
	ID      uint16
	Filters [][]byte
	Props   Properties
}

// Disconnect is a DISCONNECT packet (MQTT5 3.14); before v5 it has no content.
type Disconnect struct {
	Reason ReasonCode
	Props  Properties
}

// Auth is an AUTH packet (MQTT5 3.15).
type Auth struct {
	Reason ReasonCode
	Props  Properties
}

// Properties are the properties of every packet but PUBLISH (MQTT5 2.2.2). A
// pointer-like field is nil, a numeric one zero, when absent, save where Has
// tells absent from zero: a writer writes what is not zero or is in Has, as far
// as the packet may carry it.
type Properties struct {
	Has PropertySet // which single-valued properties are present

	SessionExpiry        uint32 // seconds, 0xFFFFFFFF = never
	MaximumPacketSize    uint32 // bytes
	ReceiveMaximum       uint16
	TopicAliasMaximum    uint16
	ServerKeepAlive      uint16 // seconds
	MaximumQoS           QoS
	RequestResponseInfo  bool
	RequestProblemInfo   bool // meaningful only if Has says present: absent means true
	RetainAvailable      bool
	WildcardSubAvailable bool
	SubIDAvailable       bool
	SharedSubAvailable   bool

	AssignedClientID []byte
	ResponseInfo     []byte
	ServerReference  []byte
	ReasonString     []byte
	AuthMethod       []byte
	AuthData         []byte
	SubscriptionID   uint32         // SUBSCRIBE only
	User             []UserProperty // in order
}

// UserProperty is a name and a value; names may repeat.
type UserProperty struct{ Name, Value []byte }

package session

import (
	"unicode"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Admission are the limits of CONNECT. They are shared and never changed.
type Admission struct {
	ClientIDBytes   int
	KeepAlive       uint16 // seconds, at most; 0 = no limit
	SessionExpiry   uint32 // seconds, at most; Never = no limit
	AuthMethods     []string
	Rules           *Rules
	MaximumVersion  mqtt.Version
	MinimumVersion  mqtt.Version
	WillPayloadSize int
}

// Request is what a CONNECT asks for, checked, clamped and copied out of its packet.
type Request struct {
	Params
	ClientID   string // empty: to be assigned
	CleanStart bool
	Username   string
	Password   []byte
	HasUser    bool
	HasPass    bool
	AuthData   []byte // to begin the exchange with

	AskedKeepAlive    uint16 // as in the packet; differs from Params.KeepAlive if clamped
	AskedExpiry       uint32
	WantsResponseInfo bool
}

// Handshake is a connection before it has a session: exactly one CONNECT, then, if the client
// named a method, an exchange of AUTH packets (MQTT5 4.12), then admitted or refused.
// The zero value waits for CONNECT.
type Handshake struct {
	state  handshakeState
	steps  uint8 // AUTH packets taken
	method string
}

type handshakeState uint8

const (
	awaitConnect handshakeState = iota
	awaitVerdict                // authentication is under way: nothing else is listened to
	awaitAuth                   // the client owes an AUTH packet
	over
)

// Refusal tells why a connection is not admitted. Reason goes into a CONNACK unless Silent.
type Refusal struct {
	Reason mqtt.ReasonCode
	Text   string // for the client
	Why    string // for the operator, where there is more to tell
	By     string // the backend that said so, where one did
	Silent bool   // close without an answer [MQTT-3.1.4-1]
}

// Connect takes the first packet. It returns what it asks for, or why it is refused.
func (h *Handshake) Connect(p *mqtt.Packet, a *Admission) (*Request, *Refusal) {
	if h.state != awaitConnect || p.Type != mqtt.CONNECT {
		h.state = over
		return nil, &Refusal{Reason: mqtt.ProtocolError, Text: "the first packet is " + p.Type.String() + ", not CONNECT", Silent: true}
	}
	c := &p.Connect
	if r := a.check(c); r != nil {
		h.state = over
		return nil, r
	}
	h.state, h.method = awaitVerdict, string(c.Props.AuthMethod)
	return a.request(c), nil
}

// maxSteps is how many AUTH packets a client may send in one exchange: SCRAM takes one or two.
const maxSteps = 8

// Auth takes a packet while the exchange goes on: the data to authenticate with, or why it ends.
func (h *Handshake) Auth(p *mqtt.Packet) ([]byte, *Refusal) {
	refuse := func(r mqtt.ReasonCode, text string, silent bool) ([]byte, *Refusal) {
		h.state = over
		return nil, &Refusal{Reason: r, Text: text, Silent: silent}
	}
	switch {
	case p.Type == mqtt.DISCONNECT:
		return refuse(mqtt.NotAuthorized, "the client gave up its authentication", true)
	case p.Type != mqtt.AUTH: // [MQTT-3.1.2-30]
		return refuse(mqtt.ProtocolError, p.Type.String()+" before CONNACK", true)
	case h.state != awaitAuth:
		return refuse(mqtt.ProtocolError, "AUTH out of turn", false)
	case string(p.Auth.Props.AuthMethod) != h.method || p.Auth.Reason != mqtt.ContinueAuthentication:
		return refuse(mqtt.ProtocolError, "AUTH that does not continue the method of CONNECT", false)
	case h.steps == maxSteps:
		return refuse(mqtt.NotAuthorized, "the authentication takes too many steps", false)
	}
	h.state = awaitVerdict
	h.steps++
	return append([]byte(nil), p.Auth.Props.AuthData...), nil
}

// Continue notes that the client was sent a challenge (AUTH 0x18) and owes an answer.
func (h *Handshake) Continue() { h.state = awaitAuth }

// Busy tells that packets are to be left unread until the authentication has an outcome. A client with a method
// may send nothing of its own accord meanwhile: what it sends goes to Auth [MQTT-3.1.2-30].
func (h *Handshake) Busy() bool { return h.state == awaitVerdict && h.method == "" }

// Started tells that a CONNECT was taken.
func (h *Handshake) Started() bool { return h.state != awaitConnect }

func (a *Admission) check(c *mqtt.Connect) *Refusal {
	refuse := func(r mqtt.ReasonCode, text string) *Refusal { return &Refusal{Reason: r, Text: text} }
	id := c.ClientID
	switch {
	case c.Version < a.MinimumVersion || c.Version > a.MaximumVersion:
		return refuse(mqtt.UnsupportedProtocolVersion, "protocol version "+c.Version.String()+" is not accepted here")
	case len(id) == 0 && (c.Version == mqtt.V31 || c.Version == mqtt.V311 && !c.CleanStart): // [MQTT-3.1.3-8]
		return refuse(mqtt.ClientIDNotValid, "an empty client id needs a clean session")
	case len(id) > a.ClientIDBytes:
		return refuse(mqtt.ClientIDNotValid, "the client id is too long")
	case hasControl(id):
		return refuse(mqtt.ClientIDNotValid, "the client id has control characters")
	case c.Props.Has.Has(mqtt.PropAuthMethod) && !a.knows(string(c.Props.AuthMethod)):
		return refuse(mqtt.BadAuthenticationMethod, "unknown authentication method") // [MQTT-4.12.0-1]
	case c.Will == nil:
		return nil
	}
	w, r := c.Will, a.Rules
	switch {
	case w.QoS > r.MaximumQoS:
		return refuse(mqtt.QoSNotSupported, "the will's QoS is above the Maximum QoS") // [MQTT-3.2.2-12]
	case w.Retain && !r.RetainAvailable:
		return refuse(mqtt.RetainNotSupported, "retained messages are switched off") // [MQTT-3.2.2-13]
	case len(w.Topic) > r.TopicBytes, topic.Levels(w.Topic) > r.TopicLevels:
		return refuse(mqtt.TopicNameInvalid, "the will's topic is too long or too deep")
	case len(w.Payload) > a.WillPayloadSize:
		return refuse(mqtt.PacketTooLarge, "the will's payload is too large")
	case w.Props.UTF8 && r.ValidateUTF8Payloads && !utf8.Valid(w.Payload):
		return refuse(mqtt.PayloadFormatInvalid, "the will's payload is not UTF-8")
	}
	return nil
}

func (a *Admission) knows(method string) bool {
	for _, m := range a.AuthMethods {
		if m == method {
			return true
		}
	}
	return false
}

// hasControl looks for characters that act on what shows them: control characters and those that turn the
// direction of the text around.
func hasControl(id []byte) bool {
	for i := 0; i < len(id); {
		r, n := utf8.DecodeRune(id[i:])
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return true
		}
		i += n
	}
	return false
}

func (a *Admission) request(c *mqtt.Connect) *Request {
	pr := &c.Props
	q := &Request{
		ClientID:   string(c.ClientID),
		CleanStart: c.CleanStart,
		Username:   string(c.Username), HasUser: c.HasUser,
		Password: append([]byte(nil), c.Password...), HasPass: c.HasPass,
		AuthData:          append([]byte(nil), pr.AuthData...),
		AskedKeepAlive:    c.KeepAlive,
		WantsResponseInfo: pr.RequestResponseInfo,
	}
	q.Version, q.KeepAlive, q.AuthMethod = c.Version, c.KeepAlive, string(pr.AuthMethod)
	if a.KeepAlive != 0 && (q.KeepAlive == 0 || q.KeepAlive > a.KeepAlive) {
		q.KeepAlive = a.KeepAlive
	}
	if c.Version >= mqtt.V5 {
		q.AskedExpiry = pr.SessionExpiry
		q.ReceiveMaximum, q.MaximumPacketSize, q.SendAliases = pr.ReceiveMaximum, pr.MaximumPacketSize, pr.TopicAliasMaximum
		q.NoProblemInfo = pr.Has.Has(mqtt.PropRequestProblemInfo) && !pr.RequestProblemInfo
	} else if !c.CleanStart { // MQTT311 3.1.2.4: such a session does not end with its connection
		q.AskedExpiry = Never
	}
	q.Expiry = min(q.AskedExpiry, a.SessionExpiry)
	if w := c.Will; w != nil {
		m := mqtt.Message{Topic: w.Topic, Payload: w.Payload, Forward: w.Props.Forward, Publisher: q.ClientID, QoS: w.QoS, Retain: w.Retain}
		if w.Props.HasExpiry {
			m.Expires = int64(w.Props.Expiry) * 1000
		}
		q.Will = &Will{Msg: m.Keep(), Delay: w.Props.WillDelay}
	}
	return q
}

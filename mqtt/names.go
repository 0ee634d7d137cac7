package mqtt

import "strconv"

// String is the version as people write it: "3.1", "3.1.1", "5.0".
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	}
	return "level " + strconv.Itoa(int(v))
}

// String is the name of the packet type in capitals, as in the specification.
func (t Type) String() string {
	names := [...]string{
		CONNECT: "CONNECT", CONNACK: "CONNACK", PUBLISH: "PUBLISH", PUBACK: "PUBACK",
		PUBREC: "PUBREC", PUBREL: "PUBREL", PUBCOMP: "PUBCOMP", SUBSCRIBE: "SUBSCRIBE",
		SUBACK: "SUBACK", UNSUBSCRIBE: "UNSUBSCRIBE", UNSUBACK: "UNSUBACK", PINGREQ: "PINGREQ",
		PINGRESP: "PINGRESP", DISCONNECT: "DISCONNECT", AUTH: "AUTH",
	}
	if t == 0 || int(t) >= len(names) {
		return "type " + strconv.Itoa(int(t))
	}
	return names[t]
}

// Error is String: a reason code is an error.
func (r ReasonCode) Error() string { return r.String() }

// String is the name of the code in MQTT5 table 2-6. 0x00 is "Success", though it
// is also called Normal disconnection and Granted QoS 0.
func (r ReasonCode) String() string {
	if r.Failed() {
		return r.failure()
	}
	switch r {
	case Success:
		return "Success"
	case GrantedQoS1:
		return "Granted QoS 1"
	case GrantedQoS2:
		return "Granted QoS 2"
	case DisconnectWithWill:
		return "Disconnect with Will Message"
	case NoMatchingSubscribers:
		return "No matching subscribers"
	case NoSubscriptionExisted:
		return "No subscription existed"
	case ContinueAuthentication:
		return "Continue authentication"
	case Reauthenticate:
		return "Re-authenticate"
	}
	return r.unknown()
}

func (r ReasonCode) failure() string {
	names := [...]string{
		"Unspecified error", "Malformed Packet", "Protocol Error", "Implementation specific error",
		"Unsupported Protocol Version", "Client Identifier not valid", "Bad User Name or Password",
		"Not authorized", "Server unavailable", "Server busy", "Banned", "Server shutting down",
		"Bad authentication method", "Keep Alive timeout", "Session taken over", "Topic Filter invalid",
		"Topic Name invalid", "Packet Identifier in use", "Packet Identifier not found",
		"Receive Maximum exceeded", "Topic Alias invalid", "Packet too large", "Message rate too high",
		"Quota exceeded", "Administrative action", "Payload format invalid", "Retain not supported",
		"QoS not supported", "Use another server", "Server moved", "Shared Subscriptions not supported",
		"Connection rate exceeded", "Maximum connect time", "Subscription Identifiers not supported",
		"Wildcard Subscriptions not supported",
	}
	if i := int(r - UnspecifiedError); i < len(names) {
		return names[i]
	}
	return r.unknown()
}

func (r ReasonCode) unknown() string { return "reason code 0x" + strconv.FormatUint(uint64(r), 16) }

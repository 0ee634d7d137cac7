package mqtt

// reason reads a reason code that t may carry.
func (r *reader) reason(t Type) ReasonCode {
	code := ReasonCode(r.u8())
	if r.err == nil && !code.permitted(t) {
		r.fail(ProtocolError, "a reason code that is not for this packet")
	}
	return code
}

// permitted tells whether a packet of type t may carry the code in either
// direction (MQTT5 2.4 and the table of each packet).
func (r ReasonCode) permitted(t Type) bool {
	switch t {
	case CONNACK:
		return r.inConnack()
	case PUBACK, PUBREC:
		return r.inPuback()
	case PUBREL, PUBCOMP:
		return r == Success || r == PacketIDNotFound
	case SUBACK:
		return r.inSuback()
	case UNSUBACK:
		return r.inUnsuback()
	case DISCONNECT:
		return r.inDisconnect()
	case AUTH:
		return r == Success || r == ContinueAuthentication || r == Reauthenticate
	}
	return false
}

// inConnack is MQTT5 table 3-1.
func (r ReasonCode) inConnack() bool {
	switch r {
	case Success, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecificError,
		UnsupportedProtocolVersion, ClientIDNotValid, BadUserNameOrPassword, NotAuthorized,
		ServerUnavailable, ServerBusy, Banned, BadAuthenticationMethod, TopicNameInvalid,
		PacketTooLarge, QuotaExceeded, PayloadFormatInvalid, RetainNotSupported, QoSNotSupported,
		UseAnotherServer, ServerMoved, ConnectionRateExceeded:
		return true
	}
	return false
}

// inPuback is MQTT5 tables 3-4 and 3-5.
func (r ReasonCode) inPuback() bool {
	switch r {
	case Success, NoMatchingSubscribers, UnspecifiedError, ImplementationSpecificError,
		NotAuthorized, TopicNameInvalid, PacketIDInUse, QuotaExceeded, PayloadFormatInvalid:
		return true
	}
	return false
}

// inSuback is MQTT5 table 3-8.
func (r ReasonCode) inSuback() bool {
	switch r {
	case Success, GrantedQoS1, GrantedQoS2, UnspecifiedError, ImplementationSpecificError,
		NotAuthorized, TopicFilterInvalid, PacketIDInUse, QuotaExceeded, SharedSubsNotSupported,
		SubIDsNotSupported, WildcardSubsNotSupported:
		return true
	}
	return false
}

// inUnsuback is MQTT5 table 3-9.
func (r ReasonCode) inUnsuback() bool {
	switch r {
	case Success, NoSubscriptionExisted, UnspecifiedError, ImplementationSpecificError,
		NotAuthorized, TopicFilterInvalid, PacketIDInUse:
		return true
	}
	return false
}

// inDisconnect is MQTT5 table 3-10: all failures but those of a CONNECT, a
// SUBSCRIBE identifier or a single packet identifier.
func (r ReasonCode) inDisconnect() bool {
	switch r {
	case Success, DisconnectWithWill:
		return true
	case UnsupportedProtocolVersion, ClientIDNotValid, BadUserNameOrPassword, ServerUnavailable,
		Banned, BadAuthenticationMethod, PacketIDInUse, PacketIDNotFound:
		return false
	}
	return r.Failed() && r <= WildcardSubsNotSupported
}

// ConnackV3 is the return code of a CONNACK before v5 (MQTT311 table 3.1).
// Without ok no code applies: close without a CONNACK [MQTT-3.2.2-6].
func (r ReasonCode) ConnackV3() (code byte, ok bool) {
	switch r {
	case Success:
		return 0, true
	case UnsupportedProtocolVersion:
		return 1, true
	case ClientIDNotValid:
		return 2, true
	case ServerUnavailable, ServerBusy, ServerShuttingDown, QuotaExceeded, UseAnotherServer,
		ServerMoved, ConnectionRateExceeded:
		return 3, true
	case BadUserNameOrPassword:
		return 4, true
	case NotAuthorized, Banned, BadAuthenticationMethod:
		return 5, true
	}
	return 0, false
}

func reasonFromConnackV3(code byte) (r ReasonCode, ok bool) {
	codes := [...]ReasonCode{
		Success, UnsupportedProtocolVersion, ClientIDNotValid,
		ServerUnavailable, BadUserNameOrPassword, NotAuthorized,
	}
	if int(code) >= len(codes) {
		return UnspecifiedError, false
	}
	return codes[code], true
}

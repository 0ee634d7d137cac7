package mqtt

// Decode reads the packet that follows h, as ParseHeader returned it; body is
// exactly h.Length bytes. v is the version of the connection; a CONNECT says its
// own. The slices of the packet are views into body, some bytes of which may be
// moved (see MessageProperties.Forward).
//
// Both directions decode. What depends on who sent the packet (a Subscription
// Identifier in a client's PUBLISH, a DISCONNECT code that only a server uses)
// is the caller's to check. The error is an *Error, after which the part in
// force is undefined but for Connect.Version with UnsupportedProtocolVersion.
func (p *Packet) Decode(v Version, h Header, body []byte, lim Limits) error {
	p.Type = h.Type
	if h.Type == PUBLISH {
		return p.Publish.decode(v, h.Flags, body, lim)
	}
	if h.Flags != fixedFlags(h.Type) && v != V31 {
		return &Error{MalformedPacket, "reserved bits of the fixed header"}
	}
	switch h.Type {
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return p.Ack.decode(h.Type, v, body, lim)
	}
	r := reader{b: body}
	switch h.Type {
	case CONNECT:
		p.Connect.decode(&r, lim)
	case CONNACK:
		p.Connack.decode(&r, v, lim)
	case SUBSCRIBE:
		p.Subscribe.decode(&r, v, lim)
	case SUBACK, UNSUBACK:
		p.Suback.decode(&r, h.Type, v, lim)
	case UNSUBSCRIBE:
		p.Unsubscribe.decode(&r, v, lim)
	case PINGREQ, PINGRESP:
	case DISCONNECT:
		p.Disconnect.decode(&r, v, lim)
	case AUTH:
		p.Auth.decode(&r, v, lim)
	default:
		r.fail(MalformedPacket, "packet type 0 is reserved")
	}
	return r.end()
}

// decode reads a PUBLISH (MQTT5 3.3). The common one, without properties, is
// read without the reader: this is the hottest path of a server.
func (p *Publish) decode(v Version, flags byte, body []byte, lim Limits) error {
	p.Retain = flags&0x01 != 0
	p.QoS = QoS(flags >> 1 & 3)
	p.Dup = flags&0x08 != 0
	if len(body) < 2 {
		return &Error{MalformedPacket, "PUBLISH without a topic"}
	}
	n := 2 + int(body[0])<<8 + int(body[1])
	if len(body) < n {
		return &Error{MalformedPacket, "topic runs past the end of the packet"}
	}
	p.Topic = body[2:n:n]
	if err := topicFault(p.Topic); err != nil {
		return err
	}
	p.ID = 0
	if p.QoS > 0 {
		if len(body) < n+2 {
			return &Error{MalformedPacket, "PUBLISH without a packet identifier"}
		}
		p.ID = uint16(body[n])<<8 | uint16(body[n+1])
		if p.ID == 0 {
			return &Error{ProtocolError, "packet identifier 0"}
		}
		n += 2
	}
	if v >= V5 && (len(body) == n || body[n] != 0) {
		r := reader{b: body[n:]}
		p.Props.decode(&r, publishProps, lim)
		if r.err != nil {
			return r.err
		}
		p.Payload = r.b
	} else {
		if v >= V5 {
			n++ // property length 0
		}
		p.Props.reset()
		p.Payload = body[n:]
	}
	if len(p.Topic) == 0 && p.Props.TopicAlias == 0 {
		return &Error{ProtocolError, "empty topic without an alias"}
	}
	return nil
}

// topicFault checks a topic name (MQTT5 4.7); the empty one is the caller's.
func topicFault(topic []byte) error {
	if plainTopic(topic) {
		return nil
	}
	if !validText(topic) {
		return &Error{MalformedPacket, "topic is not UTF-8 without U+0000"}
	}
	if hasWildcard(topic) {
		return &Error{TopicNameInvalid, "topic name with a wildcard"}
	}
	return nil
}

// decode reads a PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT5 3.4-3.7).
func (a *Ack) decode(t Type, v Version, body []byte, lim Limits) error {
	a.Reason = Success
	a.Props.reset()
	if len(body) < 2 {
		return &Error{MalformedPacket, "acknowledgement without a packet identifier"}
	}
	a.ID = uint16(body[0])<<8 | uint16(body[1])
	if a.ID == 0 {
		return &Error{ProtocolError, "packet identifier 0"}
	}
	if len(body) == 2 {
		return nil
	}
	r := reader{b: body[2:]}
	if v >= V5 {
		a.Reason = r.reason(t)
		if len(r.b) > 0 { // without, there is no property length (MQTT5 3.4.2.2.1)
			a.Props.decode(&r, ackProps, lim)
		}
	}
	return r.end()
}

// decode reads a CONNACK (MQTT5 3.2, MQTT311 3.2).
func (c *Connack) decode(r *reader, v Version, lim Limits) {
	c.Props.reset()
	flags := r.u8()
	if v == V31 {
		flags = 0 // the byte is reserved, with no value laid down
	}
	if flags > 1 {
		r.fail(MalformedPacket, "reserved bits of the CONNACK flags")
	}
	c.SessionPresent = flags == 1
	if v >= V5 {
		c.Reason = r.reason(CONNACK)
		c.Props.decode(r, connackProps, lim)
	} else {
		var ok bool
		if c.Reason, ok = reasonFromConnackV3(r.u8()); !ok {
			r.fail(ProtocolError, "reserved CONNACK return code")
		}
	}
	if c.SessionPresent && c.Reason != Success {
		r.fail(ProtocolError, "session present in a refusal")
	}
}

// decode reads a SUBSCRIBE (MQTT5 3.8).
func (s *Subscribe) decode(r *reader, v Version, lim Limits) {
	s.Props.reset()
	clear(s.Filters)
	s.Filters = s.Filters[:0]
	s.ID = r.packetID()
	if v >= V5 {
		s.Props.decode(r, subscribeProps, lim)
	}
	if len(r.b) == 0 {
		r.fail(ProtocolError, "SUBSCRIBE without a topic filter")
	}
	for len(r.b) > 0 {
		filter := r.text()
		options := SubOptions(r.u8())
		switch {
		case options&0xC0 != 0 || v < V5 && options&0xFC != 0:
			r.fail(MalformedPacket, "reserved bits of the subscription options")
		case options.QoS() == 3:
			r.fail(ProtocolError, "subscription with QoS 3")
		case options.RetainHandling() == 3:
			r.fail(ProtocolError, "subscription with retain handling 3")
		}
		s.Filters = append(s.Filters, Subscription{filter, options})
	}
}

// decode reads a SUBACK or UNSUBACK (MQTT5 3.9, 3.11).
func (s *Suback) decode(r *reader, t Type, v Version, lim Limits) {
	s.Props.reset()
	s.Reasons = s.Reasons[:0]
	s.ID = r.packetID()
	if v >= V5 {
		s.Props.decode(r, problemProps, lim)
	} else if t == UNSUBACK {
		return
	}
	if len(r.b) == 0 {
		r.fail(ProtocolError, "no reason codes")
	}
	for len(r.b) > 0 {
		code := r.reason(t)
		if v < V5 && code > GrantedQoS2 && code != UnspecifiedError {
			r.fail(ProtocolError, "reserved SUBACK return code")
		}
		s.Reasons = append(s.Reasons, code)
	}
}

// decode reads an UNSUBSCRIBE (MQTT5 3.10).
func (u *Unsubscribe) decode(r *reader, v Version, lim Limits) {
	u.Props.reset()
	clear(u.Filters)
	u.Filters = u.Filters[:0]
	u.ID = r.packetID()
	if v >= V5 {
		u.Props.decode(r, unsubscribeProps, lim)
	}
	if len(r.b) == 0 {
		r.fail(ProtocolError, "UNSUBSCRIBE without a topic filter")
	}
	for len(r.b) > 0 {
		u.Filters = append(u.Filters, r.text())
	}
}

// decode reads a DISCONNECT (MQTT5 3.14).
func (d *Disconnect) decode(r *reader, v Version, lim Limits) {
	d.Reason = Success
	d.Props.reset()
	if v < V5 || len(r.b) == 0 {
		return
	}
	d.Reason = r.reason(DISCONNECT)
	if len(r.b) > 0 { // without, there is no property length (MQTT5 3.14.2.2.1)
		d.Props.decode(r, disconnectProps, lim)
	}
}

// decode reads an AUTH (MQTT5 3.15), which only version 5 knows.
func (a *Auth) decode(r *reader, v Version, lim Limits) {
	a.Reason = Success
	a.Props.reset()
	if v < V5 {
		r.fail(MalformedPacket, "packet type 15 is reserved before version 5")
		return
	}
	if len(r.b) == 0 {
		return
	}
	a.Reason = r.reason(AUTH)
	a.Props.decode(r, authProps, lim)
	plain := a.Reason == Success && a.Props.Has == 0 && len(a.Props.User) == 0
	if !plain && !a.Props.Has.Has(PropAuthMethod) {
		r.fail(ProtocolError, "AUTH without an authentication method")
	}
}

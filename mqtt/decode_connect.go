package mqtt

// The bits of the connect flags (MQTT5 3.1.2.3).
const (
	flagReserved   = 0x01
	flagCleanStart = 0x02
	flagWill       = 0x04
	flagWillRetain = 0x20
	flagPassword   = 0x40
	flagUsername   = 0x80

	maskWillQoS = 0x18
)

// decode reads a CONNECT (MQTT5 3.1, MQTT311 3.1).
func (c *Connect) decode(r *reader, lim Limits) {
	c.Props.reset()
	*c = Connect{Props: c.Props}
	c.decodeProtocol(r)
	flags := r.u8()
	if detail := c.flagFault(flags); detail != "" {
		r.fail(MalformedPacket, detail)
	}
	c.CleanStart = flags&flagCleanStart != 0
	c.KeepAlive = r.u16()
	if c.Version >= V5 {
		c.Props.decode(r, connectProps, lim)
	}
	c.ClientID = r.text()
	if flags&flagWill != 0 && r.err == nil {
		c.Will = &Will{QoS: QoS(flags & maskWillQoS >> 3), Retain: flags&flagWillRetain != 0}
		c.Will.decode(r, c.Version, lim)
	}
	if c.HasUser = flags&flagUsername != 0 && !c.leftOut(r); c.HasUser {
		c.Username = r.text()
	}
	if c.HasPass = flags&flagPassword != 0 && !c.leftOut(r); c.HasPass {
		c.Password = r.binary()
	}
}

// leftOut tells whether a field that the flags announce is missing lawfully: in
// 3.1 the Remaining Length takes precedence over the user name and password
// flags (MQTT 3.1 section 3.1).
func (c *Connect) leftOut(r *reader) bool { return c.Version == V31 && len(r.b) == 0 }

func (c *Connect) decodeProtocol(r *reader) {
	name := r.text()
	c.Version = Version(r.u8())
	switch {
	case string(name) == "MQTT" && (c.Version == V311 || c.Version == V5):
	case string(name) == "MQIsdp" && c.Version == V31:
	default:
		r.fail(UnsupportedProtocolVersion, "unknown protocol name or level")
	}
}

// flagFault says what is wrong with the connect flags, or nothing.
func (c *Connect) flagFault(flags byte) string {
	switch {
	case flags&flagReserved != 0:
		return "reserved connect flag"
	case flags&flagWill == 0 && flags&(maskWillQoS|flagWillRetain) != 0:
		return "will QoS or will retain without a will"
	case flags&maskWillQoS == maskWillQoS:
		return "will QoS 3"
	case c.Version < V5 && flags&flagPassword != 0 && flags&flagUsername == 0:
		return "password without a user name"
	}
	return ""
}

func (w *Will) decode(r *reader, v Version, lim Limits) {
	if v >= V5 {
		w.Props.decode(r, willProps, lim)
	}
	w.Topic = r.binary()
	if r.err != nil {
		return
	}
	if len(w.Topic) == 0 {
		r.fail(ProtocolError, "will with an empty topic")
		return
	}
	if err := topicFault(w.Topic); err != nil {
		r.err, r.b = err, nil
		return
	}
	w.Payload = r.binary()
}

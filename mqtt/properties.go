package mqtt

// Limits bound the properties of a packet; 0 means no limit. They are checked
// before what they bound is read.
type Limits struct {
	UserProperties int // per property section; more: QuotaExceeded
	PropertyBytes  int // of a property section; more: PacketTooLarge
}

const (
	problemProps PropertySet = 1<<PropReasonString | 1<<PropUser

	ackProps         = problemProps
	subscribeProps   = PropertySet(1<<PropSubscriptionID | 1<<PropUser)
	unsubscribeProps = PropertySet(1 << PropUser)
	disconnectProps  = problemProps | 1<<PropSessionExpiry | 1<<PropServerReference
	authProps        = problemProps | 1<<PropAuthMethod | 1<<PropAuthData
	connectProps     = PropertySet(1<<PropSessionExpiry | 1<<PropReceiveMaximum | 1<<PropMaximumPacketSize |
		1<<PropTopicAliasMaximum | 1<<PropRequestResponseInfo | 1<<PropRequestProblemInfo |
		1<<PropUser | 1<<PropAuthMethod | 1<<PropAuthData)
	connackProps = problemProps | 1<<PropSessionExpiry | 1<<PropReceiveMaximum | 1<<PropMaximumQoS |
		1<<PropRetainAvailable | 1<<PropMaximumPacketSize | 1<<PropAssignedClientID |
		1<<PropTopicAliasMaximum | 1<<PropWildcardSubAvailable | 1<<PropSubIDAvailable |
		1<<PropSharedSubAvailable | 1<<PropServerKeepAlive | 1<<PropResponseInfo |
		1<<PropServerReference | 1<<PropAuthMethod | 1<<PropAuthData
)

// reset empties p and lets go of the buffers it looked into. It costs nothing
// when nothing was set: a Properties is about 300 bytes and acks come by the
// million.
func (p *Properties) reset() {
	if p.Has == 0 && len(p.User) == 0 {
		return
	}
	clear(p.User)
	*p = Properties{User: p.User[:0]}
}

// decode reads a property section. p must have been reset.
func (p *Properties) decode(r *reader, allowed PropertySet, lim Limits) {
	props := r.properties(lim)
	for len(props.b) > 0 {
		id := props.propertyID(&p.Has, allowed, 1<<PropUser)
		if id == PropUser {
			props.limitUsers(len(p.User)+1, lim)
			name, value := props.text(), props.text()
			if props.err == nil {
				p.User = append(p.User, UserProperty{name, value})
			}
		} else {
			p.decodeValue(&props, id)
		}
	}
	if p.Has.Has(PropAuthData) && !p.Has.Has(PropAuthMethod) {
		props.fail(ProtocolError, "authentication data without a method")
	}
	p.Has &^= 1 << PropUser
	r.adopt(&props)
}

func (p *Properties) decodeValue(r *reader, id PropertyID) {
	switch id {
	case PropSessionExpiry:
		p.SessionExpiry = r.u32()
	case PropMaximumPacketSize:
		if p.MaximumPacketSize = r.u32(); p.MaximumPacketSize == 0 {
			r.fail(ProtocolError, "maximum packet size 0")
		}
	case PropReceiveMaximum:
		p.ReceiveMaximum = r.nonZero16("receive maximum 0")
	case PropTopicAliasMaximum:
		p.TopicAliasMaximum = r.u16()
	case PropServerKeepAlive:
		p.ServerKeepAlive = r.u16()
	case PropSubscriptionID:
		p.SubscriptionID = r.subscriptionID()
	case PropAssignedClientID:
		p.AssignedClientID = r.text()
	case PropResponseInfo:
		p.ResponseInfo = r.text()
	case PropServerReference:
		p.ServerReference = r.text()
	case PropReasonString:
		p.ReasonString = r.text()
	case PropAuthMethod:
		p.AuthMethod = r.text()
	case PropAuthData:
		p.AuthData = r.binary()
	default:
		p.decodeFlag(id, r.flag())
	}
}

func (p *Properties) decodeFlag(id PropertyID, on bool) {
	switch id {
	case PropMaximumQoS:
		p.MaximumQoS = QoS(boolByte(on))
	case PropRequestResponseInfo:
		p.RequestResponseInfo = on
	case PropRequestProblemInfo:
		p.RequestProblemInfo = on
	case PropRetainAvailable:
		p.RetainAvailable = on
	case PropWildcardSubAvailable:
		p.WildcardSubAvailable = on
	case PropSubIDAvailable:
		p.SubIDAvailable = on
	case PropSharedSubAvailable:
		p.SharedSubAvailable = on
	}
}

// append writes the property section with its length: those of allowed that Has
// names or that are not the zero value.
func (p *Properties) append(dst []byte, allowed PropertySet) []byte {
	at := len(dst)
	w := propertyWriter{append(dst, 0), allowed, p.Has}
	w.u32(PropSessionExpiry, p.SessionExpiry)
	w.field(PropAssignedClientID, p.AssignedClientID)
	w.u16(PropServerKeepAlive, p.ServerKeepAlive)
	w.field(PropAuthMethod, p.AuthMethod)
	w.field(PropAuthData, p.AuthData)
	w.flag(PropRequestProblemInfo, p.RequestProblemInfo)
	w.flag(PropRequestResponseInfo, p.RequestResponseInfo)
	w.field(PropResponseInfo, p.ResponseInfo)
	w.field(PropServerReference, p.ServerReference)
	w.u16(PropReceiveMaximum, p.ReceiveMaximum)
	w.u16(PropTopicAliasMaximum, p.TopicAliasMaximum)
	if p.MaximumQoS < 2 { // 2 is said by absence (MQTT5 3.2.2.3.4)
		w.flag(PropMaximumQoS, p.MaximumQoS == 1)
	}
	w.flag(PropRetainAvailable, p.RetainAvailable)
	w.u32(PropMaximumPacketSize, p.MaximumPacketSize)
	w.flag(PropWildcardSubAvailable, p.WildcardSubAvailable)
	w.flag(PropSubIDAvailable, p.SubIDAvailable)
	w.flag(PropSharedSubAvailable, p.SharedSubAvailable)
	if p.SubscriptionID != 0 && allowed.Has(PropSubscriptionID) {
		w.dst = appendVarint(append(w.dst, byte(PropSubscriptionID)), int(p.SubscriptionID))
	}
	w.field(PropReasonString, p.ReasonString)
	if allowed.Has(PropUser) {
		for _, u := range p.User {
			w.dst = AppendUserProperty(w.dst, u.Name, u.Value)
		}
	}
	return closeLength(w.dst, at)
}

// propertyWriter writes a property if the packet allows it and it is present.
type propertyWriter struct {
	dst          []byte
	allowed, has PropertySet
}

func (w *propertyWriter) wants(id PropertyID, set bool) bool {
	return w.allowed.Has(id) && (set || w.has.Has(id))
}

func (w *propertyWriter) u32(id PropertyID, v uint32) {
	if w.wants(id, v != 0) {
		w.dst = appendU32(w.dst, id, v)
	}
}

func (w *propertyWriter) u16(id PropertyID, v uint16) {
	if w.wants(id, v != 0) {
		w.dst = append(w.dst, byte(id), byte(v>>8), byte(v))
	}
}

func (w *propertyWriter) flag(id PropertyID, on bool) {
	if w.wants(id, on) {
		w.dst = append(w.dst, byte(id), boolByte(on))
	}
}

func (w *propertyWriter) field(id PropertyID, s []byte) {
	if w.wants(id, s != nil) {
		w.dst = appendField(append(w.dst, byte(id)), s)
	}
}

// closeLength writes the length of what follows dst[at], one byte kept free for
// it, as a variable byte integer. The rare longer one moves what follows.
func closeLength(dst []byte, at int) []byte {
	n := len(dst) - at - 1
	k := varintSize(n)
	for range k - 1 {
		dst = append(dst, 0)
	}
	if k > 1 {
		copy(dst[at+k:], dst[at+1:at+1+n])
	}
	appendVarint(dst[:at], n)
	return dst
}

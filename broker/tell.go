package broker

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// tells tells that somebody listens.
func (b *Broker) tells() bool { return b.opts.Events != nil }

// tell tells an event. What panics in the listener is the listener's own.
func (b *Broker) tell(e Event) {
	if b.opts.Events == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			b.panicked(r, "task", "tell what happened")
		}
	}()
	b.opts.Events(e)
}

// told is what events tell of a client beside its session.
type told struct {
	*life                // of its connection, nil without one
	since   int64        // when it connected, or, without a connection, when it lost it; ms
	ends    Ending       // what the session ends for, if it does
	lossy   bool         // some of its losses are in its shard's table
	lost    *loss        // the last of them
	traffic *DoorTraffic // of the door that it came by last
}

// life is one connection of a client.
type life struct {
	received uint64 // messages of the client before
	sent     uint64
	will     *mqtt.Message // that it connected with
	about    *about        // nil = nothing special
	text     string        // why its connection is being closed; "" = it is not
	cause    Cause
	reason   mqtt.ReasonCode
	blamed   Cause // what the broker is about to close the connection for
	resumed  bool
}

// about is what some clients have told of themselves.
type about struct {
	tls      *TLS
	software string
}

func partyOf(who *auth.Principal) Party {
	return Party{ClientID: who.ClientID, User: who.Name, Address: who.Peer.Address, Listener: who.Peer.Listener}
}

func (c *client) party() Party { return partyOf(c.who.Load()) }

// expiryOf is a session expiry interval as events have it.
func expiryOf(seconds uint32) time.Duration {
	if seconds == session.Never {
		return -1
	}
	return time.Duration(seconds) * time.Second
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// teller tells what happens on a shard, each message's fate summed up.
type teller struct{ losses }

// begin notes a connection that is about to be attached to c's session, and tells of it.
func (x *teller) begin(c *client, p *pending, req *session.Request, fresh bool) {
	away := ms(max(x.sh.now-c.told.since, 0))
	overdue := c.s.Will() // that it has come back in time for
	c.told.life, c.told.since = &life{resumed: !fresh}, x.sh.now
	if t := c.account(); t != nil {
		c.told.received, c.told.sent = t.Received(), t.Sent()
	}
	if req.Will != nil {
		c.told.will = req.Will.Msg
	}
	if p.tls != nil || p.software != "" {
		c.told.about = &about{p.tls, p.software}
	}
	if !x.sh.b.tells() {
		return
	}
	who, party := c.who.Load(), c.party()
	if overdue != nil {
		x.sh.b.tell(WillCancelled{Party: party, Topic: string(overdue.Msg.Topic), Reconnect: true})
	}
	if fresh {
		x.sh.b.tell(SessionCreated{Party: party, Expiry: expiryOf(req.Expiry)})
	} else {
		n, size := c.s.Queued()
		x.sh.b.tell(SessionResumed{Party: party, Expiry: expiryOf(req.Expiry), Away: away, Queued: n, QueueBytes: size, Subscriptions: len(c.s.Subscriptions())})
	}
	e := Connected{
		Party: party, By: who.By, Groups: who.Groups, CommonName: who.Peer.CommonName(), TLS: p.tls, Version: req.Version,
		KeepAlive: time.Duration(req.KeepAlive) * time.Second, Expiry: expiryOf(req.Expiry), CleanStart: req.CleanStart,
		Assigned: p.assigned, Resumed: !fresh, AuthMethod: req.AuthMethod, Software: p.software, Mount: who.Mount,
	}
	if w := req.Will; w != nil {
		e.Will, e.WillDelay = w.Msg, time.Duration(w.Delay)*time.Second
	}
	x.sh.b.tell(e)
}

// kick has a client's connection closed, and notes for what.
func (c *client) kick(by Cause, reason mqtt.ReasonCode, why string) {
	t := c.told.life
	if t == nil {
		return
	}
	t.blamed = by
	c.shard.perform(c, nil, c.s.Kick(reason, why, c.shard.take()))
	t.blamed = 0
}

// takeover tells that who takes the place of a client that is connected, unless that was about to end anyhow.
func (x *teller) takeover(old *client, who *auth.Principal) {
	if x.sh.b.tells() && !old.s.Closing() {
		x.sh.b.tell(TakenOver{
			Party: old.party(), By: partyOf(who), KeepAlive: time.Duration(old.s.KeepAlive()) * time.Second,
			For: ms(max(x.sh.now-old.told.since, 0)), Silent: ms(max(x.sh.now-session.Seen(&old.s), 0)),
		})
	}
}

// blame notes why a connection is about to be closed: the first reason counts. p is the packet that brought it about, if one did.
func (x *teller) blame(c *client, p *mqtt.Packet, e *session.Effect) {
	t := c.told.life
	if t == nil || t.text != "" {
		return
	}
	t.text, t.reason, t.cause = e.Text, e.Reason, t.blamed
	if t.cause == 0 {
		t.cause = causeOf(e.Reason)
	}
	switch {
	case t.cause == ByClient && p != nil && p.Type == mqtt.DISCONNECT:
		t.reason = p.Disconnect.Reason
		if said := p.Disconnect.Props.ReasonString; len(said) > 0 {
			t.text = string(said)
		}
		if t.will != nil && c.s.Will() == nil && x.sh.b.tells() {
			x.sh.b.tell(WillCancelled{Party: c.party(), Topic: string(t.will.Topic)})
		}
	case t.cause == ByProtocol && x.sh.b.tells():
		x.sh.b.tell(ProtocolError{Party: c.party(), Version: c.s.Version(), Reason: e.Reason, Text: e.Text})
	}
}

// causeOf is what a session closes its connection for with a reason code of its own.
func causeOf(r mqtt.ReasonCode) Cause {
	switch r {
	case mqtt.Success:
		return ByClient
	case mqtt.KeepAliveTimeout:
		return ByKeepAlive
	case mqtt.SessionTakenOver:
		return ByTakeover
	case mqtt.ServerShuttingDown:
		return ByShutdown
	case mqtt.QuotaExceeded:
		return ByQueue
	case mqtt.NotAuthorized:
		return ByDenial
	case mqtt.ImplementationSpecificError, mqtt.UnspecifiedError:
		return ByStore
	}
	return ByProtocol
}

// broke notes why a connection has ended that nobody had meant to close.
func (t *life) broke(err error) {
	if t.text != "" {
		return
	}
	t.text, t.cause = closeCause(err), ByBreaking
	switch {
	case errors.Is(err, errPanic):
		t.cause = ByFault
	case err == nil:
		t.cause = ByShutdown
	case strings.HasPrefix(t.text, "the client closed"):
		t.cause = ByClosing
	}
}

// left tells of a connection that has ended, before anything follows from that.
func (x *teller) left(c *client) {
	t := &c.told
	if t.lossy {
		t.lossy = false
		x.flushOf(c.id)
	}
	x.sh.books.settle()
	if x.sh.b.tells() {
		n, size := c.s.Queued()
		received, sent := uint64(0), uint64(0)
		if k := c.account(); k != nil {
			received, sent = k.Received()-t.received, k.Sent()-t.sent
		}
		x.sh.b.tell(Disconnected{
			Party: c.party(), Cause: t.cause, Reason: t.reason, Text: t.text, Version: c.s.Version(),
			KeepAlive: time.Duration(c.s.KeepAlive()) * time.Second, Expiry: expiryOf(c.s.Expiry()), For: ms(max(x.sh.now-t.since, 0)),
			Received: received, Sent: sent, Queued: n, QueueBytes: size, Resumed: t.resumed,
		})
	}
	t.life, t.since, t.lost = nil, x.sh.now, nil
	if c.s.Expiry() == 0 && t.ends == EndExpired {
		t.ends = EndDisconnected
	}
}

// over tells of a session that has ended.
func (x *teller) over(c *client, durable bool) {
	if x.sh.b.tells() {
		x.sh.books.settle()
		x.sh.books.settleDropsOf(c)
		x.sh.b.tell(SessionEnded{
			Party: c.party(), Why: c.told.ends, Queued: int(c.load.Load()), Subscriptions: len(c.s.Subscriptions()), Durable: durable, Totals: trafficOf(c),
		})
	}
}

// refusedFilters tells of the filters of a SUBSCRIBE that were not granted.
func (x *teller) refusedFilters(c *client, p *mqtt.Subscribe, codes []mqtt.ReasonCode) {
	if !x.sh.b.tells() {
		return
	}
	for i, f := range p.Filters {
		if codes[i].Failed() {
			x.sh.b.tell(Subscribed{Party: c.party(), Filter: text(f.Filter), Options: f.Options, ID: p.Props.SubscriptionID, Code: codes[i]})
		}
	}
}

// text is what a client sent, for people: a filter that was refused need not be text.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// unsubscribed tells that a subscription was given back.
func (x *teller) unsubscribed(c *client, filter string) {
	if x.sh.b.tells() {
		x.sh.b.tell(Unsubscribed{Party: c.party(), Filter: filter})
	}
}

// rests tells that a subscription rests, or works again.
func (x *teller) rests(c *client, s *session.Subscription, rests bool) {
	switch {
	case !x.sh.b.tells():
	case rests:
		x.sh.b.tell(SubscriptionRests{Party: c.party(), Filter: s.Filter, Decision: x.sh.b.opts.Authz.Explain(c.who.Load(), &x.sh.asked)})
	default:
		x.sh.b.tell(SubscriptionResumes{Party: c.party(), Filter: s.Filter})
	}
}

// willed tells what became of a will.
func (x *teller) willed(c *client, m *mqtt.Message, reason mqtt.ReasonCode) {
	if !x.sh.b.tells() {
		return
	}
	e := WillSent{Party: c.party(), Topic: string(m.Topic), QoS: m.QoS, Retain: m.Retain, Bytes: len(m.Payload), Reason: reason}
	if !reason.Failed() {
		e.Receivers = len(x.sh.router.found)
	}
	x.sh.b.tell(e)
}

// banChanged tells of a ban.
func (b *Broker) banChanged(done Banned, ended, expired bool) {
	b.tell(BanChanged{Banned: done, Ended: ended, Expired: expired})
}

// softwareOf is what a client says about itself in CONNECT, for people and unproven; "" = nothing. No version of MQTT has a place for it. A
// v5 client may say it in user properties: the first of client_software, software, user-agent, sdk and client_name with the first of
// client_version, software_version, sdk_version and version, in any case, with _ or -. Device SDKs of the large clouds put it behind the user
// name, as SDK and Version (AWS IoT) or DeviceClientType (Azure IoT Hub) of what looks like a URL's query.
func softwareOf(c *mqtt.Connect) string {
	find := func(names ...string) string {
		for _, name := range names {
			for _, u := range c.Props.User {
				if strings.EqualFold(strings.ReplaceAll(string(u.Name), "-", "_"), name) && len(u.Value) > 0 {
					return string(u.Value)
				}
			}
		}
		return ""
	}
	name := find("client_software", "software", "user_agent", "sdk", "client_name")
	version := find("client_version", "software_version", "sdk_version", "version")
	if _, query, ok := bytes.Cut(c.Username, []byte("?")); ok && name == "" {
		if q, err := url.ParseQuery(string(query)); err == nil {
			if name, version = q.Get("SDK"), q.Get("Version"); name == "" {
				name, version = q.Get("DeviceClientType"), ""
			}
		}
	}
	if version != "" && name != "" {
		name += " " + version
	} else if name == "" && version != "" {
		name = "version " + version
	}
	const most = 128
	if len(name) > most {
		name = name[:most]
	}
	return strings.ToValidUTF8(name, "")
}

// sealOf is what events tell of a TLS handshake.
func sealOf(state *tls.ConnectionState) *TLS {
	return &TLS{Version: state.Version, Cipher: state.CipherSuite, Resumed: state.DidResume, ServerName: state.ServerName}
}

// stalledFor is how long a client has to take nothing, in ms, until that is told.
const stalledFor = 1000

// began tells that a client takes nothing.
func (s *stalls) began(c *client) {
	if s.sh.b.tells() {
		n, _ := c.s.Queued()
		s.sh.b.tell(Stalled{Party: c.party(), Pending: c.conn.Pending(), Queued: n})
	}
}

// ended tells that a client reads on of which it was told that it did not.
func (s *stalls) ended(c *client, st stall) {
	if st.told && s.sh.b.tells() {
		s.sh.b.tell(StallEnded{Party: c.party(), For: ms(s.sh.now - st.from)})
	}
}

// turnedAway tells of a connection that ended before its CONNECT.
func (b *Broker) turnedAway(door *Door, from netip.AddrPort, cause string, why string) {
	if b.tells() {
		b.entrance.refusals.tell(b, Refused{Party: Party{Address: from, Listener: door.listener.Load().Name}, Before: true, Cause: cause, Why: why})
	}
}

// turnedDown tells of a CONNECT that is refused, or of a connection that did not send one.
func (x *teller) turnedDown(p *pending, r *session.Refusal) {
	if !x.sh.b.tells() {
		return
	}
	e := Refused{
		Party:  Party{Address: p.peer.Address, Listener: p.door.listener.Load().Name},
		Before: p.request == nil, Reason: r.Reason, Text: r.Text, By: r.By, Why: r.Why,
	}
	if p.request != nil {
		e.ClientID, e.User = p.request.ClientID, p.request.Username
	}
	switch {
	case e.Before && r.Reason == mqtt.MaximumConnectTime:
		e.Cause = RefusedTimeout
	case e.Before && p.version == 0:
		e.Cause = RefusedInput
	default:
		e.Cause = strings.ReplaceAll(strings.ToLower(r.Reason.String()), " ", "_")
		e.Before = false
	}
	x.sh.b.entrance.refusals.tell(x.sh.b, e)
}

// faulted tells what ended a connection before it spoke MQTT.
func (x *teller) faulted(p *pending, fault *loop.LayerError) {
	cause := map[string]string{"TLS": RefusedTLS, "framing": RefusedWebSocket, "head": RefusedProxy}[fault.Layer]
	x.sh.b.turnedAway(p.door, p.peer.Address, cause, fault.Error())
}

package broker

import (
	"fmt"

	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// pace is how fast a connected client may go, and what it waits for.
type pace struct {
	*limit.Pace             // nil = no rate
	pool        *limit.Pool // that it came from
	reading     int64       // not read until, ms; 0 = it is read
	writing     int64       // no message goes to it until; 0 = they do
	limited     int64       // when it last reached a limit
	again       heldBy      // why the PUBLISH that comes next was held back before, and is counted
}

// delivers tells that what the client gets is limited.
func (p *pace) delivers() bool { return p != nil && p.Pace != nil && p.Delivers() }

// paces holds back the clients that are beyond their rates.
type paces struct {
	sh      *shard
	wheel   limit.Wheel[held]
	shares  overload.Shares[*client] // of QoS 0, under overload
	refused session.Why              // why the PUBLISH being worked on is not to be routed, 0 = it is
}

// held is a client to be looked at, as long as that is its pace.
type held struct {
	client *client
	pace   *pace
	read   bool
}

const (
	holdFor  = 250    // ms, until a publish is offered again that overload has held back
	quietFor = 10_000 // ms without reaching a limit, from when on it is told anew
)

// whoIs is the client as classes see it.
func (c *client) whoIs() limit.Who {
	who := c.who.Load()
	return limit.Who{User: who.Name, Groups: who.Groups, Client: c.id, Listener: who.Peer.Listener}
}

// set gives a client the rates in force, and with rules what holds for its session.
func (x *paces) set(c *client, rules bool) {
	w := x.sh.b.laws.now.Load()
	class := -1
	who := c.whoIs()
	if len(w.rates.Classes) > 0 {
		class = w.rates.ClassOf(&who)
	}
	if rules {
		c.s.Rule(w.ruled(class), c.pace.delivers())
	}
	if c.conn == nil || c.pace == nil && w.pool == nil || c.pace != nil && c.pace.pool == w.pool {
		return
	}
	x.release(c)
	if w.pool != nil {
		if p := w.pool.Enter(x.sh.now, &who, class); p != nil {
			c.pace = &pace{Pace: p, pool: w.pool}
		}
	}
	c.s.Rule(nil, c.pace.delivers())
}

// release lets a client go on as it likes.
func (x *paces) release(c *client) {
	p := c.pace
	if p == nil {
		return
	}
	c.pace = nil
	if p.Pace != nil {
		p.pool.Leave(p.Pace)
	}
	if c.conn != nil && p.reading != 0 {
		c.read(x.sh)
	}
	if c.conn != nil && p.writing != 0 && !x.stopped(c) {
		x.sh.perform(c, nil, c.s.Drained(c.turn(), x.sh.take()))
	}
}

// watch tells that pass has to be asked about what c sends.
func (x *paces) watch(c *client) bool {
	return c.pace != nil || x.sh.b.burden.level.Load() >= int32(overload.QoS0)
}

// pass tells whether a packet of so many bytes may go on now. If not, it stays unread until it may, or the client is
// disconnected. A PUBLISH that may go on may have to be refused.
func (x *paces) pass(c *client, packet *mqtt.Packet, size int) bool {
	if packet.Type != mqtt.PUBLISH {
		return true
	}
	told := packet.Publish.QoS == 0 || c.s.Version() >= mqtt.V5 // a refusal is heard, or nobody waits for one
	again := nobody
	if c.pace != nil {
		again, c.pace.again = c.pace.again, nobody
	}
	if why := x.sheds(c, packet.Publish.QoS, size); why != overload.Normal {
		if again != byOverload {
			x.sh.count.Shed[why]++
		}
		if told {
			x.refused = session.Overloaded
			return true
		}
		if c.pace == nil {
			c.pace = &pace{}
		}
		x.hold(c, byOverload, holdFor)
		return false
	}
	if c.pace == nil || c.pace.Pace == nil {
		return true
	}
	why, wait := c.pace.Publish(x.sh.now, size)
	if why == limit.None {
		return true
	}
	x.note(c, why, again == byRate)
	switch {
	case c.pace.Answer == limit.Disconnect:
		c.kick(ByRate, mqtt.MessageRateTooHigh, "more is published than "+why.String()+" allows")
		return false
	case c.pace.Answer == limit.Refuse && told:
		x.refused = session.RateLimited
		return true
	}
	x.hold(c, byRate, wait)
	return false
}

// sheds tells what a PUBLISH falls victim to under overload.
func (x *paces) sheds(c *client, qos mqtt.QoS, size int) overload.Level {
	level := overload.Level(x.sh.b.burden.level.Load())
	switch {
	case level >= overload.Publish && qos > 0:
		return overload.Publish
	case level >= overload.QoS0 && qos == 0 && x.shares.Heavy(x.sh.now, c, size):
		return overload.QoS0
	}
	return overload.Normal
}

// heldBy is what holds a message back.
type heldBy uint8

const (
	nobody heldBy = iota
	byRate
	byOverload
)

// hold stops reading from a client for some ms.
func (x *paces) hold(c *client, by heldBy, wait int64) {
	c.conn.PauseRead()
	c.pace.again = by
	c.pace.reading = x.sh.now + wait
	x.wheel.Add(x.sh.now, c.pace.reading, held{c, c.pace, true})
}

// note counts a limit that was reached, unless by the same message again, and tells of it once in a while.
func (x *paces) note(c *client, why limit.Reason, again bool) {
	if !again {
		x.sh.count.Limited[why]++
	}
	first := c.pace.limited == 0 || x.sh.now-c.pace.limited > quietFor
	c.pace.limited = x.sh.now
	if first {
		x.tell(c, why.String(), fmt.Sprintf("the limit %s is reached; answer: %s", why, c.pace.Answer))
	}
}

func (x *paces) tell(c *client, what, text string) {
	x.sh.b.log.Info("a client has reached a limit", "client", c.id, "user", c.who.Load().Name, "remote", c.remote(), "limit", what, "text", text)
	x.sh.b.tell(Limited{Party: c.party(), What: what, Text: text})
}

// turnDown answers a PUBLISH that is not routed.
func (x *paces) turnDown(c *client, p *mqtt.Publish, do []session.Effect) []session.Effect {
	m := x.sh.router.viewOf(c, p)
	x.sh.books.Received++
	if b := x.sh.wards.clients[c]; b != nil {
		reason := x.sh.router.quarantined(c.who.Load(), m)
		x.sh.books.ended(c, m, tally.DeniedByWard)
		if c.s.Version() < mqtt.V5 && !x.sh.router.strict { // it stays connected, and cannot be told
			return c.s.Routed(x.sh.turn(), p, reason, 0, do)
		}
		return c.s.Refused(p, reason, b.Text(), do)
	}
	text, from, end := "more is published than allowed", DeniedByRate, tally.RateLimited
	if x.refused == session.Overloaded {
		text, from, end = "the server is overloaded", DeniedByOverload, tally.Overloaded
	}
	x.sh.books.ended(c, m, end)
	if p.QoS == 0 {
		x.sh.traces.dropped(c, m, x.refused)
		x.sh.dropFor(c, c.id, m, x.refused)
		return do
	}
	x.sh.traces.denied(c.who.Load(), m, mqtt.QuotaExceeded, text)
	x.sh.tell.denied(c.who.Load(), m, from, mqtt.QuotaExceeded)
	return c.s.Refused(p, mqtt.QuotaExceeded, text, do)
}

// sent notes a message that was written for a client.
func (x *paces) sent(c *client, size int) {
	p := c.pace
	if !p.delivers() {
		return
	}
	why, wait := p.Delivered(x.sh.now, size)
	if wait == 0 || p.writing != 0 {
		return
	}
	x.note(c, why, false)
	p.writing = x.sh.now + wait
	c.s.Blocked()
	x.wheel.Add(x.sh.now, p.writing, held{c, p, false})
}

// stopped tells that no message may go to c, whether or not it reads.
func (x *paces) stopped(c *client) bool {
	return c.barred.Load() || c.pace != nil && c.pace.writing != 0
}

// drops drops a QoS 0 message for a client that has had as much as it may get, or that does not read under overload.
func (x *paces) drops(c *client, m *mqtt.Message) bool {
	switch {
	case c.pace != nil && c.pace.writing != 0:
		x.sh.drop(c, m, session.RateLimited)
	case x.sh.b.burden.level.Load() >= int32(overload.QoS0) && c.conn != nil && c.conn.Pending() > x.sh.b.limits().MaxOutgoingBytes/16:
		x.sh.count.Shed[overload.QoS0]++
		x.sh.drop(c, m, session.Overloaded)
	default:
		return false
	}
	return true
}

// run goes on with those whose time has come.
func (x *paces) run() { x.wheel.Due(x.sh.now, x.due) }

func (x *paces) due(h held) {
	c, p := h.client, h.pace
	if c.pace != p || c.conn == nil {
		return
	}
	defer x.sh.rescue(c)
	at := &p.writing
	if h.read {
		at = &p.reading
	}
	switch {
	case *at > x.sh.now:
		x.wheel.Add(x.sh.now, *at, h)
	case h.read:
		*at = 0
		c.read(x.sh)
	default:
		*at = 0
		if !x.stopped(c) {
			x.sh.perform(c, nil, c.s.Drained(c.turn(), x.sh.take()))
		}
	}
}

package broker

import (
	"bytes"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// losses sums up, for a second, the messages that did not get where they were to go: in a flood of them a message costs a
// look into a table, and nothing is allocated.
type losses struct {
	sh    *shard
	how   Sums
	table map[lossKey]*loss
}

func newLosses(sh *shard) losses {
	l := losses{sh: sh, how: sh.b.opts.Sums, table: make(map[lossKey]*loss)}
	if l.how.Levels <= 0 {
		l.how.Levels = 3
	}
	if l.how.Longest <= 0 {
		l.how.Longest = time.Minute
	}
	return l
}

// lossKey is one kind of loss. Either why or denial counts.
type lossKey struct {
	client   string
	branch   string // without the # of a deeper one
	why      session.Why
	denial   Denial
	action   auth.Action
	reason   mqtt.ReasonCode
	deeper   bool // topics below branch, not branch itself
	incoming bool
}

// loss is what was lost of a kind since it was last told.
type loss struct {
	Party
	auth.Decision
	topic       string
	connected   bool
	count       uint64
	size        uint64
	first, last int64 // ms
	key         lossKey
	label       uint32 // of a topic in it; 0 = none is known
	gone        bool   // from the table
	next        int64  // when to tell it, ms
	pause       int64  // between next and the time before, ms
}

// cut parts a topic behind its first levels.
func (l *losses) cut(name []byte) (branch []byte, deeper bool) {
	n := 0
	for i, b := range name {
		if b == '/' {
			if n++; n == l.how.Levels {
				return name[:i], true
			}
		}
	}
	return name, false
}

// dropped counts a message that did not reach c, or, of clientID, that went nowhere else, and returns with what; nil = nobody listens.
func (l *losses) dropped(c *client, clientID string, m *mqtt.Message, why session.Why) *loss {
	if !l.sh.b.tells() {
		return nil
	}
	k := lossKey{client: clientID, why: why}
	var name []byte
	size := 0
	if m != nil {
		name, size = m.Topic, len(m.Payload)
		k.incoming = mayBeIncoming(why) && m.Publisher == clientID
	}
	if c != nil && c.shard == l.sh && l.again(c.told.lost, &k, m, name, size) {
		return c.told.lost
	}
	x, first := l.add(&k, name, size)
	if !first {
		return x
	}
	if x.topic = string(name); c == nil {
		c = l.sh.byID[clientID] // only its own are in there: a publisher always is
	}
	if c != nil && k.client != "" {
		c.noteLoss(l.sh, x)
		x.Party, x.connected = c.party(), c.online.Load()
		if why == session.Denied && m != nil {
			x.Decision = l.whyNot(c, m)
		}
	}
	return x
}

// mayBeIncoming tells the reasons for which a message is dropped as it comes, or else on its way to a receiver.
func mayBeIncoming(why session.Why) bool {
	switch why {
	case session.RateLimited, session.Overloaded, session.StoreUnwell, session.RetainedFull:
		return true
	}
	return false
}

// denied counts something that who may not do: publish m, or else what was just asked.
func (l *losses) denied(who *auth.Principal, m *mqtt.Message, from Denial, reason mqtt.ReasonCode) {
	if !l.sh.b.tells() {
		return
	}
	k := lossKey{denial: from, action: l.sh.asked.Action, reason: reason}
	if who != nil {
		k.client = who.ClientID
	}
	name, size := l.sh.asked.Topic, 0
	if m != nil {
		k.action, name, size = auth.Publish, m.Topic, len(m.Payload)
	}
	x, first := l.add(&k, name, size)
	if !first {
		return
	}
	x.topic = text(name)
	if who == nil || k.client == "" {
		return
	}
	x.Party = partyOf(who)
	if c := l.sh.byID[who.ClientID]; c != nil {
		c.noteLoss(l.sh, nil)
	}
	switch from {
	case DeniedByRule:
		x.Decision = l.sh.b.opts.Authz.Explain(who, &l.sh.asked)
	case DeniedReserved:
		x.Decision = auth.Decision{Why: "$SYS and $CONTROL are the server's own"}
	case DeniedByGate:
		x.Decision = auth.Decision{Why: "a gate did not let it pass"}
	case DeniedInQuarantine:
		x.Decision = auth.Decision{Why: "the client is in quarantine"}
	}
}

// noteLoss notes that its losses are to be told before it leaves.
func (c *client) noteLoss(sh *shard, last *loss) {
	if c.shard == sh {
		c.told.lossy = true
		if last != nil {
			c.told.lost = last
		}
	}
}

// again counts a loss that is like the client's last one, which is the common case and spares the table.
func (l *losses) again(x *loss, k *lossKey, m *mqtt.Message, name []byte, size int) bool {
	if x == nil || x.gone || x.count == 0 || x.key.why != k.why || x.key.incoming != k.incoming {
		return false
	}
	if m == nil || m.Label != x.label || m.Label == 0 {
		branch, deeper := l.cut(name)
		if deeper != x.key.deeper || string(branch) != x.key.branch {
			return false
		}
		if m != nil {
			x.label = l.sh.traces.only(m.Label)
		}
	}
	x.count++
	x.size += uint64(size)
	x.last = l.sh.now
	return true
}

// add counts a loss and returns its entry; the first of an entry is to be described. When the table is full, it is counted as nobody's.
func (l *losses) add(k *lossKey, name []byte, size int) (x *loss, first bool) {
	branch, deeper := l.cut(name)
	// A literal with a converted string is looked up without making the string.
	x = l.table[lossKey{k.client, string(branch), k.why, k.denial, k.action, k.reason, deeper, k.incoming}]
	if x == nil {
		x = l.enter(k, string(branch), deeper)
	}
	if first = x.count == 0; first {
		x.first = l.sh.now
	}
	x.count++
	x.size += uint64(size)
	x.last = l.sh.now
	return x, first
}

func (l *losses) enter(k *lossKey, branch string, deeper bool) *loss {
	k.branch, k.deeper = branch, deeper
	if len(l.table) >= maxSums {
		k.client, k.branch, k.deeper = "", "#", false // no topic has a #
		if x := l.table[*k]; x != nil {
			return x
		}
	}
	x := &loss{key: *k, pause: time.Second.Milliseconds(), next: l.sh.now} // with the next check
	l.table[*k] = x
	return x
}

// check tells what is due, and forgets what does not go on.
func (l *losses) check() {
	l.sh.books.settleDrops()
	for _, x := range l.table {
		switch {
		case x.count > 0 && x.next <= l.sh.now:
			l.tell(x)
			x.count, x.size = 0, 0
			x.pause = min(2*x.pause, l.how.Longest.Milliseconds())
			x.next = l.sh.now + x.pause
		case x.count == 0 && x.next <= l.sh.now:
			l.forget(x)
		}
	}
}

func (l *losses) forget(x *loss) {
	x.gone = true
	delete(l.table, x.key)
}

// flush tells all that was lost.
func (l *losses) flush() {
	l.sh.books.settleDrops()
	for _, x := range l.table {
		if x.count > 0 {
			l.tell(x)
		}
		l.forget(x)
	}
}

// flushOf tells what a client has lost.
func (l *losses) flushOf(clientID string) {
	l.sh.books.settleDrops()
	for k, x := range l.table {
		if k.client != clientID {
			continue
		}
		if x.count > 0 {
			l.tell(x)
		}
		l.forget(x)
	}
}

func (l *losses) tell(x *loss) {
	k := &x.key
	sum := Sum{Branch: k.branch, Topic: x.topic, Count: x.count, Bytes: x.size, First: time.UnixMilli(x.first), Last: time.UnixMilli(x.last)}
	if k.deeper {
		sum.Branch += "/#"
	}
	if x.ClientID == "" {
		x.ClientID = k.client
	}
	if k.why != 0 {
		l.sh.b.tell(Dropped{Party: x.Party, Sum: sum, Why: k.why, Incoming: k.incoming, Connected: x.connected, Decision: x.Decision})
		return
	}
	l.sh.b.tell(Denied{Party: x.Party, Sum: sum, Action: k.action, From: k.denial, Reason: k.reason, Decision: x.Decision})
}

// whyNot is why c may not receive m.
func (l *losses) whyNot(c *client, m *mqtt.Message) auth.Decision {
	who := c.who.Load()
	switch {
	case c.barred.Load():
		return auth.Decision{Why: "the client is in quarantine"}
	case who.Mount != "" && !bytes.HasPrefix(m.Topic, []byte(who.Mount)):
		return auth.Decision{Why: "its session was mounted elsewhere"}
	case l.sh.b.opts.Authz == nil:
		return auth.Decision{}
	}
	return l.sh.b.opts.Authz.Explain(who, &auth.Question{Action: auth.Receive, Topic: m.Topic})
}

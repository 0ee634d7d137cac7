package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// FuzzSession lets a hostile client, and an owner with bad luck, do anything in any order.
func FuzzSession(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		b := make([]byte, 300)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := newHostile(b).play(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestHostile is the fuzz target on random input, for every run of the tests.
func TestHostile(t *testing.T) {
	for seed := range 1500 {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if err := newHostile(b).play(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// hostile checks what has to hold whatever the client sends.
type hostile struct {
	*world
	input []byte

	inFlight map[uint16]*outgoing // by packet identifier, until the client has ended it
	spent    int                  // PUBLISH packets sent on this connection that it has not ended
	owed     []owedAck            // in the order in which the PUBLISH packets came
	settled  map[uint64]bool
	open     bool // CONNACK was sent
	over     bool // Close was told

	// Where the messages of QoS 1 and 2 have gone; none may be in two places.
	delivered, dropped, requeued, acked int
}

type outgoing struct {
	qos      mqtt.QoS
	released bool
	spends   bool // of this connection's quota
}

type owedAck struct {
	typ   mqtt.Type
	id    uint16
	batch uint64 // before which it is not to be sent
}

func newHostile(b []byte) *hostile {
	h := &hostile{world: newWorld(), input: b, inFlight: make(map[uint16]*outgoing), settled: make(map[uint64]bool)}
	h.rules.Overflow = Overflow(h.byte() % 3)
	h.rules.QueuedMessages = 5 + int(h.byte()%8)
	h.rules.QueuedBytes = 800 + 10*int64(h.byte())
	h.rules.Inflight = 1 + uint16(h.byte()%5)
	h.rules.ReceiveMaximum = 3
	return h
}

func (h *hostile) byte() byte {
	if len(h.input) == 0 {
		return 0
	}
	b := h.input[0]
	h.input = h.input[1:]
	return b
}

func (h *hostile) play() error {
	for len(h.input) > 0 {
		op := h.byte()
		if h.s == nil || h.s.Ended() || !h.s.Connected() && op%4 == 0 {
			if err := h.connect(); err != nil {
				return err
			}
			continue
		}
		if err := h.act(op); err != nil {
			return fmt.Errorf("%w (%d bytes of input to go)", err, len(h.input))
		}
		if err := h.check(); err != nil {
			return err
		}
		if err := h.balance(); err != nil {
			return err
		}
	}
	return nil
}

// balance: every QoS 1 or 2 message delivered is in exactly one place.
func (h *hostile) balance() error {
	n, bytes := h.s.Queued()
	if n < 0 || bytes < 0 {
		return fmt.Errorf("%d messages of %d bytes are queued", n, bytes)
	}
	if h.s.Ended() {
		return nil
	}
	gone := h.dropped + h.requeued + h.acked
	if h.s.Durable() {
		gone = len(h.settled)
	}
	if h.delivered != gone+n {
		return fmt.Errorf("%d delivered, but %d dropped, %d requeued, %d acknowledged, %d settled, %d queued",
			h.delivered, h.dropped, h.requeued, h.acked, len(h.settled), n)
	}
	return nil
}

func (h *hostile) connect() error {
	b := h.byte()
	p := Params{Version: mqtt.V311 + mqtt.Version(b&1), ReceiveMaximum: uint16(b >> 6), SendAliases: uint16(b >> 5 & 1), KeepAlive: uint16(b >> 4 & 1)}
	if b&2 != 0 {
		p.Expiry = 10
	}
	if b&4 != 0 {
		p.MaximumPacketSize = 30
	}
	if b&8 != 0 {
		p.Will = &Will{Msg: (&mqtt.Message{Topic: []byte("w")}).Keep(), Delay: uint32(b >> 4)}
	}
	if b&0x21 == 0x21 {
		p.AuthMethod = "M"
	}
	clean := h.byte()%4 == 0
	if h.s != nil && h.s.Connected() {
		if err := h.effects(h.did(h.s.TakenOver("elsewhere", nil))); err != nil {
			return err
		}
		if err := h.effects(h.did(h.s.Closed(h.turn, nil))); err != nil {
			return err
		}
	}
	if h.s != nil && clean {
		if err := h.effects(h.did(h.s.End(h.turn, nil))); err != nil {
			return err
		}
	}
	if h.s == nil || h.s.Ended() {
		h.forget()
	}
	h.owed, h.spent, h.open, h.over = nil, 0, false, false
	for _, o := range h.inFlight {
		o.spends = false
	}
	return h.effects(h.attach(p, clean))
}

func (h *hostile) forget() {
	clear(h.inFlight)
	clear(h.settled)
	h.delivered, h.dropped, h.requeued, h.acked = 0, 0, 0, 0
}

func (h *hostile) act(op byte) error {
	switch op % 24 {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		return h.packet(op)
	case 8, 9, 10, 11, 12:
		return h.deliver(op)
	case 13, 14:
		return h.effects(h.outcome(true))
	case 15:
		return h.effects(h.outcome(op&32 != 0))
	case 16, 17, 18:
		if len(h.fetch) > 0 {
			return h.effects(h.read(1 + int(op>>5)))
		}
		return h.effects(h.did(h.s.Continue(h.turn, nil)))
	case 19:
		h.s.Blocked()
	case 20:
		return h.effects(h.did(h.s.Drained(h.turn, nil)))
	case 21:
		if op&0x40 != 0 {
			return h.effects(h.did(h.s.AuthStep(mqtt.Success, nil, nil)))
		}
		h.turn.Now += int64(h.byte()) * 30
		return h.effects(h.did(h.s.Tick(h.turn, nil)))
	case 22:
		if op&0xC0 == 0 {
			return h.effects(h.did(h.s.Kick(mqtt.AdministrativeAction, "", nil)))
		}
		if from, to := h.s.Unsent(); from <= to && op&32 != 0 {
			seq := from + uint64(h.byte())%(to-from+1)
			if i := slices.IndexFunc(h.store.queue, func(q keptMessage) bool { return q.seq == seq }); i >= 0 && !h.settled[seq] {
				h.s.Queue().Withdraw(seq, h.store.queue[i].m)
				return h.effects(h.did([]Effect{{Kind: Keep, Change: Settle, Seq: seq}}))
			}
		}
	case 23:
		if op&0x80 == 0 || h.shut {
			return h.effects(h.did(h.s.Closed(h.turn, nil)))
		}
		if op&0x60 == 0 {
			return h.effects(h.did(h.s.End(h.turn, nil)))
		}
	}
	return nil
}

func (h *hostile) deliver(op byte) error {
	m := mqtt.Message{Topic: []byte("a"), Payload: make([]byte, int(h.byte())/4), QoS: mqtt.QoS(op / 24 % 3)}
	d := mqtt.Delivery{QoS: m.QoS}
	if op&0x80 != 0 {
		m.Expires = h.turn.Now + int64(h.byte())
	}
	if op&0x40 != 0 {
		d.Group = "$share/g/a"
	}
	seq := uint64(0)
	if d.QoS > 0 {
		h.delivered++
		if h.s.Durable() {
			seq = h.enqueue(&m, &d)
		}
	}
	return h.effects(h.did(h.s.Deliver(h.turn, &m, &d, seq, nil)))
}

func (h *hostile) packet(op byte) error {
	if !h.s.Connected() || h.s.Closing() {
		return nil // the owner reads nothing more
	}
	b := h.byte()
	id := 1 + uint16(b%6)
	ack := mqtt.Ack{ID: id}
	if b >= 0xE0 {
		ack.Reason = mqtt.UnspecifiedError
	}
	p := mqtt.Packet{Ack: ack}
	switch op % 8 {
	case 0, 1:
		p.Type = mqtt.PUBLISH
		p.Publish = mqtt.Publish{Topic: []byte("t"), ID: id, QoS: mqtt.QoS(b / 6 % 3), Props: mqtt.MessageProperties{TopicAlias: uint16(b >> 6)}}
		if p.Publish.Props.TopicAlias > 0 && b&32 != 0 {
			p.Publish.Topic = nil
		}
		return h.published(&p, b)
	case 2, 3:
		p.Type = mqtt.PUBACK
	case 4:
		p.Type = mqtt.PUBREC
	case 5:
		p.Type = mqtt.PUBREL
	case 6:
		p.Type = mqtt.PUBCOMP
	default:
		p.Type = []mqtt.Type{mqtt.SUBSCRIBE, mqtt.UNSUBSCRIBE, mqtt.PINGREQ, mqtt.DISCONNECT, mqtt.AUTH}[b%5]
		p.Auth = mqtt.Auth{Reason: mqtt.Reauthenticate, Props: mqtt.Properties{AuthMethod: []byte("M")}}
		if b&32 != 0 {
			p.Auth.Reason = mqtt.ContinueAuthentication
		}
		p.Subscribe = mqtt.Subscribe{ID: id, Filters: []mqtt.Subscription{{Filter: []byte{'a' + b>>6}, Options: 1}}}
		p.Unsubscribe = mqtt.Unsubscribe{ID: id, Filters: [][]byte{{'a' + b>>6}}}
	}
	do := h.did(h.s.Packet(h.turn, &p, nil))
	if len(do) == 0 || do[0].Kind != Close {
		h.ended(&p)
	}
	for i := range do {
		if do[i].Kind == Authenticate && b&0x80 == 0 {
			do = h.append(do, h.s.AuthStep(mqtt.ContinueAuthentication, nil, nil))
			break
		}
		if do[i].Kind == Authorize {
			do = h.append(do, h.s.Subscribed(h.turn, &p.Subscribe, do[i].Codes, nil))
			break
		}
	}
	return h.effects(do)
}

func (h *hostile) append(do, more []Effect) []Effect { return append(do, h.did(more)...) }

// ended notes which message of ours the client has ended.
func (h *hostile) ended(p *mqtt.Packet) {
	o := h.inFlight[p.Ack.ID]
	switch {
	case o == nil:
		return
	case p.Type == mqtt.PUBREC && o.qos == 2 && (o.released || !p.Ack.Reason.Failed()):
		o.released = true
		return
	case p.Type == mqtt.PUBACK && o.qos == 1, p.Type == mqtt.PUBREC && o.qos == 2, p.Type == mqtt.PUBCOMP && o.released:
		delete(h.inFlight, p.Ack.ID)
		h.acked++
		if o.spends {
			h.spent--
		}
	}
}

func (h *hostile) published(p *mqtt.Packet, b byte) error {
	do := h.did(h.s.Packet(h.turn, p, nil))
	if len(do) == 1 && do[0].Kind == Route {
		batch := uint64(0)
		if b&1 != 0 {
			batch = h.turn.Batch
		}
		reason := mqtt.Success
		if b&0x18 == 0x18 {
			reason, batch = mqtt.NotAuthorized, 0
		}
		switch p.Publish.QoS {
		case 1:
			h.owed = append(h.owed, owedAck{mqtt.PUBACK, p.Publish.ID, batch})
		case 2:
			owed := owedAck{mqtt.PUBREC, p.Publish.ID, batch}
			if h.s.Durable() && reason == mqtt.Success {
				owed.batch = h.turn.Batch
			}
			h.owed = append(h.owed, owed)
		}
		do = h.append(do, h.s.Routed(h.turn, &p.Publish, reason, batch, nil))
	}
	return h.effects(do)
}

func (h *hostile) effects(do []Effect) error {
	for i := range do {
		e := &do[i]
		switch e.Kind {
		case Send, SendPublish, SendConnack, SendAuth:
			if err := h.sends(e); err != nil {
				return err
			}
		case Drop:
			if !h.s.Durable() && e.Msg.QoS > 0 {
				h.dropped++
			}
		case Requeue:
			if e.Msg.QoS > 0 && h.s.Durable() {
				return fmt.Errorf("given back to the group, and in the store: the owner would give it back again")
			}
			if e.Msg.QoS > 0 {
				h.requeued++
			}
		case Keep:
			if e.Change == Settle {
				if h.settled[e.Seq] {
					return fmt.Errorf("position %d is settled twice", e.Seq)
				}
				h.settled[e.Seq] = true
				h.let(e.Seq)
			}
		case Close:
			h.over = true
		}
	}
	return nil
}

// let forgets a message in flight that is settled without the client: too large on the new connection.
func (h *hostile) let(seq uint64) {
	id := packetID(seq)
	if o := h.inFlight[id]; o != nil && h.s.out.find(id) == 0 {
		if o.spends {
			h.spent--
		}
		delete(h.inFlight, id)
	}
}

// sends checks what goes to the client.
func (h *hostile) sends(e *Effect) error {
	switch {
	case h.over:
		return fmt.Errorf("%v after Close", e.Type)
	case e.Kind == SendConnack == h.open:
		return fmt.Errorf("%v, and CONNACK sent: %t", e.Type, h.open)
	case e.Kind == SendConnack:
		h.open = true
	case e.Kind == SendPublish && e.QoS > 0:
		o := h.inFlight[e.ID]
		if o != nil && !e.Dup {
			return fmt.Errorf("packet identifier %d is in use", e.ID)
		}
		if o == nil {
			o = &outgoing{}
			h.inFlight[e.ID] = o
		}
		*o = outgoing{qos: e.QoS, spends: true}
		if h.spent++; h.spent > int(h.s.recvMax) {
			return fmt.Errorf("%d messages in flight, Receive Maximum %d", h.spent, h.s.recvMax)
		}
	case e.Type == mqtt.PUBACK || e.Type == mqtt.PUBREC:
		at := slices.IndexFunc(h.owed, func(a owedAck) bool { return a.typ == e.Type && a.id == e.ID })
		switch {
		case at > 0:
			return fmt.Errorf("%v %d before that of %v", e.Type, e.ID, h.owed[0])
		case at == 0 && h.owed[0].batch == h.turn.Batch:
			return fmt.Errorf("%v %d before it is stored", e.Type, e.ID)
		case at == 0:
			h.owed = h.owed[1:]
		}
	}
	return nil
}

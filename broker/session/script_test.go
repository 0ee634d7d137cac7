package session

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

var update = flag.Bool("update", false, "write the effects into the scripts")

// TestScripts runs every conversation in testdata. A line says
//
//	# a comment
//	> a packet from the client (mqtt/packettext)
//	! what the session is told, or a setting of its rules
//	< an effect: a packet to the client, or what the owner is to do
//
// and the effects are compared exactly. testdata/README says what can be told.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts:", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := play(string(want))
			if err != nil {
				t.Fatalf("%s\nafter:\n%s", err, tail(got, 12))
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("the effects differ (-update writes them):\n%s", firstDifference(string(want), got))
			}
		})
	}
}

func tail(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	from := max(0, i-6)
	return fmt.Sprintf("line %d\nwant:\n%s\ngot:\n%s", i+1,
		strings.Join(w[from:min(len(w), i+6)], "\n"), strings.Join(g[from:min(len(g), i+6)], "\n"))
}

// script is one conversation being played.
type script struct {
	w       *world
	hs      Handshake
	last    *mqtt.Packet // Route and Authorize are about it
	request *Request     // while its authentication goes on
	ask     []mqtt.ReasonCode
	out     strings.Builder
}

// play runs a script and returns it with the effects that there really were.
func play(text string) (string, error) {
	sc := &script{w: newWorld()}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "< ") {
			continue
		}
		sc.out.WriteString(line)
		if !strings.HasPrefix(line, "> ") && !strings.HasPrefix(line, "! ") {
			continue
		}
		do, err := sc.step(line[:2], strings.TrimSpace(line[2:]))
		if err == nil && sc.w.s != nil {
			err = sc.w.check()
		}
		if err != nil {
			return sc.out.String(), fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
		}
		for i := range do {
			sc.write(&do[i])
		}
	}
	return sc.out.String(), nil
}

func (sc *script) say(format string, args ...any) { fmt.Fprintf(&sc.out, "< "+format+"\n", args...) }

func (sc *script) step(mark, line string) ([]Effect, error) {
	if mark == "> " {
		p, err := packettext.Parse(line)
		if err != nil {
			return nil, err
		}
		sc.last = p
		if !sc.hs.Started() || sc.request != nil {
			return sc.handshake(p), nil
		}
		return sc.w.did(sc.w.s.Packet(sc.w.turn, p, nil)), nil
	}
	word, rest, _ := strings.Cut(line, " ")
	return sc.tell(word, strings.TrimSpace(rest))
}

// handshake is a connection's beginning; it is admitted unless refused or challenged.
func (sc *script) handshake(p *mqtt.Packet) []Effect {
	var refusal *Refusal
	if sc.request != nil {
		var data []byte
		if data, refusal = sc.hs.Auth(p); refusal == nil {
			sc.say("authenticate %q", data)
			return nil
		}
	} else {
		var q *Request
		if q, refusal = sc.hs.Connect(p, sc.w.adm); refusal == nil {
			if q.ClientID == "" {
				sc.say("assign a client id")
			}
			if q.KeepAlive != q.AskedKeepAlive || q.Expiry != q.AskedExpiry {
				sc.say("granted keepalive=%d expiry=%d", q.KeepAlive, q.Expiry)
			}
			if q.AuthMethod != "" {
				sc.say("authenticate %q", q.AuthData)
				sc.request = q
				return nil
			}
			return sc.w.attach(q.Params, q.CleanStart)
		}
	}
	sc.hs, sc.request = Handshake{}, nil
	switch {
	case refusal == nil:
	case refusal.Silent:
		sc.say("refuse silently %q", refusal.Text)
	default:
		sc.say("refuse 0x%02X %q", uint8(refusal.Reason), refusal.Text)
	}
	return nil
}

// tell says to the session what the word says.
func (sc *script) tell(word, rest string) ([]Effect, error) {
	w, s := sc.w, sc.w.s
	switch word {
	case "rules":
		return nil, sc.set(rest)
	case "connection": // another one, while the present one may still be there
		sc.hs = Handshake{}
		return nil, nil
	case "challenge":
		if s != nil && s.Connected() {
			return w.did(s.AuthStep(mqtt.ContinueAuthentication, []byte(rest), nil)), nil
		}
		sc.hs.Continue()
		return nil, nil
	case "authenticated":
		return w.did(s.AuthStep(mqtt.Success, []byte(rest), nil)), nil
	case "admitted":
		do := w.attach(sc.request.Params, sc.request.CleanStart)
		sc.request = nil
		return do, nil
	case "routed":
		reason, batch := mqtt.Success, uint64(0)
		for _, f := range strings.Fields(rest) {
			if f == "stored" {
				batch = w.turn.Batch
				w.later(func(*kept) {})
			} else {
				reason = code(f)
			}
		}
		return w.did(s.Routed(w.turn, &sc.last.Publish, reason, batch, nil)), nil
	case "refused":
		reason, why, _ := strings.Cut(rest, " ")
		return w.did(s.Refused(&sc.last.Publish, code(reason), why, nil)), nil
	case "granted":
		for i, f := range strings.Fields(strings.ReplaceAll(rest, ",", " ")) {
			sc.ask[i] = code(f)
		}
		return w.did(s.Subscribed(w.turn, &sc.last.Subscribe, sc.ask, nil)), nil
	case "stored", "failed":
		if n, err := strconv.ParseUint(rest, 10, 64); err == nil {
			return w.settle(n, word == "stored"), nil
		}
		return w.outcome(word == "stored"), nil
	case "turn": // the batch goes to the store, whose answer takes its time
		w.turn.Batch++
		return nil, nil
	case "deliver", "queue":
		return sc.deliver(word, rest)
	case "fetched":
		limit := 1 << 20
		if rest != "" {
			limit, _ = strconv.Atoi(rest)
		}
		if len(w.fetch) == 0 {
			return nil, fmt.Errorf("nothing is fetched")
		}
		return w.read(limit), nil
	case "denied":
		w.denied = strings.Trim(rest, `"`)
		return nil, nil
	case "unreadable":
		f := w.fetch[0]
		w.fetch = w.fetch[1:]
		return w.did(s.FetchFailed(f.ID, nil)), nil
	case "lost": // the store's queue loses a position
		seq, _ := strconv.ParseUint(rest, 10, 64)
		w.keep(&Effect{Change: Settle, Seq: seq})
		w.batch[w.turn.Batch][len(w.batch[w.turn.Batch])-1](&w.store)
		return nil, nil
	case "tick":
		d, err := time.ParseDuration(strings.TrimPrefix(rest, "+"))
		w.turn.Now += d.Milliseconds()
		if err != nil {
			return nil, err
		}
		return w.did(s.Tick(w.turn, nil)), nil
	case "clock": // nobody looks
		d, err := time.ParseDuration(strings.TrimPrefix(rest, "+"))
		w.turn.Now += d.Milliseconds()
		return nil, err
	}
	return sc.control(word, rest)
}

func (sc *script) control(word, rest string) ([]Effect, error) {
	w, s := sc.w, sc.w.s
	switch word {
	case "blocked":
		s.Blocked()
	case "drained":
		return w.did(s.Drained(w.turn, nil)), nil
	case "continue":
		return w.did(s.Continue(w.turn, nil)), nil
	case "closed":
		sc.hs = Handshake{}
		return w.did(s.Closed(w.turn, nil)), nil
	case "end":
		return w.did(s.End(w.turn, nil)), nil
	case "kick":
		return w.did(s.Kick(code(rest), "by order", nil)), nil
	case "shutdown":
		return w.did(s.Shutdown(nil)), nil
	case "restart":
		sc.hs = Handshake{}
		w.restart()
	case "withdraw":
		seq, _ := strconv.ParseUint(rest, 10, 64)
		at := slices.IndexFunc(w.store.queue, func(q keptMessage) bool { return q.seq == seq })
		s.Queue().Withdraw(seq, w.store.queue[at].m)
		w.keep(&Effect{Change: Settle, Seq: seq})
	case "remove":
		seq, _ := strconv.ParseUint(rest, 10, 64)
		h := w.held(seq)
		if !s.Queue().Removable(&h) {
			sc.say("stays")
			return nil, nil
		}
		return w.did(s.Continue(w.turn, w.s.Queue().Remove(&h, nil))), nil
	case "remove-unnumbered":
		return w.did(s.Queue().RemoveUnnumbered(nil)), nil
	case "show":
		n, b := s.Queued()
		from, to := s.Unsent()
		sc.say("queued %d (%d bytes) room %d ready %t full %t unsent %d-%d deadline %d", n, b, s.Room(), s.Ready(), s.Full(), from, to, s.Deadline())
	case "subscriptions":
		for i := range s.Subscriptions() {
			sc.say("%s", subscription(&s.Subscriptions()[i]))
		}
	default:
		return nil, fmt.Errorf("nobody knows what %q means", word)
	}
	return nil, nil
}

// set changes rules: name=value by the names of the fields of Rules and, where that has none, Admission.
func (sc *script) set(rest string) error {
	for _, f := range strings.Fields(rest) {
		name, value, _ := strings.Cut(f, "=")
		v := reflect.ValueOf(sc.w.rules).Elem().FieldByName(name)
		if !v.IsValid() || name == "SessionExpiry" {
			v = reflect.ValueOf(sc.w.adm).Elem().FieldByName(name)
		}
		switch {
		case !v.IsValid():
			return fmt.Errorf("no rule %s", name)
		case v.Kind() == reflect.Slice:
			v.Set(reflect.ValueOf(strings.Split(value, ",")))
		case v.Kind() == reflect.Bool:
			v.SetBool(value == "true")
		case v.CanUint():
			n, err := strconv.ParseUint(value, 0, 64)
			if err != nil {
				return err
			}
			v.SetUint(n)
		default:
			n, err := strconv.ParseInt(value, 0, 64)
			if err != nil {
				return err
			}
			v.SetInt(n)
		}
	}
	return nil
}

// deliver takes "[seq=N] [group=G] PUBLISH ..."; queue is deliver whose mail to the session is still under way.
func (sc *script) deliver(word, rest string) ([]Effect, error) {
	w := sc.w
	var d mqtt.Delivery
	seq := uint64(0)
	for !strings.HasPrefix(rest, "PUBLISH") {
		f, more, _ := strings.Cut(rest, " ")
		switch name, value, _ := strings.Cut(f, "="); name {
		case "seq":
			seq, _ = strconv.ParseUint(value, 10, 64)
		case "group":
			d.Group = value
		default:
			return nil, fmt.Errorf("deliver %s", rest)
		}
		rest = more
	}
	p, err := packettext.Parse(rest)
	if err != nil {
		return nil, err
	}
	m := mqtt.Message{Topic: p.Publish.Topic, Payload: p.Publish.Payload, Forward: p.Publish.Props.Forward, QoS: p.Publish.QoS}
	if p.Publish.Props.HasExpiry {
		m.Expires = w.turn.Now + int64(p.Publish.Props.Expiry)*1000
	}
	d.QoS, d.Retain, d.SubscriptionIDs = p.Publish.QoS, p.Publish.Retain, p.Publish.Props.SubscriptionIDs
	if d.QoS > 0 && w.s.Durable() && seq == 0 {
		seq = w.enqueue(&m, &d)
	}
	if word == "queue" {
		return nil, nil
	}
	return w.did(w.s.Deliver(w.turn, &m, &d, seq, nil)), nil
}

func code(s string) mqtt.ReasonCode {
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil {
		panic(err)
	}
	return mqtt.ReasonCode(n)
}

// write puts an effect down as a line.
func (sc *script) write(e *Effect) {
	s := sc.w.s
	switch e.Kind {
	case Send:
		p := mqtt.Packet{Type: e.Type}
		var props mqtt.Properties
		if e.Text != "" && s.Version() >= mqtt.V5 && s.ProblemInfo() {
			props.ReasonString = []byte(e.Text)
		}
		p.Ack = mqtt.Ack{ID: e.ID, Reason: e.Reason, Props: props}
		p.Suback = mqtt.Suback{ID: e.ID, Reasons: e.Codes, Props: props}
		sc.say("%s", packettext.Format(&p))
	case SendConnack:
		sc.say("%s", packettext.Format(&mqtt.Packet{Type: mqtt.CONNACK, Connack: mqtt.Connack{Reason: e.Reason, SessionPresent: e.Flag}}))
	case SendPublish:
		sc.publish(e)
	case SendAuth:
		p := mqtt.Packet{Type: mqtt.AUTH, Auth: mqtt.Auth{Reason: e.Reason}}
		p.Auth.Props.AuthMethod, p.Auth.Props.AuthData = []byte(s.renewal.method), []byte(e.Text)
		sc.say("%s", packettext.Format(&p))
	case Authenticate:
		again := ""
		if e.Flag {
			again = " anew"
		}
		sc.say("authenticate%s %q", again, sc.last.Auth.Props.AuthData)
	case Route:
		sc.say("route %s", packettext.Format(sc.last))
	case Authorize:
		sc.ask = e.Codes
		sc.say("authorize%s", codes(e.Codes))
	case AddSubscription:
		again := ""
		if e.Flag {
			again = " again"
		}
		sc.say("subscribe %s%s", subscription(e.Sub), again)
	case RemoveSubscription:
		if e.Flag {
			sc.say("unsubscribe %s, unknown", e.Sub.Filter)
		} else {
			sc.say("unsubscribe %s", subscription(e.Sub))
		}
	case Replay:
		sc.say("replay %s", e.Sub.Filter)
	case Keep:
		sc.say("keep %s", [...]string{
			PutSession: "session", Settle: fmt.Sprint("settle ", e.Seq), Release: fmt.Sprint("release ", e.Seq),
			Receive: fmt.Sprint("receive ", e.ID), Complete: fmt.Sprint("complete ", e.ID),
		}[e.Change])
	case Fetch:
		sc.say("fetch %d-%d", e.Seq, e.To)
	case Drop:
		sc.say("drop %s%s", e.Why, payload(e.Msg))
	case Requeue:
		sc.say("requeue %s qos=%d%s", e.Text, e.QoS, payload(e.Msg))
	case PublishWill:
		sc.say("publish the will %s%s", e.Msg.Topic, payload(e.Msg))
	case Close:
		sc.say("close 0x%02X %q", uint8(e.Reason), e.Text)
	case End:
		if e.Flag {
			sc.say("end, stored, unsent from %d", e.Seq)
		} else {
			sc.say("end")
		}
	case More:
		sc.say("more")
	}
}

func (sc *script) publish(e *Effect) {
	m, s := e.Msg, sc.w.s
	p := mqtt.Packet{Type: mqtt.PUBLISH, Publish: mqtt.Publish{Topic: m.Topic, Payload: m.Payload, ID: e.ID, QoS: e.QoS, Retain: e.Retain, Dup: e.Dup}}
	if s.Version() >= mqtt.V5 {
		p.Publish.Props = mqtt.MessageProperties{Forward: m.Forward, SubscriptionIDs: e.SubIDs, HasExpiry: m.Expires != 0}
		if m.Expires != 0 {
			p.Publish.Props.Expiry, _ = m.Remaining(sc.w.turn.Now)
		}
		if !e.Flag && s.SendsAliases() {
			alias, known := s.Alias(m.Topic)
			if p.Publish.Props.TopicAlias = alias; known {
				p.Publish.Topic = nil
			}
		}
	}
	if limit := int(s.MaximumPacketSize()); limit > 0 && p.Publish.Size(s.Version()) > limit {
		sc.say("TOO LARGE: %d bytes", p.Publish.Size(s.Version()))
	}
	sc.say("%s", packettext.Format(&p))
}

func subscription(s *Subscription) string {
	p := mqtt.Packet{Type: mqtt.SUBSCRIBE, Subscribe: mqtt.Subscribe{Filters: []mqtt.Subscription{{Filter: []byte(s.Filter), Options: s.Options}}}}
	p.Subscribe.Props.SubscriptionID = s.ID
	return strings.TrimPrefix(packettext.Format(&p), "SUBSCRIBE id=0 ")
}

func codes(list []mqtt.ReasonCode) string {
	var b bytes.Buffer
	for _, c := range list {
		fmt.Fprintf(&b, " 0x%02X", uint8(c))
	}
	return b.String()
}

func payload(m *mqtt.Message) string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf(" %q", m.Payload)
}

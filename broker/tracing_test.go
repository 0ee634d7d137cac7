package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// tapped is a live trace that a test reads.
type tapped struct {
	*trace.Tap
	t   testing.TB
	got []trace.Packet
}

func (s *served) tap(f trace.Filter) *tapped {
	s.t.Helper()
	tap, err := s.Control().Trace(context.Background(), broker.TraceOptions{Filter: f, For: time.Minute})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(tap.Close)
	return &tapped{Tap: tap, t: s.t}
}

// until reads until a packet is there that ok is true for.
func (x *tapped) until(what string, ok func(p *trace.Packet) bool) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for seen := 0; ; {
		for ; seen < len(x.got); seen++ {
			if ok(&x.got[seen]) {
				return
			}
		}
		var err error
		if x.got, err = x.Next(ctx, x.got); err != nil {
			x.t.Fatalf("%s is not traced: %v; %s", what, err, x)
		}
	}
}

// String is what was read, for people.
func (x *tapped) String() string {
	var b strings.Builder
	for i := range x.got {
		l := x.got[i].Line()
		fmt.Fprintf(&b, "%s %s %s %s\n", l.Client, l.Direction, l.Type, l.Short())
	}
	return b.String()
}

// lines are the packets of a direction as packettext has them.
func (x *tapped) lines(d trace.Direction) (all []string) {
	x.t.Helper()
	for i := range x.got {
		if x.got[i].Dir != d {
			continue
		}
		p, err := x.got[i].Decoded()
		if err != nil {
			x.t.Fatal(err)
		}
		all = append(all, packettext.Format(p))
	}
	return all
}

// traceScript is an exchange with everything that a client may do: PUBLISH of all QoS with all properties, aliases, a large payload.
func traceScript(v mqtt.Version) []string {
	large := `"` + strings.Repeat("x", 200_000) + `"`
	if v < mqtt.V5 {
		return []string{
			`CONNECT v3.1.1 id=me clean username=joe will=status/me will-qos=1 "offline"`, "SUBSCRIBE id=1 t/# qos=2, u qos=1",
			`PUBLISH topic=t/0 "zero"`, `PUBLISH qos=1 id=2 topic=t/1 "one"`, `PUBLISH qos=2 id=3 topic=t/2 retain "two"`, "PUBREL id=3",
			"PUBLISH qos=1 id=4 topic=t/large " + large, "UNSUBSCRIBE id=5 u, v", "PINGREQ", "DISCONNECT",
		}
	}
	return []string{
		`CONNECT v5 id=me clean username=joe alias-max=10 will=status/me will-qos=1 will-delay=1 "offline"`, "SUBSCRIBE id=1 subid=7 user=a=b t/# qos=2 rap, u qos=1 nl",
		`PUBLISH topic=t/0 alias=1 expiry=60 utf8=1 content-type=text/plain response-topic=r/1 correlation=c user=k=v "zero"`,
		`PUBLISH topic="" alias=1 "zero again"`, `PUBLISH qos=1 id=2 topic=t/1 user=k=v "one"`, `PUBLISH qos=2 id=3 topic=t/2 retain "two"`, "PUBREL id=3",
		"PUBLISH qos=1 id=4 topic=t/large " + large, "UNSUBSCRIBE id=5 user=a=b u, v", "PINGREQ", "DISCONNECT 0x04 reason=enough",
	}
}

// TestTraceAll: every packet of a client is in a live trace once and in order, as it was on the wire; passwords are not.
func TestTraceAll(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		for _, shards := range []int{1, 3} {
			t.Run(fmt.Sprintf("v%v/shards=%d", v, shards), func(t *testing.T) {
				s := serve(t, broker.Options{Shards: shards})
				tap := s.tap(trace.Filter{Client: "me", Payload: 1 << 20})
				other := s.tap(trace.Filter{Client: "you"})
				p := s.dial(v)
				var sent []string
				for _, line := range traceScript(v) {
					out := line
					if strings.HasPrefix(line, "CONNECT") {
						out = strings.Replace(line, "username=joe", "username=joe password=sesame", 1)
						line = strings.Replace(line, "username=joe", "username=joe password=***", 1)
					}
					packet, err := packettext.Parse(line)
					if err != nil {
						t.Fatal(err)
					}
					sent = append(sent, packettext.Format(packet))
					p.send(out)
					switch { // what comes back is to be there before DISCONNECT
					case strings.HasPrefix(line, "PUBREL"):
						p.waitFor("PUBREC id=3", "PUBLISH qos=2")
					case line == "PINGREQ":
						p.waitFor("PUBACK id=4", "UNSUBACK", "PINGRESP", "topic=t/large")
					}
				}
				tap.until("the end", func(p *trace.Packet) bool { return p.Closed })
				p.mu.Lock()
				received := p.got
				p.mu.Unlock()
				compare(t, "in", tap.lines(trace.In), sent)
				compare(t, "out", tap.lines(trace.Out), received)
				for _, x := range tap.got {
					if bytes.Contains(x.Raw, []byte("sesame")) {
						t.Error("the password is in the trace")
					}
					if x.Dir == trace.In && len(x.Raw) != x.Size {
						t.Errorf("%d of %d bytes are kept", len(x.Raw), x.Size)
					}
					if l := x.Line(); l.Type == "PUBLISH" && l.Topic == "" {
						t.Error("an alias is not resolved")
					}
				}
				if tap.Missed() != 0 || len(other.got) != 0 {
					t.Errorf("%d missed, %d of others", tap.Missed(), len(other.got))
				}
			})
		}
	}
}

// waitFor waits until lines that contain these have come, in whichever order.
func (p *peer) waitFor(parts ...string) {
	p.t.Helper()
	for _, part := range parts {
		p.mu.Lock()
		there := p.wait(func() bool { return strings.Contains(strings.Join(p.got, "\n"), part) })
		p.mu.Unlock()
		if !there {
			p.t.Fatalf("no %s came", part)
		}
	}
}

func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	short := func(lines []string) string {
		var b strings.Builder
		for _, l := range lines {
			fmt.Fprintf(&b, "%.120s (%d)\n", l, len(l))
		}
		return b.String()
	}
	if short(got) != short(want) {
		t.Errorf("%s: traced\n%swant\n%s", what, short(got), short(want))
	}
}

// TestTraceFilters: a topic, a network; and what was refused, denied, dropped and malformed.
func TestTraceFilters(t *testing.T) {
	rules := policy(t, auth.Rule{Name: "no secrets", Deny: true, Actions: everything, Topics: []string{"t/secret"}}, auth.Rule{Name: "all", Actions: everything, Topics: []string{"#"}})
	s := serve(t, broker.Options{Shards: 1, Authz: rules})
	topic := s.tap(trace.Filter{Topic: "t/#", Payload: 2})
	near := s.tap(trace.Filter{Network: netip.MustParsePrefix("127.0.0.0/8")})
	far := s.tap(trace.Filter{Network: netip.MustParsePrefix("10.0.0.0/8")})

	sub := s.client("id=sub")
	sub.subscribe("t/+ qos=0")
	p := s.client("id=pub")
	p.send(`PUBLISH topic=t/a "payload"`, `PUBLISH topic=u "no"`, `PUBLISH qos=1 id=1 topic=t/secret "x"`, `PUBLISH topic=t/b "p"`)
	sub.expect("PUBLISH topic=t/a", "PUBLISH topic=t/b")
	topic.until("t/b to sub", func(p *trace.Packet) bool { return p.Topic == "t/b" && p.Dir == trace.Out })
	want := `sub in SUBSCRIBE id=60000 t/+ qos=0
pub in PUBLISH topic=t/a
sub out PUBLISH topic=t/a
pub in PUBLISH qos=1 id=1 topic=t/secret
pub  note denied: the rule "no secrets" denies client "pub" `
	if got := topic.String(); !strings.HasPrefix(strings.ReplaceAll(got, " alias=1", ""), want) {
		t.Errorf("traced\n%swant\n%s", got, want)
	}
	for _, x := range topic.got {
		if l := x.Line(); l.Topic == "t/a" && (l.Payload == nil || l.Payload.Text != "pa" || l.Payload.Size != 7 || !l.Payload.Truncated) {
			t.Errorf("payload %+v", l.Payload)
		}
	}
	bad := s.dial(mqtt.V5)
	bad.send("CONNECT id=bad", "RAW 30 03 00 ff 'x'")
	bad.expect("CONNACK 0x00", "DISCONNECT 0x81", "closed")
	near.until("the malformed packet", func(p *trace.Packet) bool {
		return p.Bad && p.Client == "bad" && p.Reason == mqtt.MalformedPacket && bytes.Equal(p.Raw, []byte{0x30, 3, 0, 0xFF, 'x'})
	})
	near.until("its end", func(p *trace.Packet) bool { return p.Client == "bad" && p.Closed })
	if far.Close(); len(far.got) != 0 {
		t.Error(far)
	}
	if _, err := far.Next(t.Context(), nil); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// TestSlowTap: who does not read a trace makes nobody wait, and is told how much it missed; others may not begin more than are allowed.
func TestSlowTap(t *testing.T) {
	s := serve(t, broker.Options{Shards: 1})
	tap := s.tap(trace.Filter{Topic: "#"})
	sub := s.client("id=sub")
	sub.subscribe("# qos=0")
	p := s.client("id=pub")
	const n = 10_000
	var out []byte
	for range n {
		out = (&mqtt.Publish{Topic: []byte("t")}).AppendTo(out, mqtt.V5)
	}
	p.write(out)
	s.until("all are delivered", func(st broker.Stats) bool { return st.PublishSent+st.Dropped[4] == n })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got, err := tap.Next(ctx, nil)
	if err != nil || tap.Missed() == 0 || len(got) == 0 {
		t.Errorf("%d packets, %d missed, %v", len(got), tap.Missed(), err)
	}
	var taps []*trace.Tap
	for {
		tap, err := s.Control().Trace(ctx, broker.TraceOptions{Filter: trace.Filter{Client: "x"}})
		if err != nil {
			if !errors.Is(err, broker.ErrTraces) {
				t.Error(err)
			}
			break
		}
		if taps = append(taps, tap); len(taps) > 100 {
			t.Fatal("there is no limit")
		}
	}
	for _, tap := range taps {
		tap.Close()
	}
	short, err := s.Control().Trace(ctx, broker.TraceOptions{Filter: trace.Filter{Client: "x"}, For: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := short.Next(ctx, nil); err != io.EOF {
		t.Errorf("its time is over: %v", err)
	}
}

// back is what can be looked back at of a client, as lines.
func (s *served) back(id string) string {
	s.t.Helper()
	found, err := s.View().LookBack(context.Background(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	for i := range found.Entries {
		l := found.Entries[i].Line(id)
		times := ""
		if l.Count > 1 {
			times = fmt.Sprintf(" ×%d", l.Count)
		}
		fmt.Fprintf(&b, "%s %s %s%s\n", l.Direction, l.Type, l.Short(), times)
	}
	return b.String()
}

// TestLookBack: nobody asked, and still it is told what a client did and what became of it, also after its session has ended and
// it has come back.
func TestLookBack(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		rules := policy(t, auth.Rule{Name: "no secrets", Deny: true, Actions: everything, Topics: []string{"t/secret"}}, auth.Rule{Name: "all", Actions: everything, Topics: []string{"#"}})
		s := serve(t, broker.Options{Shards: shards, Authz: rules})
		if _, err := s.View().LookBack(t.Context(), "me"); !errors.Is(err, broker.ErrNoClient) {
			t.Errorf("nobody: %v", err)
		}
		p := s.client("id=me")
		p.subscribe("t/# qos=1")
		for i := range 20 {
			p.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=t/a "x"`, i+1))
		}
		p.waitFor("PUBACK id=20")
		p.send("PUBLISH qos=1 id=99 topic=t/secret")
		p.waitFor("PUBACK id=99 0x87")
		p.write([]byte{0x30, 3, 0, 0xFF, 'x'})
		p.waitFor("DISCONNECT 0x81")
		s.until("it is gone", func(st broker.Stats) bool { return st.Connected == 0 })
		got := s.back("me")
		at := 0
		for _, want := range []string{
			"in CONNECT 127.0.0.1:", "MQTT 5.0\n", "out CONNACK", "in SUBSCRIBE t/# id=60000", "out SUBACK id=60000\n", "in PUBLISH t/a qos=1 id=1", " ×20\n",
			"in PUBLISH t/secret qos=1 id=99\n", "note denied, publish: t/secret\n", "out PUBACK id=99 Not authorized", "note broke the protocol: ",
			"out DISCONNECT Malformed Packet\n", "note closed: ",
		} {
			i := strings.Index(got[at:], want)
			if i < 0 {
				t.Fatalf("after %d bytes there is no %q in\n%s", at, want, got)
			}
			at += i
		}
		s.client("id=me")
		if again := s.back("me"); !strings.HasPrefix(again, got) || len(again) <= len(got) {
			t.Errorf("it came back:\n%s", again)
		}
	})
}

// TestLookBackOff: nothing is kept if it is not wanted.
func TestLookBackOff(t *testing.T) {
	s := serve(t, broker.Options{Shards: 1, Trace: &trace.Config{}})
	s.client("id=me").subscribe("t qos=0")
	if _, err := s.View().LookBack(t.Context(), "me"); !errors.Is(err, broker.ErrNotTraced) {
		t.Error(err)
	}
}

// TestLookBackDrops: what another shard has dropped of a client's is told too.
func TestLookBackDrops(t *testing.T) {
	t.Parallel()
	o := with(func(l *broker.Limits, d *broker.Delivery) { l.MaxQueuedMessages = 3 })
	o.Shards = 4
	s := serve(t, o)
	var ids []string
	for i := range 8 { // on several shards
		id := fmt.Sprint("away", i)
		p := s.client("id=" + id + " expiry=1000")
		p.subscribe("q qos=1")
		p.leave(s, 0)
		ids = append(ids, id)
	}
	p, n := s.client("id=pub"), 0
	for _, id := range ids {
		if !reached(func() bool { // a queue is known to be full elsewhere only some time after it is
			n++
			p.send(fmt.Sprintf("PUBLISH qos=1 id=%d topic=q", n))
			p.waitFor(fmt.Sprintf("PUBACK id=%d", n))
			return strings.Contains(s.back(id), "note dropped, queue_full")
		}) {
			t.Errorf("%s:\n%s", id, s.back(id))
		}
	}
}

// TestTraceMemory: what many idle clients take beside their sessions.
func TestTraceMemory(t *testing.T) {
	const clients = 2000
	measure := func(on bool) uint64 {
		cfg := trace.Defaults()
		cfg.Enabled = on
		s := serve(t, broker.Options{Shards: 1, Trace: &cfg})
		var before, after runtime.MemStats
		var peers []wire
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range clients {
			w := connect(t, s.addr, fmt.Sprint("client-", i))
			w.subscribe("commands/" + fmt.Sprint(i))
			w.send([]byte{0xC0, 0})
			w.expect([]byte{0xD0, 0})
			peers = append(peers, w)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(peers)
		return (after.HeapAlloc - before.HeapAlloc) / clients
	}
	var off, on uint64
	for range 3 { // what else the process does at the time is not counted apart
		off, on = measure(false), measure(true)
		t.Logf("an idle client that is subscribed, with its test's end: %d bytes without, %d with the look-back", off, on)
		if on <= off+400 {
			break
		}
	}
	if on > off+400 {
		t.Errorf("the look-back takes %d bytes for each", on-off)
	}
}

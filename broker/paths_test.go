package broker_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// state is when the client of a path loses its permission.
type state string

const (
	allowed   state = "allowed"
	denied    state = "denied"
	connected state = "revoked while connected"
	offline   state = "revoked while offline"
)

var everything = auth.ActionsOf(auth.Publish, auth.Subscribe, auth.Receive)

// walk is one path on which something of the client "subject" is published to t/x, or comes from there to it, in one state.
type walk struct {
	*served
	engine *acl.Engine
	action auth.Action // that is revoked
	state  state
	pub    *peer
}

func (w *walk) rules(rules ...auth.Rule) {
	w.t.Helper()
	all := append(rules, auth.Rule{Name: "all", Actions: everything, Topics: []string{"#"}})
	if err := w.engine.Set("test", all); err != nil {
		w.t.Fatal(err)
	}
}

// at revokes the permission if the state is s.
func (w *walk) at(s state) {
	w.t.Helper()
	if s == w.state {
		w.rules(auth.Rule{Name: "revoked", Deny: true, Actions: auth.ActionsOf(w.action), Topics: []string{"t/#"}, Who: auth.Who{Clients: []string{"subject"}}})
	}
}

// away has the subject go, and come back with words, in the state that wants it so; revoked meanwhile.
func (w *walk) away(c *peer, words string) *peer {
	w.t.Helper()
	if w.state != offline {
		return c
	}
	w.gone(c)
	w.at(offline)
	return w.client("id=subject " + words)
}

func (w *walk) gone(c *peer) {
	w.t.Helper()
	n := w.stats().Connected
	c.leave(w.served, n-1)
}

// publishes has the publisher send a message of QoS 1, and waits for its acknowledgement.
func (w *walk) publishes(topic string) {
	w.t.Helper()
	w.pub.send("PUBLISH qos=1 id=9 topic=" + topic)
	if ack := w.pub.next(); !strings.HasPrefix(ack, "PUBACK id=9") {
		w.t.Fatal(ack)
	}
}

// got tells whether anything on t/x came by now.
func got(p *peer) (any bool) {
	p.t.Helper()
	p.send("PINGREQ")
	for {
		switch line := p.next(); {
		case alike(line, "PINGRESP"):
			return any
		case line == "closed", line == "nothing":
			p.t.Fatal(line)
		case strings.HasPrefix(line, "PUBLISH") && strings.Contains(line, "topic=t/x"):
			any = true
		}
	}
}

func (w *walk) refusals() uint64 {
	st := w.stats()
	return st.Denied + st.Dropped[session.Denied]
}

// comes tells whether anything on t/x comes, or was refused since there were n refusals.
func (w *walk) comes(p *peer, n uint64) (any bool) {
	w.t.Helper()
	if !reached(func() bool { any = any || got(p); return any || w.refusals() > n }) {
		w.t.Fatal("neither delivered nor refused")
	}
	return any || got(p)
}

// path is one way on which authorization is asked; run tells whether t/x was reached.
type path struct {
	name   string
	action auth.Action
	run    func(*walk) bool
}

// paths are all ways that there are: TestPathsAreAll finds the places in the source that would make another.
func paths() []path {
	return []path{
		{"publish QoS 0", auth.Publish, func(w *walk) bool { return w.publishing("PUBLISH topic=t/x") }},
		{"publish QoS 1", auth.Publish, func(w *walk) bool { return w.publishing("PUBLISH qos=1 id=1 topic=t/x") }},
		{"publish QoS 2", auth.Publish, func(w *walk) bool { return w.publishing("PUBLISH qos=2 id=1 topic=t/x", "PUBREL id=1") }},
		{"QoS 2 release", auth.Publish, qos2Release},
		{"publish retained", auth.Publish, func(w *walk) bool {
			w.publishing(`PUBLISH retain qos=1 id=1 topic=t/x "x"`)
			return w.stats().Retained > 0
		}},
		{"will", auth.Publish, func(w *walk) bool { return w.will("expiry=100 ", false) }},
		{"will with a delay", auth.Publish, func(w *walk) bool { return w.will("expiry=100 will-delay=50 ", true) }},
		{"publish by the API", auth.Publish, publishAs},
		{"subscribe", auth.Subscribe, func(w *walk) bool { return w.subscribing("t/#") }},
		{"subscribe shared", auth.Subscribe, func(w *walk) bool { return w.subscribing("$share/g/t/#") }},
		{"live delivery", auth.Receive, func(w *walk) bool { return w.receiving("# qos=1") }},
		{"live delivery QoS 0", auth.Receive, func(w *walk) bool { return w.receiving("+/x qos=0") }},
		{"shared delivery", auth.Receive, func(w *walk) bool { return w.receiving("$share/g/# qos=1") }},
		{"shared delivery, others there", auth.Receive, sharedWithOthers},
		{"retained replay", auth.Receive, func(w *walk) bool { return w.replaying("+/x qos=0") }},
		{"retained replay QoS 1", auth.Receive, func(w *walk) bool { return w.replaying("# qos=1") }},
		{"retained replay, exact", auth.Receive, func(w *walk) bool { return w.replaying("t/x qos=0") }},
		{"offline replay", auth.Receive, offlineReplay},
		{"sent again", auth.Receive, sentAgain},
		{"waiting for quota", auth.Receive, func(w *walk) bool { return w.waiting("", "t/x qos=1, u qos=1") }},
		{"waiting for quota, stored", auth.Receive, func(w *walk) bool { return w.waiting("expiry=100", "t/x qos=1, u qos=1") }},
		{"waiting for quota, QoS 0", auth.Receive, func(w *walk) bool { return w.waiting("", "t/x qos=0, u qos=1") }},
		{"waiting for quota, shared", auth.Receive, waitingShared},
		{"requeue between members", auth.Receive, func(w *walk) bool { return w.requeued("", "receive-max=9") }},
		{"requeue of an ended session", auth.Receive, func(w *walk) bool { return w.requeued("expiry=1", "receive-max=9") }},
		{"redistribution of what waits", auth.Receive, func(w *walk) bool { return w.requeued("expiry=100", "receive-max=1") }},
	}
}

// TestPaths: every path asks the one authorizer, each time anew: what is revoked reaches nobody, whether it was so from the
// start, came while the client was connected, or while it was away; and what is allowed again works again without the client doing
// anything (F168, F117).
func TestPaths(t *testing.T) {
	for _, p := range paths() {
		for _, st := range []state{allowed, denied, connected, offline} {
			t.Run(p.name+"/"+string(st), func(t *testing.T) {
				t.Parallel()
				e := acl.New()
				w := &walk{served: serve(t, broker.Options{Shards: 1, Authz: e}), engine: e, action: p.action, state: st}
				e.OnChange(func() {
					if _, err := w.Control().Reauthorize(t.Context()); err != nil {
						t.Error(err)
					}
				})
				w.rules()
				w.pub = w.client("id=pub")
				w.at(denied)
				if reached := p.run(w); reached != (st == allowed) {
					t.Errorf("t/x was reached: %v", reached)
				}
			})
		}
	}
}

// witness sees everything.
func (w *walk) witness() *peer {
	p := w.client("id=witness")
	p.subscribe("# qos=2")
	return p
}

func (w *walk) publishing(lines ...string) bool {
	p := w.witness()
	c := w.client("id=subject expiry=100")
	w.at(connected)
	c = w.away(c, "expiry=100")
	c.send(lines...)
	got(c)
	return got(p)
}

// qos2Release: PUBREL makes nothing of what was not allowed as PUBLISH came, and the identifier is free again.
func qos2Release(w *walk) bool {
	p := w.witness()
	c := w.client("id=subject expiry=100")
	c.send("PUBLISH qos=2 id=1 topic=u")
	c.expect("PUBREC id=1")
	w.at(connected)
	c = w.away(c, "expiry=100")
	c.send("PUBREL id=1", "PUBLISH qos=2 id=1 topic=t/x")
	c.expect("PUBCOMP id=1", map[bool]string{true: "PUBREC id=1", false: "PUBREC id=1 0x87"}[w.state == allowed])
	c.send("PUBREL id=1")
	got(c)
	return got(p)
}

func (w *walk) will(words string, end bool) bool {
	p := w.witness()
	c := w.dial(mqtt.V5)
	c.send("CONNECT id=subject " + words + `will=t/x will-qos=1 "x"`)
	if ack := c.next(); strings.HasPrefix(ack, "CONNACK 0x87") {
		return false
	}
	w.at(connected)
	before := w.refusals()
	if w.state == offline && !end { // its time is when the connection ends: as good as away
		w.at(offline)
	}
	w.gone(c)
	if end {
		w.at(offline)
		if err := w.Control().EndSession(w.t.Context(), "subject", "test"); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.comes(p, before)
}

// publishAs is what the HTTP API does for its users.
func publishAs(w *walk) bool {
	p := w.witness()
	w.at(connected)
	w.at(offline)
	who := &auth.Principal{Identity: &auth.Identity{Name: "api"}, ClientID: "subject"}
	reason, err := w.Control().PublishAs(w.t.Context(), who, mqtt.Message{Topic: []byte("t/x"), QoS: 1})
	if err != nil || reason.Failed() != (w.state != allowed) {
		w.t.Errorf("%v, %v", reason, err)
	}
	return got(p)
}

func (w *walk) subscribing(filter string) bool {
	c := w.client("id=subject expiry=100")
	c.send("SUBSCRIBE id=1 " + filter + " qos=1")
	want := map[bool]string{true: "SUBACK id=1 0x87", false: "SUBACK id=1 0x01"}[w.state == denied]
	c.expect(want)
	w.at(connected)
	if w.state == offline {
		w.gone(c)
		w.at(offline)
	}
	w.publishes("t/x")
	if w.state == offline {
		c = w.client("id=subject expiry=100")
	}
	first := got(c)
	if w.state != denied { // it stays, and works again
		w.rules()
		w.publishes("t/x")
		if !got(c) {
			w.t.Error("allowed again, but nothing comes")
		}
		c.send("UNSUBSCRIBE id=2 " + filter)
		c.expect("UNSUBACK id=2 0x00")
	}
	if d, err := w.View().Client(w.t.Context(), "subject"); err != nil || len(d.Filters)+len(d.Resting) != 0 {
		w.t.Errorf("%+v, %v", d, err)
	}
	return first
}

func (w *walk) receiving(filter string) bool {
	c := w.client("id=subject expiry=100")
	c.subscribe(filter)
	w.at(connected)
	c = w.away(c, "expiry=100")
	before := w.refusals()
	w.publishes("t/x")
	first := w.comes(c, before)
	w.rules()
	w.publishes("t/x")
	if !got(c) {
		w.t.Error("allowed again, but nothing comes")
	}
	return first
}

// sharedWithOthers: a group chooses among the members that may; nothing is lost.
func sharedWithOthers(w *walk) bool {
	c, other := w.client("id=subject expiry=100"), w.client("id=other")
	c.subscribe("$share/g/# qos=1")
	other.subscribe("$share/g/# qos=1")
	w.at(connected)
	c = w.away(c, "expiry=100")
	n := 0
	for range 4 {
		w.publishes("t/x")
		if got(other) {
			n++
		}
	}
	if want := map[bool]int{true: 2, false: 4}[w.state == allowed]; n != want {
		w.t.Errorf("the other member got %d of 4", n)
	}
	return got(c)
}

func (w *walk) replaying(filter string) bool {
	w.pub.send(`PUBLISH retain qos=1 id=1 topic=t/x "x"`)
	w.pub.expect("PUBACK id=1")
	c := w.client("id=subject expiry=100")
	w.at(connected)
	c = w.away(c, "expiry=100")
	before := w.refusals()
	c.subscribe(filter)
	return w.comes(c, before)
}

func offlineReplay(w *walk) bool {
	c := w.client("id=subject expiry=100")
	c.subscribe("# qos=1")
	w.at(connected)
	w.gone(c)
	before := w.refusals()
	w.publishes("t/x")
	w.at(offline)
	c = w.client("id=subject expiry=100")
	return w.comes(c, before)
}

// sentAgain: what was sent but not acknowledged is not sent again.
func sentAgain(w *walk) bool {
	c := w.client("id=subject expiry=100")
	c.subscribe("# qos=1")
	before := w.refusals()
	w.publishes("t/x")
	if w.comes(c, before) != (w.state != denied) {
		w.t.Error("it did not come the first time")
	}
	if w.state == denied {
		return false
	}
	w.at(connected)
	w.gone(c)
	w.at(offline)
	c = w.client("id=subject expiry=100")
	return w.comes(c, before)
}

// waiting: with one message unacknowledged, the next waits; it is asked about as its turn comes.
func (w *walk) waiting(words, filters string) bool {
	if w.state == offline { // only such a session is there while its client is not
		words = "expiry=100"
		if strings.HasPrefix(filters, "t/x qos=0") {
			filters = strings.Replace(filters, "qos=0", "qos=1", 1)
		}
	}
	c := w.client("id=subject receive-max=1 " + words)
	c.subscribe(filters)
	w.publishes("u")
	c.expect("PUBLISH topic=u id=1")
	w.publishes("u")
	w.publishes("t/x")
	before := w.refusals()
	if w.state == denied {
		before--
	}
	w.at(connected)
	if c = w.away(c, "receive-max=1 "+words); w.state == offline {
		c.expect("PUBLISH topic=u id=1")
	}
	if got(c) {
		w.t.Error("more than the quota allows")
	}
	c.send("PUBACK id=1")
	c.expect("PUBLISH topic=u id=2")
	c.send("PUBACK id=2")
	return w.comes(c, before)
}

// waitingShared: what a member may not have any more goes to another one.
func waitingShared(w *walk) bool {
	c := w.client("id=subject receive-max=1 expiry=100")
	c.subscribe("$share/g/t/x qos=1, u qos=1")
	w.publishes("u")
	c.expect("PUBLISH topic=u id=1")
	w.publishes("t/x")
	other := w.client("id=other")
	other.subscribe("$share/g/t/x qos=1")
	if w.state == denied {
		w.publishes("t/x") // the first was for nobody
	}
	w.at(connected)
	if c = w.away(c, "receive-max=1 expiry=100"); w.state == offline {
		if line := c.next(); strings.Contains(line, "topic=t/x") {
			return true
		}
	}
	c.send("PUBACK id=1")
	if w.state != allowed && !reached(func() bool { return got(other) }) {
		w.t.Error("nobody gets it")
	}
	if w.state == allowed {
		return reached(func() bool { return got(c) })
	}
	return got(c)
}

// requeued: what another member had goes to the subject when that one leaves.
func (w *walk) requeued(others, max string) bool {
	other := w.client("id=other " + max + " " + others)
	other.subscribe("$share/g/# qos=1")
	if max == "receive-max=1" {
		w.publishes("u") // was sent, and stays
	}
	w.publishes("t/x")
	c := w.client("id=subject expiry=100")
	c.subscribe("$share/g/# qos=1")
	w.at(connected)
	if w.state == offline && others != "expiry=100" {
		w.gone(c)
		w.at(offline)
	} else if w.state == offline { // what waits goes only to members that are there
		c = w.away(c, "expiry=100")
	}
	ended := w.stats().SessionsExpired
	w.gone(other)
	if others == "expiry=1" {
		w.until("the session has ended", func(st broker.Stats) bool { return st.SessionsExpired > ended })
	}
	if w.state == offline && others != "expiry=100" {
		c = w.client("id=subject expiry=100")
	}
	if w.state == allowed {
		return reached(func() bool { return got(c) })
	}
	w.until("all is done", func(st broker.Stats) bool { return others == "expiry=100" || st.QueuedBytes == 0 })
	return got(c)
}

// ways are the places in the source where a message goes on, or a subscription comes to hold, with the paths that they are part of. "-"
// are those that only carry on what another place has asked about.
var ways = map[string]string{
	"client.route publish":          "publish QoS 0; publish QoS 1; publish QoS 2; publish retained; QoS 2 release",
	"router.sendWill publish":       "will; will with a delay",
	"router.sendWill retain":        "will",
	"Control.publish publish":       "publish by the API",
	"Control.Publish publish":       "-", // the broker's own name
	"Control.PublishAs publish":     "publish by the API",
	"sys.tell publish":              "-", // the broker's own
	"wards.tell deliver":            "-", // the broker's own, to a client in quarantine
	"router.publish retain":         "publish retained",
	"shard.start publish":           "-", // of sys
	"router.publish match":          "live delivery; live delivery QoS 0; shared delivery; shared delivery, others there",
	"router.match find":             "live delivery; shared delivery, others there",
	"router.requeued find":          "requeue between members; requeue of an ended session; redistribution of what waits",
	"router.publish deliver":        "live delivery QoS 0",
	"router.publish deliverLater":   "live delivery",
	"router.requeued deliverLater":  "requeue between members",
	"replays.deliver deliverLater":  "retained replay QoS 1",
	"replays.deliver hand":          "retained replay",
	"replays.start deliver":         "retained replay, exact",
	"replays.pumpOne deliver":       "retained replay",
	"commits.carryOut deliver":      "-",
	"commits.deliver deliver":       "-",
	"mailbox.deliver hand":          "-",
	"mailbox.open hand":             "-",
	"shard.hand deliver":            "-",
	"shard.hand Deliver":            "-",
	"shard.perform deliver":         "waiting for quota; waiting for quota, stored; waiting for quota, QoS 0", // by session.Receiver
	"shard.fetch Fetched":           "offline replay; sent again",                                             // by session.Receiver
	"shard.performRare publishWill": "will",
	"router.publishWill sendWill":   "will",
	"router.repeat sendWill":        "will",
	"shard.performRare moveOn":      "requeue between members; waiting for quota, shared",
	"router.endStored moveOn":       "requeue of an ended session",
	"shard.hand moveOn":             "requeue of an ended session",
	"router.moveOn requeue":         "-",
	"router.repeat requeue":         "-",
	"router.redistribute requeue":   "redistribution of what waits",
	"edited.handOver requeue":       "redistribution of what waits",
	"shard.perform subscribe":       "subscribe; subscribe shared",
	"shard.restore subscribe":       "-", // held before; asked as the client comes back
	"router.reauthorize subscribe":  "subscribe; subscribe shared",
}

// TestPathsAreAll: there is no place where a message goes on that is not part of a path above.
func TestPathsAreAll(t *testing.T) {
	sinks := []string{"publish", "retain", "match", "find", "deliver", "deliverLater", "hand", "Deliver", "Fetched", "publishWill", "sendWill", "moveOn", "requeue", "subscribe"}
	var names []string
	for _, p := range paths() {
		names = append(names, p.name)
	}
	seen := map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil {
				continue
			}
			recv := f.Recv.List[0].Type
			if star, ok := recv.(*ast.StarExpr); ok {
				recv = star.X
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || !slices.Contains(sinks, sel.Sel.Name) || unrelated(sel) {
					return true
				}
				where := fmt.Sprintf("%s.%s %s", recv, f.Name.Name, sel.Sel.Name)
				if seen[where] = true; ways[where] == "" {
					t.Errorf("%s: %s is a place where a message goes on: which path is it part of?", file, where)
				}
				return true
			})
		}
	}
	for where, of := range ways {
		if !seen[where] {
			t.Errorf("%s is not there any more", where)
		}
		for name := range strings.SplitSeq(of, "; ") {
			if name != "-" && !slices.Contains(names, name) {
				t.Errorf("%s: %q is no path", where, name)
			}
		}
	}
}

// unrelated are methods of the same name of other things.
func unrelated(sel *ast.SelectorExpr) bool {
	if x, ok := sel.X.(*ast.Ident); ok && x.Name == "gs" {
		return true
	}
	x, ok := sel.X.(*ast.SelectorExpr)
	return ok && slices.Contains([]string{"cursor", "tree", "groups"}, x.Sel.Name)
}

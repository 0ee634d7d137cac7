package broker_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/broker/store/storetest"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestRareCauses: connections that end for what happens seldom, and what is told of it.
func TestRareCauses(t *testing.T) {
	t.Parallel()
	ends := func(name string, cause broker.Cause, reason mqtt.ReasonCode, o broker.Options, door broker.Listener, provoke func(s *served)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := &tale{}
			o.Events = x.tell
			s := serveAt(t, o, door)
			provoke(s)
			if d := await(t, x, any1[broker.Disconnected]); d.ClientID != "c" || d.Cause != cause || d.Reason != reason {
				t.Errorf("%+v, want %v", d, cause)
			}
		})
	}
	plain := broker.Listener{Name: "test"}
	ends("broken", broker.ByBreaking, 0, broker.Options{}, plain, func(s *served) {
		conn := s.plain("id=c")
		conn.SetLinger(0) // RST
		conn.Close()
	})
	slow := with(func(l *broker.Limits, d *broker.Delivery) { l.MaxOutgoingBytes, d.StallTimeout = 64<<10, time.Second })
	ends("stall", broker.ByStall, mqtt.QuotaExceeded, slow, plain, func(s *served) {
		s.tell(s.plain("id=c"), "SUBSCRIBE id=1 t qos=0")
		s.until("it has subscribed", func(st broker.Stats) bool { return st.Subscriptions == 1 })
		s.until("it is disconnected", func(st broker.Stats) bool {
			if _, err := s.Control().Publish(s.t.Context(), mqtt.Message{Topic: []byte("t"), Payload: make([]byte, 32<<10)}); err != nil {
				s.t.Fatal(err)
			}
			return st.Connected == 0
		})
	})
	rates := limit.DefaultRates()
	rates.Client.PublishMessages, rates.Answer = 1, limit.Disconnect
	ends("rate", broker.ByRate, mqtt.MessageRateTooHigh, broker.Options{Rates: &rates}, plain, func(s *served) {
		s.client("id=c").send(publishes(50, "")...)
	})
	ends("authenticator", broker.ByAuthenticator, mqtt.NotAuthorized, broker.Options{}, broker.Listener{Name: "steps", Exchange: &steps{}, Authn: nobody{}}, func(s *served) {
		p := s.dial(mqtt.V5)
		p.send("CONNECT id=c auth-method=STEPS auth-data=iam-anna")
		p.expect("CONNACK 0x00")
		p.send("AUTH 0x19 auth-method=STEPS auth-data=wrong")
	})
	ends("denial", broker.ByDenial, mqtt.NotAuthorized, broker.Options{Gates: []broker.Gate{gate(func(string, *mqtt.Message) mqtt.ReasonCode { return mqtt.NotAuthorized })}}, plain, func(s *served) {
		if err := s.Control().DisconnectDenied(s.t.Context(), true); err != nil {
			s.t.Fatal(err)
		}
		s.client("v3.1.1 id=c").send("PUBLISH topic=no")
	})
	for _, why := range []error{store.ErrFull, errDevice} { // which of them is for StoreChanged to tell
		h := storetest.NewHeld(mem.New())
		h.Pass()
		ends(fmt.Sprint("store: ", why), broker.ByStore, mqtt.ImplementationSpecificError, broker.Options{Store: h}, plain, func(s *served) {
			c := s.client("v3.1.1 id=c")
			h.Hold()
			c.send("PUBLISH qos=1 retain id=1 topic=t")
			h.Await(1)
			h.Fail(why)
			h.Pass()
		})
	}
}

// TestRareDenials: what is denied by others than the rules, and who says so.
func TestRareDenials(t *testing.T) {
	t.Parallel()
	denied := func(from broker.Denial, o broker.Options) {
		t.Helper()
		s, x := telling(t, o)
		p := s.client("id=c")
		p.send(publishes(20, "qos=1")...)
		if d := await(t, x, any1[broker.Denied]); d.ClientID != "c" || d.From != from || !d.Reason.Failed() || d.Branch != "t" {
			t.Errorf("%+v, want %v", d, from)
		}
	}
	denied(broker.DeniedByGate, broker.Options{Gates: []broker.Gate{gate(func(string, *mqtt.Message) mqtt.ReasonCode { return mqtt.QuotaExceeded })}})
	rates := limit.DefaultRates()
	rates.Client.PublishMessages, rates.Answer = 1, limit.Refuse
	denied(broker.DeniedByRate, broker.Options{Rates: &rates})
}

// TestReplacedIsTold: of two sessions of one client that a crash left, the older one ends and that is told.
func TestReplacedIsTold(t *testing.T) {
	st := mem.New()
	for id := range store.SessionID(2) {
		st.Commit(&store.Batch{Records: []store.Record{{Op: store.PutSession, Session: id + 1, Meta: &store.Session{ID: id + 1, ClientID: "a", Version: mqtt.V5, Expiry: 100}}}})
	}
	_, x := telling(t, broker.Options{Store: st.Reopen()})
	if e := await(t, x, any1[broker.SessionEnded]); e.ClientID != "a" || e.Why != broker.EndReplaced {
		t.Errorf("%+v", e)
	}
}

// TestRareRefusals: connections that never come to speak MQTT.
func TestRareRefusals(t *testing.T) {
	t.Parallel()
	refused := func(cause, first string, change func(*broker.Listener)) {
		t.Helper()
		s, x := telling(t, broker.Options{})
		addr, _ := s.open(change)
		conn := s.dialTCP(addr)
		if _, err := io.WriteString(conn, first); err != nil {
			t.Fatal(err)
		}
		if r := await(t, x, any1[broker.Refused]); r.Cause != cause || !r.Before || r.Why == "" || r.Count != 1 {
			t.Errorf("%+v, want %s", r, cause)
		}
	}
	refused(broker.RefusedWebSocket, "GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", withWebSocket)
	refused(broker.RefusedProxy, "PROXY TCP4 example.org\r\n", func(l *broker.Listener) { l.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
}

// elsewhere are constants whose tests see of them only what a client or an operator sees.
var elsewhere = map[string]string{
	"TooLarge": "books/losses_test.go", "Removed": "queue_control_test.go", "RefusedOverload": "burden_test.go", "DeniedByOverload": "burden_test.go",
}

// TestAllAreProvoked: every cause, drop reason, denial, ending and refusal that the broker can tell of stands in a test.
func TestAllAreProvoked(t *testing.T) {
	mentioned := map[string]bool{}
	for _, glob := range []string{"*_test.go", "admission/*_test.go", "../app/*_test.go", "../test/*/*_test.go"} {
		files, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.Ident:
					mentioned[n.Name] = true
				case *ast.BasicLit:
					mentioned[strings.Trim(n.Value, "`\"")] = true
				}
				return true
			})
		}
	}
	count := 0
	for file, types := range map[string][]string{
		"events.go": {"Cause", "Ending", "Denial", "Refused"}, "session/effect.go": {"Why"}, "admission/admission.go": {"Reason"},
	} {
		for name := range constants(t, file, types) {
			if count++; !mentioned[name] && elsewhere[name] == "" {
				t.Errorf("%s of %s is provoked by no test", name, file)
			}
		}
	}
	if count < 17+14+7+5+7+6 {
		t.Errorf("only %d constants are found", count)
	}
}

// constants are the exported ones of the types in a file; those of strings are found by how their names begin.
func constants(t *testing.T, file string, types []string) map[string]bool {
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, d := range tree.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		kind := ""
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if id, ok := v.Type.(*ast.Ident); ok {
				kind = id.Name
			}
			for _, name := range v.Names {
				if name.IsExported() && (slices.Contains(types, kind) || slices.ContainsFunc(types, func(p string) bool { return kind == "" && strings.HasPrefix(name.Name, p) })) {
					found[name.Name] = true
				}
			}
		}
	}
	maps.DeleteFunc(found, func(name string, _ bool) bool { return name == "Reasons" || name == "Welcome" })
	return found
}

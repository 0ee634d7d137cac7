package app

import (
	"context"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// TestOwnTraffic: a broker whose only traffic is its own test messages says that it is idle, in each place where traffic is told; its books
// balance all the same.
func TestOwnTraffic(t *testing.T) {
	s := serveFile(t, near+"listeners: [{address: '127.0.0.1:0'}]\ncanaries: {interval: 100ms}\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.until("that all is well", func(n *vitals.Now) bool { return n.OK && s.canary.Report().Canaries[2].Delivered > 0 })
	x, err := s.vitals.Next(ctx, s.vitals.Latest())
	if err != nil {
		t.Fatal(err)
	}
	if st := x.Stats; st.In.Packets != 0 || st.Out.Packets != 0 || st.In.Messages != 0 || st.Out.Messages != 0 || st.In.Bytes != 0 || st.Out.Bytes != 0 || st.Rates.InMessages != 0 || st.Rates.OutMessages != 0 || st.Subscriptions != 0 {
		t.Errorf("in %+v, out %+v, rates %+v, %d subscriptions", st.In, st.Out, st.Rates, st.Subscriptions)
	}
	var in, out uint64
	for _, l := range x.Load.Listeners {
		in, out = in+l.InBytes, out+l.OutBytes
	}
	if in != x.Stats.In.Bytes || out != x.Stats.Out.Bytes {
		t.Errorf("listeners took %d and gave %d bytes, the broker %d and %d", in, out, x.Stats.In.Bytes, x.Stats.Out.Bytes)
	}
	if n, _ := s.vitals.Now(); !strings.Contains(n.Text, "0 messages a second come in and 0 go out") {
		t.Error(n.Text)
	}
	books, err := apiBooks{s.ledger, s.broker.View()}.Books(ctx)
	if err != nil || !books.Balanced {
		t.Errorf("%+v, %v", books, err)
	}
	for _, l := range books.Lines {
		if l.Name == "received" && l.Count != 0 || l.Name == "own" && l.Count == 0 {
			t.Errorf("%s: %d", l.Name, l.Count)
		}
	}
}

package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/tally"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/ledger"
)

// openLedger has the broker's books watched and carried over. Books that cannot be read or saved keep no broker from starting.
func (a *App) openLedger(ctx context.Context) {
	o := ledger.Options{Logger: a.log, Tell: func(f ledger.Finding) { a.facts.Record(imbalance(&f)) }, Rows: a.broker.Carry()}
	o.Save = a.cfg.Books.Save
	if a.disk != nil {
		o.Dir = a.cfg.Data
	}
	l, err := ledger.Open(ctx, a.broker.View(), o)
	if err != nil {
		a.log.Warn("the books of earlier runs are not carried over", "error", err)
	}
	refused, _ := l.Refused()
	for _, text := range refused {
		a.facts.Record(fact.Fact{Kind: fact.NotRecorded, Reason: "books", Text: text})
	}
	a.ledger = l
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	a.open.add("books", func(ctx context.Context) error {
		stop()
		<-done
		if err := l.Close(ctx); err != nil {
			a.log.Warn("the books could not be saved", "error", err)
		}
		return nil
	})
}

// imbalance is the fact that the books do not balance.
func imbalance(f *ledger.Finding) fact.Fact {
	x := fact.Fact{Kind: fact.Imbalance, Count: uint64(max(f.Difference, -f.Difference)), Text: "The books do not balance: " + f.Text + ".", Detail: map[string]string{"what": f.What, "difference": fmt.Sprint(f.Difference)}}
	if f.What == "client" {
		x.Client = f.Name
	} else if f.Name != "" {
		x.Detail["loop"] = f.Name
	}
	return x
}

// apiBooks are the books as the API tells them.
type apiBooks struct {
	ledger *ledger.Ledger
	view   *broker.View
}

// Books implements api.Books.
func (b apiBooks) Books(ctx context.Context) (api.Balance, error) {
	r, err := b.ledger.Report(ctx)
	if err != nil {
		return api.Balance{}, err
	}
	x := api.Balance{
		Balanced: r.Balanced, Imbalances: r.Imbalances, At: r.At, Checked: r.Checked, Since: r.Since,
		Clients: api.BalanceOfClients{Checked: r.Clients}, ByReason: make(map[string]int64),
	}
	x.Imbalance = r.Difference() + r.Lines.Messages()
	for _, f := range r.Findings {
		x.Findings = append(x.Findings, f.Text)
	}
	l := &r.Lines
	x.Lines = append(messageLines(l), copyLines(l)...)
	x.Lines = append(x.Lines, gapLines(r.Crashed, r.Stopped)...)
	x.Lines = append(x.Lines,
		api.Line{Name: "sent again", Side: "beside", Of: "copies", Count: int64(l.Resent), Text: "QoS 1 and 2, to a client that came back"},
	)
	for i, n := range l.NotKept {
		if n > 0 {
			x.Lines = append(x.Lines, api.Line{Name: "not retained: " + session.Why(i).String(), Side: "beside", Of: "messages", Count: int64(n), Text: "retained messages that were not kept or have expired, and wills that could not wait for the store"})
		}
	}
	reasons(l.Dropped[:], l.Ended[:], x.ByReason)
	return x, nil
}

// messageLines are those of messages.
func messageLines(l *tally.Lines) []api.Line {
	denied, refused := l.AllEnded()
	line := func(side, name string, n uint64, text string) api.Line {
		return api.Line{Name: name, Side: side, Of: "messages", Count: int64(n), Text: text}
	}
	return []api.Line{
		line("in", "received", l.Received, "from clients, but for the broker's own"),
		line("in", "wills", l.Wills, "published for clients that went"),
		line("in", "own", l.Own, "the server's own, those of its API, and those of its own clients, such as the canary"),
		line("out", "routed", l.Routed, "meant for at least one receiver"),
		line("out", "unheard", l.Unheard, "no subscription matched"),
		line("out", "denied", denied, "not allowed, see by_reason"),
		line("out", "refused", refused, "rate, overload or the store, see by_reason"),
	}
}

// copyLines are those of copies, in the order of the law.
func copyLines(l *tally.Lines) []api.Line {
	line := func(side, name string, n int64, text string) api.Line {
		return api.Line{Name: name, Side: side, Of: "copies", Count: n, Text: text}
	}
	all := []api.Line{
		line("in", "queued at the start", int64(l.Start), "in the store when the first run began"),
		line("in", "copies", int64(l.Copies), "of routed and retained messages, one for each receiver, and anew for each that was moved on"),
		line("out", "sent", int64(l.Sent0), "QoS 0, written to the connection"),
		line("out", "acknowledged", int64(l.Acknowledged), "QoS 1 and 2, by the receiver"),
	}
	for i, n := range l.Dropped {
		if n > 0 {
			all = append(all, line("out", "dropped: "+session.Why(i).String(), int64(n), "did not reach the receiver"))
		}
	}
	return append(
		all,
		line("out", "unacknowledged", int64(l.Unacknowledged), "sent with QoS 1 or 2, and the session ended before the receiver answered"),
		line("out", "moved on", int64(l.Requeued), "from one member of a shared subscription to another"),
		line("out", "taken back", int64(l.TakenBack), "the store did not keep them; they were tried again"),
		line("stock", "queued", l.Queued, "in sessions, waiting or in flight"),
		line("stock", "on their way", l.Waiting+l.Ending+l.Moving()-l.Found, "waiting for the store, between event loops, or in ended sessions that are looked through"),
	)
}

// gapLines are what restarts lost or found.
func gapLines(crashed, stopped int64) []api.Line {
	return []api.Line{
		{Name: "recovered after a crash", Side: "out", Of: "copies", Count: crashed, Text: "queued or on their way when the books were last saved, less those found after the crash"},
		{Name: "lost at a stop", Side: "out", Of: "copies", Count: stopped, Text: "the same of clean stops"},
	}
}

func reasons(dropped, ended []uint64, into map[string]int64) {
	for i, n := range dropped {
		if n > 0 {
			into[session.Why(i).String()] += int64(n)
		}
	}
	for i, n := range ended {
		if e := tally.End(i); n > 0 && e.Denied() {
			into["denied_by_"+e.String()] += int64(n)
		} else if n > 0 {
			into["refused_"+e.String()] += int64(n)
		}
	}
}

// ClientBooks implements api.Books.
func (b apiBooks) ClientBooks(ctx context.Context, id string) (api.ClientBooks, error) {
	t, err := b.view.Tally(ctx, id)
	if errors.Is(err, broker.ErrNoClient) {
		err = api.ErrNoClient
	}
	if err != nil {
		return api.ClientBooks{}, err
	}
	x := api.ClientBooks{ID: id, Imbalance: t.Difference(), ByReason: make(map[string]int64), Resent: t.Resent}
	x.Balanced = x.Imbalance == 0
	x.In, x.Out = flow(t.Client.In, t.InBytes, t.In), flow(t.Client.Out, t.OutBytes, t.Out)
	l := tally.Lines{
		Start: t.Start, Found: int64(t.Found), Copies: t.Meant, Sent0: t.Client.Out[0], Acknowledged: t.Acknowledged,
		Requeued: t.Requeued, Queued: int64(t.Queued),
	}
	crashed, stopped := int64(0), int64(0)
	if r := t.Rare; r != nil {
		l.Dropped, l.Unacknowledged = r.Dropped, r.Unacknowledged
		crashed, stopped = r.Crashed, r.Stopped
		reasons(r.Dropped[:], r.Ended[:], x.ByReason)
	}
	x.Lines = append(copyLines(&l), gapLines(crashed, stopped)...)
	return x, nil
}

func flow(qos [3]uint64, bytes uint64, r tally.Rates) api.ClientFlow {
	return api.ClientFlow{
		Messages: qos[0] + qos[1] + qos[2], Bytes: bytes, QoS: qos,
		Rate: r.Now, Rate1: r.Average[0], Rate5: r.Average[1], Rate15: r.Average[2],
	}
}

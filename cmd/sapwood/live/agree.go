package live

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// errDeclined ends a command whose question was answered with no.
var errDeclined = errors.New("nothing was done")

// errNobody ends one whose question nobody can answer.
var errNobody = fmt.Errorf("%w: nobody is there to be asked; give --yes", errDeclined)

// Agreed are the flags of a command that destroys something: it tells what it is about, and asks.
type Agreed struct {
	Yes bool `short:"y" help:"Do it without asking."`
}

// ask asks whether to do something. Where nobody can answer it is not done.
func (a *Agreed) ask(std *screen.Streams, question string) error {
	if a.Yes {
		return nil
	}
	in, ok := std.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return errNobody
	}
	fmt.Fprintf(std.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if word := strings.ToLower(strings.TrimSpace(answer)); word != "y" && word != "yes" {
		return errDeclined
	}
	return nil
}

// many is an action on all clients that pass a filter.
type many struct {
	path         string // of the API
	task         string // what it does: disconnect
	did          string // what becomes of clients: disconnected
	about        string // what is counted: connected client
	seconds      float64
	where        string
	reason       string
	confirm      *int
	agreed, json bool // with leave; for programs
}

// run counts them; with a confirmed number, or with leave, it acts.
func (m *many) run(ctx context.Context, std *screen.Streams, r *reach.Broker) error {
	confirm := m.confirm
	if confirm == nil {
		found, err := m.send(ctx, std, r, nil)
		if err != nil {
			return err
		}
		if m.agreed {
			confirm = &found.Matched
		} else {
			return m.tell(std, &found)
		}
	}
	d, err := m.send(ctx, std, r, confirm)
	if err != nil {
		return err
	}
	if m.json {
		return screen.JSON(std.Out, d)
	}
	_, err = fmt.Fprintf(std.Out, "%s %s, %d gone meanwhile\n", screen.Count(d.Done, "client"), m.did, d.Gone)
	return err
}

// tell says what would be done, and how to have it done.
func (m *many) tell(std *screen.Streams, d *api.BulkDone) error {
	if m.json {
		return screen.JSON(std.Out, d)
	}
	for _, id := range d.Sample {
		fmt.Fprintln(std.Out, screen.Printable(id))
	}
	if more := d.Matched - len(d.Sample); more > 0 {
		fmt.Fprintf(std.Out, "... and %d more\n", more)
	}
	_, err := fmt.Fprintf(std.Out, "%s; nobody is %s. To have it done: --confirm %d\n", screen.Count(d.Matched, m.about), m.did, d.Matched)
	return err
}

// send sends the request: a preview where nothing is confirmed.
func (m *many) send(ctx context.Context, std *screen.Streams, r *reach.Broker, confirm *int) (d api.BulkDone, err error) {
	body := api.BulkBan{BulkAction: api.BulkAction{Confirmed: api.Confirmed{Preview: confirm == nil, Confirm: confirm}, Filter: m.where, Reason: m.reason}, TTL: m.seconds}
	var text []byte
	if m.task == "disconnect" {
		text, err = json.Marshal(body.BulkAction)
	} else {
		text, err = json.Marshal(body)
	}
	if err != nil {
		return d, err
	}
	show, end := screen.ProgressBar(std.Err, m.task, func(n int64) string { return fmt.Sprint(n) })
	defer end()
	return reach.Task[api.BulkDone](ctx, r, m.path, bytes.NewReader(text), "application/json", show, nil)
}

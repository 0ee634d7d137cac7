package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/console/api/capture"
)

// TraceCmd is `sapwood trace`.
type TraceCmd struct {
	reach.Flags
	Client  string        `arg:"" optional:"" help:"The client id."`
	Topic   string        `placeholder:"FILTER" help:"In place of a client: messages of these topics, and who subscribes them."`
	Address string        `placeholder:"ADDRESS" help:"In place of a client: those of an address or network."`
	Back    bool          `help:"What was kept of the client's last packets, although nobody asked then."`
	For     time.Duration `default:"10m" placeholder:"TIME" help:"How long to trace; at most 1h."`
	Payload int           `default:"64" placeholder:"BYTES" help:"How much of each payload is kept; with --pcap at least 64 KiB unless it is 0."`
	JSON    bool          `help:"Print lines of JSON."`
	PCAP    string        `name:"pcap" placeholder:"FILE" help:"At the end, write what was traced as a file for Wireshark (pcapng)."`
}

// Help is the long part of the help page.
func (*TraceCmd) Help() string {
	return `Shows packets as they come (->) and go (<-), with what the broker refused or dropped, until the time is over or it is
interrupted. Passwords and authentication data are never shown. ` + reach.Through + `
Examples:

    sapwood trace press-07
    sapwood trace press-07 --back
    sapwood trace --topic 'plant/+/temperature' --for 1m --json
    sapwood trace --address 192.0.2.0/24 --pcap plant.pcapng`
}

// pcapPayload is what is kept of each payload for a capture file.
const pcapPayload = 64 << 10

// Run traces.
func (c *TraceCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	if c.Back {
		if c.Client == "" || c.PCAP != "" {
			return errors.New("--back is of a client, and of heads: no file can be made of them")
		}
		return c.back(ctx, std, r)
	}
	if c.PCAP != "" && c.Payload > 0 {
		c.Payload = max(c.Payload, pcapPayload)
	}
	order := api.TraceOrder{Client: c.Client, Topic: c.Topic, Address: c.Address, Payload: c.Payload, Seconds: c.For.Seconds()}
	var t capture.Info
	if err := r.Call(ctx, http.MethodPost, "/traces", order, &t); err != nil {
		return err
	}
	path := "/traces/" + url.PathEscape(t.ID)
	show := &events{do: c.shows(std)}
	err = r.Copy(ctx, show, path+"/stream")
	switch {
	case ctx.Err() != nil: // interrupted: it was enough
		err = nil
	case err == nil && show.name != "end":
		return errors.New("the trace broke off: the broker stops, or has stopped")
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if c.PCAP != "" && err == nil {
		err = c.save(after, std, r, path)
	}
	return errors.Join(err, r.Call(after, http.MethodDelete, path, nil, nil))
}

// save writes the capture file.
func (c *TraceCmd) save(ctx context.Context, std *screen.Streams, r *reach.Broker, path string) error {
	f, err := os.OpenFile(c.PCAP, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(r.Copy(ctx, f, path+"/download?format=pcapng"), f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.Err, "written to %s\n", screen.Printable(c.PCAP))
	return err
}

// back prints what is kept of a client.
func (c *TraceCmd) back(ctx context.Context, std *screen.Streams, r *reach.Broker) error {
	var found api.LookedBack
	if err := r.Call(ctx, http.MethodGet, "/clients/"+url.PathEscape(c.Client)+"/trace", nil, &found); err != nil {
		return err
	}
	show := c.lines(std)
	for i := range found.Items {
		if err := show(&found.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

// shows handles the events of a live trace.
func (c *TraceCmd) shows(std *screen.Streams) func(name string, data []byte) error {
	show := c.lines(std)
	return func(name string, data []byte) error {
		switch name {
		case "packet":
			var l trace.Line
			if err := json.Unmarshal(data, &l); err != nil {
				return err
			}
			return show(&l)
		case "gone":
			var gone struct{ Lost uint64 }
			if err := json.Unmarshal(data, &gone); err != nil {
				return err
			}
			_, err := fmt.Fprintf(std.Err, "%d packets are not shown: they came too fast\n", gone.Lost)
			return err
		case "end":
			var t capture.Info
			if err := json.Unmarshal(data, &t); err != nil {
				return err
			}
			_, err := fmt.Fprintf(std.Err, "the trace has ended: %d lines, %d packets missed because they came too fast\n", t.Packets, t.Missed)
			return err
		}
		return nil
	}
}

// lines prints lines.
func (c *TraceCmd) lines(std *screen.Streams) func(l *trace.Line) error {
	if c.JSON {
		return func(l *trace.Line) error { return screen.Line(std.Out, l) }
	}
	rows := screen.NewLines(std.Out, 12, 2, 11, 6)
	return func(l *trace.Line) error {
		arrow := map[string]string{"in": "->", "out": "<-"}[l.Direction]
		times := ""
		if l.Count > 1 {
			times = "×" + strconv.Itoa(l.Count) + " until " + l.Until.Local().Format("15:04:05") + " "
		}
		text := times + l.Short()
		if p := l.Payload; p != nil {
			text += " " + strconv.Itoa(p.Size) + " bytes"
			if p.Text != "" {
				text += ": " + shortened(p.Text)
			}
		}
		cells := []string{l.At.Local().Format("15:04:05.000"), arrow, l.Type}
		if c.Client == "" {
			cells = append(cells, l.Client)
		}
		return rows.Line(append(cells, text)...)
	}
}

// shown is how much of a payload a table shows.
const shown = 64

func shortened(text string) string {
	if r := []rune(text); len(r) > shown {
		return string(r[:shown]) + "…"
	}
	return text
}

// events reads server-sent events as they are written to it.
type events struct {
	do   func(name string, data []byte) error
	left []byte
	name string
}

// Write implements io.Writer.
func (e *events) Write(b []byte) (int, error) {
	e.left = append(e.left, b...)
	for {
		line, rest, whole := bytes.Cut(e.left, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		switch {
		case bytes.HasPrefix(line, []byte("event: ")):
			e.name = string(line[7:])
		case bytes.HasPrefix(line, []byte("data: ")):
			if err := e.do(e.name, line[6:]); err != nil {
				return 0, err
			}
		}
		e.left = append(e.left[:0], rest...)
	}
}

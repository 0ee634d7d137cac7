package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// TopCmd is `sapwood top`.
type TopCmd struct {
	reach.Flags
	Every time.Duration `default:"1s" help:"How often it looks."`
	Once  bool          `help:"Print one picture and end."`
}

// Help is the long part of the help page.
func (*TopCmd) Help() string {
	return `Keys: c and t sort clients and topics by something else, space holds the picture, q ends. ` + reach.Through + `
Examples:

    sapwood top
    sapwood top --once | head -5`
}

// picture is what top shows.
type picture struct {
	at      time.Time
	status  api.Overview
	clients serve.List[api.ClientRow]
	topics  serve.List[api.TopicRow]
	byC     int // what clients are sorted by, in clientOrders
	byT     int
	held    bool
	err     error
}

func clientOrders() []string {
	return []string{"-in_rate", "-out_rate", "-queue_bytes", "-dropped", "-in", "-out", "id"}
}

func topicOrders() []string {
	return []string{"-rate", "-messages", "-bytes", "-dropped", "-unheard", "topic"}
}

// look asks the broker for everything.
func (p *picture) look(ctx context.Context, r *reach.Broker, rows int) {
	limit := strconv.Itoa(max(rows, 1))
	p.err = errors.Join(
		r.Call(ctx, http.MethodGet, "/status", nil, &p.status),
		r.Call(ctx, http.MethodGet, "/clients?"+query("sort", clientOrders()[p.byC]+",id", "limit", limit).Encode(), nil, &p.clients),
		r.Call(ctx, http.MethodGet, "/topics?"+query("filter", "!topic:$SYS/*", "sort", topicOrders()[p.byT], "limit", limit).Encode(), nil, &p.topics),
	)
	if p.err == nil {
		p.at = time.Now()
	}
}

// render is the picture as lines of text, at most height of them, each at most width characters.
func (p *picture) render(width, height int) []string {
	c := &p.status.Counts
	ready := "ready"
	if !p.status.Ready {
		ready = "NOT READY: " + p.status.Reason
	}
	lines := []string{
		fmt.Sprintf("Sapwood %s  up %s  %s  shed: %s", p.status.Version, time.Duration(p.status.Uptime)*time.Second, ready, p.status.Overload.Shed),
		fmt.Sprintf("clients %s connected, %s sessions   subscriptions %s   retained %s   queued %s in %sB", count(c.Connected), count(c.Sessions), count(c.Subscriptions), count(c.Retained), count(c.QueuedMessages), count(c.QueuedBytes)),
		"",
	}
	if p.err != nil {
		lines[2] = "cannot look: " + p.err.Error()
	}
	half := (height - len(lines) - 1) / 2
	clients := [][]string{{"CLIENT", "IN/S", "OUT/S", "IN", "OUT", "QUEUED", "BYTES", "DROPPED", "STATE", "USER"}}
	for i := range p.clients.Items {
		r := &p.clients.Items[i]
		clients = append(clients, []string{r.ID, count(r.In.Rate), count(r.Out.Rate), count(r.In.Messages), count(r.Out.Messages), count(r.Queued), count(r.QueueBytes), count(r.Dropped), clientState(r), r.User})
	}
	topics := [][]string{{"TOPIC", "RATE/S", "RATE 1M", "MESSAGES", "BYTES", "COPIES", "DROPPED", "UNHEARD"}}
	for i := range p.topics.Items {
		r := &p.topics.Items[i]
		topics = append(topics, []string{r.Topic, count(r.Rate), count(r.Rate1), count(r.Messages), count(r.Bytes), count(r.Copies), count(r.Dropped), count(r.Unheard)})
	}
	lines = append(lines, table(clients, half, width)...)
	lines = append(lines, table(topics, height-1-len(lines), width)...)
	hold := "space hold"
	if p.held {
		hold = "HELD (space goes on)"
	}
	lines = append(lines, fmt.Sprintf("c clients by %s   t topics by %s   %s   q quit   %s", clientOrders()[p.byC], topicOrders()[p.byT], hold, p.at.Format(time.TimeOnly)))
	for i := range lines {
		lines[i] = cutTo(screen.Printable(lines[i]), width)
	}
	return lines
}

// table sets rows in exactly height lines: names on the left, numbers on the right.
func table(rows [][]string, height, width int) []string {
	if height <= 0 {
		return nil
	}
	rows = rows[:min(len(rows), height)]
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i := range r {
			r[i] = screen.Printable(r[i])
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i]))
		}
	}
	rest := width
	for _, w := range widths[1:] {
		rest -= w + 2
	}
	widths[0] = min(widths[0], max(rest, 12))
	lines := make([]string, height)
	for n, r := range rows {
		line := cutTo(r[0], widths[0])
		line += strings.Repeat(" ", widths[0]-utf8.RuneCountInString(line))
		for i := 1; i < len(r); i++ {
			line += "  " + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(r[i])) + r[i]
		}
		lines[n] = line
	}
	return lines
}

func cutTo(s string, width int) string {
	if utf8.RuneCountInString(s) <= width || width < 1 {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// Run shows the picture until q, or once.
func (c *TopCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	p := &picture{}
	out := screen.Terminal(std.Out)
	if c.Once || out == nil {
		if p.look(ctx, r, 15); p.err != nil {
			return p.err
		}
		_, err := io.WriteString(std.Out, strings.Join(p.render(120, 36), "\n")+"\n")
		return err
	}
	in, ok := std.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return errors.New("sapwood top needs a terminal to read keys from; --once prints one picture")
	}
	was, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("take over the terminal: %w", err)
	}
	defer term.Restore(int(in.Fd()), was)
	io.WriteString(out, "\x1b[?1049h\x1b[?25l")
	defer io.WriteString(out, "\x1b[?25h\x1b[?1049l")
	return p.watch(ctx, r, max(c.Every, 200*time.Millisecond), keys(in), out)
}

// keys are what is typed. The goroutine waits for a key as long as the process lives: a terminal's read cannot be ended otherwise.
func keys(in io.Reader) <-chan byte {
	typed := make(chan byte)
	go func() {
		b := make([]byte, 1)
		for {
			if _, err := in.Read(b); err != nil {
				close(typed)
				return
			}
			typed <- b[0]
		}
	}()
	return typed
}

// watch draws the picture every so often and after each key.
func (p *picture) watch(ctx context.Context, r *reach.Broker, every time.Duration, typed <-chan byte, out *os.File) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	p.look(ctx, r, 60)
	for {
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil {
			return fmt.Errorf("size of the terminal: %w", err)
		}
		if _, err := io.WriteString(out, "\x1b[H"+strings.Join(p.render(width, height), "\x1b[K\r\n")+"\x1b[K\x1b[J"); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if !p.held {
				p.look(ctx, r, height)
			}
		case k, open := <-typed:
			if !open || p.key(k) {
				return nil
			}
			p.look(ctx, r, height)
		}
	}
}

// key does what a key asks for, and tells whether that is to end.
func (p *picture) key(k byte) (end bool) {
	switch k {
	case 'q', 'Q', 3, 4: // Ctrl-C and Ctrl-D too
		return true
	case 'c':
		p.byC = (p.byC + 1) % len(clientOrders())
	case 't':
		p.byT = (p.byT + 1) % len(topicOrders())
	case ' ':
		p.held = !p.held
	}
	return false
}

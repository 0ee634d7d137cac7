package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// TopCmd is `sapwood top`.
type TopCmd struct {
	reach.Flags
	Every  time.Duration `default:"1s" help:"How often clients and topics are looked at; figures come once a second."`
	Filter string        `placeholder:"TERMS" help:"Only clients and topics with this; as for sapwood clients."`
	Once   bool          `help:"Print one picture and end."`
}

// Help is the long part of the help page.
func (*TopCmd) Help() string {
	return `Is it fine, who is connected, what flows, what is dropped and why, what is near its limit. Keys: c and t sort clients and topics by something
else, Tab shows one table or both, / filters, x takes the filter away, space holds the picture, q ends. NO_COLOR is honoured. ` + reach.Through + `
Examples:

    sapwood top
    sapwood top --filter 'user:press*'
    sapwood top --once | head -9`
}

// order is what the lists are asked for.
type order struct {
	clients, topics, filter string
	rows                    int
}

// order is what the picture needs.
func (p *picture) order(rows int) order {
	return order{clientOrders()[p.byC], topicOrders()[p.byT], p.filter, rows}
}

// lists are answers.
type lists struct {
	version string
	now     vitals.Now
	clients serve.List[api.ClientRow]
	topics  serve.List[api.TopicRow]
}

// look asks for what does not come by itself.
func look(ctx context.Context, r *reach.Broker, o order) (l lists, err error) {
	limit := strconv.Itoa(min(max(o.rows, 1), 1000))
	var me struct {
		Version string `json:"version"`
	}
	err = errors.Join(
		r.Call(ctx, http.MethodGet, "/me", nil, &me),
		r.Call(ctx, http.MethodGet, "/now", nil, &l.now),
		r.Call(ctx, http.MethodGet, "/clients?"+reach.Query("filter", o.filter, "sort", o.clients+",id", "limit", limit).Encode(), nil, &l.clients),
		r.Call(ctx, http.MethodGet, "/topics?"+reach.Query("filter", withoutSys([]string{words(o.filter)}), "sort", o.topics, "limit", limit).Encode(), nil, &l.topics),
	)
	l.version = me.Version
	return l, err
}

// words are the terms of a filter that topics have, too: those about the fields of clients say nothing of topics.
func words(filter string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(filter), func(term string) bool { return strings.ContainsAny(term, ":<>=") }), " ")
}

func (p *picture) take(l lists) {
	p.version, p.now, p.clients, p.topics, p.listed = l.version, l.now, l.clients, l.topics, true
}

// Run shows the picture until q, or once.
func (c *TopCmd) Run(ctx context.Context, std *screen.Streams) error {
	p := &picture{filter: c.Filter}
	out := screen.Terminal(std.Out)
	if c.Once || out == nil {
		return c.once(ctx, std, p)
	}
	in, ok := std.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return errors.New("sapwood top needs a terminal to read keys from; --once prints one picture")
	}
	if _, err := c.API(); err != nil { // before the screen is taken
		return err
	}
	was, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("take over the terminal: %w", err)
	}
	defer term.Restore(int(in.Fd()), was)
	io.WriteString(out, "\x1b[?1049h\x1b[?25l")
	defer io.WriteString(out, "\x1b[0m\x1b[?25h\x1b[?1049l")
	ctx, end := context.WithCancel(ctx)
	defer end()
	w := &watch{cmd: c, picture: p, news: make(chan func(*picture)), want: make(chan order, 1)}
	go w.follow(ctx)
	go w.ask(ctx)
	return w.run(ctx, keys(in), &canvas{out: out, colour: os.Getenv("NO_COLOR") == ""})
}

// once prints a picture for a printer or a pipe.
func (c *TopCmd) once(ctx context.Context, std *screen.Streams, p *picture) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	l, err := look(ctx, r, p.order(15))
	var s vitals.Stats
	err = errors.Join(err, r.Call(ctx, http.MethodGet, "/stats", nil, &s), r.Call(ctx, http.MethodGet, "/load", nil, &p.load))
	if err != nil {
		return err
	}
	p.loaded = true
	p.take(l)
	p.read(s)
	var b strings.Builder
	lines := p.render(120, 36)
	for _, l := range lines[:len(lines)-1] { // there are no keys
		b.WriteString(strings.TrimRight(l.text, " ") + "\n")
	}
	_, err = io.WriteString(std.Out, b.String())
	return err
}

// watch keeps a picture up to date. What is asked comes as changes that one goroutine makes.
type watch struct {
	cmd     *TopCmd
	picture *picture
	news    chan func(*picture)
	want    chan order // the last one counts
}

// tell hands a change over.
func (w *watch) tell(ctx context.Context, change func(*picture)) {
	select {
	case w.news <- change:
	case <-ctx.Done():
	}
}

// again is how long after a failure it is tried once more.
const again = time.Second

// follow takes figures from the stream, and opens it anew when it breaks, as when the broker restarts.
func (w *watch) follow(ctx context.Context) {
	for ctx.Err() == nil {
		r, err := w.cmd.API() // it may have another port and key now
		if err == nil {
			err = r.Follow(ctx, "/stream?watch=stats,load", "", func(e reach.Event) error {
				switch e.Name {
				case "stats":
					var s vitals.Stats
					if err := json.Unmarshal(e.Data, &s); err != nil {
						return err
					}
					w.tell(ctx, func(p *picture) { p.err = nil; p.read(s) })
				case "load":
					var l vitals.Load
					if err := json.Unmarshal(e.Data, &l); err != nil {
						return err
					}
					w.tell(ctx, func(p *picture) { p.load, p.loaded = l, true })
				}
				return nil
			})
		}
		w.tell(ctx, func(p *picture) { p.err = err })
		select {
		case <-time.After(again):
		case <-ctx.Done():
		}
	}
}

// ask asks for lists, as often as they are wanted.
func (w *watch) ask(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-w.want:
			r, err := w.cmd.API()
			var l lists
			if err == nil {
				l, err = look(ctx, r, o)
			}
			w.tell(ctx, func(p *picture) {
				if err == nil {
					p.take(l)
				} else if p.err = err; reach.IsStatus(err, http.StatusUnprocessableEntity) {
					p.filter = "" // it is none
				}
			})
		}
	}
}

// wants asks for lists, in the place of what waits to be asked.
func (w *watch) wants(rows int) {
	select {
	case <-w.want:
	default:
	}
	w.want <- w.picture.order(rows)
}

// run draws until it is ended.
func (w *watch) run(ctx context.Context, typed <-chan byte, to *canvas) error {
	p := w.picture
	tick := time.NewTicker(max(w.cmd.Every, 200*time.Millisecond))
	defer tick.Stop()
	size := func() (width, height int, err error) { return term.GetSize(int(to.out.Fd())) }
	_, height, err := size()
	if err != nil {
		return fmt.Errorf("size of the terminal: %w", err)
	}
	w.wants(height)
	for {
		select {
		case <-ctx.Done():
			return nil
		case change := <-w.news:
			if p.held {
				continue
			}
			change(p)
		case <-tick.C:
			if !p.held {
				w.wants(height)
			}
		case k, open := <-typed:
			if !open || p.key(k) {
				return nil
			}
			if !p.typing {
				w.wants(height)
			}
		}
		var width int
		if width, height, err = size(); err != nil {
			return fmt.Errorf("size of the terminal: %w", err)
		}
		if err := to.draw(p.render(width, height), width); err != nil {
			return err
		}
	}
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

// key does what a key asks for, and tells whether that is to end.
func (p *picture) key(k byte) (end bool) {
	switch {
	case k == 3 || k == 4: // Ctrl-C, Ctrl-D
		return true
	case p.typing:
		p.write(k)
	case k == 'q' || k == 'Q':
		return true
	case k == 'c':
		p.byC = (p.byC + 1) % len(clientOrders())
	case k == 't':
		p.byT = (p.byT + 1) % len(topicOrders())
	case k == '\t':
		p.show = (p.show + 1) % allShows
	case k == '/':
		p.typing, p.typed = true, p.filter
	case k == 'x':
		p.filter = ""
	case k == ' ':
		p.held = !p.held
	}
	return false
}

// write adds a key to the filter that is typed.
func (p *picture) write(k byte) {
	switch {
	case k == '\r' || k == '\n':
		p.filter, p.typing = strings.TrimSpace(p.typed), false
	case k == 0x1b:
		p.typing = false
	case k == 0x7f || k == 8:
		if r := []rune(p.typed); len(r) > 0 {
			p.typed = string(r[:len(r)-1])
		}
	case k >= ' ':
		p.typed += string([]byte{k})
	}
}

// canvas is a terminal. It writes the lines that have changed, and a whole picture at once, so that nothing flickers.
type canvas struct {
	out    *os.File
	colour bool
	last   []line
	width  int
}

func (c *canvas) draw(lines []line, width int) error {
	var b strings.Builder
	b.WriteString("\x1b[?2026h") // terminals that know it show nothing until the end
	whole := width != c.width || len(lines) != len(c.last)
	if whole {
		b.WriteString("\x1b[2J")
	}
	for i, l := range lines {
		if whole || c.last[i] != l {
			fmt.Fprintf(&b, "\x1b[%d;1H%s%s\x1b[0m\x1b[K", i+1, c.code(l.style), l.text)
		}
	}
	b.WriteString("\x1b[?2026l")
	if !whole && slices.Equal(lines, c.last) {
		return nil
	}
	c.last, c.width = lines, width
	_, err := io.WriteString(c.out, b.String())
	return err
}

// code begins a style.
func (c *canvas) code(s style) string {
	switch {
	case s == bar:
		return "\x1b[7m"
	case s == head:
		return "\x1b[1m"
	case !c.colour:
	case s == good:
		return "\x1b[32m"
	case s == bad:
		return "\x1b[31;1m"
	case s == dim:
		return "\x1b[2m"
	}
	return ""
}

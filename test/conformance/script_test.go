package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// A script is a file of cases. Each begins with "== " and a title that cites what it proves, and runs
// against a broker of its own, once for each protocol version:
//
//	versions 3.1.1 5          only these; all three if it is left out
//	set max_inflight=2        a limit or delivery option
//	c1 > CONNECT id=a clean   c1 sends a packet; on a new connection if it has none
//	c1 + PUBLISH topic=t      the same, but in one write with what c1 sends next
//	c1 < CONNACK 0x00         the next packet that c1 gets (see match)
//	c1 < A | B                these two, in any order
//	c1 < PUBLISH ... after 900ms   and not sooner than that after the step before
//	c1 < nothing              nothing more comes of all that was done so far
//	c1 < closed               the broker closes the connection
//	c1 < DISCONNECT 0x8E      before v5: just closes. In v5 then closes, too
//	drop c1                   cuts the connection without DISCONNECT
//	pause 1100ms              for what takes time by definition
//
// <x*1000> stands for a thousand times x. All of it goes over TCP [MQTT311 MQTT-7.1.1-1].
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range cases(file, string(text)) {
				c.run(t)
			}
		})
	}
}

// testCase is one case of a script.
type testCase struct {
	title    string
	versions []mqtt.Version
	settings []string
	steps    []step
}

type step struct {
	at   string // file:line
	text string
}

func cases(file, text string) (list []testCase) {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		at := fmt.Sprintf("%s:%d", file, i+1)
		title, heading := strings.CutPrefix(line, "== ")
		switch {
		case heading:
			list = append(list, testCase{title: title, versions: []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}})
		case line == "" || strings.HasPrefix(line, "#") || len(list) == 0:
		default:
			list[len(list)-1].line(at, line)
		}
	}
	return list
}

func (c *testCase) line(at, line string) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "versions":
		c.versions = nil
		for _, v := range strings.Fields(rest) {
			c.versions = append(c.versions, map[string]mqtt.Version{"3.1": mqtt.V31, "3.1.1": mqtt.V311, "5": mqtt.V5}[v])
		}
	case "set":
		c.settings = append(c.settings, strings.Fields(rest)...)
	default:
		c.steps = append(c.steps, step{at, line})
	}
}

func (c *testCase) run(t *testing.T) {
	name, _, _ := strings.Cut(c.title, " [")
	for _, v := range c.versions {
		t.Run(name+"/"+v.String(), func(t *testing.T) {
			t.Parallel()
			p := &play{t: t, v: v, b: serve(t, with(t, c.settings...)), clients: map[string]*client{}, began: time.Now(), unsent: map[string][]string{}}
			for _, s := range c.steps {
				p.at = s.at
				if !strings.Contains(s.text, " < ") {
					p.began = time.Now()
				}
				if err := p.step(repeated(s.text)); err != nil {
					t.Fatalf("%s: %s\n%v", s.at, s.text, err)
				}
			}
		})
	}
}

var repetition = regexp.MustCompile(`<([^<>* ]+)\*(\d+)>`)

// repeated replaces <x*3> by xxx.
func repeated(s string) string {
	return repetition.ReplaceAllStringFunc(s, func(m string) string {
		parts := repetition.FindStringSubmatch(m)
		n, _ := strconv.Atoi(parts[2])
		return strings.Repeat(parts[1], n)
	})
}

// play is a case that is running.
type play struct {
	t       *testing.T
	v       mqtt.Version
	b       *served
	at      string
	clients map[string]*client
	unsent  map[string][]string
	began   time.Time // the last step that did something
}

func (p *play) step(text string) error {
	name, rest, _ := strings.Cut(text, " ")
	switch name {
	case "drop":
		p.clients[rest].drop()
		p.forget(rest)
		return nil
	case "pause":
		d, err := time.ParseDuration(rest)
		<-time.After(d)
		for range 2 { // the second answer comes after a turn of every event loop: what is due by now has been done
			p.b.stats()
		}
		return err
	}
	verb, rest, _ := strings.Cut(rest, " ")
	switch verb {
	case "+":
		p.unsent[name] = append(p.unsent[name], rest)
	case ">":
		c := p.clients[name]
		if c == nil {
			c = dial(p.t, p.b.addr, name, p.version(rest))
			p.clients[name] = c
		}
		lines := append(p.unsent[name], rest)
		delete(p.unsent, name)
		c.send(lines...)
	case "<":
		c := p.clients[name]
		if c == nil {
			return fmt.Errorf("%s has no connection", name)
		}
		return p.receive(c, rest)
	default:
		return fmt.Errorf("%q is no verb", verb)
	}
	return nil
}

// version is that of the connection which line, if it is a CONNECT, begins.
func (p *play) version(line string) mqtt.Version {
	if packet, err := packettext.Parse(line); err == nil && packet.Type == mqtt.CONNECT && regexp.MustCompile(`\bv(3|5)`).MatchString(line) {
		return packet.Connect.Version
	}
	return p.v
}

// forget lets go of a connection that is closed, and waits until the broker knows that.
func (p *play) forget(name string) {
	delete(p.clients, name)
	p.settle()
}

// settle waits until the broker knows how many connections there are.
func (p *play) settle() {
	p.b.until("the broker has noticed which connections are closed", func(s broker.Stats) bool {
		open := 0
		for _, c := range p.clients {
			if c.open() {
				open++
			}
		}
		return s.Sockets <= open
	})
}

func (p *play) receive(c *client, what string) error {
	what, least, timed := strings.Cut(what, " after ")
	switch {
	case what == "closed":
		c.expectClosed()
		c.drop()
		p.forget(c.name)
		return nil
	case what == "nothing":
		return p.nothing(c)
	case strings.HasPrefix(what, "DISCONNECT"):
		if c.v >= mqtt.V5 {
			if _, err := p.take(c, what); err != nil {
				return err
			}
		}
		return p.receive(c, "closed")
	}
	if a, b, both := strings.Cut(what, " | "); both {
		got, err := c.next()
		if err != nil {
			return err
		}
		if match(c.v, a, got.line) != nil {
			a, b = b, a
		}
		if err := match(c.v, a, got.line); err != nil {
			return err
		}
		what = b
	}
	got, err := p.take(c, what)
	if err == nil && timed {
		d, err := time.ParseDuration(least)
		if err != nil {
			return err
		}
		if got.at.Sub(p.began) < d {
			return fmt.Errorf("came after %v", got.at.Sub(p.began))
		}
	}
	return err
}

func (p *play) take(c *client, line string) (arrival, error) {
	got, err := c.next()
	if err != nil {
		return got, err
	}
	return got, match(c.v, line, got.line)
}

// nothing makes sure that all that was done has had its consequences, and that none of them is a
// packet to c. Twice around: what one shard has for another arrives with the turn after.
func (p *play) nothing(c *client) error {
	p.settle()
	for range 2 {
		for _, other := range p.clients {
			if other != c && other.open() {
				other.barrier()
			}
		}
		c.barrier()
	}
	c.barrier()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return fmt.Errorf("the connection ended: %w", c.err)
	}
	if len(c.got) > 0 {
		return fmt.Errorf("got %s", c.got[0].line)
	}
	return nil
}

package clients

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// mosquitto runs the mosquitto commands in one protocol version against one broker.
type mosquitto struct {
	t       *testing.T
	version string
	broker  string
	args    []string // of every command: where authorities, credentials and certificates are
}

// eachMosquitto runs a test in the versions that are named, against a broker of its own each. A version may come with a door.
func eachMosquitto(t *testing.T, test func(t *testing.T, m *mosquitto), versions ...string) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			m := &mosquitto{t: t}
			var door string
			if m.version, door, _ = strings.Cut(v, " "); door == "" {
				m.broker = startBroker(t)
			} else {
				m.broker, m.args = startDoor(t, door), []string{"--cafile", authority()}
			}
			test(t, m)
		})
	}
}

// andTLS is allVersions and once more within TLS.
func andTLS() []string { return append(allVersions(), "mqttv5 mqtts") }

func allVersions() []string { return []string{"mqttv31", "mqttv311", "mqttv5"} }

// command is one of the commands with what tells it the broker and the version; standard output is
// flushed after each line.
func (m *mosquitto) command(ctx context.Context, addr, name string, args ...string) *exec.Cmd {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		m.t.Fatal(err)
	}
	args = slices.Concat([]string{"-oL", name, "-h", host, "-p", port, "-V", m.version}, m.args, args)
	return exec.CommandContext(ctx, "stdbuf", args...)
}

// pub publishes and returns once all is acknowledged, or sent with QoS 0. Lines, if there are any, become
// one message each. Their mosquitto_pub is not told that they end, and lives as long as the test:
// version 2.0.11 may miss that its last message went out before it read the end, and then never ends.
func (m *mosquitto) pub(lines []string, qos int, args ...string) {
	m.t.Helper()
	args = append(args, "-q", fmt.Sprint(qos), "-d")
	if lines == nil {
		m.run("mosquitto_pub", args...)
		return
	}
	cmd := m.command(context.Background(), m.broker, "mosquitto_pub", append(args, "-l")...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	out := m.start(cmd)
	if _, err := io.WriteString(stdin, strings.Join(lines, "\n")+"\n"); err != nil {
		m.t.Fatal(err)
	}
	done := []string{" sending PUBLISH ", " received PUBACK ", " received PUBCOMP "}[qos]
	timeout, last := time.After(patience), "nothing"
	for n := 0; n < len(lines); {
		select {
		case last = <-out:
			if strings.Contains(last, done) {
				n++
			}
		case <-timeout:
			m.t.Fatalf("mosquitto_pub %q: %d of %d are done, and it said last: %s", args, n, len(lines), last)
		}
	}
}

// start runs a command until the test ends, and returns the lines that it prints; then how it ended.
func (m *mosquitto) start(cmd *exec.Cmd) <-chan string {
	m.t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	out, ended := make(chan string, 10000), make(chan bool)
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			out <- lines.Text()
		}
		cmd.Wait()
		out <- "(" + cmd.ProcessState.String() + ")"
	}()
	m.t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	return out
}

// run waits for a command that must succeed, and returns what it printed.
func (m *mosquitto) run(name string, args ...string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := m.command(ctx, m.broker, name, args...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// sub is a mosquitto_sub, or a mosquitto_rr, that runs.
type sub struct {
	t   *testing.T
	cmd *exec.Cmd
	out <-chan string
	own []string // messages that came before SUBACK, when a session goes on
}

// mark is what a message begins with, among the lines that -d prints. (@ would be a time in a format of
// mosquitto_sub.)
const mark = "> "

// sub subscribes and returns when the broker has said so. Each message comes as "topic qos retain payload".
func (m *mosquitto) sub(args ...string) *sub {
	m.t.Helper()
	return m.subAt(m.broker, "%t %q %r %p", args...)
}

func (m *mosquitto) subAt(addr, format string, args ...string) *sub {
	m.t.Helper()
	cmd := m.command(context.Background(), addr, "mosquitto_sub", append([]string{"-d", "-F", mark + format}, args...)...)
	s := &sub{t: m.t, cmd: cmd, out: m.start(cmd)}
	s.line("Subscribed ")
	return s
}

// line is the next line with a prefix, without it.
func (s *sub) line(prefix string) string {
	s.t.Helper()
	timeout, last := time.After(patience), "nothing"
	for {
		select {
		case last = <-s.out:
			if text, ok := strings.CutPrefix(last, prefix); ok {
				return text
			}
			if text, ok := strings.CutPrefix(last, mark); ok {
				s.own = append(s.own, text)
			}
		case <-timeout:
			s.t.Fatalf("%q does not print %q, but last: %s", s.cmd.Args, prefix, last)
		}
	}
}

// next is the next message.
func (s *sub) next() string {
	s.t.Helper()
	if len(s.own) > 0 {
		m := s.own[0]
		s.own = s.own[1:]
		return m
	}
	return s.line(mark)
}

func (s *sub) gets(want ...string) {
	s.t.Helper()
	for _, w := range want {
		if got := s.next(); got != w {
			s.t.Fatalf("mosquitto_sub got %q, want %q", got, w)
		}
	}
}

// lines are n different payloads.
func lines(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%06d", i)
	}
	return all
}

func prefixed(prefix string, lines []string) []string {
	all := slices.Clone(lines)
	for i := range all {
		all[i] = prefix + all[i]
	}
	return all
}

func TestMosquittoQoS(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		for granted := range 3 {
			s := m.sub("-t", "qos/#", "-q", fmt.Sprint(granted))
			for sent := range 3 {
				m.pub(lines(20), sent, "-t", "qos/a")
				s.gets(prefixed(fmt.Sprintf("qos/a %d 0 ", min(sent, granted)), lines(20))...)
			}
		}
	}, andTLS()...)
}

func TestMosquittoRetained(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		live := m.sub("-t", "state/+", "-q", "2")
		m.pub(nil, 1, "-t", "state/a", "-r", "-m", "old")
		m.pub(nil, 2, "-t", "state/a", "-r", "-m", "new")
		m.pub(nil, 1, "-t", "state/b", "-r", "-m", "b")
		live.gets("state/a 1 0 old", "state/a 2 0 new", "state/b 1 0 b")
		m.sub("-t", "state/a", "-q", "1").gets("state/a 1 1 new")
		m.pub(nil, 1, "-t", "state/a", "-r", "-n")
		live.gets("state/a 1 0 ")
		late := m.sub("-t", "state/#", "-q", "1")
		late.gets("state/b 1 1 b")
		m.pub(nil, 1, "-t", "state/end", "-m", "end")
		late.gets("state/end 1 0 end")
	}, allVersions()...)
}

func TestMosquittoWill(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		s := m.sub("-t", "will/#", "-q", "2")
		for qos := range 3 {
			will := []string{"-t", "x", "--will-topic", fmt.Sprintf("will/%d", qos), "--will-payload", "gone", "--will-qos", fmt.Sprint(qos), "--will-retain"}
			m.run("mosquitto_sub", append(will, "-E")...) // ends with DISCONNECT
			m.sub(will...).cmd.Process.Kill()
			s.gets(fmt.Sprintf("will/%d %d 0 gone", qos, qos))
		}
		m.sub("-t", "will/1", "-q", "1").gets("will/1 1 1 gone")
		m.pub(nil, 1, "-t", "will/end", "-m", "end")
		s.gets("will/end 1 0 end")
	}, andTLS()...)
}

func TestMosquittoResume(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		session := []string{"-c", "-i", "sleeper", "-t", "queue/+", "-q", "2"}
		m.run("mosquitto_sub", append(session, "-E")...)
		m.pub(lines(50), 1, "-t", "queue/a")
		m.pub(lines(50), 2, "-t", "queue/b")
		s := m.sub(session...)
		s.gets(prefixed("queue/a 1 0 ", lines(50))...)
		s.gets(prefixed("queue/b 2 0 ", lines(50))...)
		m.pub(nil, 1, "-t", "queue/end", "-m", "end")
		s.gets("queue/end 1 0 end")
	}, andTLS()...)
}

func TestMosquittoShared(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		const members = 3
		group := make([]*sub, members)
		for i := range group {
			group[i] = m.sub("-t", "$share/group/job", "-t", "end", "-q", "1")
		}
		all := m.sub("-t", "job", "-q", "1")
		m.pub(lines(300), 1, "-t", "job")
		all.gets(prefixed("job 1 0 ", lines(300))...)
		m.pub(nil, 1, "-t", "end", "-m", "end")
		var got []string
		for i, member := range group {
			before := len(got)
			for text := member.next(); text != "end 1 0 end"; text = member.next() {
				got = append(got, text)
			}
			if len(got) == before {
				t.Errorf("member %d got nothing", i)
			}
		}
		slices.Sort(got)
		if want := prefixed("job 1 0 ", lines(300)); !slices.Equal(got, want) {
			t.Errorf("%d messages arrived at the group, want each of %d once", len(got), len(want))
		}
	}, allVersions()...)
}

func TestMosquittoProperties(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		s := m.subAt(m.broker, "%t %C %R %D %F %E %P %p", "-t", "props", "-q", "1")
		m.pub(
			nil, 1, "-t", "props", "-m", "21.5",
			"-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "answers",
			"-D", "publish", "correlation-data", "id", "-D", "publish", "payload-format-indicator", "1",
			"-D", "publish", "message-expiry-interval", "100",
			"-D", "publish", "user-property", "unit", "C", "-D", "publish", "user-property", "room", "kitchen",
		)
		got := s.next()
		if got != "props text/plain answers id 1 100 unit:C room:kitchen 21.5" {
			t.Errorf("got %q", got)
		}
		m.pub([]string{"one", "two"}, 1, "-t", "props", "-D", "publish", "topic-alias", "1")
		for _, payload := range []string{"one", "two"} {
			if got := s.next(); !strings.HasPrefix(got, "props ") || !strings.HasSuffix(got, payload) {
				t.Errorf("with an alias got %q", got)
			}
		}
		out := m.run("mosquitto_pub", "-d", "-t", "nobody", "-q", "1", "-m", "x")
		if !strings.Contains(out, "RC:16") {
			t.Errorf("a message to nobody: %s", out)
		}
	}, "mqttv5")
}

// TestMosquittoRequest has mosquitto_rr ask, and mosquitto_sub and mosquitto_pub answer.
func TestMosquittoRequest(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		s := m.subAt(m.broker, "%R %D %p", "-t", "question", "-q", "1")
		correlation, want := []string{}, "  6 x 7" // MQTT 3.1.1 has nowhere to put them
		if m.version == "mqttv5" {
			correlation, want = []string{"-D", "publish", "correlation-data", "7"}, "answer/1 7 6 x 7"
		}
		ask := append([]string{"-t", "question", "-e", "answer/1", "-q", "1", "-m", "6 x 7"}, correlation...)
		rr := m.command(context.Background(), m.broker, "mosquitto_rr", ask...)
		asker := &sub{t: t, cmd: rr, out: m.start(rr)}
		s.gets(want)
		m.pub(nil, 1, append([]string{"-t", "answer/1", "-m", "42"}, correlation...)...)
		if answer := asker.line(""); answer != "42" {
			t.Errorf("mosquitto_rr printed %q", answer)
		}
	}, "mqttv311", "mqttv5")
}

// TestMosquittoCut has mosquitto_sub lose its connection while a QoS 1 stream runs; it comes back by
// itself, after a second each time. Not with QoS 2: mosquitto_sub 2.0.11 then prints a message twice
// whose PUBLISH it got twice under one identifier, or stops receiving, with the Mosquitto broker as well.
func TestMosquittoCut(t *testing.T) {
	plan := []fault{{1100, reset}, {797, stall}, {1003, deaf}, {900, mute}}
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		const messages = 400
		door := "tcp"
		if m.args != nil {
			door = "mqtts"
		}
		p := startProxy(t, m.broker, behind(door, plan)...)
		s := m.subAt(p.addr, "%p", "-c", "-i", "sub", "-t", "stream", "-q", "1")
		m.pub(append(lines(messages), "end"), 1, "-t", "stream")
		got := arrivals{times: map[string]int{}}
		for text := s.next(); text != "end"; text = s.next() {
			got.add(text)
		}
		if at := difference(lines(messages), got.order); at >= 0 {
			t.Errorf("%d messages arrived, out of order from the %dth on", len(got.order), at)
		}
		if p.faults() != len(plan) {
			t.Errorf("met %d of %d faults", p.faults(), len(plan))
		}
	}, allVersions()...)
}

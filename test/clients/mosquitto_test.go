package clients

import (
	"bufio"
	"context"
	"fmt"
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
}

// eachMosquitto runs a test in the versions that are named, against a broker of its own each.
func eachMosquitto(t *testing.T, test func(t *testing.T, m *mosquitto), versions ...string) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			test(t, &mosquitto{t, v, startBroker(t)})
		})
	}
}

func allVersions() []string { return []string{"mqttv31", "mqttv311", "mqttv5"} }

// command is one of the commands with what tells it the broker and the version; standard output is
// flushed after each line.
func (m *mosquitto) command(ctx context.Context, addr, name string, args ...string) *exec.Cmd {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		m.t.Fatal(err)
	}
	return exec.CommandContext(ctx, "stdbuf", append([]string{"-oL", name, "-h", host, "-p", port, "-V", m.version}, args...)...)
}

// pub publishes; lines, if there are any, become one message each.
func (m *mosquitto) pub(lines []string, args ...string) {
	m.t.Helper()
	m.run(strings.Join(lines, "\n"), "mosquitto_pub", append(args, "-d")...)
}

// run waits for a command that must succeed, and returns what it printed.
func (m *mosquitto) run(stdin, name string, args ...string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := m.command(ctx, m.broker, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s %q: %v\n%s", name, args, err, out[max(0, len(out)-2000):])
	}
	return string(out)
}

// sub is a mosquitto_sub that runs.
type sub struct {
	t        *testing.T
	cmd      *exec.Cmd
	messages chan string
}

// mark is what a message begins with, among the lines that -d prints. (@ would be a time in a format of mosquitto_sub.)
const mark = "> "

// sub subscribes and returns when the broker has said so. Each message comes as "topic qos retain payload".
func (m *mosquitto) sub(args ...string) *sub {
	m.t.Helper()
	return m.subAt(m.broker, "%t %q %r %p", args...)
}

func (m *mosquitto) subAt(addr, format string, args ...string) *sub {
	m.t.Helper()
	cmd := m.command(context.Background(), addr, "mosquitto_sub", append([]string{"-d", "-F", mark + format}, args...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	s := &sub{m.t, cmd, make(chan string, 10000)}
	subscribed, ended := make(chan bool, 1), make(chan bool)
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), mark); ok {
				s.messages <- text
			} else if strings.HasPrefix(lines.Text(), "Subscribed") {
				select {
				case subscribed <- true:
				default: // once more, after a reconnection
				}
			}
		}
	}()
	m.t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		cmd.Wait()
	})
	select {
	case <-subscribed:
	case <-time.After(patience):
		m.t.Fatalf("mosquitto_sub %q is not subscribed", args)
	}
	return s
}

func (s *sub) next() string {
	s.t.Helper()
	select {
	case m := <-s.messages:
		return m
	case <-time.After(patience):
		s.t.Fatal("no message")
		return ""
	}
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
				m.pub(lines(20), "-t", "qos/a", "-q", fmt.Sprint(sent), "-l")
				s.gets(prefixed(fmt.Sprintf("qos/a %d 0 ", min(sent, granted)), lines(20))...)
			}
		}
	}, allVersions()...)
}

func TestMosquittoRetained(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		live := m.sub("-t", "state/+", "-q", "2")
		m.pub(nil, "-t", "state/a", "-q", "1", "-r", "-m", "old")
		m.pub(nil, "-t", "state/a", "-q", "2", "-r", "-m", "new")
		m.pub(nil, "-t", "state/b", "-q", "1", "-r", "-m", "b")
		live.gets("state/a 1 0 old", "state/a 2 0 new", "state/b 1 0 b")
		m.sub("-t", "state/a", "-q", "1").gets("state/a 1 1 new")
		m.pub(nil, "-t", "state/a", "-q", "1", "-r", "-n")
		live.gets("state/a 1 0 ")
		late := m.sub("-t", "state/#", "-q", "1")
		late.gets("state/b 1 1 b")
		m.pub(nil, "-t", "state/end", "-q", "1", "-m", "end")
		late.gets("state/end 1 0 end")
	}, allVersions()...)
}

func TestMosquittoWill(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		s := m.sub("-t", "will/#", "-q", "2")
		for qos := range 3 {
			will := []string{"-t", "x", "--will-topic", fmt.Sprintf("will/%d", qos), "--will-payload", "gone", "--will-qos", fmt.Sprint(qos), "--will-retain"}
			m.run("", "mosquitto_sub", append(will, "-E")...) // ends with DISCONNECT
			m.sub(will...).cmd.Process.Kill()
			s.gets(fmt.Sprintf("will/%d %d 0 gone", qos, qos))
		}
		m.sub("-t", "will/1", "-q", "1").gets("will/1 1 1 gone")
		m.pub(nil, "-t", "will/end", "-q", "1", "-m", "end")
		s.gets("will/end 1 0 end")
	}, allVersions()...)
}

func TestMosquittoResume(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		session := []string{"-c", "-i", "sleeper", "-t", "queue/+", "-q", "2"}
		m.run("", "mosquitto_sub", append(session, "-E")...)
		m.pub(lines(50), "-t", "queue/a", "-q", "1", "-l")
		m.pub(lines(50), "-t", "queue/b", "-q", "2", "-l")
		s := m.sub(session...)
		s.gets(prefixed("queue/a 1 0 ", lines(50))...)
		s.gets(prefixed("queue/b 2 0 ", lines(50))...)
		m.pub(nil, "-t", "queue/end", "-q", "1", "-m", "end")
		s.gets("queue/end 1 0 end")
	}, allVersions()...)
}

func TestMosquittoShared(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		const members = 3
		group := make([]*sub, members)
		for i := range group {
			group[i] = m.sub("-t", "$share/group/job", "-t", "end", "-q", "1")
		}
		all := m.sub("-t", "job", "-q", "1")
		m.pub(lines(300), "-t", "job", "-q", "1", "-l")
		all.gets(prefixed("job 1 0 ", lines(300))...)
		m.pub(nil, "-t", "end", "-q", "1", "-m", "end")
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
			nil, "-t", "props", "-q", "1", "-m", "21.5",
			"-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "answers",
			"-D", "publish", "correlation-data", "id", "-D", "publish", "payload-format-indicator", "1",
			"-D", "publish", "message-expiry-interval", "100",
			"-D", "publish", "user-property", "unit", "C", "-D", "publish", "user-property", "room", "kitchen",
		)
		got := s.next()
		if got != "props text/plain answers id 1 100 unit:C room:kitchen 21.5" {
			t.Errorf("got %q", got)
		}
		m.pub([]string{"one", "two"}, "-l", "-t", "props", "-q", "1", "-D", "publish", "topic-alias", "1")
		for _, payload := range []string{"one", "two"} {
			if got := s.next(); !strings.HasPrefix(got, "props ") || !strings.HasSuffix(got, payload) {
				t.Errorf("with an alias got %q", got)
			}
		}
		out := m.run("", "mosquitto_pub", "-d", "-t", "nobody", "-q", "1", "-m", "x")
		if !strings.Contains(out, "RC:16") {
			t.Errorf("a message to nobody: %s", out)
		}
	}, "mqttv5")
}

// TestMosquittoRequest has mosquitto_rr ask, and mosquitto_sub and mosquitto_pub answer.
func TestMosquittoRequest(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, m *mosquitto) {
		s := m.subAt(m.broker, "%R %D %p", "-t", "question", "-q", "1")
		answered := make(chan string, 1)
		go func() {
			select {
			case q := <-s.messages:
				answered <- q
			case <-time.After(patience):
				answered <- ""
				return
			}
			args := []string{"-t", "answer/1", "-q", "1", "-m", "42"}
			if m.version == "mqttv5" {
				args = append(args, "-D", "publish", "correlation-data", "7")
			}
			if out, err := m.command(context.Background(), m.broker, "mosquitto_pub", args...).CombinedOutput(); err != nil {
				t.Errorf("answer: %v\n%s", err, out)
			}
		}()
		args := []string{"-t", "question", "-e", "answer/1", "-q", "1", "-m", "6 x 7", "-W", fmt.Sprint(patience.Seconds())}
		want := "  6 x 7"
		if m.version == "mqttv5" {
			args = append(args, "-D", "publish", "correlation-data", "7")
			want = "answer/1 7 6 x 7"
		}
		if out := m.run("", "mosquitto_rr", args...); strings.TrimSpace(out) != "42" {
			t.Errorf("mosquitto_rr printed %q", out)
		}
		if q := <-answered; q != want {
			t.Errorf("the question came as %q, want %q", q, want)
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
		p := startProxy(t, m.broker, plan...)
		s := m.subAt(p.addr, "%p", "-c", "-i", "sub", "-t", "stream", "-q", "1")
		m.pub(append(lines(messages), "end"), "-t", "stream", "-q", "1", "-l")
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

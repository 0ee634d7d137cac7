package clients

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// everybody may do everything, where no rule denies it.
const everybody = `authorization: {rules: [{name: everybody, allow: [publish, subscribe, receive], topics: ["#", "$SYS/#"]}]}` + "\n"

// startOpen runs a broker with one listener for tcp, under that rule and more configuration.
func startOpen(t *testing.T, more string) (*process, *mosquitto) {
	b := startConfigured(t, everybody+"listeners:\n"+listener("tcp")+"http: {address: \"127.0.0.1:0\"}\n"+more)
	return b, &mosquitto{t: t, version: "mqttv5", broker: b.at(0)}
}

// TestRulesChange: a live mosquitto_sub gets nothing any more within a second after a rule says so, and gets on when the rule
// goes, without subscribing again.
func TestRulesChange(t *testing.T) {
	t.Parallel()
	b, m := startOpen(t, "")
	s := m.sub("-i", "watcher", "-t", "live/#", "-t", "fence")
	// passes tells whether a message gets through, by a second one that does in any case.
	n := 0
	passes := func(topic string) bool {
		n++
		m.run("mosquitto_pub", "-t", topic, "-m", fmt.Sprint(n), "-q", "1")
		m.run("mosquitto_pub", "-t", "fence", "-m", fmt.Sprint(n), "-q", "1")
		got := s.next()
		passed := got == fmt.Sprintf("%s 0 0 %d", topic, n)
		if passed {
			got = s.next()
		}
		if want := fmt.Sprintf("fence 0 0 %d", n); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		return passed
	}
	becomes := func(topic string, want bool) {
		t.Helper()
		for began := time.Now(); passes(topic) != want; {
			if since := time.Since(began); since > patience {
				t.Fatalf("after %v: %s arrives: %v", since, topic, !want)
			}
		}
	}
	for _, what := range []string{"receive", "subscribe"} {
		becomes("live/a", true)
		rule := b.cli("", "rules", "add", "--deny", what, "--topic", "live/#", "--client", "watcher")
		becomes("live/a", false)
		id := strings.Fields(rule)[1]
		b.cli("", "rules", "delete", strings.TrimSuffix(id, ":"))
		becomes("live/a", true)
	}
}

// TestRetainedDenied: who may not receive it any more does not get what was retained before.
func TestRetainedDenied(t *testing.T) {
	t.Parallel()
	b, m := startOpen(t, "")
	for _, topic := range []string{"open/a", "secret/a"} {
		m.run("mosquitto_pub", "-t", topic, "-m", "kept", "-q", "1", "-r")
	}
	m.sub("-t", "secret/#").gets("secret/a 0 1 kept")
	b.cli("", "rules", "add", "--deny", "receive", "--topic", "secret/#")
	s := m.sub("-t", "#")
	s.gets("open/a 0 1 kept")
	m.run("mosquitto_pub", "-t", "end", "-m", "x", "-q", "1")
	s.gets("end 0 0 x")

	b.cli("", "rules", "add", "--deny", "retain", "--topic", "open/#")
	m.refused("ot authori", "-t", "open/b", "-r")
	m.run("mosquitto_pub", "-t", "open/b", "-m", "x", "-q", "1")
}

// TestWillDenied: a will that could not be published is refused at CONNECT.
func TestWillDenied(t *testing.T) {
	t.Parallel()
	b, m := startOpen(t, "")
	b.cli("", "rules", "add", "--deny", "publish", "--topic", "locked/#")
	m.refused("Not authorized", "-t", "locked/a")
	for version, why := range map[string]string{"mqttv31": "ot authorised", "mqttv311": "ot authorised", "mqttv5": "ot authorized"} {
		m.version = version
		m.refused(why, "--will-topic", "locked/a", "--will-payload", "gone")
	}
}

// TestBan: a banned mosquitto_sub is out and stays out until the ban ends; by client id, user pattern of ids, and address.
func TestBan(t *testing.T) {
	t.Parallel()
	b, m := startOpen(t, "")
	for _, ban := range [][]string{{"client", "press-07"}, {"pattern", "press-*"}, {"address", "127.0.0.0/8"}} {
		s := m.sub("-i", "press-07", "-t", "a")
		b.cli("", append([]string{"ban", "--reason", "it floods"}, ban...)...)
		s.ends("(152)") // 0x98, administrative action
		why := "Banned"
		if ban[0] == "address" {
			why = "" // closed before a word
		}
		m.refused(why, "-i", "press-07")
		if ban[0] != "address" {
			m.run("mosquitto_pub", "-i", "other", "-t", "a", "-m", "x", "-q", "1")
		}
		b.cli("", "unban", ban[0], ban[1])
		m.run("mosquitto_pub", "-i", "press-07", "-t", "a", "-m", "x", "-q", "1")
	}
}

// TestQuarantine: a client in quarantine learns why, reaches nobody, and goes on where it was when it is let out.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	b, m := startOpen(t, "")
	for _, k := range kinds() {
		if k.version != 5 {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			bench := &bench{t: t, kind: k, door: "tcp", broker: b.at(0)}
			c := bench.dial(options{id: "press-07"})
			c.subscribed("work", 1)
			c.subscribed("$SYS/quarantine", 1)
			b.cli("", "quarantine", "client", "press-07", "--reason", "unknown firmware")
			if got := c.next(); got.Topic != "$SYS/quarantine" || !strings.Contains(got.Payload, "unknown firmware") {
				t.Errorf("is told %+v", got)
			}
			if !strings.HasPrefix(k.name, "autopaho") { // its queue does not tell
				if r := c.await(c.publish(message{Topic: "work", Payload: "from quarantine", QoS: 1})); r.code != 0x87 {
					t.Errorf("publishes: %+v", r)
				}
			}
			if code, _ := c.subscribe("elsewhere", 1); code != 0x87 {
				t.Errorf("subscribes: %#x", code)
			}
			m.run("mosquitto_pub", "-t", "work", "-m", "into quarantine", "-q", "1")
			b.cli("", "unban", "client", "press-07")
			m.run("mosquitto_pub", "-t", "work", "-m", "go on", "-q", "1")
			c.gets(message{Topic: "work", Payload: "go on", QoS: 1})
			c.closed()
		})
	}
}

// TestRates: a flood of mosquitto_pub is slowed down, and nothing of it is lost.
func TestRates(t *testing.T) {
	t.Parallel()
	_, m := startOpen(t, "rates: {client: {publish_messages: 400}}\n")
	s := m.sub("-t", "flood", "-q", "1")
	for qos := range 2 {
		began := time.Now()
		m.pub(lines(800), qos, "-t", "flood")
		s.gets(prefixed(fmt.Sprintf("flood %d 0 ", qos), lines(800))...)
		if took := time.Since(began); took < 900*time.Millisecond {
			t.Errorf("QoS %d: 800 messages at 400 a second, as many at once, took %v", qos, took)
		}
	}
}

// TestMountPoint: two listeners with worlds of their own, and one that sees both.
func TestMountPoint(t *testing.T) {
	t.Parallel()
	b := startConfigured(t, everybody+"listeners:\n"+
		listenerAt("tcp", "127.0.0.1:0", "mount_point: north/, ")+
		listenerAt("mqtts", "127.0.0.1:0", "mount_point: \"south/{client}/\", ")+
		listener("tcp")+"http: {address: \"127.0.0.1:0\"}\n")
	m := &mosquitto{t: t, version: "mqttv5"}
	north, south, above := m.at(b.at(0)), m.at(b.at(1), "--cafile", authority()), m.at(b.at(2))
	n, s, a := north.sub("-t", "#"), south.sub("-i", "pole", "-t", "#"), above.sub("-t", "#")
	north.run("mosquitto_pub", "-t", "t", "-m", "1", "-q", "1", "-r")
	south.run("mosquitto_pub", "-i", "cape", "-t", "t", "-m", "2", "-q", "1", "-r")
	above.run("mosquitto_pub", "-t", "south/pole/t", "-m", "3", "-q", "1")
	n.gets("t 0 0 1")
	s.gets("t 0 0 3")
	a.gets("north/t 0 0 1", "south/cape/t 0 0 2", "south/pole/t 0 0 3")
	south.sub("-i", "other", "-t", "#", "-t", "will/#", "--will-topic", "will/x", "--will-payload", "gone").cmd.Process.Kill()
	a.gets("south/other/will/x 0 0 gone")
	north.sub("-t", "#").gets("t 0 1 1")
}

package why

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/why"
	"github.com/sapwood-mqtt/sapwood/test/selfsigned"
)

// The doors of the plant, in the order of its configuration.
const (
	anyone  = iota // no password
	members        // users with passwords
	elders         // MQTT 3.1.1 alone
	sealed         // client certificates
)

const plant = `
listeners:
  - {name: anyone, address: '127.0.0.1:0'}
  - {name: members, address: '127.0.0.1:0', authentication: [password]}
  - {name: elders, address: '127.0.0.1:0', versions: ['3.1.1']}
  - {name: sealed, address: '127.0.0.1:0', tls: {certificate: ['%[1]s/server.pem'], key: ['%[1]s/server.key'], client_ca: '%[2]s/server.pem'}}
authorization:
  rules:
    - {name: everything, allow: [publish, subscribe, receive], topics: ['#', '$SYS/#', '$data/#']}
    - {name: no orders, deny: [publish], topics: ['orders/#']}
    - {name: no secrets, deny: [subscribe], topics: ['secret/#']}
    - {name: muted, deny: [receive], topics: ['muted/#']}
limits: {connect_timeout: 4s, max_packet_size: 64KiB, max_outgoing_bytes: 64KiB}
rates:
  classes:
    - {name: slow, clients: ['rate-delay'], client: {publish_messages: 1}}
    - {name: refused, clients: ['rate-refuse'], answer: refuse, client: {publish_messages: 1}}
    - {name: thrown out, clients: ['rate-disconnect'], answer: disconnect, client: {publish_messages: 1}}
    - {name: short queues, clients: ['queue-full*'], max_queued_messages: 2}
    - {name: few at a time, clients: ['receive-maximum'], receive_maximum: 2}
`

// scene is where one fault is provoked.
type scene struct {
	*testing.T
	*site
	id string // the client's: the name of the fault
	ca *selfsigned.Certificate
}

// at connects to a door from an address, and sends.
func (s *scene) at(door int, from string, lines ...string) *peer {
	s.Helper()
	p := dial(s.T, s.MQTT[door], from)
	p.send(lines...)
	return p
}

// client is a client of the scene, connected with more words of CONNECT.
func (s *scene) client(words string) *peer {
	s.Helper()
	return s.named(s.id, words)
}

// named is a client.
func (s *scene) named(id, words string) *peer {
	s.Helper()
	p := s.at(anyone, "", "CONNECT id="+id+" "+words)
	p.until("CONNACK")
	return p
}

// subscriber is the client of the scene with a subscription.
func (s *scene) subscriber(words, filter string) *peer {
	s.Helper()
	p := s.client(words)
	p.send("SUBSCRIBE id=1 " + filter)
	p.until("SUBACK")
	return p
}

// away is the same, which then disconnects.
func (s *scene) away(words, filter string) {
	s.Helper()
	p := s.subscriber(words, filter)
	p.send("DISCONNECT")
	p.closed()
}

// say publishes at QoS 1, as somebody else, and waits for the acknowledgement; at QoS 0 it says something behind it.
func (s *scene) say(lines ...string) {
	s.Helper()
	p := s.named("boss-of-"+s.id, "")
	for _, line := range lines {
		p.send("PUBLISH "+line, "PUBLISH qos=1 id=9 topic=behind")
		p.until("PUBACK id=9")
	}
	p.send("DISCONNECT")
	p.closed()
}

// again connects n times, from each address in turn.
func (s *scene) again(n int, from ...string) (last *peer) {
	s.Helper()
	for i := range n {
		last = s.at(anyone, from[i%len(from)], "CONNECT clean id="+s.id)
		last.until("CONNACK")
	}
	return last
}

// fault is something that goes wrong, and what is said about it.
type fault struct {
	name    string // and the client's id
	do      func(*scene)
	ask     string // who is asked about instead of name
	topic   string // why-not is asked about
	verdict why.Verdict
	cause   string
	words   string // that stand in the sentence
}

// refusals are of those who do not get in.
var refusals = []fault{
	{name: "wrong-password", do: func(s *scene) {
		s.at(members, "", "CONNECT id="+s.id+" username=anna password=wrong").closed()
	}, verdict: why.Refused, cause: "bad_user_name_or_password", words: `wrong password for user "anna"`},
	{name: "unknown-user", do: func(s *scene) {
		s.at(members, "", "CONNECT id="+s.id+" username=nobody password=x").closed()
	}, verdict: why.Refused, cause: "bad_user_name_or_password", words: `nobody`},
	{name: "no-password", do: func(s *scene) {
		s.at(members, "", "CONNECT id="+s.id).closed()
	}, verdict: why.Refused, cause: "bad_user_name_or_password", words: "refused"},
	{name: "banned-id", do: func(s *scene) {
		s.call("POST", "/bans", map[string]any{"subject": "client", "value": s.id, "reason": "it is loud"}, nil)
		s.at(anyone, "", "CONNECT id="+s.id).closed()
	}, verdict: why.Refused, cause: "banned", words: "it is loud"},
	{name: "banned-user", do: func(s *scene) {
		s.call("POST", "/bans", map[string]any{"subject": "user", "value": "carl", "reason": "he left"}, nil)
		s.at(members, "", "CONNECT id="+s.id+" username=carl password=right-word").closed()
	}, verdict: why.Refused, cause: "banned", words: "he left"},
	{name: "banned-address", do: func(s *scene) {
		s.at(anyone, "127.0.7.1", "CONNECT id="+s.id).until("CONNACK")
		s.call("POST", "/bans", map[string]any{"subject": "address", "value": "127.0.7.1", "reason": "a stranger"}, nil)
		if conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 7, 1)}}).DialContext(s.Context(), "tcp", s.MQTT[anyone]); err == nil {
			conn.Close() // it may be closed by now, or before it is seen to be open
		}
	}, verdict: why.Disconnected, cause: "banned", words: "its address is banned"},
	{name: "wrong-version", ask: "127.0.7.6", do: func(s *scene) {
		s.at(elders, "127.0.7.6", "CONNECT v5 id="+s.id).closed()
	}, verdict: why.Refused, cause: "unsupported_protocol_version", words: "versions"},
	{name: "bound-elsewhere", do: func(s *scene) {
		s.at(members, "", "CONNECT id="+s.id+" username=bound password=right-word").closed()
	}, verdict: why.Refused, cause: "not_authorized", words: "client id"},
	{name: "somebody-elses-id", do: func(s *scene) {
		s.at(members, "", "CONNECT id="+s.id+" username=anna password=right-word").until("CONNACK")
		s.at(members, "", "CONNECT id="+s.id+" username=carla password=right-word").closed()
	}, verdict: why.Fine, cause: "id_wanted", words: "somebody else"},
	{name: "connect-timeout", ask: "127.0.7.2", do: func(s *scene) {
		s.at(anyone, "127.0.7.2").closed()
	}, verdict: why.Refused, cause: "connect_timeout", words: "no CONNECT came"},
	{name: "not-mqtt", ask: "127.0.7.3", do: func(s *scene) {
		s.at(anyone, "127.0.7.3", "RAW 'GET / HTTP/1.1' 0d 0a 0d 0a").closed()
	}, verdict: why.Refused, cause: "not_mqtt", words: "is not MQTT"},
	{name: "expired-certificate", ask: "127.0.7.4", do: func(s *scene) {
		dial(s.T, s.MQTT[sealed], "127.0.7.4").shake(sign(s.T, s.ca, s.id, time.Now().Add(-time.Hour)))
	}, verdict: why.Refused, cause: "tls", words: "expired"},
	{name: "strange-certificate", ask: "127.0.7.5", do: func(s *scene) {
		strange, err := selfsigned.New("strange")
		if err != nil {
			s.Fatal(err)
		}
		dial(s.T, s.MQTT[sealed], "127.0.7.5").shake(sign(s.T, strange, s.id, time.Now().Add(time.Hour)))
	}, verdict: why.Refused, cause: "tls", words: "unknown authority"},
	{name: "hung-up", do: func(s *scene) {
		s.at(members, "", "CONNECT id="+s.id+" username=anna password=wrong").conn.Close()
		var a why.Answer
		for end := time.Now().Add(patience); a.Cause != "hung_up" && time.Now().Before(end); { // unless the password is checked before it is seen to be gone
			if s.call("GET", "/clients/"+s.id+"/why", nil, &a); a.Cause == "bad_user_name_or_password" {
				s.at(members, "", "CONNECT id="+s.id+" username=anna password=wrong").conn.Close()
			}
			<-time.After(50 * time.Millisecond)
		}
	}, verdict: why.Refused, cause: "hung_up", words: "hangs up before it has an answer"},
	{name: "guesses", do: func(s *scene) {
		for range 12 {
			s.at(members, "127.0.7.22", "CONNECT id="+s.id+" username=dora password=wrong").closed()
		}
	}, verdict: why.Refused, cause: "connection_rate_exceeded", words: "authentication.password.max_failures"},
	{name: "never-seen", do: func(*scene) {}, verdict: why.Unknown, cause: "never_seen", words: "since the events begin"},
}

// endings are of those who were there.
var endings = []fault{
	{name: "keep-alive", do: func(s *scene) {
		s.client("keepalive=1").closed()
	}, verdict: why.Disconnected, cause: "keep_alive", words: "no packet"},
	{name: "cut", do: func(s *scene) {
		p := s.client("")
		p.conn.(*net.TCPConn).SetLinger(0)
		p.conn.Close()
	}, verdict: why.Disconnected, cause: "broken", words: "reset"},
	{name: "closed", do: func(s *scene) {
		s.client("").conn.Close()
	}, verdict: why.Disconnected, cause: "closed", words: "without DISCONNECT"},
	{name: "in-good-order", do: func(s *scene) {
		p := s.client("")
		p.send("DISCONNECT")
		p.closed()
	}, verdict: why.Disconnected, cause: "client", words: "in good order"},
	{name: "with-will", do: func(s *scene) {
		p := s.client(`will=gone "bye"`)
		p.send("DISCONNECT 0x04")
		p.closed()
	}, verdict: why.Disconnected, cause: "client", words: "its will"},
	{name: "taken-over", do: func(s *scene) {
		s.again(2, "127.0.7.10", "127.0.7.11")
	}, verdict: why.Fine, cause: "taken_over", words: "127.0.7.1"},
	{name: "fight", do: func(s *scene) {
		s.again(7, "127.0.7.12", "127.0.7.13")
	}, verdict: why.Flapping, cause: "client_id_fight", words: "Two devices"},
	{name: "fight-here", do: func(s *scene) {
		for i := range 4 {
			s.named(s.id, []string{"keepalive=30", "keepalive=60"}[i%2])
		}
	}, verdict: why.Flapping, cause: "client_id_fight", words: "by turns with keep alive 30 and keep alive 60"},
	{name: "endless", do: func(s *scene) {
		s.again(21, "127.0.7.14")
	}, verdict: why.Flapping, cause: "client_id_fight", words: "Two programs at 127.0.7.14 most likely use"},
	{name: "impatient", do: func(s *scene) {
		s.again(4, "127.0.7.15")
	}, verdict: why.Flapping, cause: "reconnects", words: "One device at 127.0.7.15 most likely connects again before its old connection is closed: 3 times"},
	{name: "moves", do: func(s *scene) {
		s.again(4, "127.0.7.16", "127.0.7.17", "127.0.7.18", "127.0.7.19")
	}, verdict: why.Flapping, cause: "reconnects", words: "moves between networks"},
	{name: "flapping", do: func(s *scene) {
		for range 6 {
			p := s.again(1, "")
			p.send("DISCONNECT")
			p.closed() // else the next one would take over a connection that is not known to be gone
		}
		s.again(1, "")
	}, verdict: why.Flapping, cause: "flapping", words: "connected 7 times"},
	{name: "malformed", do: func(s *scene) {
		p := s.client("")
		p.send("RAW 36 00")
		p.closed()
	}, verdict: why.Disconnected, cause: "malformed_packet", words: "QoS 3"},
	{name: "too-large", do: func(s *scene) {
		p := s.client("")
		p.send("RAW 30 ff ff ff 7f")
		p.closed()
	}, verdict: why.Disconnected, cause: "packet_too_large", words: "0x95"},
	{name: "bad-alias", do: func(s *scene) {
		p := s.client("")
		p.send(`PUBLISH topic=a/b alias=99 "x"`)
		p.closed()
	}, verdict: why.Disconnected, cause: "topic_alias_invalid", words: "0x94"},
	{name: "receive-maximum", do: func(s *scene) {
		p := s.client("")
		p.send("PUBLISH qos=2 id=1 topic=r", "PUBLISH qos=2 id=2 topic=r", "PUBLISH qos=2 id=3 topic=r")
		p.closed()
	}, verdict: why.Disconnected, cause: "receive_maximum_exceeded", words: "0x93"},
	{name: "by-admin", do: func(s *scene) {
		p := s.client("")
		s.call("POST", "/clients/"+s.id+"/disconnect", map[string]any{"reason": "a new firmware"}, nil)
		p.closed()
	}, verdict: why.Disconnected, cause: "admin", words: `by the operator "admin" from 127.0.0.1: a new firmware`},
	{name: "strangers-beside", do: func(s *scene) {
		p := s.at(anyone, "127.0.7.21", "CONNECT id="+s.id)
		p.until("CONNACK")
		p.conn.Close()
		s.says(s.T, &fault{name: s.id, verdict: why.Disconnected, cause: "closed", words: "without DISCONNECT"})
		s.at(anyone, "127.0.7.21", "RAW 'GET / HTTP/1.1' 0d 0a 0d 0a").closed()
	}, verdict: why.Disconnected, cause: "closed", words: "from the same address and perhaps of another device"},
	{name: "rate-disconnect", do: func(s *scene) {
		p := s.client("")
		for range 20 {
			p.send("PUBLISH topic=r")
		}
		p.closed()
	}, verdict: why.Disconnected, cause: "rate", words: "rates.answer"},
	{name: "banned-while-here", do: func(s *scene) {
		p := s.client("")
		s.call("POST", "/bans", map[string]any{"subject": "client", "value": s.id, "reason": "enough"}, nil)
		p.closed()
	}, verdict: why.Disconnected, cause: "banned", words: "enough"},
}

// troubles are of those who are there.
var troubles = []fault{
	{name: "idle", do: func(s *scene) { s.client("") }, verdict: why.Silent, cause: "idle", words: "neither published nor subscribed"},
	{name: "well", do: func(s *scene) {
		s.subscriber("", "a/b qos=1").send("PUBLISH topic=x/y")
	}, verdict: why.Fine, cause: "fine", words: "nothing hinders it"},
	{name: "may-not-publish", do: func(s *scene) {
		p := s.client("")
		p.send("PUBLISH qos=1 id=1 topic=orders/7")
		p.until("PUBACK id=1 0x87")
	}, verdict: why.Hindered, cause: "denied", words: `may not publish to "orders/7"`},
	{name: "may-not-publish-311", do: func(s *scene) {
		p := s.at(anyone, "", "CONNECT v3.1.1 clean id="+s.id, "PUBLISH qos=1 id=1 topic=orders/8")
		p.until("PUBACK")
	}, verdict: why.Hindered, cause: "denied", words: `may not publish to "orders/8"`},
	{name: "may-not-subscribe", do: func(s *scene) {
		s.subscriber("", "secret/plan qos=1")
	}, verdict: why.Hindered, cause: "denied", words: `may not subscribe to the filter "secret/plan"`},
	{name: "rests", do: func(s *scene) {
		s.subscriber("", "hall/9 qos=1")
		s.call("POST", "/rules", map[string]any{"name": "hall closed", "deny": []string{"subscribe", "receive"}, "topics": []string{"hall/#"}}, nil)
	}, verdict: why.Hindered, cause: "rests", words: "hall/9"},
	{name: "quarantined", do: func(s *scene) {
		s.subscriber("", "a/b qos=1")
		s.call("POST", "/bans", map[string]any{"subject": "client", "value": s.id, "quarantine": true, "reason": "strange"}, nil)
	}, verdict: why.Hindered, cause: "quarantine", words: "quarantine"},
	{name: "rate-delay", do: func(s *scene) {
		p := s.client("")
		for range 20 {
			p.send("PUBLISH topic=r")
		}
	}, verdict: why.Slow, cause: "client_publish_messages", words: "rates.client.publish_messages"},
	{name: "rate-refuse", do: func(s *scene) {
		p := s.client("")
		for i := range 5 {
			p.send(fmt.Sprintf("PUBLISH qos=1 id=%d topic=r", i+1))
		}
		p.until("PUBACK id=5")
	}, verdict: why.Slow, cause: "client_publish_messages", words: "rates.client.publish_messages"},
	{name: "does-not-read", do: func(s *scene) {
		p := s.client("")
		p.conn.(*net.TCPConn).SetReadBuffer(4096)
		p.send("SUBSCRIBE id=1 flood/" + s.id)
		p.until("SUBACK")
		b := s.named("flood-of-"+s.id, "")
		for range 400 {
			b.send(fmt.Sprintf("PUBLISH topic=flood/%s %q", s.id, strings.Repeat("x", 50_000)))
		}
	}, verdict: why.Slow, cause: "write_stall", words: "has not read"},
	{name: "does-not-acknowledge", do: func(s *scene) {
		p := s.subscriber("receive-max=2", "work/"+s.id+" qos=1")
		for range 5 {
			s.say("qos=1 id=1 topic=work/" + s.id)
		}
		p.until("PUBLISH")
	}, verdict: why.Slow, cause: "ack_stall", words: "3 wait"},
}

// missed are of those who are there, and did not get something.
var missed = []fault{
	{name: "too-large-once", do: func(s *scene) {
		s.subscriber("max-packet=60", "m/large qos=1")
		s.say("qos=1 id=1 topic=m/large " + fmt.Sprintf("%q", strings.Repeat("x", 100)))
	}, verdict: why.Hindered, cause: "too_large", words: "1 message did not reach it in the last 10 min: it is larger than"},
	{name: "queue-full-here", do: func(s *scene) {
		p := s.subscriber("receive-max=1", "m/full qos=1")
		s.say("qos=1 id=1 topic=m/full", "qos=1 id=2 topic=m/full", "qos=1 id=3 topic=m/full", "qos=1 id=4 topic=m/full")
		p.until("PUBLISH")
	}, verdict: why.Slow, cause: "queue_full", words: "did not reach it in the last 10 min: its queue is full"},
}

// losses are messages that somebody did not get.
var losses = []fault{
	{name: "got-it", topic: "n/got", do: func(s *scene) {
		p := s.subscriber("", "n/got qos=1")
		s.say("qos=1 id=1 topic=n/got")
		p.until("PUBLISH")
		p.send("PUBACK id=1")
	}, verdict: why.Received, cause: "received", words: "acknowledged"},
	{name: "never-published", topic: "n/never", do: func(s *scene) {
		s.subscriber("", "n/never qos=1")
	}, verdict: why.NotPublished, cause: "never_published", words: "No message was published"},
	{name: "publisher-denied", topic: "orders/9", do: func(s *scene) {
		s.subscriber("", "orders/9 qos=1")
		s.say("qos=1 id=1 topic=orders/9")
	}, verdict: why.NotPublished, cause: "publish_denied", words: "boss-of-publisher-denied"},
	{name: "nobody", topic: "n/nobody", do: func(s *scene) {
		s.say("qos=1 id=1 topic=n/nobody")
	}, verdict: why.Absent, cause: "never_seen", words: "no client"},
	{name: "refused-reader", topic: "n/refused", do: func(s *scene) {
		s.at(members, "", "CONNECT id="+s.id+" username=anna password=wrong").closed()
		s.say("qos=1 id=1 topic=n/refused")
	}, verdict: why.Absent, cause: "refused", words: "wrong password"},
	{name: "typo", topic: "line/speed", do: func(s *scene) {
		s.subscriber("", "line/sped qos=1")
		s.say("qos=1 id=1 topic=line/speed")
	}, verdict: why.NotMatched, cause: "no_subscription", words: "line/sped"},
	{name: "case", topic: "Line/Heat", do: func(s *scene) {
		s.subscriber("", "line/heat qos=1")
		s.say("qos=1 id=1 topic=Line/Heat")
	}, verdict: why.NotMatched, cause: "no_subscription", words: "line/heat"},
	{name: "leading-slash", topic: "/line/load", do: func(s *scene) {
		s.subscriber("", "line/load qos=1")
		s.say("qos=1 id=1 topic=/line/load")
	}, verdict: why.NotMatched, cause: "no_subscription", words: "line/load"},
	{name: "one-level", topic: "line/a/b", do: func(s *scene) {
		s.subscriber("", "line/+ qos=1")
		s.say("qos=1 id=1 topic=line/a/b")
	}, verdict: why.NotMatched, cause: "no_subscription", words: "line/+"},
	{name: "dollar", topic: "$data/x", do: func(s *scene) {
		s.subscriber("", "# qos=0")
		s.say("qos=1 id=1 topic=$data/x")
	}, verdict: why.NotMatched, cause: "no_subscription", words: "$"},
	{name: "unsubscribed", topic: "n/un", do: func(s *scene) {
		p := s.subscriber("", "n/un qos=1")
		p.send("UNSUBSCRIBE id=2 n/un")
		p.until("UNSUBACK")
		s.say("qos=1 id=1 topic=n/un")
	}, verdict: why.NotMatched, cause: "unsubscribed", words: "unsubscribed"},
	{name: "subscription-refused", topic: "secret/x", do: func(s *scene) {
		s.subscriber("", "secret/x qos=1")
		s.say("qos=1 id=1 topic=secret/x")
	}, verdict: why.NotMatched, cause: "subscription_refused", words: "refused"},
	{name: "too-late", topic: "n/late", do: func(s *scene) {
		p := s.client("")
		s.say("qos=1 id=1 topic=n/late")
		<-time.After(200 * time.Millisecond) // what is closer together cannot be told apart
		p.send("SUBSCRIBE id=1 n/late qos=1")
		p.until("SUBACK")
	}, verdict: why.NotMatched, cause: "too_late", words: "before"},
	{name: "before-its-session", topic: "n/early", do: func(s *scene) {
		s.say("qos=1 id=1 topic=n/early")
		<-time.After(200 * time.Millisecond)
		s.subscriber("", "n/early qos=1")
	}, verdict: why.NotMatched, cause: "too_late", words: "before"},
	{name: "no-local", topic: "n/local", do: func(s *scene) {
		p := s.subscriber("", "n/local qos=1 nl")
		p.send("PUBLISH qos=1 id=1 topic=n/local")
		p.until("PUBACK")
	}, verdict: why.NotMatched, cause: "no_local", words: "No Local"},
	{name: "shared", topic: "n/shared", do: func(s *scene) {
		p := s.named("other-member", "")
		p.send("SUBSCRIBE id=1 $share/g/n/shared qos=1")
		p.until("SUBACK")
		s.away("expiry=300", "$share/g/n/shared qos=1")
		s.say("qos=1 id=1 topic=n/shared")
		p.until("PUBLISH")
		p.send("PUBACK id=1")
	}, verdict: why.NotMatched, cause: "shared", words: "$share/g/n/shared"},
	{name: "may-not-receive", topic: "muted/x", do: func(s *scene) {
		s.subscriber("", "muted/x qos=1")
		s.say("qos=1 id=1 topic=muted/x")
	}, verdict: why.NotAllowed, cause: "denied", words: "muted"},
	{name: "rests-since", topic: "yard/1", do: func(s *scene) {
		s.subscriber("", "yard/1 qos=1")
		s.call("POST", "/rules", map[string]any{"name": "yard closed", "deny": []string{"subscribe"}, "topics": []string{"yard/#"}}, nil)
		s.say("qos=1 id=1 topic=yard/1")
	}, verdict: why.NotAllowed, cause: "rests", words: "rests"},
	{name: "kept-apart", topic: "n/apart", do: func(s *scene) {
		s.subscriber("", "n/apart qos=1")
		s.call("POST", "/bans", map[string]any{"subject": "client", "value": s.id, "quarantine": true, "reason": "strange"}, nil)
		s.say("qos=1 id=1 topic=n/apart")
	}, verdict: why.NotAllowed, cause: "quarantine", words: "quarantine"},
	{name: "queue-full", topic: "n/full", do: func(s *scene) {
		s.away("expiry=300", "n/full qos=1")
		s.say("qos=1 id=1 topic=n/full", "qos=1 id=2 topic=n/full", "qos=1 id=3 topic=n/full")
	}, verdict: why.Lost, cause: "queue_full", words: "queue is full"},
	{name: "expired", topic: "n/expired", do: func(s *scene) {
		s.away("expiry=300", "n/expired qos=1")
		s.say("qos=1 id=1 topic=n/expired expiry=1")
		p := s.named("clock-of-"+s.id, "keepalive=1") // 1.5 s
		p.closed()
		s.client("expiry=300")
	}, verdict: why.Lost, cause: "expired", words: "expiry interval"},
	{name: "too-large-for-it", topic: "n/large", do: func(s *scene) {
		s.subscriber("max-packet=60", "n/large qos=1")
		s.say("qos=1 id=1 topic=n/large " + fmt.Sprintf("%q", strings.Repeat("x", 100)))
	}, verdict: why.Lost, cause: "too_large", words: "Maximum Packet Size"},
	{name: "away-at-qos0", topic: "n/qos0", do: func(s *scene) {
		s.away("expiry=300", "n/qos0 qos=1")
		s.say("topic=n/qos0")
	}, verdict: why.Absent, cause: "offline", words: "published at QoS 0"},
	{name: "downgraded", topic: "n/down", do: func(s *scene) {
		s.away("expiry=300", "n/down qos=0")
		s.say("qos=1 id=1 topic=n/down")
	}, verdict: why.Absent, cause: "offline", words: "subscription"},
	{name: "clean-session", topic: "n/clean", do: func(s *scene) {
		p := s.at(anyone, "", "CONNECT v3.1.1 clean id="+s.id, "SUBSCRIBE id=1 n/clean qos=1")
		p.until("SUBACK")
		p.send("DISCONNECT")
		p.closed()
		s.say("qos=1 id=1 topic=n/clean")
	}, verdict: why.Absent, cause: "no_session", words: "session"},
	{name: "session-expired", topic: "n/gone", do: func(s *scene) {
		s.away("expiry=1", "n/gone qos=1")
		p := s.named("clock-of-"+s.id, "keepalive=1")
		p.closed()
		s.say("qos=1 id=1 topic=n/gone")
	}, verdict: why.Absent, cause: "session_expired", words: "expired"},
	{name: "back-after-a-drop", topic: "n/back", do: func(s *scene) {
		s.away("expiry=300", "n/back qos=1")
		s.say("topic=n/back")
		s.says(s.T, &fault{name: s.id, topic: "n/back", verdict: why.Absent, cause: "offline", words: "published at QoS 0"})
		p := s.client("expiry=300")
		s.say("qos=1 id=1 topic=n/back")
		p.until("PUBLISH")
		p.send("PUBACK id=1")
	}, verdict: why.Received, cause: "received", words: "acknowledged"},
	{name: "waits-after-a-drop", topic: "n/kept", do: func(s *scene) {
		s.away("expiry=300", "n/kept qos=1")
		s.say("topic=n/kept")
		<-time.After(200 * time.Millisecond)
		s.say("qos=1 id=1 topic=n/kept")
	}, verdict: why.Waiting, cause: "queued", words: "first in the queue"},
	{name: "small-after-large", topic: "n/small", do: func(s *scene) {
		p := s.subscriber("max-packet=60", "n/small qos=1")
		s.say("qos=1 id=1 topic=n/small " + fmt.Sprintf("%q", strings.Repeat("x", 100)))
		s.says(s.T, &fault{name: s.id, topic: "n/small", verdict: why.Lost, cause: "too_large", words: "Maximum Packet Size"})
		s.say("qos=1 id=1 topic=n/small")
		p.until("PUBLISH")
		p.send("PUBACK id=2")
	}, verdict: why.Received, cause: "received", words: "acknowledged"},
	{name: "acknowledged-before-others", topic: "n/first/1", do: func(s *scene) {
		p := s.subscriber("receive-max=1", "n/first/+ qos=1")
		s.say("qos=1 id=1 topic=n/first/1")
		p.until("PUBLISH")
		p.send("PUBACK id=1")
		for range 3 {
			s.say("qos=1 id=1 topic=n/first/2")
		}
		p.until("PUBLISH")
	}, verdict: why.Received, cause: "received", words: "acknowledged"},
	{name: "sent-alone", topic: "n/alone", do: func(s *scene) {
		p := s.subscriber("", "n/alone qos=1")
		s.say("qos=1 id=1 topic=n/alone")
		p.until("PUBLISH")
	}, verdict: why.Waiting, cause: "unacknowledged", words: "is not acknowledged"},
	{name: "expires-in-the-queue", topic: "n/old", do: func(s *scene) {
		s.away("expiry=300", "n/old qos=1")
		s.say("qos=1 id=1 topic=n/old expiry=1")
	}, verdict: why.Lost, cause: "expired", words: "its expiry interval passed"},
	{name: "waits", topic: "w/waits", do: func(s *scene) {
		s.away("expiry=300", "w/+ qos=1")
		s.say("qos=1 id=1 topic=w/other", "qos=1 id=2 topic=w/waits")
	}, verdict: why.Waiting, cause: "queued", words: "behind 1 other: it has been disconnected"},
	{name: "waits-behind", topic: "n/behind/4", do: func(s *scene) {
		p := s.subscriber("receive-max=1", "n/behind/+ qos=1")
		for i := range 5 {
			s.say(fmt.Sprintf("qos=1 id=1 topic=n/behind/%d", i))
		}
		p.until("PUBLISH")
	}, verdict: why.Waiting, cause: "queued", words: "behind 3 others; 1 message is in flight and not acknowledged"},
}

// TestFaults provokes everything that can be wrong in one broker, side by side, and asks.
func TestFaults(t *testing.T) {
	ca, err := selfsigned.New("authority")
	if err != nil {
		t.Fatal(err)
	}
	server, err := selfsigned.New("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	dirs := []any{t.TempDir(), t.TempDir()}
	for i, c := range []*selfsigned.Certificate{server, ca} {
		if _, _, err := c.Write(dirs[i].(string)); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, fmt.Sprintf(plant, dirs...))
	for _, u := range []string{"anna", "carl", "carla", "dora"} {
		s.call("POST", "/users", map[string]any{"name": u, "password": "right-word"}, nil)
	}
	s.call("POST", "/users", map[string]any{"name": "bound", "password": "right-word", "client_id": "elsewhere"}, nil)
	t.Run("all", func(t *testing.T) {
		for _, table := range [][]fault{refusals, endings, troubles, missed, losses} {
			for _, f := range table {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					f.do(&scene{t, s, f.name, ca})
					s.says(t, &f)
				})
			}
		}
	})
}

// once lets one command at a time run: each is a process.
var once sync.Mutex

// says asks until the answer is the one that is wanted: much is told a second later.
func (s *site) says(t *testing.T, f *fault) {
	t.Helper()
	id := f.name
	if f.ask != "" {
		id = f.ask
	}
	path := "/clients/" + url.PathEscape(id) + "/why"
	args := []string{"why", id}
	if f.topic != "" {
		path = "/why-not?" + url.Values{"client": {id}, "topic": {f.topic}}.Encode()
		args = []string{"why-not", f.topic, id}
	}
	var a why.Answer
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(patience); ; <-again.C {
		a = why.Answer{}
		if err := s.try(http.MethodGet, path, nil, &a); err != nil {
			t.Fatal(err)
		}
		if a.Verdict == f.verdict && a.Cause == f.cause && strings.Contains(a.Text, f.words) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%s, %s: %s\n%+v %q\nwant %s, %s: …%s…", a.Verdict, a.Cause, a.Text, a.Evidence, a.Suggestions, f.verdict, f.cause, f.words)
		}
	}
	t.Logf("%s, %s: %s %q", a.Verdict, a.Cause, a.Text, a.Suggestions)
	once.Lock()
	defer once.Unlock()
	if said := s.command(args...); !strings.HasPrefix(said, string(f.verdict)+": ") || !strings.Contains(said, f.words) {
		t.Errorf("sapwood %s: %s", strings.Join(args, " "), said)
	}
}

// A broker that stops, however it does, is what its clients are disconnected for, until they are back.
func TestStops(t *testing.T) {
	s := open(t, "listeners: [{name: anyone, address: '127.0.0.1:0'}]\n")
	x := &scene{t, s, "", nil}
	f := func(id string, end func(), cause, words string) {
		t.Helper()
		x.named(id, "expiry=300")
		s.says(t, &fault{name: id, verdict: why.Silent, cause: "idle", words: "connected"})
		end()
		s.start()
		s.says(t, &fault{name: id, verdict: why.Disconnected, cause: cause, words: words})
	}
	f("killed", func() { s.Kill() }, "broker_restarted", "without a farewell")
	f("stopped", func() { s.Stop() }, "shutdown", "it stops")

	// Of who was not back since too little is known to deny it anything: what is queued is told to wait.
	x.id = "back-later"
	x.away("expiry=300", "n/later qos=1")
	s.Kill()
	s.start()
	x.say("qos=1 id=1 topic=n/later")
	s.says(t, &fault{name: x.id, topic: "n/later", verdict: why.Waiting, cause: "queued", words: "first in the queue"})
}

// A broker that has no room for more says so.
func TestOverload(t *testing.T) {
	s := open(t, "listeners: [{name: anyone, address: '127.0.0.1:0'}]\noverload: {memory_limit: 1MiB}\n")
	x := &scene{t, s, "", nil}
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for p := x.at(anyone, "", "CONNECT id=shed"); ; p = x.at(anyone, "", "CONNECT id=shed") {
		p.conn.SetReadDeadline(time.Now().Add(patience))
		if line, err := p.next(); err != nil || strings.HasPrefix(line, "CONNACK 0x89") {
			break
		}
		p.send("DISCONNECT")
		p.closed()
		<-again.C
	}
	s.says(t, &fault{name: "shed", verdict: why.Refused, cause: "server_busy", words: "overloaded"})
}

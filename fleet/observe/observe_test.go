package observe_test

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/observe"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

var update = flag.Bool("update", false, "write testdata/facts.txt anew")

var (
	party  = broker.Party{ClientID: "meter-7", User: "meters", Address: netip.MustParseAddrPort("192.0.2.7:51000"), Listener: "mqtts"}
	other  = broker.Party{ClientID: "meter-7", User: "meters", Address: netip.MustParseAddrPort("198.51.100.9:4000"), Listener: "mqtt"}
	nobody broker.Party
	start  = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
)

func sum(n uint64, branch, topic string, d time.Duration) broker.Sum {
	return broker.Sum{Branch: branch, Topic: topic, Count: n, Bytes: 64 * n, First: start, Last: start.Add(d)}
}

// samples are events of every kind, in the order of the golden file.
func samples() (list []broker.Event) {
	add := func(e ...broker.Event) { list = append(list, e...) }
	add(
		broker.Connected{Party: party, By: "file", Groups: []string{"meters", "south"}, CommonName: "meter-7", TLS: &broker.TLS{Version: tls.VersionTLS13, Cipher: tls.TLS_AES_128_GCM_SHA256, Resumed: true}, Version: mqtt.V5, KeepAlive: time.Minute, Expiry: time.Hour, Resumed: true, Software: "meterd 2.1", Will: &mqtt.Message{Topic: []byte("meters/7/state")}, WillDelay: 5 * time.Second},
		broker.Connected{Party: broker.Party{ClientID: "x", Listener: "unix"}, Version: mqtt.V311, CleanStart: true, Assigned: true},
		broker.SessionCreated{Party: party, Expiry: -1},
		broker.SessionCreated{Party: party},
		broker.SessionResumed{Party: party, Expiry: time.Hour, Away: 26 * time.Hour, Queued: 12, QueueBytes: 40 << 10, Subscriptions: 3},
		broker.SessionResumed{Party: party, Away: 4 * time.Second, Queued: 1, QueueBytes: 100, Subscriptions: 1},
		broker.SessionResumed{Party: party},
	)
	for why := broker.EndExpired; why <= broker.EndOwn; why++ {
		add(broker.SessionEnded{
			Party: party, Why: why, Queued: int(why), Subscriptions: 2, Durable: why != broker.EndDisconnected,
			Totals: broker.Traffic{In: broker.Flow{Messages: 10, Bytes: 200}, Out: broker.Flow{Messages: 3, Bytes: 40}, Dropped: 5},
		})
	}
	add(broker.SessionEnded{Party: party, Why: broker.EndDisconnected, Subscriptions: 2})
	for c := broker.ByClient; c <= broker.ByFault; c++ {
		add(broker.Disconnected{Party: party, Cause: c, Reason: mqtt.MalformedPacket, Text: "what was said", Version: mqtt.V5, KeepAlive: time.Minute, Expiry: time.Hour, For: 3*time.Hour + 5*time.Minute, Received: 10, Sent: 20, Queued: 2, QueueBytes: 512})
	}
	add(
		broker.Disconnected{Party: party, Cause: broker.ByClient, Text: "bye", For: 90 * time.Second},
		broker.Disconnected{Party: party, Cause: broker.ByClient, Reason: mqtt.DisconnectWithWill, Expiry: -1, Queued: 1, For: 50 * time.Hour},
		broker.TakenOver{Party: party, By: other, For: time.Minute, Silent: 40 * time.Second, KeepAlive: 30 * time.Second},
		broker.TakenOver{Party: party, By: party, For: time.Millisecond},
		broker.ProtocolError{Party: party, Version: mqtt.V5, Reason: mqtt.ProtocolError, Text: "a second CONNECT"},
		broker.Refused{Party: party, Cause: "bad_user_name_or_password", Reason: mqtt.BadUserNameOrPassword, Text: "authentication failed", By: "file", Why: "file: the password is wrong", Count: 1, First: start, Last: start},
		broker.Refused{Party: party, Cause: "bad_user_name_or_password", Reason: mqtt.BadUserNameOrPassword, Text: "authentication failed", Why: "nobody knows such credentials", Count: 420, First: start, Last: start.Add(time.Second)},
		broker.Refused{Party: nobody, Cause: "server_unavailable", Reason: mqtt.ServerUnavailable, Text: "authentication is not possible at present", Why: "dial tcp: refused", Count: 1},
		broker.Refused{Party: party, Cause: "connection_rate_exceeded", Reason: mqtt.ConnectionRateExceeded, Text: "the user connects too often", Count: 1},
		broker.Refused{Party: party, Cause: "unsupported_protocol_version", Reason: mqtt.UnsupportedProtocolVersion, Text: "protocol version 3.1 is not accepted here", Count: 1},
	)
	add(
		broker.Refused{Party: party, Cause: "connection_rate_exceeded", Reason: mqtt.ConnectionRateExceeded, Text: "try again later", By: "password", Why: "password: too many wrong passwords came from this address", Count: 1},
		broker.Refused{Party: party, Cause: broker.RefusedHangUp, Waited: 2 * time.Second, Count: 3, First: start, Last: start.Add(time.Second)},
		broker.Disconnected{Party: party, Cause: broker.ByAdmin, Reason: mqtt.AdministrativeAction, Text: "disconnected by an administrator"},
	)
	for _, cause := range []string{
		broker.RefusedTLS, broker.RefusedWebSocket, broker.RefusedProxy, broker.RefusedBanned, broker.RefusedOverload, broker.RefusedTimeout, broker.RefusedInput,
		"listener_full", "address_full", "address_half_open", "listener_rate", "address_rate", "no_descriptors", "else",
	} {
		add(broker.Refused{Party: broker.Party{Address: party.Address, Listener: "mqtts"}, Before: true, Cause: cause, Text: "what was said", Why: "why", Count: 1, First: start, Last: start})
	}
	add(
		broker.Subscribed{Party: party, Filter: "a/#", Options: 1, Code: 1, ID: 7},
		broker.Subscribed{Party: party, Filter: "a/#", Options: 2, Code: 1, Again: true},
		broker.Subscribed{Party: party, Filter: "a/#", Options: 1, Code: 1, Again: true},
		broker.Subscribed{Party: party, Filter: "secret/#", Options: 1, Code: mqtt.NotAuthorized},
		broker.Unsubscribed{Party: party, Filter: "a/#"},
		broker.SubscriptionRests{Party: party, Filter: "a/#", Decision: auth.Decision{Rule: "meters", Why: "rule meters denies it"}},
		broker.SubscriptionResumes{Party: party, Filter: "a/#"},
		broker.WillSent{Party: party, Topic: "meters/7/state", QoS: 1, Retain: true, Bytes: 4, Receivers: 1},
		broker.WillSent{Party: party, Topic: "meters/7/state", Reason: mqtt.NotAuthorized},
		broker.WillCancelled{Party: party, Topic: "meters/7/state"},
		broker.WillCancelled{Party: party, Topic: "meters/7/state", Reconnect: true},
		broker.Limited{Party: party, What: "client_publish_messages", Text: "the limit client_publish_messages is reached; answer: delay"},
		broker.Limited{Party: party, What: "class_publish_bytes", Text: "the limit class_publish_bytes is reached; answer: refuse"},
		broker.Limited{Party: party, What: "client_deliver_messages", Text: "the limit client_deliver_messages is reached; answer: delay"},
		broker.Limited{Party: party, What: "store", Text: "the store is full"},
		broker.Refused{Party: party, Reason: mqtt.QuotaExceeded, Cause: "quota_exceeded", Text: "the store takes nothing new: the disk is full", Why: store.ErrFull.Error() + ": prepare segment", Count: 1, First: start, Last: start},
		broker.Limited{Party: party, What: "flapping", Text: "20 connections in 1m0s"},
		broker.Stalled{Party: party, Pending: 1 << 20, Queued: 3},
		broker.StallEnded{Party: party, For: 12 * time.Second},
		broker.Quarantined{Party: party, Ban: ban.Ban{Subject: ban.Client, Value: "meter-7", Quarantine: true, Reason: "it sends nonsense", By: "eve"}},
		broker.QuarantineEnded{Party: party},
		broker.BanChanged{Banned: broker.Banned{Ban: ban.Ban{Subject: ban.Client, Value: "meter-7", Reason: "nonsense", By: "eve", Until: start}, Disconnected: 1}},
		broker.BanChanged{Banned: broker.Banned{Ban: ban.Ban{Subject: ban.Pattern, Value: "meter-*"}}},
		broker.BanChanged{Banned: broker.Banned{Ban: ban.Ban{Subject: ban.User, Value: "meters"}}, Ended: true},
		broker.BanChanged{Banned: broker.Banned{Ban: ban.Ban{Subject: ban.Address, Value: "192.0.2.0/24"}}, Ended: true, Expired: true},
		broker.OverloadChanged{State: overload.State{Level: overload.Connects, Why: "memory is at 86 %"}},
		broker.OverloadChanged{},
		broker.StoreChanged{Err: fmt.Errorf("3 MiB left: %w", store.ErrFull)},
		broker.StoreChanged{Err: errors.New("write: input/output error")},
		broker.StoreChanged{},
	)
	for why := session.Expired; int(why) < session.Whys; why++ {
		add(broker.Dropped{Party: party, Sum: sum(12, "a/b/c/#", "a/b/c/d", 4*time.Second), Why: why})
	}
	add(
		broker.Dropped{Party: party, Sum: sum(1, "a", "a", 0), Why: session.QueueFull, Connected: true},
		broker.Dropped{Party: party, Sum: sum(1, "a", "a", 0), Why: session.RateLimited, Incoming: true},
		broker.Dropped{Party: party, Sum: sum(1, "a", "a", 0), Why: session.StoreUnwell, Incoming: true},
		broker.Dropped{Party: party, Sum: sum(2, "a", "a", 0), Why: session.Denied, Decision: auth.Decision{Rule: "r", Why: "rule r denies it"}},
		broker.Dropped{Party: party, Sum: sum(1, "a", "a", 0), Why: session.Expired},
		broker.Dropped{Party: party, Sum: sum(1, "a", "a", 0), Why: session.TooLarge, Connected: true},
		broker.Dropped{Party: nobody, Sum: sum(7000, "#", "a/b", time.Second), Why: session.Offline},
		broker.Dropped{Party: nobody, Sum: sum(3, "a", "a", 0), Why: session.Expired},
		broker.Dropped{Party: party, Sum: broker.Sum{Count: 5, First: start, Last: start}, Why: session.SessionEnded},
	)
	for from := broker.DeniedByRule; from <= broker.DeniedByStore; from++ {
		add(broker.Denied{Party: party, Sum: sum(3, "a/b/c/#", "a/b/c/d", time.Second), Action: auth.Publish, From: from, Reason: mqtt.NotAuthorized, Decision: auth.Decision{Rule: "r", Why: "rule r denies it"}})
	}
	add(
		broker.Disconnected{Party: party, Cause: broker.ByStore, Reason: mqtt.ImplementationSpecificError, Text: "the message could not be stored: the store is full", Version: mqtt.V311},
		broker.Denied{Party: party, Sum: sum(1, "r/s", "r/s", 0), Action: auth.Publish, From: broker.DeniedByStore, Reason: mqtt.QuotaExceeded},
		broker.Denied{Party: party, Sum: sum(1, "secret/#", "secret/#", 0), Action: auth.Subscribe, Reason: mqtt.NotAuthorized, Decision: auth.Decision{Why: "no rule allows it"}},
		broker.Denied{Party: nobody, Sum: sum(9, "#", "x", 0), Action: auth.Publish},
	)
	return list
}

// TestFacts: every event's fact, with its sentence, as the golden file has them.
func TestFacts(t *testing.T) {
	var b strings.Builder
	for _, e := range samples() {
		f, ok := observe.Of(e)
		name := strings.TrimPrefix(fmt.Sprintf("%T", e), "broker.")
		if !ok {
			fmt.Fprintf(&b, "%s: no fact\n", name)
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n  %s", name, f.Text, f.Kind)
		for _, field := range []string{f.Reason, f.Client, f.User, f.Address, f.Listener, f.Topic} {
			fmt.Fprintf(&b, " | %s", field)
		}
		fmt.Fprintf(&b, " | 0x%02X | %d\n ", f.Code, f.Count)
		for _, k := range slices.Sorted(maps.Keys(f.Detail)) {
			fmt.Fprintf(&b, " %s=%q", k, f.Detail[k])
		}
		b.WriteString("\n")
		if strings.Contains(f.Text, "  ") || strings.Contains(f.Text, "..") || !strings.HasSuffix(f.Text, ".") {
			t.Errorf("%s: not a good sentence: %q", name, f.Text)
		}
	}
	const golden = "testdata/facts.txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the facts are not what %s says; look at the change and run: go test ./fleet/observe -update\n%s", golden, b.String())
	}
}

// TestInjection (F197): whatever a client calls itself and sends, a sentence and its evidence stay one line of what they seem to be.
func TestInjection(t *testing.T) {
	evil := "a\r\n2026-01-01 level=ERROR \x1b[31m\u202egnp.\u2028\x00\xff" + strings.Repeat("x", 5000)
	var poison func(v reflect.Value)
	poison = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			if v.CanSet() && v.Type() == reflect.TypeFor[string]() {
				v.SetString(evil)
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Field(i).CanSet() {
					poison(v.Field(i))
				}
			}
		case reflect.Slice:
			for i := range v.Len() {
				poison(v.Index(i))
			}
		}
	}
	for _, e := range samples() {
		v := reflect.New(reflect.TypeOf(e)).Elem()
		v.Set(reflect.ValueOf(e))
		poison(v)
		f, _ := observe.Of(v.Interface().(broker.Event))
		for name, text := range f.Detail {
			check(t, fmt.Sprintf("%T %s", e, name), text)
		}
		check(t, fmt.Sprintf("%T", e), f.Text)
	}
}

func check(t *testing.T, what, text string) {
	t.Helper()
	if strings.ContainsAny(text, "\r\n\x1b\x00\u202e\u2028") || len(text) > 4000 || strings.ToValidUTF8(text, "") != text {
		t.Errorf("%s: %.300q", what, text)
	}
}

type recorder chan fact.Fact

func (r recorder) Record(f fact.Fact) { r <- f }

// TestWatch: facts get the time at which they come.
func TestWatch(t *testing.T) {
	r := make(recorder, 10)
	tell := observe.Watch(r, func() time.Time { return start })
	tell(broker.QuarantineEnded{Party: party})
	tell(broker.SessionCreated{Party: party})
	if f := <-r; f.At != start || f.Client != "meter-7" || len(r) != 0 {
		t.Errorf("%+v and %d more", f, len(r))
	}
	observe.Watch(r, nil)(broker.StoreChanged{})
	if f := <-r; f.At.IsZero() {
		t.Error("no time")
	}
}

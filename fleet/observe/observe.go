// Package observe turns what the broker tells into facts: one sentence for people and the evidence for it. It decides what is worth
// a fact and how it is said; it keeps nothing and asks nobody.
package observe

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Recorder takes facts. It is called on the broker's loops, from several at once, and must not block.
type Recorder interface{ Record(fact.Fact) }

// Watch gives a recorder a fact for each event that is worth one. now is the wall clock; nil = time.Now.
func Watch(r Recorder, now func() time.Time) broker.Events {
	if now == nil {
		now = time.Now
	}
	return func(e broker.Event) {
		if f, ok := Of(e); ok {
			f.At = now()
			r.Record(f)
		}
	}
}

// Of is the fact of an event, without time; false where there is none worth keeping: the beginning and the orderly end of a
// session that lives no longer than its connection are told by those of the connection.
func Of(e broker.Event) (f fact.Fact, ok bool) {
	switch e := e.(type) {
	case broker.Connected:
		return connected(&e), true
	case broker.Refused:
		return refused(&e), true
	case broker.Disconnected:
		return disconnected(&e), true
	case broker.TakenOver:
		return takenOver(&e), true
	case broker.ProtocolError:
		return protocolError(&e), true
	case broker.SessionCreated:
		return sessionCreated(&e), e.Expiry != 0
	case broker.SessionResumed:
		return sessionResumed(&e), true
	case broker.SessionEnded:
		return sessionEnded(&e), e.Durable || e.Queued > 0 || e.Why != broker.EndDisconnected
	case broker.Subscribed:
		return subscribed(&e), true
	case broker.Unsubscribed:
		return of(fact.Unsubscribed, &e.Party, fact.Fact{Topic: e.Filter, Text: "Unsubscribed from " + quote(e.Filter) + "."}), true
	case broker.SubscriptionRests:
		return rests(&e), true
	case broker.SubscriptionResumes:
		return of(fact.SubscriptionResumes, &e.Party, fact.Fact{Topic: e.Filter, Text: "The subscription to " + quote(e.Filter) + " works again: the client may have it again."}), true
	default:
		return rare(e)
	}
}

func rare(e broker.Event) (f fact.Fact, ok bool) {
	switch e := e.(type) {
	case broker.WillSent:
		return willSent(&e), true
	case broker.WillCancelled:
		return willCancelled(&e), true
	case broker.Limited:
		return limited(&e), true
	case broker.Stalled:
		return stalled(&e), true
	case broker.StallEnded:
		return of(fact.StallEnded, &e.Party, fact.Fact{Text: "The client reads again, after " + fact.Span(e.For) + "."}), true
	case broker.Quarantined:
		return quarantined(&e), true
	case broker.QuarantineEnded:
		return of(fact.QuarantineEnded, &e.Party, fact.Fact{Text: "The client is out of quarantine: it gets and sends messages again."}), true
	case broker.BanChanged:
		return ban(&e), true
	case broker.OverloadChanged:
		return overload(&e), true
	case broker.StoreChanged:
		return store(&e), true
	case broker.Dropped:
		return dropped(&e), true
	case broker.Denied:
		return denied(&e), true
	}
	return fact.Fact{}, false
}

// of adds kind and parties.
func of(k fact.Kind, p *broker.Party, f fact.Fact) fact.Fact {
	f.Kind, f.Client, f.User, f.Listener = k, p.ClientID, p.User, p.Listener
	if p.Address.IsValid() {
		f.Address = p.Address.Addr().String()
	}
	return f
}

// details are evidence; what is empty is left out. Pairs of name and value.
func details(pairs ...string) map[string]string {
	var d map[string]string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if d == nil {
			d = make(map[string]string, len(pairs)/2-i/2)
		}
		d[pairs[i]] = clean(pairs[i+1])
	}
	return d
}

func port(p *broker.Party) string {
	if !p.Address.IsValid() || p.Address.Port() == 0 {
		return ""
	}
	return strconv.Itoa(int(p.Address.Port()))
}

// from is where a party comes from, for a sentence.
func from(p *broker.Party) string {
	if !p.Address.IsValid() {
		return "a local socket"
	}
	return p.Address.Addr().String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func number[T int | int64 | uint64](n T) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// word is a reason code as a short word.
func word(r mqtt.ReasonCode) string { return strings.ReplaceAll(strings.ToLower(r.String()), " ", "_") }

// coded is a reason code for people.
func coded(r mqtt.ReasonCode) string { return fmt.Sprintf("0x%02X %s", uint8(r), r) }

// lasting is a session expiry interval for people.
func lasting(d time.Duration) string {
	switch {
	case d < 0:
		return "never expires"
	case d == 0:
		return "ends with the connection"
	}
	return "expires " + fact.Span(d) + " after it disconnects"
}

func seconds(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

func tlsName(t *broker.TLS) (version, cipher string) {
	if t == nil {
		return "", ""
	}
	return tls.VersionName(t.Version), tls.CipherSuiteName(t.Cipher)
}

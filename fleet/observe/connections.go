package observe

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker"
	keep "github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

func connected(e *broker.Connected) fact.Fact {
	var b strings.Builder
	fmt.Fprintf(&b, "Connected from %s with MQTT %s", from(&e.Party), e.Version)
	version, cipher := tlsName(e.TLS)
	if version != "" {
		b.WriteString(" over " + version)
	}
	if e.User != "" {
		b.WriteString(" as " + quote(e.User))
	} else {
		b.WriteString(" without a user name")
	}
	if e.By != "" {
		b.WriteString(" (" + clean(e.By) + ")")
	}
	if e.Software != "" {
		b.WriteString(", running " + clean(e.Software))
	}
	if e.Resumed {
		b.WriteString("; it takes up its session, which " + lasting(e.Expiry) + ".")
	} else {
		b.WriteString("; it has a new session, which " + lasting(e.Expiry) + ".")
	}
	will, delay := "", ""
	if e.Will != nil {
		will, delay = string(e.Will.Topic), number(int(e.WillDelay.Seconds()))
	}
	session := "new"
	if e.Resumed {
		session = "resumed"
	}
	resumed, name := "", ""
	if e.TLS != nil {
		resumed, name = yes(e.TLS.Resumed), e.TLS.ServerName
	}
	return of(fact.Connected, &e.Party, fact.Fact{Text: b.String(), Detail: details(
		"port", port(&e.Party), "by", e.By, "groups", strings.Join(e.Groups, ","), "protocol", e.Version.String(), "tls", version, "cipher", cipher,
		"tls_resumed", resumed, "server_name", name, "certificate", e.CommonName, "keep_alive_seconds", seconds(e.KeepAlive),
		"session_expiry_seconds", seconds(e.Expiry), "clean_start", yes(e.CleanStart), "assigned_id", yes(e.Assigned), "session", session,
		"auth_method", e.AuthMethod, "software", e.Software, "will", will, "will_delay_seconds", delay, "mount", e.Mount)})
}

func refused(e *broker.Refused) fact.Fact {
	if e.Cause == broker.RefusedHangUp {
		return hungUp(e)
	}
	text, why, who := refusedBefore(e), e.Why, ""
	if e.Address.IsValid() {
		who = " from " + from(&e.Party)
	}
	if text != "" {
		text = "A connection" + who + text
	} else {
		if e.User != "" {
			who = " as " + quote(e.User) + who
		}
		text = "Refused" + who + ": " + clean(e.Text)
		if e.Reason == mqtt.MaximumConnectTime { // its CONNECT was there
			text = "Refused" + who + ": it took longer to find out who it is than limits.connect_timeout"
		}
		if why == e.Text {
			why = ""
		}
	}
	if why != "" {
		text += " (" + clean(why) + ")"
	}
	if !e.Before {
		text += advice(e)
	}
	if strings.Contains(why, keep.ErrFull.Error()) {
		text += storeAdvice(why)
	} else {
		text += "."
	}
	return of(fact.Refused, &e.Party, fact.Fact{Reason: e.Cause, Code: uint8(e.Reason), Count: e.Count, Text: text + again(e), Detail: details(
		"port", port(&e.Party), "by", e.By, "why", e.Why, "told", e.Text, "before_connect", yes(e.Before))})
}

// hungUp is a client that did not wait until it was known who it is.
func hungUp(e *broker.Refused) fact.Fact {
	text := "A connection from " + from(&e.Party) + " hung up " + fact.Span(e.Waited) + " after its CONNECT, before it had an answer: the client did not wait until it was known who it is"
	if e.Why != "" {
		text += " (" + clean(e.Why) + ")"
	}
	return of(fact.Refused, &e.Party, fact.Fact{Reason: e.Cause, Count: e.Count, Text: text + "." + again(e), Detail: details(
		"port", port(&e.Party), "why", e.Why, "waited_seconds", seconds(e.Waited))})
}

// again tells how often, where several are told as one.
func again(e *broker.Refused) string {
	if e.Count <= 1 {
		return ""
	}
	text := " That was " + fact.Many(e.Count, "time")
	if d := e.Last.Sub(e.First); d > 0 {
		text += " in " + fact.Span(d)
	}
	return text + "."
}

// refusedBefore is what became of a connection that sent no CONNECT, as the sentence goes on after it; "" of one that did.
func refusedBefore(e *broker.Refused) string {
	if !e.Before {
		return ""
	}
	switch e.Cause {
	case broker.RefusedTLS:
		return " failed in its TLS handshake"
	case broker.RefusedWebSocket:
		return " failed to become a WebSocket, or sent a frame that is none"
	case broker.RefusedProxy:
		return ", which is a trusted proxy's, had no PROXY header, or a wrong one"
	case broker.RefusedBanned:
		return " was closed at once: its address is banned"
	case broker.RefusedOverload:
		return " was closed at once: the broker is overloaded"
	case broker.RefusedTimeout:
		return " was closed: no CONNECT came within limits.connect_timeout"
	case broker.RefusedInput:
		return " was closed: what it sent is not MQTT (" + clean(e.Text) + ")"
	case "listener_full":
		return " was closed at once: the listener has max_connections"
	case "address_full":
		return " was closed at once: its address has max_connections_per_address"
	case "address_half_open":
		return " was closed at once: its address has max_half_open_per_address connections that are no clients yet"
	case "listener_rate":
		return " was closed at once: they come faster than the listener's connect_rate"
	case "address_rate":
		return " was closed at once: its address connects faster than connect_rate_per_address"
	case "no_descriptors":
		return " was closed at once: no file descriptors are left for it; raise the limit of open files"
	}
	return " was closed before CONNECT: " + clean(e.Text)
}

// advice is what may be done about a refusal, where that is plain.
func advice(e *broker.Refused) string {
	switch e.Reason {
	case mqtt.UnsupportedProtocolVersion:
		return "; see the listener's versions"
	case mqtt.ServerUnavailable:
		return "; see to the authentication backend and the store"
	case mqtt.ConnectionRateExceeded:
		if e.By != "" { // whoever checks passwords
			return "; see authentication.password.max_failures"
		}
		return "; see rates.user"
	}
	return ""
}

func disconnected(e *broker.Disconnected) fact.Fact {
	code := e.Reason
	return of(fact.Disconnected, &e.Party, fact.Fact{
		Reason: e.Cause.String(), Code: uint8(code), Text: farewell(e), Detail: details(
			"port", port(&e.Party), "protocol", e.Version.String(), "connected_seconds", seconds(e.For), "received", strconv.FormatUint(e.Received, 10),
			"sent", strconv.FormatUint(e.Sent, 10), "queued", number(e.Queued), "queue_bytes", number(e.QueueBytes),
			"session_expiry_seconds", seconds(e.Expiry), "keep_alive_seconds", seconds(e.KeepAlive), "text", e.Text),
	})
}

// unsaid is what a client is told whom somebody disconnects without saying why.
const unsaid = "disconnected by an administrator"

// farewell says by whom a connection was ended, and why.
func farewell(e *broker.Disconnected) string {
	after := " after " + fact.Span(e.For)
	kept := ""
	if e.Queued > 0 && e.Expiry != 0 {
		kept = " " + fact.Many(e.Queued, "message") + " wait for it."
		if e.Queued == 1 {
			kept = " 1 message waits for it."
		}
	}
	switch e.Cause {
	case broker.ByClient:
		switch {
		case e.Reason == mqtt.Success:
			return "Disconnected by the client, in good order," + after + "." + kept
		case e.Reason == mqtt.DisconnectWithWill:
			return "Disconnected by the client" + after + " with 0x04: its will is to be sent, if it has one." + kept
		}
		if strings.HasPrefix(e.Text, "the client disconnected") { // it said no more
			return "Disconnected by the client" + after + " with " + coded(e.Reason) + "." + kept
		}
		return "Disconnected by the client" + after + " with " + coded(e.Reason) + ": " + sentence(e.Text) + kept
	case broker.ByClosing:
		return "The client closed the connection without DISCONNECT" + after + ": it was stopped, crashed, or lost its network." + kept
	case broker.ByBreaking:
		return "The connection broke" + after + ": " + sentence(strings.TrimPrefix(e.Text, "the connection broke: ")) + kept
	case broker.ByKeepAlive:
		return fmt.Sprintf("Disconnected by the broker: no packet for %s (keep-alive is %s). It, or its network, is off, or it does not ping.%s",
			fact.Span(e.KeepAlive*3/2), fact.Span(e.KeepAlive), kept)
	case broker.ByTakeover:
		return "Disconnected by the broker: " + sentence(e.Text)
	case broker.ByAdmin:
		if e.Text == unsaid {
			return "Disconnected by an administrator." + kept
		}
		return "Disconnected by an administrator: " + sentence(e.Text) + kept
	case broker.ByBan:
		return "Disconnected by the broker: " + sentence(e.Text)
	case broker.ByShutdown:
		return "Disconnected by the broker: it stops." + kept
	case broker.ByProtocol:
		return "Disconnected by the broker: the client broke the protocol: " + clean(e.Text) + " (" + coded(e.Reason) + ")."
	case broker.ByStall:
		return "Disconnected by the broker: " + clean(e.Text) + " (delivery.stall_timeout)." + kept
	case broker.ByRate:
		return "Disconnected by the broker: " + clean(e.Text) + " (rates.answer is disconnect)."
	case broker.ByQueue:
		return "Disconnected by the broker: " + clean(e.Text) + " (delivery.overflow)." + kept
	case broker.ByExpiry:
		return "Disconnected by the broker: " + clean(e.Text) + "; it has to come with new ones." + kept
	case broker.ByAuthenticator:
		return "Disconnected by the broker: " + sentence(e.Text)
	case broker.ByDenial:
		return "Disconnected by the broker: " + clean(e.Text) + ", and it cannot be told otherwise."
	case broker.ByStore:
		return "Disconnected by the broker: " + clean(e.Text) + storeAdvice(e.Text) + " It may try again." + kept
	case broker.ByFault:
		return "Disconnected by the broker for a fault of its own: see the log, and report it, please."
	}
	return "Disconnected: " + sentence(e.Text)
}

func takenOver(e *broker.TakenOver) fact.Fact {
	where := "from the same address"
	if from(&e.Party) != from(&e.By) {
		where = "from " + from(&e.By)
	}
	text := "Another connection with the same client id, " + where + ", takes its place after " + fact.Span(e.For) + ": "
	if where == "from the same address" {
		text += "the client came back before the old connection was noticed to be dead, or two programs there have one id."
	} else {
		text += "the client has moved, or two devices have one id."
	}
	if e.Silent.Seconds() >= 1 {
		text += " The old one was last heard " + fact.Span(e.Silent) + " before."
	}
	return of(fact.TakenOver, &e.Party, fact.Fact{Code: uint8(mqtt.SessionTakenOver), Text: text, Detail: details(
		"for_seconds", seconds(e.For), "silent_seconds", seconds(e.Silent), "keep_alive_seconds", seconds(e.KeepAlive), "port", port(&e.Party), "by", e.By.User, "by_address", from(&e.By), "by_port", port(&e.By), "by_listener", e.By.Listener)})
}

func protocolError(e *broker.ProtocolError) fact.Fact {
	return of(fact.ProtocolError, &e.Party, fact.Fact{
		Reason: word(e.Reason), Code: uint8(e.Reason),
		Text:   "The client broke the protocol (MQTT " + e.Version.String() + "): " + clean(e.Text) + " (" + coded(e.Reason) + ").",
		Detail: details("protocol", e.Version.String()),
	})
}

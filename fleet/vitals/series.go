package vitals

import (
	"cmp"
	"math"
	"strconv"
	"strings"

	"github.com/sapwood-mqtt/sapwood/fleet/history"
	"github.com/sapwood-mqtt/sapwood/fleet/load"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Series is one figure with its name, as /metrics and the history have it.
type Series struct {
	Name   string // of the metric, without the prefix: messages_received_total
	Help   string
	Kind   history.Kind
	Labels string // {reason="expired"}; "" = none
	Names  []string
	Values []string // of the labels
	Value  float64  // NaN = not known, or a histogram
	Spread *Spread  // nil = it is no histogram
}

// Spread is a histogram.
type Spread struct {
	Bounds []float64 // upper ones, growing; that of the last bucket, which has none, left out
	Counts []uint64  // of each bucket, those before it not included: one more than bounds
	Sum    float64
}

// Metric is what the history calls it: counters are rates there.
func (s *Series) Metric() string { return strings.TrimSuffix(s.Name, "_total") }

// Counter is the series of a count; labels are names, each with its value behind it.
func Counter(name, help string, n uint64, labels ...string) Series {
	return seriesOf(history.Counter, name, help, float64(n), labels)
}

// Gauge is the series of a value; labels are as in Counter.
func Gauge(name, help string, v float64, labels ...string) Series {
	return seriesOf(history.Gauge, name, help, v, labels)
}

// Histogram is the series of how values are spread; labels are as in Counter.
func Histogram(name, help string, v Spread, labels ...string) Series {
	s := seriesOf(history.Counter, name, help, math.NaN(), labels)
	s.Spread = &v
	return s
}

func seriesOf(kind history.Kind, name, help string, value float64, labels []string) Series {
	s := Series{Name: name, Help: help, Kind: kind, Value: value}
	for i := 0; i+1 < len(labels); i += 2 {
		s.Names, s.Values = append(s.Names, labels[i]), append(s.Values, labels[i+1])
	}
	s.Labels = labelsOf(s.Names, s.Values)
	return s
}

// labelsOf are labels as the history knows them.
func labelsOf(names, values []string) string {
	if len(names) == 0 {
		return ""
	}
	var b strings.Builder
	for i, n := range names {
		b.WriteString(map[bool]string{true: "{", false: ","}[i == 0] + n + "=" + strconv.Quote(values[i]))
	}
	return b.String() + "}"
}

// list gathers series.
type list []Series

func (l *list) counter(name, help string, n uint64, labels ...string) {
	*l = append(*l, Counter(name, help, n, labels...))
}

func (l *list) gauge(name, help string, v float64, labels ...string) {
	*l = append(*l, Gauge(name, help, v, labels...))
}

// by adds a count for each reason that there can be.
func (l *list) by(name, help, label string, counts []uint64, of func(int) string, told func(i int) bool) {
	for i, n := range counts {
		if n > 0 || told(i) {
			l.counter(name, help, n, label, of(i))
		}
	}
}

func behindFirst(i int) bool { return i > 0 }
func always(int) bool        { return true }

// refusals are those of a CONNACK.
func refusals(i int) bool {
	switch mqtt.ReasonCode(i) {
	case mqtt.UnsupportedProtocolVersion, mqtt.ClientIDNotValid, mqtt.BadUserNameOrPassword, mqtt.NotAuthorized, mqtt.ServerUnavailable, mqtt.ServerBusy,
		mqtt.Banned, mqtt.BadAuthenticationMethod, mqtt.QuotaExceeded, mqtt.ConnectionRateExceeded:
		return true
	}
	return false
}

// breaches are those of a client that breaks the protocol.
func breaches(i int) bool {
	switch mqtt.ReasonCode(i) {
	case mqtt.MalformedPacket, mqtt.ProtocolError, mqtt.PacketTooLarge, mqtt.ReceiveMaximumExceeded, mqtt.TopicAliasInvalid, mqtt.TopicNameInvalid:
		return true
	}
	return false
}

func storeRefusals(i int) bool {
	return mqtt.ReasonCode(i) == mqtt.QuotaExceeded || mqtt.ReasonCode(i) == mqtt.ImplementationSpecificError
}

// series are all figures of a snapshot. What clients can make up (ids, topics, users) is in none of them, but for those of More.
func (v *Vitals) series(s *Snapshot) []Series {
	l := make(list, 0, 192)
	l.broker(s)
	l.clients(s)
	l.doors(s)
	l.process(s)
	if s.store != nil {
		l.store(s)
	}
	ready := 1.0
	if s.state.Ready != nil {
		ready = 0
	}
	l.gauge("info", "A constant 1 with the version of the program.", 1, "version", cmp.Or(v.o.Version, "unknown"))
	l.gauge("ready", "1 if the process does all that it is for, as /readyz says.", ready)
	l.gauge("overload_level", "What is shed: 0 nothing, 1 connections, 2 also QoS 0, 3 also QoS 1 and 2.", float64(s.state.Overload))
	l.gauge("start_time_seconds", "When the process began to serve, in Unix seconds.", float64(v.began.UnixMilli())/1000)
	if v.o.Books != nil {
		l.counter("books_imbalances_total", "Times that messages, or copies of them, were not accounted for: always 0, or the broker is at fault.", v.o.Books())
	}
	if v.o.Logins != nil {
		l.counter("api_wrong_logins_total", "Wrong credentials for the API.", v.o.Logins())
	}
	if v.o.History != nil {
		f := v.o.History.Figures()
		l.gauge("history_bytes", "What the history of figures takes.", float64(f.Bytes))
		l.gauge("history_series", "Series in the history of figures.", float64(f.Series))
		l.counter("history_dropped_total", "Rows and samples that the history could not keep.", f.Dropped)
	}
	if v.o.Kept != nil {
		l = append(l, v.o.Kept()...)
	}
	s.core = len(l)
	if v.o.More != nil {
		l = append(l, v.o.More()...)
	}
	return l
}

// broker adds what goes through the broker.
func (l *list) broker(s *Snapshot) {
	b := &s.raw
	l.counter("packets_received_total", "MQTT packets received.", b.PacketsReceived)
	l.counter("packets_sent_total", "MQTT packets sent.", b.PacketsSent)
	l.counter("received_bytes_total", "Bytes of MQTT received, without TLS and WebSocket frames.", b.BytesReceived)
	l.counter("sent_bytes_total", "Bytes of MQTT sent, without TLS and WebSocket frames.", b.BytesSent)
	l.counter("messages_received_total", "PUBLISH packets received.", b.PublishReceived)
	l.counter("messages_sent_total", "PUBLISH packets sent.", b.PublishSent)
	l.counter("message_received_bytes_total", "Payload bytes of PUBLISH packets received.", b.PublishBytesReceived)
	l.counter("message_sent_bytes_total", "Payload bytes of PUBLISH packets sent.", b.PublishBytesSent)
	l.by("messages_dropped_total", "Messages that did not reach a receiver, by reason.", "reason", b.Dropped[:], whyName, behindFirst)
	l.counter("denied_total", "Publishes and filters that rules did not allow.", b.Denied)
	l.counter("subscribes_total", "Filters subscribed to.", b.Subscribes)
	l.counter("wills_total", "Wills published.", b.Wills)
	l.by("limited_total", "Publishes, deliveries and connects that met a rate limit, by which.", "limit", b.Limited[:], limitName, behindFirst)
	l.by("shed_total", "What overload refused or dropped.", "what", b.Shed[:], shedName, behindFirst)
	l.by("not_stored_total", "Publishes, filters and connects refused because the store took nothing new, by reason code.", "reason", b.NotStored[:], codeName, storeRefusals)
	l.counter("store_errors_total", "Batches that the store could not keep and that were not acknowledged.", b.StoreErrors)
	l.counter("held_back_total", "Times a client was not read because the store did not take its message.", b.HeldBack)
	l.counter("panics_total", "Faults of the program that ended one connection.", b.Panics)
	l.gauge("subscriptions", "Subscriptions, shared ones included.", float64(b.Subscriptions))
	l.gauge("shared_subscriptions", "Shared subscriptions.", float64(b.Shared))
	l.gauge("retained_messages", "Retained messages, without the broker's own below $SYS.", float64(b.Retained))
	l.gauge("retained_own_messages", "Retained messages of the broker's own below $SYS, which count against no limit.", float64(b.RetainedOwn))
	l.gauge("retained_bytes", "Bytes of retained messages.", float64(b.RetainedBytes))
	l.gauge("queued_messages", "Messages kept for sessions that last; one that waits for many is counted once.", float64(s.Stats.Queued.Messages))
	l.gauge("queued_bytes", "Bytes queued of all sessions, counted for each.", float64(b.QueuedBytes))
}

// clients adds how clients come and go.
func (l *list) clients(s *Snapshot) {
	b := &s.raw
	l.gauge("clients_connected", "Clients connected.", float64(b.Connected))
	l.gauge("clients_connected_maximum", "Most clients connected at a time since the start.", float64(b.MaxConnected))
	l.gauge("sessions", "Sessions, connected or waiting to be resumed.", float64(b.Sessions))
	l.gauge("sockets", "Open connections, with those that are no clients yet.", float64(b.Sockets))
	l.counter("connects_total", "Clients that connected.", b.Connects)
	l.counter("disconnects_total", "Clients that disconnected.", b.Disconnects)
	l.counter("takeovers_total", "Connections that ended because their client connected again.", b.Takeovers)
	l.counter("connect_timeouts_total", "Connections without a CONNECT in time.", b.ConnectTimeouts)
	l.by("connects_refused_total", "CONNECT packets refused, by reason code.", "reason", b.Refused[:], codeName, refusals)
	l.by("violations_total", "Connections closed for bad input, by reason code.", "reason", b.Violations[:], codeName, breaches)
	l.by("turned_away_total", "Connections closed as soon as they came, by reason.", "reason", b.TurnedAway[:], admissionName, always)
	l.counter("tls_connects_total", "TLS handshakes of those that sent a CONNECT.", b.Secured)
	l.counter("tls_resumed_total", "Of those, the ones that resumed a TLS session.", b.Resumed)
	l.counter("tls_handshakes_failed_total", "TLS handshakes that failed.", b.HandshakesFailed)
	l.counter("websocket_errors_total", "WebSocket upgrades refused, and bad frames.", b.FramingErrors)
	l.counter("proxy_errors_total", "PROXY headers missing or malformed.", b.ProxyErrors)
	l.counter("banned_total", "Connections refused to those who are banned.", b.Banned)
	l.counter("flapping_total", "Clients found to connect again and again.", b.Flapping)
	l.counter("stalled_total", "Clients disconnected because they did not read.", b.Stalled)
	l.counter("sessions_expired_total", "Sessions that ended by their expiry interval.", b.SessionsExpired)
}

// doors adds listeners and who is asked there.
func (l *list) doors(s *Snapshot) {
	for i, x := range s.Load.Listeners {
		l.gauge("listener_connections", "Open connections by listener.", float64(x.Connections), "listener", x.Name)
		l.counter("listener_received_bytes_total", "Bytes of MQTT received by listener.", x.InBytes, "listener", x.Name)
		l.counter("listener_sent_bytes_total", "Bytes of MQTT sent by listener.", x.OutBytes, "listener", x.Name)
		l.gauge("listener_tls_handshakes", "TLS handshakes under way or waiting for room, by listener.", float64(x.Handshaking), "listener", x.Name)
		n := uint64(0)
		for _, turned := range s.doors[i].Turned {
			n += turned
		}
		l.counter("listener_turned_away_total", "Connections closed as soon as they came, by listener.", n, "listener", x.Name)
		if at := s.doors[i].Expires; !at.IsZero() {
			l.gauge("certificate_expiry_timestamp_seconds", "When the first certificate of the listener ends, in Unix seconds.", float64(at.Unix()), "listener", x.Name)
		}
	}
	for _, b := range s.back {
		const help = "What authentication backends said of clients."
		for _, x := range []struct {
			name string
			n    uint64
		}{{"accepted", b.Accepted}, {"refused", b.Refused}, {"unknown", b.Unknown}, {"failed", b.Failed}} {
			l.counter("authentications_total", help, x.n, "backend", b.Name, "result", x.name)
		}
		l.counter("authentication_cache_hits_total", "Answers of authentication backends from memory.", b.CacheHits, "backend", b.Name)
		open := 0.0
		if b.Open {
			open = 1
		}
		l.gauge("authentication_circuit_open", "1 while a backend fails and is not asked.", open, "backend", b.Name)
	}
}

// process adds the process and its machine.
func (l *list) process(s *Snapshot) {
	x := &s.Load
	l.gauge("cpu_cores", "Processor cores in use by the process, of the last second.", load.Number(x.CPU))
	l.gauge("cpu_cores_limit", "Processor cores that the process may use.", x.Cores)
	l.gauge("cpu_throttled_ratio", "Part of the last second in which the control group kept the process from running.", load.Number(x.Throttled))
	machine, steal := math.NaN(), math.NaN()
	if x.Machine != nil {
		machine, steal = x.Machine.CPU, x.Machine.Steal
	}
	l.gauge("machine_cpu_cores", "Processor cores in use by all of the machine, of the last second.", machine)
	l.gauge("machine_steal_cores", "Processor cores that other virtual machines took, of the last second.", steal)
	l.gauge("memory_resident_bytes", "Resident memory of the process.", load.Number(x.Memory.RSS))
	l.gauge("memory_heap_bytes", "Objects on the heap, with those to be freed.", float64(x.Memory.Heap))
	l.gauge("memory_used_bytes", "Memory that counts against the limit.", float64(x.Memory.Used))
	l.gauge("memory_limit_bytes", "The least of the limits on memory.", load.Number(x.Memory.Limit))
	l.gauge("gc_pause_p99_seconds", "Pause of the collector that 99 of 100 stay below, of the last minutes.", load.Number(x.GC.PauseP99))
	l.gauge("gc_cpu_ratio", "Part of the process's cores that the collector used, of the last minutes.", load.Number(x.GC.CPU))
	l.counter("gc_cycles_total", "Cycles of the collector.", x.GC.Cycles)
	l.gauge("goroutines", "Goroutines.", float64(x.Goroutines))
	l.gauge("descriptors_open", "Open file descriptors.", load.Number(x.FDs.Open))
	l.gauge("descriptors_limit", "File descriptors that the process may open.", load.Number(x.FDs.Limit))
	l.gauge("loop_lag_p50_seconds", "Length of an event loop's turn that half stay below, of the last second.", x.LoopLag.P50)
	l.gauge("loop_lag_p99_seconds", "Length of an event loop's turn that 99 of 100 stay below, of the last second.", x.LoopLag.P99)
	for i, p := range x.Loops {
		n := strconv.Itoa(i)
		l.gauge("loop_busy_ratio", "Part of the last second in which an event loop worked.", p.Busy, "loop", n)
		l.gauge("loop_sockets", "Connections of an event loop.", float64(p.Sockets), "loop", n)
	}
	for _, r := range x.Headroom.Resources {
		l.gauge("used_ratio", "How much of a limit is in use, by resource.", r.Percent/100, "resource", r.Name)
	}
}

// store adds the engine on disk.
func (l *list) store(s *Snapshot) {
	x, healthy := s.store, 0.0
	if x.Health == "ok" {
		healthy = 1
	}
	l.gauge("store_healthy", "1 while the store takes what has to be kept.", healthy)
	l.gauge("store_bytes", "What the store takes on disk.", float64(x.Bytes))
	l.gauge("store_live_bytes", "Of those, what is still needed.", float64(x.Live))
	if x.Free >= 0 {
		l.gauge("disk_free_bytes", "Free space below the data directory.", float64(x.Free))
	}
	l.counter("store_commits_total", "Group commits.", x.Commits)
	l.counter("store_written_bytes_total", "Bytes of log that group commits wrote.", x.Written)
	l.gauge("store_commit_p50_seconds", "Time of a group commit that half stay below, of the last 1024.", x.CommitP50.Seconds())
	l.gauge("store_commit_p99_seconds", "Time of a group commit that 99 of 100 stay below, of the last 1024.", x.CommitP99.Seconds())
	l.gauge("store_queue", "Changes that wait for a commit.", float64(s.Load.Store.Queue))
	l.gauge("store_damaged", "Parts of the store found damaged since the start.", float64(x.Damaged))
}

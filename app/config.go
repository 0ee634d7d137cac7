package app

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/broker/flapping"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/broker/transport/acme"
	"github.com/sapwood-mqtt/sapwood/broker/transport/proxy"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/metrics"
	"github.com/sapwood-mqtt/sapwood/console/telemetry"
	"github.com/sapwood-mqtt/sapwood/fleet/canary"
	figures "github.com/sapwood-mqtt/sapwood/fleet/history"
)

// Config is everything that can be set: one tree of everybody's sections. A section lives with the
// package it belongs to; its tags say all that the file, the schema and `config explain` show.
type Config struct {
	Data           string             `yaml:"data" reload:"restart" doc:"Directory for everything that outlives the process. Created when first needed; with durability memory it never is."`
	Durability     Durability         `yaml:"durability" reload:"restart" enum:"fsync,process,memory"`
	Storage        disk.Config        `yaml:"storage" reload:"restart" doc:"How the disk is used, with durability fsync and process."`
	Listeners      []Listener         `yaml:"listeners" doc:"Where MQTT clients connect."`
	HTTP           HTTP               `yaml:"http" reload:"restart" doc:"The HTTP side: /healthz and /readyz for everybody, the console, and the API under /api/v1 for operators and keys."`
	ACME           acme.Config        `yaml:"acme" reload:"restart" doc:"Certificates from an authority such as Let's Encrypt, for those that say tls.acme."`
	Authentication Authentication     `yaml:"authentication" doc:"Who may connect."`
	Authorization  acl.Config         `yaml:"authorization" doc:"What clients may do. Rules that are stored by the API hold beside these."`
	Log            Log                `yaml:"log" doc:"What the process writes to standard error."`
	Limits         broker.Limits      `yaml:"limits" doc:"What clients may ask of the broker. What exceeds a limit gets the reason code named here and is counted."`
	Delivery       broker.Delivery    `yaml:"delivery" doc:"How messages reach their receivers."`
	Rates          limit.Rates        `yaml:"rates" doc:"How fast clients may publish, get and connect. 0 limits nothing."`
	Flapping       flapping.Config    `yaml:"flapping" doc:"Clients that connect again and again."`
	Overload       overload.Config    `yaml:"overload" doc:"What is shed before the machine is exhausted."`
	Canaries       canary.Config      `yaml:"canaries" doc:"Messages that the broker sends to itself all the time, to see that it delivers."`
	Books          broker.Bookkeeping `yaml:"books" reload:"restart" doc:"What is counted of messages: for all, by client and by topic."`
	Events         Events             `yaml:"events" doc:"What happened, kept for questions afterwards: who connected, was refused, was disconnected and why, what was dropped, changed, went wrong. See docs/events.md."`
	Trace          trace.Config       `yaml:"trace" doc:"What is kept of each client's last packets, to look back at."`
	History        figures.Config     `yaml:"history" doc:"The figures of the process, kept for 30 days at falling resolution for charts."`
	Metrics        metrics.Config     `yaml:"metrics" doc:"The figures for Prometheus on the path /metrics of the HTTP side."`
	Telemetry      telemetry.Config   `yaml:"telemetry" doc:"Metrics, logs and traces for an OpenTelemetry collector."`
	Sys            Sys                `yaml:"sys" doc:"The broker's own figures, published under $SYS/broker/."`
	Watch          time.Duration      `yaml:"watch_interval" doc:"How often the configuration file, and each file that it refers to, is looked at for new contents, which are then applied as by SIGHUP; 0s never looks."`
	StopTime       time.Duration      `yaml:"stop_timeout" doc:"How long a stop may take: clients are told, queues flushed." exceeded:"what is left is cut off, and the process exits with status 1"`
}

// Listener is one address that speaks MQTT. The zero value lacks its address.
type Listener struct {
	Name      string                `yaml:"name" doc:"What rules, counts and explanations call it; by default its address."`
	Address   string                `yaml:"address" doc:"host:port, where port 0 takes a free one, or unix:/path/to/socket."`
	Anonymous bool                  `yaml:"anonymous" doc:"Let clients in without authentication on an address that other machines can reach; it implies plaintext. Loopback addresses and unix sockets need no such leave."`
	Plaintext bool                  `yaml:"plaintext" doc:"Let clients authenticate without TLS on an address that other machines can reach, where whoever listens in learns their passwords."`
	Protocol  Protocol              `yaml:"protocol" enum:"mqtt,websocket" doc:"mqtt speaks MQTT right on TCP or TLS, websocket within WebSocket frames, as browsers need it."`
	Path      string                `yaml:"path" doc:"With websocket, the path that clients ask for."`
	Origins   []string              `yaml:"origins" doc:"With websocket, sites whose pages may connect beside the listener's own host: https://host[:port], or * for all."`
	Versions  []string              `yaml:"versions" doc:"The versions of MQTT that are accepted, of 3.1, 3.1.1 and 5.0 (those between the lowest and the highest); empty = all." exceeded:"CONNACK 0x84 Unsupported Protocol Version"`
	Mount     string                `yaml:"mount_point" doc:"What the topics of its clients begin with inside the broker, unseen by them; {client}, {user} and {cn} stand for the client's own."`
	Backends  []string              `yaml:"authentication" doc:"The backends that are asked who a client is, in this order; empty = those of authentication.chain."`
	TLS       transport.TLSConfig   `yaml:"tls" doc:"Encryption, where a certificate is given."`
	Proxy     Proxy                 `yaml:"proxy" doc:"Proxies in front of the listener."`
	Limits    broker.ListenerLimits `yaml:"limits" doc:"What connections may ask before they are clients."`
	Removal   Removal               `yaml:"on_removal" enum:"keep,disconnect" doc:"What a reload that removes the listener does with its clients: keep leaves them connected, disconnect closes their connections (0x98)."`
}

// SetDefaults implements settings.Defaulter.
func (l *Listener) SetDefaults() { *l = defaultListener("") }

func defaultListener(address string) Listener {
	return Listener{Address: address, Protocol: ProtocolMQTT, Path: "/mqtt", Limits: broker.DefaultListenerLimits(), Removal: RemovalKeep}
}

// Protocol is what a listener speaks.
type Protocol string

// The protocols.
const (
	ProtocolMQTT      Protocol = "mqtt"
	ProtocolWebSocket Protocol = "websocket"
)

// Proxy is who stands between clients and a listener.
type Proxy struct {
	Trusted []string `yaml:"trusted" doc:"Networks of proxies. A connection from there must begin with a PROXY header (with websocket, it may), and its X-Forwarded-For is believed; from elsewhere neither is."`
}

// Check refuses what is no network.
func (p *Proxy) Check(bad func(key, message, fix string)) {
	if _, err := proxy.ParseTrusted(p.Trusted); err != nil {
		bad("trusted", err.Error(), "write networks as 10.0.0.0/8")
	}
}

// Removal is what becomes of a removed listener's clients.
type Removal string

// The ways.
const (
	RemovalKeep       Removal = "keep"
	RemovalDisconnect Removal = "disconnect"
)

// name is what the listener is called.
func (l *Listener) name() string { return cmp.Or(l.Name, l.Address) }

// HTTP is where health checks and the API are answered.
type HTTP struct {
	Address   string              `yaml:"address" doc:"host:port, where port 0 takes a free one; off for no HTTP at all."`
	TLS       transport.TLSConfig `yaml:"tls" doc:"Encryption, where a certificate is given."`
	Rate      access.Rate         `yaml:"rate" doc:"How often the API may be called."`
	Sessions  access.Sessions     `yaml:"sessions" doc:"How long a login of the console lasts."`
	Audit     access.Auditing     `yaml:"audit" doc:"The log of what was changed by the API; it is kept in the database."`
	MQTT      HTTPMQTT            `yaml:"mqtt" doc:"MQTT over WebSocket on the path /mqtt of the HTTP side."`
	Plaintext bool                `yaml:"plaintext" doc:"Answer without TLS on an address that other machines can reach, where whoever listens in learns the API's passwords and keys."`
}

func defaultHTTP() HTTP {
	who := access.DefaultConfig()
	return HTTP{Address: "127.0.0.1:8083", Rate: who.Rate, Sessions: who.Sessions, Audit: who.Audit, MQTT: HTTPMQTT{Enabled: true}}
}

// access is what is set of who may use the API.
func (h *HTTP) access() access.Config {
	return access.Config{Rate: h.Rate, Sessions: h.Sessions, Audit: h.Audit}
}

// HTTPMQTT is MQTT over WebSocket on the HTTP side.
type HTTPMQTT struct {
	Enabled   bool     `yaml:"enabled" doc:"Whether clients may connect there. On an address that other machines can reach it stays closed unless somebody asks clients who they are, or anonymous is set."`
	Anonymous bool     `yaml:"anonymous" doc:"Let clients in without authentication on an address that other machines can reach."`
	Origins   []string `yaml:"origins" doc:"Sites whose pages may connect beside the own host: https://host[:port], or * for all."`
	Backends  []string `yaml:"authentication" doc:"The backends that are asked who a client is, in this order; empty = those of authentication.chain."`
	Proxy     Proxy    `yaml:"proxy" doc:"Proxies in front of the HTTP side; the API believes them too."`
}

// Log is what the process says about itself.
type Log struct {
	Level  string `yaml:"level" enum:"debug,info,warn,error" doc:"The least severe records that are written."`
	Format string `yaml:"format" reload:"restart" enum:"text,json" doc:"One record a line, as key=value text or as JSON."`
}

// Sys is the $SYS tree.
type Sys struct {
	Interval time.Duration `yaml:"interval" reload:"restart" doc:"Time between two publications of the $SYS topics; 0s publishes none."`
}

// DefaultConfig is the configuration of a process that was told nothing.
func DefaultConfig() Config {
	return Config{
		Data:           "./sapwood-data",
		Durability:     Fsync,
		Storage:        disk.DefaultConfig(),
		Listeners:      []Listener{defaultListener("127.0.0.1:1883")},
		HTTP:           defaultHTTP(),
		ACME:           acme.DefaultConfig(),
		Authentication: defaultAuthentication(),
		Authorization:  acl.DefaultConfig(),
		Log:            Log{Level: "info", Format: "text"},
		Limits:         broker.DefaultLimits(),
		Delivery:       broker.DefaultDelivery(),
		Rates:          limit.DefaultRates(),
		Flapping:       flapping.Defaults(),
		Overload:       overload.Defaults(),
		Canaries:       canary.DefaultConfig(),
		Books:          broker.DefaultBookkeeping(),
		Events:         defaultEvents(),
		Trace:          trace.Defaults(),
		History:        figures.DefaultConfig(),
		Metrics:        metrics.DefaultConfig(),
		Telemetry:      telemetry.DefaultConfig(),
		Sys:            Sys{Interval: 10 * time.Second},
		Watch:          time.Second,
		StopTime:       10 * time.Second,
	}
}

// Check holds the rules that no tag can say.
func (c *Config) Check(bad func(key, message, fix string)) {
	if c.Data == "" {
		bad("data", "is empty", "name a directory, such as ./sapwood-data")
	}
	if len(c.Listeners) == 0 {
		bad("listeners", "is empty, so nobody could connect", "give at least one, such as address: 127.0.0.1:1883")
	}
	if c.StopTime == 0 {
		bad("stop_timeout", "is 0s, which leaves no time to tell the clients", "give it some, such as 10s")
	}
	if c.Watch != 0 && c.Watch < 10*time.Millisecond {
		bad("watch_interval", "is "+c.Watch.String()+", which leaves no time for anything else", "take 1s, or 0s for never")
	}
	c.checkBackends(bad)
	seen, names := map[string]bool{}, map[string]bool{}
	for i, l := range c.Listeners {
		key := fmt.Sprintf("listeners[%d].", i)
		if seen[l.Address] && !strings.HasSuffix(l.Address, ":0") {
			bad(key+"address", fmt.Sprintf("%s is there twice", l.Address), "remove one")
		}
		if names[l.Name] && l.Name != "" {
			bad(key+"name", fmt.Sprintf("%s is there twice", l.Name), "name it otherwise")
		}
		seen[l.Address], names[l.Name] = true, true
		if refusal, fix := c.exposure(l).refusal(); refusal != "" {
			bad(key+"address", refusal, fix)
		}
	}
	if refusal, fix := c.HTTP.exposure().refusal(); refusal != "" {
		bad("http.address", refusal, fix)
	}
}

// Check refuses what cannot be an address.
func (l *Listener) Check(bad func(key, message, fix string)) {
	if path, ok := strings.CutPrefix(l.Address, "unix:"); ok {
		if path == "" {
			bad("address", "has no path after unix:", "write it as unix:/run/sapwood.sock")
		}
		return
	}
	if err := checkHostPort(l.Address); err != "" {
		bad("address", err, "write it as 127.0.0.1:1883 or unix:/run/sapwood.sock")
	}
}

// Check refuses what cannot be an address.
func (h *HTTP) Check(bad func(key, message, fix string)) {
	if h.Off() {
		return
	}
	if err := checkHostPort(h.Address); err != "" {
		bad("address", err, "write it as 127.0.0.1:8083, or off")
	}
}

// Off tells whether HTTP is not wanted.
func (h *HTTP) Off() bool { return h.Address == "" || h.Address == "off" }

// checkHostPort says what is wrong with an address, "" when nothing is.
func checkHostPort(address string) string {
	if address == "" {
		return "is empty"
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Sprintf("is %q, but must be host:port", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Sprintf("has the port %q, but a port is a number from 0 to 65535", port)
	}
	return ""
}

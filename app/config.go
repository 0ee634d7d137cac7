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
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
)

// Config is everything that can be set: one tree of everybody's sections. A section lives with the
// package it belongs to; its tags say all that the file, the schema and `config explain` show.
type Config struct {
	Data          string          `yaml:"data" reload:"restart" doc:"Directory for everything that outlives the process. Created when first needed; with durability memory it never is."`
	Durability    Durability      `yaml:"durability" reload:"restart" enum:"fsync,process,memory"`
	Storage       disk.Config     `yaml:"storage" reload:"restart" doc:"How the disk is used, with durability fsync and process."`
	Listeners     []Listener      `yaml:"listeners" doc:"Where MQTT clients connect."`
	HTTP          HTTP            `yaml:"http" reload:"restart" doc:"The HTTP side: /healthz and /readyz for everybody, the API under /api/v1 for the user admin."`
	Authorization acl.Config      `yaml:"authorization" doc:"What clients may do."`
	Log           Log             `yaml:"log" doc:"What the process writes to standard error."`
	Limits        broker.Limits   `yaml:"limits" doc:"What clients may ask of the broker. What exceeds a limit gets the reason code named here and is counted."`
	Delivery      broker.Delivery `yaml:"delivery" doc:"How messages reach their receivers."`
	Sys           Sys             `yaml:"sys" doc:"The broker's own figures, published under $SYS/broker/."`
	Watch         time.Duration   `yaml:"watch_interval" doc:"How often the configuration file, and each file that it refers to, is looked at for new contents, which are then applied as by SIGHUP; 0s never looks."`
	StopTime      time.Duration   `yaml:"stop_timeout" doc:"How long a stop may take: clients are told, queues flushed." exceeded:"what is left is cut off, and the process exits with status 1"`
}

// Listener is one address that speaks MQTT. The zero value lacks its address.
type Listener struct {
	Name      string  `yaml:"name" doc:"What rules, counts and explanations call it; by default its address."`
	Address   string  `yaml:"address" doc:"host:port, where port 0 takes a free one, or unix:/path/to/socket."`
	Anonymous bool    `yaml:"anonymous" doc:"Let clients in without authentication on an address that other machines can reach; it implies plaintext. Loopback addresses and unix sockets need no such leave."`
	Plaintext bool    `yaml:"plaintext" doc:"Let clients authenticate without TLS on an address that other machines can reach, where whoever listens in learns their passwords."`
	Removal   Removal `yaml:"on_removal" enum:"keep,disconnect" doc:"What a reload that removes the listener does with its clients: keep leaves them connected, disconnect closes their connections (0x98)."`
}

// SetDefaults implements settings.Defaulter.
func (l *Listener) SetDefaults() { l.Removal = RemovalKeep }

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
	Address   string `yaml:"address" doc:"host:port, where port 0 takes a free one; off for no HTTP at all."`
	Plaintext bool   `yaml:"plaintext" doc:"Answer without TLS on an address that other machines can reach, where whoever listens in learns the API's passwords and keys."`
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
		Data:          "./sapwood-data",
		Durability:    Fsync,
		Storage:       disk.DefaultConfig(),
		Listeners:     []Listener{{Address: "127.0.0.1:1883", Removal: RemovalKeep}},
		HTTP:          HTTP{Address: "127.0.0.1:8083"},
		Authorization: acl.DefaultConfig(),
		Log:           Log{Level: "info", Format: "text"},
		Limits:        broker.DefaultLimits(),
		Delivery:      broker.DefaultDelivery(),
		Sys:           Sys{Interval: 10 * time.Second},
		Watch:         time.Second,
		StopTime:      10 * time.Second,
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

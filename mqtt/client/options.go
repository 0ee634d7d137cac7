package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Options say how to connect and what to do with what arrives. Address (or
// DialConn) is the only one that has to be set. A Client never writes to
// anything its Options point to.
type Options struct {
	// Address is host:port, mqtt://[user[:password]@]host[:port],
	// mqtts://... or unix:/path. The port is 1883, or 8883 with TLS.
	Address string
	// DialConn, if set, makes the network connection in place of Address.
	DialConn func(ctx context.Context) (net.Conn, error)
	// TLS, if set, turns TLS on; with mqtts:// nil means the system's roots.
	TLS *tls.Config

	Version    mqtt.Version // 0 = mqtt.V5
	ClientID   string       // empty: the server assigns one (for 3.1 the client does)
	CleanStart bool         // on the first connection; see SessionExpiry for the later ones
	// SessionExpiry is in seconds, v5 only. Not 0, it makes every connection
	// after the first resume the session, whatever CleanStart says.
	SessionExpiry uint32
	KeepAlive     uint16 // seconds, 0 = off: then a silent server is never noticed
	// Timeout is how long the server may owe something: the connection and its
	// CONNACK, a PINGRESP, room for more bytes. 0 = 30 s.
	Timeout time.Duration

	Username string // empty = none, unless Address has one
	Password []byte // nil = none, unless Address has one
	Will     *mqtt.Will

	ReceiveMaximum    uint16 // v5, 0 = 65,535
	MaximumPacketSize uint32 // bytes the server may send; 0 = the protocol's limit. Enforced for every version
	TopicAliasMaximum uint16 // v5, aliases the server may use, 0 = none
	UserProperties    []mqtt.UserProperty
	// MaxInflight bounds the QoS 1 and 2 messages being published, and with
	// them what a lost connection leaves to resend. 0 = 1,000, at most 60,000.
	MaxInflight int

	// Reconnect, unless zero, is how to come back after a lost connection.
	Reconnect Backoff

	// OnMessage takes each message, in the order of arrival, on the goroutine
	// that reads: while it runs nothing else is read, and the server feels the
	// back pressure. The message is a view that ends with the call. The
	// acknowledgement leaves after it returned. ErrStop acknowledges and then
	// closes the client; any other error closes it without acknowledging. It
	// must not wait for Publish at QoS 1 or 2, Subscribe, Unsubscribe, Close.
	OnMessage func(*mqtt.Publish) error
	// OnEvent hears of the life of the connection after Dial. Same goroutine,
	// same rules.
	OnEvent func(Event)
	// Tap sees every control packet as it is on the wire; the bytes are a view
	// that ends with the call. It must not call the Client. It may be called
	// for a sent and a received packet at the same time.
	Tap func(Direction, []byte)
}

// Direction is the way of a packet that a Tap sees.
type Direction uint8

// The two directions.
const (
	Received Direction = iota
	Sent
)

// Backoff is exponential with full jitter: before attempt n the client waits a
// random time below min(Max, Min*2^n). The count starts again after a connection
// that lasted longer than Max. The zero value means not to reconnect.
type Backoff struct{ Min, Max time.Duration }

// EventKind tells what happened.
type EventKind uint8

// The events.
const (
	Connected           EventKind = iota // again, after Disconnected; Connack is set
	Disconnected                         // Err says why, the next attempt is Retry away
	SubscriptionRefused                  // on resubscribing: Filter and Err
)

// Event is a turn in the life of the connection.
type Event struct {
	Kind    EventKind
	Err     error
	Retry   time.Duration
	Filter  string
	Connack mqtt.Connack
}

const (
	defaultTimeout     = 30 * time.Second
	defaultMaxInflight = 1000
	maxMaxInflight     = 60000 // leaves packet identifiers for SUBSCRIBE
)

// withDefaults is o, checked, and with the zero values filled in.
func (o Options) withDefaults() (Options, error) {
	if o.Version == 0 {
		o.Version = mqtt.V5
	}
	if o.Version != mqtt.V31 && o.Version != mqtt.V311 && o.Version != mqtt.V5 {
		return o, fmt.Errorf("%w: protocol version %d is unknown", ErrOptions, o.Version)
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxInflight <= 0 {
		o.MaxInflight = defaultMaxInflight
	}
	o.MaxInflight = min(o.MaxInflight, maxMaxInflight)
	if o.ReceiveMaximum == 0 {
		o.ReceiveMaximum = 65535
	}
	if max(len(o.ClientID), len(o.Username), len(o.Password)) > math.MaxUint16 ||
		o.Will != nil && max(len(o.Will.Topic), len(o.Will.Payload)) > math.MaxUint16 {
		return o, fmt.Errorf("%w: a client id, user name, password or will has more than 65,535 bytes", ErrOptions)
	}
	if o.Version < mqtt.V5 {
		o.TopicAliasMaximum, o.SessionExpiry = 0, 0
		if o.ClientID == "" && !o.CleanStart {
			return o, fmt.Errorf("%w: to keep a session before MQTT 5 takes a client id", ErrOptions)
		}
		if o.Password != nil && o.Username == "" && !strings.Contains(o.Address, "@") {
			return o, fmt.Errorf("%w: a password without a user name takes MQTT 5", ErrOptions)
		}
	}
	if o.DialConn != nil {
		return o, nil
	}
	return o.withDialer()
}

// withDialer sets DialConn from Address and TLS, and takes credentials that
// Address carries unless they were given apart.
func (o Options) withDialer() (Options, error) {
	network, host, port, secure := "tcp", "", "", o.TLS != nil
	if path, ok := strings.CutPrefix(o.Address, "unix:"); ok {
		network, host = "unix", "/"+strings.TrimLeft(path, "/")
		if !strings.HasPrefix(path, "/") {
			host = path // relative
		}
	} else if strings.Contains(o.Address, "://") {
		u, err := url.Parse(o.Address)
		if err != nil { // the error would repeat the password
			return o, fmt.Errorf("%w: the address is not a URL (percent-encode special characters)", ErrOptions)
		}
		switch u.Scheme {
		case "mqtt", "tcp":
		case "mqtts", "ssl", "tls":
			secure = true
		default:
			return o, fmt.Errorf("%w: scheme %q is not mqtt, mqtts or unix", ErrOptions, u.Scheme)
		}
		if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return o, fmt.Errorf("%w: the address goes on after host and port", ErrOptions)
		}
		host, port = u.Hostname(), u.Port()
		if u.User != nil && o.Username == "" {
			o.Username = u.User.Username()
		}
		if pass, ok := u.User.Password(); ok && o.Password == nil {
			o.Password = []byte(pass)
		}
	} else if h, p, err := net.SplitHostPort(o.Address); err == nil {
		host, port = h, p
	} else {
		host = strings.Trim(o.Address, "[]")
	}
	if host == "" {
		return o, fmt.Errorf("%w: the address has no host", ErrOptions)
	}
	if port == "" {
		port = "1883"
		if secure {
			port = "8883"
		}
	}
	address := host
	if network == "tcp" {
		address = net.JoinHostPort(host, port)
	}
	o.DialConn = dialer(network, address, host, secure, o.TLS)
	return o, nil
}

func dialer(network, address, host string, secure bool, config *tls.Config) func(context.Context) (net.Conn, error) {
	if !secure {
		return func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	}
	if config == nil {
		config = new(tls.Config)
	}
	if config.ServerName == "" && network == "tcp" {
		config = config.Clone()
		config.ServerName = host
	}
	return func(ctx context.Context) (net.Conn, error) {
		return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
	}
}

func (o *Options) tell(e Event) {
	if o.OnEvent != nil {
		o.OnEvent(e)
	}
}

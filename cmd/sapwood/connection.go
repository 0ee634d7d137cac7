package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// connection is the flags of the commands that are MQTT clients.
type connection struct {
	URL        string          `placeholder:"URL" env:"SAPWOOD_URL" help:"mqtt://[user[:password]@]host[:port], mqtts://... or unix:/path. In place of --host and --port."`
	Host       string          `short:"H" default:"localhost" help:"Host of the broker."`
	Port       uint16          `short:"p" placeholder:"PORT" help:"Port of the broker (1883, with TLS 8883)."`
	Version    protocolVersion `short:"V" name:"mqtt-version" default:"5" placeholder:"5" help:"MQTT version: 3.1, 3.1.1 or 5."`
	ID         string          `short:"i" help:"Client id. Without one the broker assigns it."`
	Username   string          `short:"u" env:"SAPWOOD_USERNAME" help:"User name."`
	Password   *string         `short:"P" env:"SAPWOOD_PASSWORD" help:"Password. The variable keeps it out of the process list."`
	KeepAlive  uint16          `short:"k" default:"60" placeholder:"60" help:"Keep-alive in seconds, 0 = off."`
	CleanStart bool            `default:"true" negatable:"" help:"Start without an earlier session. With --no-clean-start the session is kept (give -i)."`
	Expiry     *seconds        `name:"session-expiry" short:"x" placeholder:"TIME" help:"How long the broker keeps the session: 3600, 1h or never (v5). With --no-clean-start: never."`
	Wait       time.Duration   `name:"connect-timeout" default:"10s" placeholder:"10s" help:"How long the broker may take to answer."`
	Reconnect  bool            `default:"true" negatable:"" help:"Come back when the connection is lost."`
	Property   []string        `name:"connect-property" sep:"none" placeholder:"NAME=VALUE" help:"User property of the CONNECT (v5). Repeatable."`
	Debug      bool            `short:"d" help:"Show every packet on standard error."`

	will     `embed:"" prefix:"will-" group:"Will"`
	security `embed:"" group:"TLS"`
}

// will is the message the broker publishes when the client dies.
type will struct {
	Topic   string   `placeholder:"TOPIC" help:"Topic of the will: what the broker publishes if this client dies."`
	Payload string   `placeholder:"TEXT" help:"Its payload."`
	QoS     uint8    `name:"qos" enum:"0,1,2" default:"0" placeholder:"0" help:"Its QoS."`
	Retain  bool     `help:"Retain it."`
	Delay   *seconds `placeholder:"TIME" help:"Publish it only after this time (v5)."`
}

// security is TLS.
type security struct {
	TLS        bool     `name:"tls" help:"Use TLS with the system's authorities."`
	CAFile     string   `name:"cafile" type:"existingfile" placeholder:"PEM" help:"Trust the authorities in this file, no others. Implies --tls, as all of these."`
	Cert       string   `type:"existingfile" placeholder:"PEM" help:"Client certificate, with --key."`
	Key        string   `type:"existingfile" placeholder:"PEM" help:"Its private key."`
	Insecure   bool     `help:"Do not check the broker's certificate. For tests."`
	Servername string   `placeholder:"NAME" help:"Name that the broker's certificate must have, if not the host."`
	ALPN       []string `name:"alpn" placeholder:"PROTO" help:"ALPN protocol. Repeatable."`
}

// protocolVersion is an mqtt.Version on the command line.
type protocolVersion mqtt.Version

// UnmarshalText also knows the words of mosquitto_pub.
func (v *protocolVersion) UnmarshalText(text []byte) error {
	switch strings.TrimPrefix(string(text), "mqttv") {
	case "3.1", "31":
		*v = protocolVersion(mqtt.V31)
	case "3.1.1", "311":
		*v = protocolVersion(mqtt.V311)
	case "5", "5.0":
		*v = protocolVersion(mqtt.V5)
	default:
		return fmt.Errorf("%q is not one of 3.1, 3.1.1, 5", text)
	}
	return nil
}

// seconds is an MQTT interval on the command line: 90, 1m30s or never.
type seconds uint32

const never = seconds(math.MaxUint32)

// UnmarshalText reads whole seconds without a unit, or Go's durations.
func (s *seconds) UnmarshalText(text []byte) error {
	if string(text) == "never" {
		*s = never
		return nil
	}
	if n, err := strconv.ParseUint(string(text), 10, 32); err == nil {
		*s = seconds(n)
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 || d.Seconds() > math.MaxUint32 {
		return fmt.Errorf("%q is not a time such as 90, 1m30s or never", text)
	}
	*s = seconds((d + time.Second - 1) / time.Second)
	return nil
}

// Verify checks what the flags ask for together.
func (c *connection) Verify() error {
	if c.will.Topic == "" && (c.Payload != "" || c.will.Retain || c.will.QoS > 0 || c.Delay != nil) {
		return errors.New("a will has a --will-topic")
	}
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("--cert and --key go together")
	}
	if _, err := userProperties(c.Property); err != nil {
		return fmt.Errorf("--connect-property: %w", err)
	}
	if c.ID == "" && !c.CleanStart && mqtt.Version(c.Version) < mqtt.V5 {
		return errors.New("--no-clean-start keeps the session of a client id: give -i")
	}
	return nil
}

func (c *connection) address() string {
	if c.URL != "" {
		return c.URL
	}
	if c.Port == 0 {
		return c.Host
	}
	return net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
}

// options are the flags as the client takes them.
func (c *connection) options(std *streams) (client.Options, error) {
	o := client.Options{
		Address: c.address(), Version: mqtt.Version(c.Version), ClientID: c.ID, CleanStart: c.CleanStart,
		KeepAlive: c.KeepAlive, Timeout: c.Wait, Username: c.Username,
		OnEvent: func(e client.Event) { notice(std.err, e) },
	}
	if c.Password != nil {
		o.Password = []byte(*c.Password)
	}
	if c.Reconnect {
		o.Reconnect = client.Backoff{Min: time.Second, Max: 30 * time.Second}
	}
	switch {
	case c.Expiry != nil:
		o.SessionExpiry = uint32(*c.Expiry)
	case !c.CleanStart:
		o.SessionExpiry = uint32(never)
	}
	if c.will.Topic != "" {
		o.Will = &mqtt.Will{
			Topic: []byte(c.will.Topic), Payload: []byte(c.Payload),
			QoS: mqtt.QoS(c.will.QoS), Retain: c.will.Retain,
		}
		if c.Delay != nil {
			o.Will.Props.WillDelay = uint32(*c.Delay)
		}
	}
	if c.Debug {
		o.Tap = tracer(std.err, mqtt.Version(c.Version))
	}
	var err error
	if o.UserProperties, err = userProperties(c.Property); err != nil {
		return o, err
	}
	o.TLS, err = c.security.config()
	return o, err
}

// config is nil without any of the flags.
func (s *security) config() (*tls.Config, error) {
	if !s.TLS && s.CAFile == "" && s.Cert == "" && !s.Insecure && s.Servername == "" && s.ALPN == nil {
		return nil, nil
	}
	config := &tls.Config{ServerName: s.Servername, InsecureSkipVerify: s.Insecure, NextProtos: s.ALPN}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--cafile: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--cafile: no certificate in %s", s.CAFile)
		}
	}
	if s.Cert != "" {
		pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
		if err != nil {
			return nil, fmt.Errorf("--cert, --key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func userProperties(pairs []string) (out []mqtt.UserProperty, err error) {
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not NAME=VALUE", pair)
		}
		out = append(out, mqtt.UserProperty{Name: []byte(name), Value: []byte(value)})
	}
	return out, nil
}

// The exit codes of the client commands beyond exitFailed and exitUsage.
const (
	exitUnreachable = 3  // no connection
	exitRefused     = 4  // the broker refused or ended the connection
	exitNotAccepted = 5  // the broker did not accept a message or a subscription
	exitTimeout     = 27 // -W ran out, as in mosquitto_sub
)

const exitCodesHelp = `Exit status: 0 done, 1 other failure, 2 wrong command line, 3 no connection to the broker,
4 the broker refused or ended the connection, 5 the broker did not accept a message or a
subscription, 27 the time of -W is over.`

// coded is an error with the exit code of its command.
type coded struct {
	code int
	error
}

// ExitCode is what the process ends with.
func (c coded) ExitCode() int { return c.code }

// Unwrap is the error itself.
func (c coded) Unwrap() error { return c.error }

// dial connects, or says what to do about it.
func dial(ctx context.Context, o client.Options) (*client.Client, error) {
	c, err := client.Dial(ctx, o)
	if err == nil {
		return c, nil
	}
	return nil, explained(err)
}

// hang up: what is written leaves first, within a bound.
func hangUp(c *client.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.Close(ctx)
}

// explained gives the end of a connection its exit code and says what may help.
func explained(err error) error {
	refusal := new(client.ReasonError)
	if errors.Is(err, client.ErrOptions) {
		return coded{exitUsage, err}
	}
	if errors.As(err, &refusal) {
		return coded{exitRefused, withAdvice(err, adviceOnReason(refusal.Reason))}
	}
	return coded{exitUnreachable, withAdvice(err, adviceOnNetwork(err))}
}

func withAdvice(err error, advice string) error {
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w\n  %s", err, advice)
}

func adviceOnReason(r mqtt.ReasonCode) string {
	switch r {
	case mqtt.UnsupportedProtocolVersion:
		return "The broker does not speak this MQTT version: try -V 3.1.1"
	case mqtt.BadUserNameOrPassword, mqtt.NotAuthorized, mqtt.BadAuthenticationMethod:
		return "Check -u and the password (-P or SAPWOOD_PASSWORD), and what the broker allows this client"
	case mqtt.ClientIDNotValid:
		return "Choose another client id with -i; without a clean start there has to be one"
	case mqtt.SessionTakenOver:
		return "Another client connected with the same client id: give each its own with -i"
	case mqtt.UseAnotherServer, mqtt.ServerMoved:
		return "Connect to the server it names with --url"
	case mqtt.PacketTooLarge:
		return "The broker's maximum packet size is smaller than this"
	}
	return ""
}

func adviceOnNetwork(err error) string {
	var (
		dns       *net.DNSError
		unknownCA x509.UnknownAuthorityError
		name      x509.HostnameError
		record    tls.RecordHeaderError
		fault     *mqtt.Error
	)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Is the broker running? Start one with: sapwood serve"
	case errors.Is(err, os.ErrNotExist):
		return "There is no such socket. Is the broker running? Start one with: sapwood serve --mqtt unix:PATH"
	case errors.As(err, &dns):
		return "Check the host name (-H or --url)"
	case errors.As(err, &unknownCA):
		return "Give the authority that signed the broker's certificate with --cafile, or for a test --insecure"
	case errors.As(err, &name):
		return "Give the name in the broker's certificate with --servername, or for a test --insecure"
	case errors.As(err, &record):
		return "This port does not speak TLS: leave --tls out, or use the broker's TLS port (8883)"
	case errors.As(err, &fault), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		return "Is it an MQTT port? One that expects TLS takes --tls or mqtts://"
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return "Is it the right host and port, and no firewall between? One that expects TLS takes --tls"
	}
	return ""
}

// notice tells of the life of the connection.
func notice(w io.Writer, e client.Event) {
	switch e.Kind {
	case client.Disconnected:
		fmt.Fprintf(w, "sapwood: %v; trying again in %v\n", e.Err, e.Retry.Round(10*time.Millisecond))
	case client.Connected:
		session := "new session"
		if e.Connack.SessionPresent {
			session = "session resumed"
		}
		fmt.Fprintf(w, "sapwood: connected again, %s\n", session)
	case client.SubscriptionRefused:
		fmt.Fprintf(w, "sapwood: %s: %v\n", screen.Printable(e.Filter), e.Err)
	}
}

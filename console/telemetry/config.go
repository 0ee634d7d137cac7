package telemetry

import (
	"errors"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/post"
)

// Config says where telemetry goes, and what of it.
type Config struct {
	Endpoint   string        `yaml:"endpoint" reload:"restart" doc:"Base URL of an OpenTelemetry collector that takes OTLP over HTTP, such as https://otel.example.com:4318; /v1/metrics, /v1/logs and /v1/traces are appended. https, or http on this machine or with plaintext. Empty = nothing is sent."`
	Headers    []Header      `yaml:"headers" reload:"restart" doc:"What is sent along, such as Authorization."`
	Plaintext  bool          `yaml:"plaintext" reload:"restart" doc:"Leave to send to another machine by http, readable for all on the way."`
	CAFile     string        `yaml:"ca_file" reload:"restart" doc:"PEM file of the authorities one of which must have signed the collector's certificate; empty = those of the system."`
	Interval   time.Duration `yaml:"interval" reload:"restart" doc:"Time between two readings of the metrics; at least 1s."`
	Timeout    time.Duration `yaml:"timeout" reload:"restart" doc:"How long an answer may take." exceeded:"the request is sent again, five times at most; then what it carried is dropped, which is counted"`
	Metrics    bool          `yaml:"metrics" reload:"restart" doc:"Whether the figures of /metrics are sent."`
	Logs       bool          `yaml:"logs" reload:"restart" doc:"Whether the log and the events are sent."`
	Traces     bool          `yaml:"traces" reload:"restart" doc:"Whether the way of some messages is sent: those whose traceparent (a user property of MQTT 5) says that it is sampled, and a part of those without."`
	Ratio      float64       `yaml:"sample_ratio" reload:"restart" min:"0" max:"1" doc:"The part of messages without traceparent that is traced."`
	PerSecond  int           `yaml:"traces_per_second" reload:"restart" min:"1" max:"100000" doc:"How many messages are traced in a second at most, whatever their publishers ask for." exceeded:"they are not traced"`
	Deliveries int           `yaml:"deliveries" reload:"restart" min:"0" max:"10000" doc:"How many receivers of a message are told at most."`
	Inject     bool          `yaml:"inject" reload:"restart" doc:"Add a traceparent to traced messages that came without, for receivers of MQTT 5."`
	Attributes []Attribute   `yaml:"attributes" reload:"restart" doc:"What is told of this process beside service.name, service.version, service.instance.id and host.name, or in their place."`
}

// Header is sent with each request.
type Header struct {
	Name  string `yaml:"name" doc:"Name of the header."`
	Value string `yaml:"value" secret:"true" doc:"Its value."`
}

// Attribute is told of this process.
type Attribute struct {
	Name  string `yaml:"name" doc:"As in deployment.environment.name."`
	Value string `yaml:"value" doc:"Its value."`
}

// DefaultConfig has no endpoint yet.
func DefaultConfig() Config {
	return Config{
		Headers: []Header{}, Interval: 30 * time.Second, Timeout: 10 * time.Second, Metrics: true, Logs: true, Traces: true,
		Ratio: 0.001, PerSecond: 100, Deliveries: 32, Attributes: []Attribute{},
	}
}

// Check tells what cannot be.
func (c *Config) Check(bad func(key, message, fix string)) {
	if c.Interval < time.Second {
		bad("interval", "must be at least 1s", "leave it at 30s")
	}
	if c.Timeout <= 0 {
		bad("timeout", "must be above 0s", "leave it at 10s")
	}
	for _, h := range c.Headers {
		if h.Name == "" || strings.ContainsFunc(h.Name, func(r rune) bool { return !isToken(r) }) {
			bad("headers", "has one whose name is none", "write name: Authorization")
		}
		if strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			bad("headers", "has a value with a character that no header has, such as the end of a line", "remove it")
		}
	}
	for _, a := range c.Attributes {
		if a.Name == "" {
			bad("attributes", "has one without a name", "write name: deployment.environment.name")
		}
	}
	if c.Endpoint == "" {
		return
	}
	if err := c.checkEndpoint(); err != nil {
		bad("endpoint", err.Error(), "give it as in https://otel.example.com:4318")
	}
}

func (c *Config) checkEndpoint() error {
	if strings.Contains(c.Endpoint, "?") {
		return errors.New("is not the URL of a server: it has a query")
	}
	return post.CheckURL(c.Endpoint, c.Plaintext, "headers")
}

// isToken tells whether a header's name may have a character (RFC 9110 5.6.2).
func isToken(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

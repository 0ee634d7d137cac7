package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// pubCmd is `sapwood pub`.
type pubCmd struct {
	Topic string `short:"t" required:"" placeholder:"TOPIC" help:"Topic to publish to."`

	Message *string `short:"m" xor:"payload" placeholder:"TEXT" help:"Payload." group:"Payload, one of"`
	File    string  `short:"f" xor:"payload" type:"existingfile" placeholder:"FILE" help:"Payload from a file." group:"Payload, one of"`
	Stdin   bool    `short:"s" xor:"payload" help:"Payload from standard input, all of it." group:"Payload, one of"`
	Lines   bool    `short:"l" xor:"payload" help:"One message per line of standard input." group:"Payload, one of"`
	Null    bool    `short:"n" xor:"payload" help:"Empty payload; with -r it clears what is retained." group:"Payload, one of"`

	QoS      uint8         `name:"qos" short:"q" enum:"0,1,2" default:"0" placeholder:"0" help:"QoS."`
	Retain   bool          `short:"r" help:"Retain the message."`
	Repeat   int           `default:"1" placeholder:"1" help:"Publish it so many times; 0 = until stopped."`
	Interval time.Duration `placeholder:"1s" help:"Wait between messages."`
	Timeout  time.Duration `short:"W" placeholder:"30s" help:"Give up after this time."`
	JSON     bool          `help:"Print the outcome of each message as one line of JSON."`

	messageFlags `embed:"" group:"Properties (v5)"`
	connection
}

// messageFlags are the properties of a message.
type messageFlags struct {
	UserProperty    []string `sep:"none" placeholder:"NAME=VALUE" help:"User property. Repeatable."`
	ContentType     string   `placeholder:"TYPE" help:"Content type, such as application/json."`
	ResponseTopic   string   `placeholder:"TOPIC" help:"Where an answer is expected."`
	CorrelationData string   `placeholder:"DATA" help:"Correlation data; bytes as hex:00ff."`
	MessageExpiry   *seconds `name:"expiry" placeholder:"TIME" help:"The message is of no use after this time: 90 or 1m30s."`
	PayloadFormat   bool     `help:"Declare the payload to be UTF-8 text."`
	TopicAlias      uint16   `placeholder:"N" help:"Send the topic once, then this number in its place."`
}

// Help is the long part of the help page.
func (*pubCmd) Help() string {
	return `Returns when the broker has accepted everything: at QoS 0 when it is written, at QoS 1 and 2
when it is acknowledged.

` + exitCodesHelp + `

Examples:

    sapwood pub -t hello -m world
    sapwood pub -t sensors/t1 -q 1 -r -f reading.json --content-type application/json
    sensor | sapwood pub -t sensors/t1 -l
    SAPWOOD_PASSWORD=secret sapwood pub --url mqtts://ann@example.org -t hello -m world`
}

// Verify checks what the flags ask for together.
func (c *pubCmd) Verify() error {
	if c.Message == nil && c.File == "" && !c.Stdin && !c.Lines && !c.Null {
		return errors.New("what to publish? -m TEXT, -f FILE, -s, -l or -n")
	}
	if c.Repeat < 0 || c.Lines && c.Repeat != 1 {
		return errors.New("--repeat is 0 or more, and not for -l")
	}
	if strings.ContainsAny(c.Topic, "+#") {
		return errors.New("a topic to publish to has no wildcard (+ or #)")
	}
	if _, err := c.message(nil); err != nil {
		return err
	}
	return c.connection.Verify()
}

// message is the PUBLISH that the flags describe.
func (c *pubCmd) message(payload []byte) (*mqtt.Publish, error) {
	p := &mqtt.Publish{Topic: []byte(c.Topic), Payload: payload, QoS: mqtt.QoS(c.QoS), Retain: c.Retain}
	m := &p.Props
	m.TopicAlias = c.TopicAlias
	if c.MessageExpiry != nil {
		m.Expiry, m.HasExpiry = uint32(*c.MessageExpiry), true
	}
	if c.PayloadFormat {
		m.UTF8 = true
		m.Forward = mqtt.AppendPayloadFormat(m.Forward, true)
	}
	if c.ContentType != "" {
		m.Forward = mqtt.AppendContentType(m.Forward, c.ContentType)
	}
	if c.ResponseTopic != "" {
		m.Forward = mqtt.AppendResponseTopic(m.Forward, c.ResponseTopic)
	}
	if data := c.CorrelationData; data != "" {
		if digits, ok := strings.CutPrefix(data, "hex:"); ok {
			raw, err := hex.DecodeString(digits)
			if err != nil {
				return nil, fmt.Errorf("--correlation-data: %w", err)
			}
			data = string(raw)
		}
		m.Forward = mqtt.AppendCorrelationData(m.Forward, data)
	}
	users, err := userProperties(c.UserProperty)
	if err != nil {
		return nil, fmt.Errorf("--user-property: %w", err)
	}
	for _, u := range users {
		m.Forward = mqtt.AppendUserProperty(m.Forward, u.Name, u.Value)
	}
	return p, nil
}

// Run connects, publishes and leaves.
func (c *pubCmd) Run(ctx context.Context, std *streams) error {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, coded{exitTimeout, fmt.Errorf("not done in %v (-W)", c.Timeout)})
		defer cancel()
	}
	payloads, err := c.payloads(ctx, std.in)
	if err != nil {
		return err
	}
	o, err := c.options(std)
	if err != nil {
		return err
	}
	mqttClient, err := dial(ctx, o)
	if err == nil {
		err = c.publish(ctx, mqttClient, std, payloads)
		if closeErr := hangUp(mqttClient); err == nil && closeErr != nil {
			err = explained(closeErr)
		}
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("stopped before everything was published")
	}
	return orTimeout(ctx, err)
}

// orTimeout is the end of -W in the place of err if that is the reason.
func orTimeout(ctx context.Context, err error) error {
	var timeout coded
	if err != nil && errors.As(context.Cause(ctx), &timeout) {
		return timeout
	}
	return err
}

// payloads are what to publish, in order. The channel ends with them or ctx.
func (c *pubCmd) payloads(ctx context.Context, in io.Reader) (<-chan []byte, error) {
	var payload []byte
	var err error
	switch {
	case c.Lines:
		return lines(ctx, in), nil
	case c.Message != nil:
		payload = []byte(*c.Message)
	case c.File != "":
		payload, err = os.ReadFile(c.File)
	case c.Stdin:
		payload, err = io.ReadAll(in)
	}
	if err != nil {
		return nil, fmt.Errorf("read the payload: %w", err)
	}
	out := make(chan []byte)
	go func() {
		defer close(out)
		for n := 0; c.Repeat == 0 || n < c.Repeat; n++ {
			select {
			case out <- payload:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// lines are the lines of in without their ends. Its goroutine may stay behind in
// a Read: only the end of the process ends that.
func lines(ctx context.Context, in io.Reader) <-chan []byte {
	out := make(chan []byte)
	go func() {
		defer close(out)
		r := bufio.NewReader(in)
		for {
			line, err := r.ReadBytes('\n')
			if err != nil && len(line) == 0 {
				return
			}
			line = []byte(strings.TrimRight(string(line), "\r\n"))
			select {
			case out <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// publish starts each message in turn and meanwhile collects the outcomes. A
// signal ends the first, and leaves the second a little time.
func (c *pubCmd) publish(ctx context.Context, to *client.Client, std *streams, payloads <-chan []byte) error {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			time.AfterFunc(lateAnswers, cancel)
		} else {
			cancel()
		}
	})()
	started := make(chan *client.Delivery, 100)
	outcome := make(chan error, 1)
	go func() { outcome <- c.collect(late, std, started) }()
	err := c.startAll(ctx, to, payloads, started)
	close(started)
	if failed := <-outcome; err == nil {
		err = failed
	}
	return err
}

// lateAnswers is how long acknowledgements are waited for after a signal.
const lateAnswers = 2 * time.Second

func (c *pubCmd) startAll(ctx context.Context, to *client.Client, payloads <-chan []byte, started chan<- *client.Delivery) error {
	endless := c.Lines || c.Repeat == 0 // to be stopped is their normal end
	for first := true; ; first = false {
		var payload []byte
		var more bool
		select {
		case payload, more = <-payloads:
		case <-ctx.Done():
		case <-to.Done():
			return explained(to.Err())
		}
		if more && !first && c.Interval > 0 {
			select {
			case <-time.After(c.Interval):
			case <-ctx.Done():
			case <-to.Done():
				return explained(to.Err())
			}
		}
		switch {
		case ctx.Err() == context.Canceled && endless:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !more:
			return nil
		}
		if err := c.start(ctx, to, payload, started); err != nil {
			return err
		}
	}
}

func (c *pubCmd) start(ctx context.Context, to *client.Client, payload []byte, started chan<- *client.Delivery) error {
	p, err := c.message(payload)
	if err != nil {
		return err
	}
	d, err := to.Start(ctx, p)
	if err != nil {
		return notAccepted(err)
	}
	started <- d
	return nil
}

// collect waits for every message; the first that failed is the outcome.
func (c *pubCmd) collect(ctx context.Context, std *streams, started <-chan *client.Delivery) (first error) {
	for d := range started {
		reason, err := d.Wait(ctx)
		if err != nil && first == nil {
			first = notAccepted(err)
		} else if err != nil {
			fmt.Fprintf(std.err, "sapwood: %v\n", err)
		}
		if !c.JSON {
			continue
		}
		line := struct {
			Topic  string `json:"topic"`
			QoS    uint8  `json:"qos"`
			Reason uint8  `json:"reason_code"`
			Name   string `json:"reason"`
			Error  string `json:"error,omitempty"`
		}{Topic: c.Topic, QoS: c.QoS, Reason: uint8(reason), Name: reason.String()}
		if err != nil {
			line.Error = err.Error()
			if reason == mqtt.Success {
				line.Name = ""
			}
		}
		if err := json.NewEncoder(std.out).Encode(line); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// notAccepted is the failure of one message: by the broker's word, or because
// the connection is no more.
func notAccepted(err error) error {
	var reason mqtt.ReasonCode
	refusal := new(client.ReasonError)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &refusal) && refusal.Packet == mqtt.DISCONNECT:
		return explained(err)
	case errors.As(err, &reason):
		return coded{exitNotAccepted, withAdvice(err, adviceOnReason(reason))}
	}
	return explained(err)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// subCmd is `sapwood sub`.
type subCmd struct {
	Topic   []string `short:"t" required:"" sep:"none" placeholder:"FILTER" help:"Topic filter to subscribe to. Repeatable."`
	QoS     uint8    `name:"qos" short:"q" enum:"0,1,2" default:"0" placeholder:"0" help:"Maximum QoS."`
	Exclude []string `short:"T" sep:"none" placeholder:"FILTER" help:"Leave out messages whose topic matches. Repeatable."`

	Count        int           `short:"C" placeholder:"N" help:"End after so many messages."`
	Timeout      time.Duration `short:"W" placeholder:"30s" help:"End after this time."`
	RetainedOnly bool          `help:"Only retained messages; the first other one ends it."`
	NoRetained   bool          `short:"R" help:"Leave out retained messages."`

	Verbose   bool `short:"v" xor:"format" help:"Print the topic before each payload." group:"Output"`
	Pretty    bool `xor:"format" help:"Print time, topic, QoS, size, properties; JSON indented, binary as hex." group:"Output"`
	JSON      bool `xor:"format" help:"Print one line of JSON per message." group:"Output"`
	NoNewline bool `short:"N" help:"Print payloads without a newline after each." group:"Output"`

	NoLocal           bool   `help:"Leave out what this client publishes itself." group:"Subscription (v5)"`
	RetainAsPublished bool   `help:"Keep the retain flag as the publisher set it." group:"Subscription (v5)"`
	RetainHandling    uint8  `enum:"0,1,2" default:"0" placeholder:"0" help:"Retained messages: 0 send, 1 only for a new subscription, 2 do not send." group:"Subscription (v5)"`
	SubscriptionID    uint32 `placeholder:"N" help:"Identifier that comes with each message." group:"Subscription (v5)"`
	TopicAliasMaximum uint16 `default:"100" placeholder:"100" help:"Topic aliases the broker may use." group:"Subscription (v5)"`
	ReceiveMaximum    uint16 `placeholder:"N" help:"QoS 1 and 2 messages the broker may send before they are acknowledged." group:"Subscription (v5)"`
	MaximumPacketSize uint32 `placeholder:"BYTES" help:"Largest packet to receive." group:"Subscription (v5)"`

	connection
}

// Help is the long part of the help page.
func (*subCmd) Help() string {
	return `Prints each message as it comes, and comes back when the connection is lost. A message is
acknowledged after it was printed.

` + exitCodesHelp + `

Examples:

    sapwood sub -t '#' -v
    sapwood sub -t 'sensors/+/temperature' -q 1 --pretty
    sapwood sub -t hello -C 1 -W 10s
    sapwood sub -t orders/# -q 2 -i worker-1 --no-clean-start --json | jq .payload`
}

// Verify checks what the flags ask for together.
func (c *subCmd) Verify() error {
	if c.Count < 0 {
		return errors.New("--count is 0 or more")
	}
	if c.RetainedOnly && c.NoRetained {
		return errors.New("--retained-only and --no-retained leave nothing")
	}
	if c.SubscriptionID > 268_435_455 {
		return errors.New("--subscription-id is at most 268435455")
	}
	for _, filter := range c.Exclude {
		if err := topic.ValidFilter(filter); err != nil {
			return fmt.Errorf("--exclude %q: %w", filter, err)
		}
	}
	return c.connection.Verify()
}

// Run connects, subscribes and prints until something ends it.
func (c *subCmd) Run(ctx context.Context, std *streams) error {
	signal.Ignore(syscall.SIGPIPE) // a closed pipe is told by the write, and then there is a DISCONNECT
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, coded{exitTimeout, fmt.Errorf("the time is over (-W %v)", c.Timeout)})
		defer cancel()
	}
	o, err := c.options(std)
	if err != nil {
		return err
	}
	o.TopicAliasMaximum, o.ReceiveMaximum, o.MaximumPacketSize = c.TopicAliasMaximum, c.ReceiveMaximum, c.MaximumPacketSize
	taker := &taker{cmd: c, out: newPrinter(c, std.out)}
	o.OnMessage = taker.take
	mqttClient, err := dial(ctx, o)
	if err == nil {
		err = c.listen(ctx, mqttClient, std)
	}
	if errors.Is(err, context.Canceled) {
		return nil // to be stopped is the normal end
	}
	return orTimeout(ctx, err)
}

func (c *subCmd) listen(ctx context.Context, at *client.Client, std *streams) error {
	err := c.subscribe(ctx, at, std)
	if err == nil {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-at.Done():
			return ended(at.Err())
		}
	}
	_ = hangUp(at) // what it was for has failed or is over
	return err
}

// ended is how a client that has ended ends the command.
func ended(err error) error {
	failed := new(printError)
	switch {
	case errors.Is(err, client.ErrClosed), errors.Is(err, syscall.EPIPE):
		return nil
	case errors.As(err, &failed):
		return err
	}
	return explained(err)
}

// subscribe asks for all filters at once. It fails if the broker grants none.
func (c *subCmd) subscribe(ctx context.Context, at *client.Client, std *streams) error {
	options := mqtt.SubOptions(c.QoS) | mqtt.SubOptions(c.RetainHandling)<<4
	if c.NoLocal {
		options |= 1 << 2
	}
	if c.RetainAsPublished {
		options |= 1 << 3
	}
	var s mqtt.Subscribe
	for _, t := range c.Topic {
		s.Filters = append(s.Filters, mqtt.Subscription{Filter: []byte(t), Options: options})
	}
	if c.SubscriptionID > 0 {
		s.Props.Has = s.Props.Has.With(mqtt.PropSubscriptionID)
		s.Props.SubscriptionID = c.SubscriptionID
	}
	answer, err := at.Subscribe(ctx, s)
	if errors.Is(err, client.ErrClosed) {
		return nil // -C was reached before the answer came
	}
	if err != nil {
		return notAccepted(err)
	}
	var refused error
	granted := 0
	for i, reason := range answer.Reasons {
		if !reason.Failed() {
			granted++
			if reason < mqtt.ReasonCode(c.QoS) {
				fmt.Fprintf(std.err, "sapwood: %s: granted with QoS %d only\n", screen.Printable(c.Topic[i]), reason)
			}
			continue
		}
		if refused != nil {
			fmt.Fprintf(std.err, "sapwood: %v\n", refused)
		}
		err := &client.ReasonError{Packet: mqtt.SUBACK, Reason: reason, Text: string(answer.Props.ReasonString)}
		refused = fmt.Errorf("%s: %w", screen.Printable(c.Topic[i]), err)
	}
	switch {
	case refused != nil && granted == 0:
		return coded{exitNotAccepted, refused}
	case refused != nil:
		fmt.Fprintf(std.err, "sapwood: %v\n", refused)
	}
	return nil
}

// taker chooses among the messages that come and counts what it prints. It
// belongs to the client's goroutine that reads.
type taker struct {
	cmd   *subCmd
	out   *printer
	count int
}

func (t *taker) take(p *mqtt.Publish) error {
	switch {
	case t.cmd.RetainedOnly && !p.Retain:
		return client.ErrStop
	case t.cmd.NoRetained && p.Retain:
		return nil
	}
	for _, filter := range t.cmd.Exclude {
		if topic.Match(filter, p.Topic) {
			return nil
		}
	}
	if err := t.out.print(p); err != nil {
		return &printError{err}
	}
	if t.count++; t.count == t.cmd.Count {
		return client.ErrStop
	}
	return nil
}

// printError is standard output that does not take a message.
type printError struct{ error }

// Unwrap is the error itself.
func (e *printError) Unwrap() error { return e.error }

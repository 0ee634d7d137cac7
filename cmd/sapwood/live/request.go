package live

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// RequestCmd is `sapwood request`.
type RequestCmd struct {
	reach.Flags
	Topic         string        `arg:"" help:"The topic of the request."`
	Payload       string        `arg:"" optional:"" help:"Its payload."`
	Timeout       time.Duration `default:"10s" help:"How long the response may take."`
	ResponseTopic string        `placeholder:"TOPIC" help:"Where the responder answers, if it cannot read that of a request (MQTT 3.1.1)."`
	JSON          bool          `help:"Print the response with its properties as JSON."`
}

// Help is the long part of the help page.
func (*RequestCmd) Help() string {
	return `The request has a response topic and correlation data (MQTT 5), and is published in the name of the API's user. The payload of the response
is printed as it came. ` + reach.Through + `
Examples:

    sapwood request plant/press-07/ask '{"what":"state"}'
    sapwood request plant/old/ask state --response-topic plant/old/answer --timeout 30s`
}

// Run asks, and prints the response.
func (c *RequestCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	body := map[string]any{"topic": c.Topic, "payload": c.Payload, "timeout_seconds": c.Timeout.Seconds()}
	if c.ResponseTopic != "" {
		body["response_topic"] = c.ResponseTopic
	}
	var d api.Responded
	if err := r.Call(ctx, http.MethodPost, "/request", body, &d); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, d)
	}
	if d.Encoding == "base64" {
		raw, err := base64.StdEncoding.DecodeString(d.Payload)
		if err != nil {
			return fmt.Errorf("the response: %w", err)
		}
		_, err = std.Out.Write(raw)
		return err
	}
	_, err = fmt.Fprintln(std.Out, d.Payload)
	return err
}

package manage

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// ListenersCmd is `sapwood listeners`.
type ListenersCmd struct {
	reach.Flags
	JSON bool `help:"Print them as JSON, with everything about their certificates."`
}

// Help is the long part of the help page.
func (*ListenersCmd) Help() string {
	return `With who is asked there who clients are, how many connections there are and how many were not accepted, until when
the certificate holds, and what needs care. ` + reach.Through + `
Examples:

    sapwood listeners
    sapwood listeners --json`
}

// Run lists listeners.
func (c *ListenersCmd) Run(ctx context.Context, std *screen.Streams) error {
	r, err := c.API()
	if err != nil {
		return err
	}
	var all []api.Listener
	if err := r.Call(ctx, http.MethodGet, "/listeners", nil, &all); err != nil {
		return err
	}
	if c.JSON {
		return screen.JSON(std.Out, all)
	}
	t := screen.NewTable(std.Out, "NAME", "URL", "ASKS", "CONNECTIONS", "TURNED AWAY", "CERTIFICATE UNTIL")
	var care []string
	for _, l := range all {
		turned, until := uint64(0), ""
		for _, n := range l.Turned {
			turned += n
		}
		if l.Warning != "" {
			care = append(care, l.Warning)
		}
		if l.TLS != nil {
			if certs := l.TLS.Certificates; len(certs) > 0 {
				until = certs[0].NotAfter.Local().Format(time.DateOnly)
			}
			for _, w := range l.TLS.Warnings {
				care = append(care, l.Name+": "+w)
			}
		}
		asks := strings.Join(l.Authentication, " ")
		if asks == "" {
			asks = "nobody"
		}
		t.Row(l.Name, l.URL, asks, strconv.Itoa(l.Connections), strconv.FormatUint(turned, 10), until)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, w := range care {
		if _, err := fmt.Fprintf(std.Out, "warn  %s\n", screen.Printable(w)); err != nil {
			return err
		}
	}
	return nil
}

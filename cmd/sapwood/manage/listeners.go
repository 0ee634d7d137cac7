package manage

import (
	"cmp"
	"context"
	"fmt"
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
	var care []string
	heads := []string{"NAME", "URL", "ASKS", "CONNECTIONS", "TURNED AWAY", "CERTIFICATE UNTIL"}
	err := reach.Whole(ctx, &c.Flags, std, c.JSON, "/listeners", heads, func(l *api.Listener) []string {
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
		asks := cmp.Or(strings.Join(l.Authentication, " "), "nobody")
		return []string{l.Name, l.URL, asks, strconv.Itoa(l.Connections), strconv.FormatUint(turned, 10), until}
	})
	for _, w := range care {
		if err == nil {
			_, err = fmt.Fprintf(std.Out, "warn  %s\n", screen.Printable(w))
		}
	}
	return err
}

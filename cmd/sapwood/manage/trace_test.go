package manage

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// A trace ends when it says so; a stream that ends without a word is a broker that stops.
func TestTraceEnds(t *testing.T) {
	f := func(stream, want string) {
		t.Helper()
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/stream"):
				fmt.Fprint(w, stream)
			default:
				fmt.Fprint(w, `{"id":"t"}`)
			}
		}))
		defer s.Close()
		c := TraceCmd{Client: "c", For: time.Minute}
		c.Elsewhere, c.Credentials = reach.Elsewhere{URL: s.URL}, reach.Credentials{Key: "k"}
		var out, errs bytes.Buffer
		if err := c.Run(t.Context(), &screen.Streams{Out: &out, Err: &errs}); fmt.Sprint(err) != want {
			t.Errorf("%q: %v\n%s%s", stream, err, &out, &errs)
		}
	}
	f(":\n\nevent: end\ndata: {\"packets\":0}\n\n", "<nil>")
	f(":\n\n", "the trace broke off: the broker stops, or has stopped")
}

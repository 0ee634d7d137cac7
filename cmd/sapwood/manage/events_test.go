package manage

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// A stream that ends before anything came, as when the broker is started again, is taken up again.
func TestFollowAgain(t *testing.T) {
	ctx, done := context.WithCancel(t.Context())
	defer done()
	var tries atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/stream") {
			fmt.Fprint(w, `{"items":[]}`)
			return
		}
		n := tries.Add(1)
		if n == 2 {
			fmt.Fprint(w, "event: fact\ndata: {\"kind\":\"started\",\"text\":\"Here again.\"}\n\n")
		}
		if n > 2 {
			done()
		}
	}))
	defer s.Close()
	c := EventsCmd{Follow: true, Limit: 1}
	c.Elsewhere, c.Credentials = reach.Elsewhere{URL: s.URL}, reach.Credentials{Key: "k"}
	var out, errs bytes.Buffer
	if err := c.Run(ctx, &screen.Streams{Out: &out, Err: &errs}); err != nil || !strings.Contains(out.String(), "Here again.") || !strings.Contains(errs.String(), "trying again") {
		t.Errorf("%v\n%s%s", err, &out, &errs)
	}
}

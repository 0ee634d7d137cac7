package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/post"
)

const (
	tries    = 5
	pause    = 10 * time.Second // after tries were in vain
	maxPause = 5 * time.Minute
)

// poster sends requests of one signal, one after the other.
type poster struct {
	signal  string // metrics, logs, traces
	url     string
	headers []Header
	client  *http.Client
	log     *slog.Logger
	partial func([]byte) (uint64, string, error) // what an answer says was rejected, and why

	sent    atomic.Uint64          // items
	failing atomic.Pointer[string] // why there is a pause; nil = there is none

	sender post.Sender
	told   bool // that items were rejected
}

func newPoster(e *Exporter, client *http.Client, signal, url string, partial func([]byte) (uint64, string, error)) *poster {
	p := &poster{signal: signal, url: url, headers: e.cfg.Headers, client: client, log: e.log, partial: partial}
	p.sender = post.Sender{Tries: tries, Pause: pause, MaxPause: maxPause, Changed: p.changed}
	return p
}

// send sends a request, several times if need be. rejected items will not be taken; an error means that none was.
func (p *poster) send(ctx context.Context, body []byte) (rejected uint64, err error) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(body) // a Buffer takes everything
	_ = z.Close()
	err = p.sender.Send(ctx, func(ctx context.Context) (again time.Duration, err error) {
		rejected, again, err = p.post(ctx, packed.Bytes())
		if again < 0 {
			p.warn("the collector refuses telemetry, which is dropped", err)
		}
		return again, err
	})
	return rejected, err
}

// changed tells of a pause, and of its end.
func (p *poster) changed(err error) {
	if err != nil {
		p.log.Error("the collector does not take telemetry; it is dropped until it does", "signal", p.signal, "error", err)
		why := err.Error()
		p.failing.Store(&why)
	} else {
		p.log.Info("the collector takes telemetry again", "signal", p.signal)
		p.failing.Store(nil)
	}
}

// warn says something once.
func (p *poster) warn(text string, err error) {
	if !p.told {
		p.told = true
		p.log.Warn(text, "signal", p.signal, "error", err)
	}
}

// post sends once.
func (p *poster) post(ctx context.Context, packed []byte) (rejected uint64, again time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(packed))
	if err != nil {
		return 0, post.Never, err
	}
	for _, h := range p.headers {
		r.Header.Set(h.Name, h.Value)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("Content-Encoding", "gzip")
	a, err := post.Do(p.client, r)
	if err != nil {
		return 0, 0, err
	}
	switch a.Code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout: // OTLP/HTTP: these alone
		return 0, a.Again, fmt.Errorf("the collector answered %d", a.Code)
	default:
		if a.Code/100 != 2 {
			return 0, post.Never, fmt.Errorf("the collector answered %d", a.Code)
		}
	}
	if a.Cut != nil {
		return 0, 0, nil // it took them, whatever became of its answer
	}
	rejected, why, err := p.partial(a.Body)
	if err == nil && rejected > 0 {
		p.warn("the collector rejected a part of the telemetry", errors.New(strconv.QuoteToASCII(why[:min(len(why), 200)])))
	}
	return rejected, 0, nil
}

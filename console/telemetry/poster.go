package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	tries     = 5
	firstWait = time.Second      // before the second try; each further one waits up to twice as long
	longest   = 30 * time.Second // of these waits, and of those that the collector asks for
	pause     = 10 * time.Second // in which nothing is sent after tries were in vain; each further one is twice as long
	maxPause  = 5 * time.Minute
	maxAnswer = 64 << 10 // bytes of an answer that are read
)

// poster sends requests of one signal, one after the other. A collector that is slow, down or hostile costs what is bounded here.
type poster struct {
	signal  string // metrics, logs, traces
	url     string
	headers []Header
	client  *http.Client
	log     *slog.Logger
	partial func([]byte) (uint64, string, error) // what an answer says was rejected, and why

	sent    atomic.Uint64          // items
	failing atomic.Pointer[string] // why there is a pause; nil = there is none

	told bool          // that items were rejected
	open time.Time     // nothing is sent before; zero = all is well
	next time.Duration // of the next pause
}

var errPaused = errors.New("the collector failed a moment ago")

// send sends a request, several times if need be. rejected items will not be taken; an error means that none was.
func (p *poster) send(ctx context.Context, body []byte) (rejected uint64, err error) {
	if time.Now().Before(p.open) {
		return 0, errPaused
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(body) // a Buffer takes everything
	_ = z.Close()
	most, wait := tries, firstWait
	if !p.open.IsZero() { // after a pause one try tells
		most = 1
	}
	for try := 1; ; try++ {
		rejected, again, err := p.post(ctx, packed.Bytes())
		if err == nil {
			p.recovered()
			return rejected, nil
		}
		if again < 0 || ctx.Err() != nil {
			p.warn("the collector refuses telemetry, which is dropped", err)
			return 0, err
		}
		if try == most {
			p.failed(err)
			return 0, err
		}
		select {
		case <-time.After(max(wait/2+rand.N(wait/2), min(again, longest))): // not all brokers at once
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		wait = min(2*wait, longest)
	}
}

// failed begins a pause.
func (p *poster) failed(err error) {
	if p.open.IsZero() {
		p.log.Error("the collector does not take telemetry; it is dropped until it does", "signal", p.signal, "error", err)
	}
	why := err.Error()
	p.failing.Store(&why)
	p.next = min(max(2*p.next, pause), maxPause)
	p.open = time.Now().Add(p.next)
}

// recovered ends a pause.
func (p *poster) recovered() {
	if !p.open.IsZero() {
		p.log.Info("the collector takes telemetry again", "signal", p.signal)
	}
	p.failing.Store(nil)
	p.open, p.next = time.Time{}, 0
}

// warn says something once.
func (p *poster) warn(text string, err error) {
	if !p.told {
		p.told = true
		p.log.Warn(text, "signal", p.signal, "error", err)
	}
}

// post sends once. again is how long to wait at least before another try, below 0 = it would not help.
func (p *poster) post(ctx context.Context, packed []byte) (rejected uint64, again time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(packed))
	if err != nil {
		return 0, -1, err
	}
	r.Header.Set("User-Agent", "sapwood")
	for _, h := range p.headers {
		r.Header.Set(h.Name, h.Value)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("Content-Encoding", "gzip")
	answer, err := p.client.Do(r)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err // without the URL
		}
		return 0, 0, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch code := answer.StatusCode; code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout: // OTLP/HTTP: these alone
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After")) // a date counts as nothing
		return 0, time.Duration(min(max(seconds, 0), 3600)) * time.Second, fmt.Errorf("the collector answered %d", code)
	default:
		if code/100 != 2 {
			return 0, -1, fmt.Errorf("the collector answered %d", code)
		}
	}
	if err != nil {
		return 0, 0, nil // it took them, whatever became of its answer
	}
	rejected, why, err := p.partial(body)
	if err == nil && rejected > 0 {
		p.warn("the collector rejected a part of the telemetry", errors.New(strconv.QuoteToASCII(why[:min(len(why), 200)])))
	}
	return rejected, 0, nil
}

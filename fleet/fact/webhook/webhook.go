// Package webhook sends facts to a server over HTTP. A server that is slow, down or hostile costs what is bounded here and nothing
// else: a timeout, a few tries, a pause, and events that are given up and counted.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
)

const (
	firstWait = time.Second      // before the second try; each further one waits up to twice as long
	longest   = 30 * time.Second // of these waits
	pause     = 30 * time.Second // in which nothing is sent after tries were in vain; each further one is twice as long
	maxPause  = 10 * time.Minute
	maxAnswer = 64 << 10 // bytes of an answer that are read
)

// SignatureHeader has t=SECONDS,v1=HEX: the HMAC-SHA256, by the secret, of SECONDS, a dot and the body.
const SignatureHeader = "Sapwood-Signature"

// Webhook is a fact.Sink.
type Webhook struct {
	fact.Count
	cfg    Config
	log    *slog.Logger
	client *http.Client
	host   string // for the log: the rest of a URL may be secret

	open time.Time     // nothing is sent before; zero = the circuit is closed
	next time.Duration // of the next pause
}

var _ fact.Sink = (*Webhook)(nil)

// New makes one. Nothing is sent yet. An error means that ca_file is no good.
func New(cfg Config, log *slog.Logger) (*Webhook, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	trust, err := transport.Trusting(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	if trust != nil {
		t.TLSClientConfig = trust
	}
	t.MaxConnsPerHost, t.MaxIdleConnsPerHost = 1, 1
	t.MaxResponseHeaderBytes = maxAnswer
	host := ""
	if u, err := url.Parse(cfg.URL); err == nil {
		host = u.Host
	}
	return &Webhook{
		cfg: cfg, log: log, host: host, next: pause,
		client: &http.Client{
			Transport: t, Timeout: cfg.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // where to is for the configuration to say
		},
	}, nil
}

// body is what is sent.
type body struct {
	Events []fact.Fact `json:"events"`
	Lost   uint64      `json:"lost,omitempty"` // that came too fast since the last request
}

// Send implements fact.Sink.
func (w *Webhook) Send(ctx context.Context, facts []fact.Fact, lost uint64) {
	w.Lost(lost)
	for len(facts) > 0 || lost > 0 {
		n := min(w.cfg.Batch, len(facts))
		switch err := w.batch(ctx, body{facts[:n:n], lost}); {
		case err == nil:
			w.Took(n)
		case errors.Is(err, errOpen): // why it is open stands
			w.Lost(uint64(n))
		default:
			w.Failed(n, err)
		}
		facts, lost = facts[n:], 0
	}
}

var errOpen = errors.New("the server failed a moment ago")

// batch sends one request, several times if need be. An error means that it was given up.
func (w *Webhook) batch(ctx context.Context, b body) error {
	if time.Now().Before(w.open) {
		return errOpen
	}
	if b.Events == nil {
		b.Events = []fact.Fact{}
	}
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	tries := w.cfg.Tries
	if !w.open.IsZero() { // after a pause one try tells
		tries = 1
	}
	wait := firstWait
	for try := 1; ; try++ {
		again, err := w.post(ctx, text)
		if err == nil {
			w.closed()
			return nil
		}
		if !again || ctx.Err() != nil {
			w.log.Warn("a webhook refuses events, which are given up", "host", w.host, "events", len(b.Events), "error", err)
			return err
		}
		if try == tries {
			w.opened(err)
			return err
		}
		select {
		case <-time.After(wait/2 + rand.N(wait/2)): // not all brokers at once
		case <-ctx.Done():
			return ctx.Err()
		}
		wait = min(2*wait, longest)
	}
}

// opened begins a pause.
func (w *Webhook) opened(err error) {
	if w.open.IsZero() {
		w.log.Error("a webhook does not take events; they are given up until it does", "host", w.host, "error", err)
	}
	w.open = time.Now().Add(w.next)
	w.next = min(2*w.next, maxPause)
}

// closed ends a pause.
func (w *Webhook) closed() {
	if !w.open.IsZero() {
		w.log.Info("a webhook takes events again", "host", w.host, "given_up", w.Outcome().Dropped)
	}
	w.open, w.next = time.Time{}, pause
}

// post sends once; again tells whether another try could do better.
func (w *Webhook) post(ctx context.Context, text []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL, bytes.NewReader(text))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "sapwood")
	if w.cfg.Bearer != "" {
		r.Header.Set("Authorization", "Bearer "+w.cfg.Bearer)
	}
	if w.cfg.Secret != "" {
		r.Header.Set(SignatureHeader, Sign(w.cfg.Secret, time.Now(), text))
	}
	answer, err := w.client.Do(r)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err // without the URL
		}
		return true, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // a body that is done lets the connection be used again
	switch code := answer.StatusCode; {
	case code/100 == 2:
		return false, nil // it took them, whatever became of its answer
	case code/100 == 5, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return true, errors.Join(fmt.Errorf("the server answered %d", code), err)
	default:
		return false, fmt.Errorf("the server answered %d", code)
	}
}

// Sign is the value of SignatureHeader.
func Sign(secret string, at time.Time, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(seconds + "."))
	h.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(h.Sum(nil))
}

// Close implements fact.Sink.
func (w *Webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

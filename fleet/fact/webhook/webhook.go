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
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/post"
)

const (
	pause    = 30 * time.Second // after tries were in vain
	maxPause = 10 * time.Minute
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

	sender post.Sender
}

var _ fact.Sink = (*Webhook)(nil)

// New makes one. Nothing is sent yet. An error means that ca_file is no good.
func New(cfg Config, log *slog.Logger) (*Webhook, error) {
	w := &Webhook{cfg: cfg, log: log, sender: post.Sender{Tries: cfg.Tries, Pause: pause, MaxPause: maxPause}}
	w.sender.Changed = w.changed
	var t *http.Transport
	w.client, t = post.Client(cfg.Timeout, 1)
	if u, err := url.Parse(cfg.URL); err == nil {
		w.host = u.Host
	}
	return w, post.Trust(t, cfg.CAFile)
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
		case errors.Is(err, post.ErrPaused): // why it is open stands
			w.Lost(uint64(n))
		default:
			w.Failed(n, err)
		}
		facts, lost = facts[n:], 0
	}
}

// batch sends one request, several times if need be. An error means that it was given up.
func (w *Webhook) batch(ctx context.Context, b body) error {
	if b.Events == nil {
		b.Events = []fact.Fact{}
	}
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return w.sender.Send(ctx, func(ctx context.Context) (again time.Duration, err error) {
		if again, err = w.post(ctx, text); again < 0 {
			w.log.Warn("a webhook refuses events, which are given up", "host", w.host, "events", len(b.Events), "error", err)
		}
		return again, err
	})
}

// changed tells of a pause, and of its end.
func (w *Webhook) changed(err error) {
	if err != nil {
		w.log.Error("a webhook does not take events; they are given up until it does", "host", w.host, "error", err)
	} else {
		w.log.Info("a webhook takes events again", "host", w.host, "given_up", w.Outcome().Dropped)
	}
}

// post sends once.
func (w *Webhook) post(ctx context.Context, text []byte) (again time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL, bytes.NewReader(text))
	if err != nil {
		return post.Never, err
	}
	r.Header.Set("Content-Type", "application/json")
	if w.cfg.Bearer != "" {
		r.Header.Set("Authorization", "Bearer "+w.cfg.Bearer)
	}
	if w.cfg.Secret != "" {
		r.Header.Set(SignatureHeader, Sign(w.cfg.Secret, time.Now(), text))
	}
	a, err := post.Do(w.client, r)
	switch {
	case err != nil:
		return 0, err
	case a.Code/100 == 2:
		return 0, nil // it took them, whatever became of its answer
	case a.Code/100 == 5, a.Code == http.StatusTooManyRequests, a.Code == http.StatusRequestTimeout:
		return a.Again, errors.Join(fmt.Errorf("the server answered %d", a.Code), a.Cut)
	default:
		return post.Never, fmt.Errorf("the server answered %d", a.Code)
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

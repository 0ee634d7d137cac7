// Package post sends requests to a server that may be slow, down or hostile. What that costs is bounded here: a few tries with growing waits, then
// pauses in which nothing is sent, and how much of an answer is read. It knows nothing of what is sent.
package post

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

const (
	firstWait = time.Second      // before the second try; each further one waits up to twice as long
	longest   = 30 * time.Second // of these waits, and of those that a server asks for
	maxAnswer = 64 << 10         // bytes of an answer's headers, and of its body, that are read
)

// Sender sends requests one after the other. It is for one goroutine.
type Sender struct {
	Tries    int             // how often a request is sent
	Pause    time.Duration   // in which nothing is sent after tries were in vain; each further one is twice as long
	MaxPause time.Duration   // the longest
	Changed  func(err error) // is told as the first pause begins, why; and as the server takes something again, nil

	open time.Time     // nothing is sent before; zero = all is well
	next time.Duration // of the next pause
}

// ErrPaused is why nothing was sent.
var ErrPaused = errors.New("the server failed a moment ago")

// Never is what Send is told when another try would not help.
const Never time.Duration = -1

// Send calls send, several times if need be: it tells how long to wait at least before another try. The error is that of the last try, that of ctx,
// or ErrPaused.
func (s *Sender) Send(ctx context.Context, send func(context.Context) (again time.Duration, err error)) error {
	if time.Now().Before(s.open) {
		return ErrPaused
	}
	most, wait := s.Tries, firstWait
	if !s.open.IsZero() { // after a pause one try tells
		most = 1
	}
	for try := 1; ; try++ {
		again, err := send(ctx)
		switch {
		case err == nil:
			s.recovered()
			return nil
		case again < 0 || ctx.Err() != nil:
			return err
		case try == most:
			s.failed(err)
			return err
		}
		select {
		case <-time.After(max(wait/2+rand.N(wait/2), min(again, longest))): // not all brokers at once
		case <-ctx.Done():
			return ctx.Err()
		}
		wait = min(2*wait, longest)
	}
}

// failed begins a pause.
func (s *Sender) failed(err error) {
	if s.open.IsZero() {
		s.Changed(err)
	}
	s.next = min(max(2*s.next, s.Pause), s.MaxPause)
	s.open = time.Now().Add(s.next)
}

// recovered ends a pause.
func (s *Sender) recovered() {
	if !s.open.IsZero() {
		s.Changed(nil)
	}
	s.open, s.next = time.Time{}, 0
}

// Client makes a client for one server, with so many connections. It goes nowhere else than the configuration says.
func Client(timeout time.Duration, connections int) (*http.Client, *http.Transport) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxConnsPerHost, t.MaxIdleConnsPerHost = connections, connections
	t.MaxResponseHeaderBytes = maxAnswer
	return &http.Client{
		Transport: t, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, t
}

// Answer is what a server said.
type Answer struct {
	Code  int
	Again time.Duration // how long it asks to wait, an hour at most
	Body  []byte        // the first 64 KiB
	Cut   error         // why there is not more of Body
}

// Do sends a request and reads its answer, so that the connection can be used again. The error does not tell the URL, which may be secret.
func Do(c *http.Client, r *http.Request) (*Answer, error) {
	r.Header.Set("User-Agent", "sapwood")
	resp, err := c.Do(r)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	a := Answer{Code: resp.StatusCode}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // a date counts as nothing
	a.Again = time.Duration(min(max(seconds, 0), 3600)) * time.Second
	a.Body, a.Cut = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return &a, nil
}

// CheckURL tells what is wrong with the URL of a server: it has to be https, or http on this machine or where plaintext allows it, without a password,
// instead of which something else is to be used.
func CheckURL(text string, plaintext bool, instead string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Fragment != "":
		return errors.New("is not the URL of a server")
	case u.User != nil:
		return errors.New("contains a password, which logs would show: use " + instead)
	case u.Scheme == "https", u.Scheme == "http" && (plaintext || local(u.Hostname())):
		return nil
	case u.Scheme == "http":
		return errors.New("is http to another machine: who is on the way could read and change what is sent; take https, or set plaintext")
	}
	return errors.New("must be https")
}

// local tells whether a host is this machine.
func local(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Package authtest is the suite that every authenticator passes: what is let in, what is not, and how the two are told apart. It
// knows no backend.
package authtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

// Outcome is how an attempt ends.
type Outcome int

// The outcomes.
const (
	Unasked       Outcome = iota // the harness does not say: the case is left out
	Accepted                     // an identity
	Unknown                      // auth.ErrUnknown
	Refused                      // an *auth.Refusal
	Indeterminate                // any other error: it cannot be told at present
)

// Harness is an authenticator with what the suite has to know of it.
type Harness struct {
	// New makes the authenticator; its backend works. What has to be ended is the harness's to end (t.Cleanup).
	New func(t *testing.T) auth.Authenticator
	// Right makes a new attempt that is to succeed, each time.
	Right func() *auth.Attempt
	// Name is who Right turns out to be.
	Name string

	// How attempts end that differ from Right in one thing. The password ones are left out for backends that look at no password.
	WrongPassword Outcome
	EmptyPassword Outcome
	NoPassword    Outcome
	UnknownUser   Outcome
	NoUser        Outcome

	// With makes a user of the authenticator that New made last with this password, and the attempt that shows it. nil = it cannot be
	// done, such as with tokens.
	With func(t *testing.T, password []byte) *auth.Attempt
	// Unreachable makes one whose backend cannot be reached; nil = it has no backend.
	Unreachable func(t *testing.T) auth.Authenticator
	// Hanging makes one whose backend takes the question and never answers; nil = it has no backend.
	Hanging func(t *testing.T) auth.Authenticator
	// Logged is all that was logged so far; nil = it logs nothing.
	Logged func() string
}

// canary is in every password that is wrong: it may show up nowhere.
const canary = "c4n4ry-of-authtest"

// soon is what counts as at once.
const soon = 2 * time.Second

// Peer is where the suite's attempts come from.
func Peer() auth.Peer {
	return auth.Peer{Address: netip.MustParseAddrPort("192.0.2.7:4711"), Listener: "authtest", TLS: true}
}

// Run puts an authenticator through the suite.
func Run(t *testing.T, h Harness) {
	t.Run("outcomes", h.outcomes)
	t.Run("any password", h.anyPassword)
	t.Run("password not kept", h.notKept)
	t.Run("concurrent", h.concurrent)
	t.Run("cancelled", h.cancelled)
	t.Run("backend", h.backend)
	if h.Logged != nil && strings.Contains(h.Logged(), canary) {
		t.Errorf("a password is in the log:\n%s", h.Logged())
	}
}

// outcome sorts an answer, and holds it to what every answer has to be.
func (h *Harness) outcome(t *testing.T, id *auth.Identity, err error) Outcome {
	t.Helper()
	var no *auth.Refusal
	switch {
	case err == nil && id == nil:
		t.Error("neither an identity nor an error")
		return Unasked
	case err == nil:
		if id.Name != h.Name {
			t.Errorf("it is %q, want %q", id.Name, h.Name)
		}
		if id.By == "" {
			t.Error("the identity does not say who vouched for it")
		}
		return Accepted
	case id != nil:
		t.Errorf("an identity, and the error %v", err)
	}
	text := err.Error()
	if errors.As(err, &no) {
		text += no.Text + no.Why
		if no.Reason < 0x80 || no.Text == "" || no.By == "" {
			t.Errorf("the refusal lacks its reason, text or origin: %+v", no)
		}
		if strings.Contains(no.Text, "user") && !strings.Contains(no.Text, "user name or password") {
			t.Errorf("the text for the client helps who guesses: %s", no.Text)
		}
	}
	if strings.Contains(text, canary) {
		t.Errorf("a password is in the error: %s", text)
	}
	switch {
	case no != nil:
		return Refused
	case errors.Is(err, auth.ErrUnknown):
		return Unknown
	}
	return Indeterminate
}

func (h *Harness) outcomes(t *testing.T) {
	a := h.New(t)
	f := func(name string, want Outcome, edit func(*auth.Attempt)) {
		if want == Unasked {
			return
		}
		t.Run(name, func(t *testing.T) {
			for range 2 { // a cache must not change the answer
				attempt := h.Right()
				edit(attempt)
				id, err := a.Authenticate(t.Context(), attempt)
				if got := h.outcome(t, id, err); got != want {
					t.Errorf("%v (%v), want %v", got, err, want)
				}
			}
		})
	}
	f("right", Accepted, func(*auth.Attempt) {})
	f("wrong password", h.WrongPassword, func(a *auth.Attempt) { a.Password = []byte(canary) })
	f("wrong password of 65535 bytes", h.WrongPassword, func(a *auth.Attempt) { a.Password = bytes.Repeat([]byte(canary), 65535)[:65535] })
	f("wrong binary password", h.WrongPassword, func(a *auth.Attempt) { a.Password = []byte("\x00\xff" + canary) })
	f("right password and a NUL", h.WrongPassword, func(a *auth.Attempt) { a.Password = append(a.Password, 0) })
	f("right password and more", h.WrongPassword, func(a *auth.Attempt) { a.Password = append(a.Password, canary...) })
	f("empty password", h.EmptyPassword, func(a *auth.Attempt) { a.Password = []byte{} })
	f("no password", h.NoPassword, func(a *auth.Attempt) { a.Password, a.HasPass = nil, false })
	f("unknown user", h.UnknownUser, func(a *auth.Attempt) { a.Username, a.Password = "nobody-of-authtest", []byte(canary) })
	f("unknown user with quotes", h.UnknownUser, func(a *auth.Attempt) { a.Username, a.Password = `x' OR '1'='1"*)(uid=*`, []byte(canary) })
	f("unknown user of 65535 bytes", h.UnknownUser, func(a *auth.Attempt) { a.Username, a.Password = strings.Repeat("u", 65535), []byte(canary) })
	f("unknown binary user", h.UnknownUser, func(a *auth.Attempt) { a.Username, a.Password = "u\x7f\u202e", []byte(canary) })
	f("no user", h.NoUser, func(a *auth.Attempt) { a.Username, a.HasUser = "", false })
	f("empty user", h.NoUser, func(a *auth.Attempt) { a.Username = "" })
	f("right again", Accepted, func(*auth.Attempt) {})
}

// anyPassword shows passwords that a backend's protocol may stumble over (F156).
func (h *Harness) anyPassword(t *testing.T) {
	if h.With == nil {
		return
	}
	a := h.New(t)
	f := func(name string, password []byte, want ...Outcome) {
		t.Run(name, func(t *testing.T) {
			attempt := h.With(t, password)
			named := *h
			named.Name = attempt.Username
			id, err := a.Authenticate(t.Context(), attempt)
			got := named.outcome(t, id, err)
			for _, w := range want {
				if got == w {
					return
				}
			}
			t.Errorf("%v (%v), want one of %v", got, err, want)
		})
	}
	f("quotes", []byte(`a'b"c\d;--`), Accepted)
	f("other scripts", []byte("pässwörd-密码"), Accepted)
	f("binary", []byte("be\x00fore\xff\xfe"), Accepted, Refused)
	f("empty", nil, Accepted, Refused, Unknown)
	f("long", bytes.Repeat([]byte("p"), 65535), Accepted, Refused)
}

// notKept wipes the password after the call, as the broker reuses its buffer.
func (h *Harness) notKept(t *testing.T) {
	a := h.New(t)
	for range 3 {
		attempt := h.Right()
		id, err := a.Authenticate(t.Context(), attempt)
		if got := h.outcome(t, id, err); got != Accepted {
			t.Fatalf("%v (%v)", got, err)
		}
		if !attempt.HasPass || h.WrongPassword == Unasked {
			continue
		}
		clear(attempt.Password)
		id, err = a.Authenticate(t.Context(), attempt)
		if got := h.outcome(t, id, err); got != h.WrongPassword {
			t.Errorf("a wiped password: %v (%v), want %v", got, err, h.WrongPassword)
		}
	}
}

// concurrent is for the race detector. Its client is known before others guess, so that a backend that slows who guesses need not slow it.
func (h *Harness) concurrent(t *testing.T) {
	a := h.New(t)
	id, err := a.Authenticate(t.Context(), h.Right())
	if got := h.outcome(t, id, err); got != Accepted {
		t.Fatalf("%v (%v)", got, err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 4 {
				attempt, want := h.Right(), Accepted
				if i%4 == 3 && h.WrongPassword != Unasked {
					attempt.Password, want = []byte(canary), h.WrongPassword
				}
				id, err := a.Authenticate(t.Context(), attempt)
				if got := h.outcome(t, id, err); got != want {
					t.Errorf("%v (%v), want %v", got, err, want)
				}
				clear(attempt.Password)
			}
		})
	}
	all.Wait()
}

// within calls the authenticator and fails if it does not come back soon.
func (h *Harness) within(t *testing.T, ctx context.Context, a auth.Authenticator) Outcome {
	t.Helper()
	type answer struct {
		id  *auth.Identity
		err error
	}
	done := make(chan answer, 1)
	attempt := h.Right()
	go func() {
		id, err := a.Authenticate(ctx, attempt)
		done <- answer{id, err}
	}()
	select {
	case got := <-done:
		return h.outcome(t, got.id, got.err)
	case <-time.After(soon):
		t.Errorf("no answer within %v", soon)
		return Indeterminate
	}
}

func (h *Harness) cancelled(t *testing.T) {
	a := h.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := h.within(t, ctx, a); got == Refused || got == Unknown {
		t.Errorf("a cancelled attempt with the right credentials ends as %v", got)
	}
	if got := h.within(t, t.Context(), a); got != Accepted {
		t.Errorf("after a cancelled attempt: %v", got)
	}
}

// backend takes the backend away: it must not look like a no, or somebody further down the chain would be asked.
func (h *Harness) backend(t *testing.T) {
	if h.Unreachable != nil {
		ctx, cancel := context.WithTimeout(t.Context(), soon/2)
		defer cancel()
		if got := h.within(t, ctx, h.Unreachable(t)); got != Indeterminate {
			t.Errorf("an unreachable backend: %v, want %v", got, Indeterminate)
		}
	}
	if h.Hanging != nil {
		ctx, cancel := context.WithTimeout(t.Context(), soon/4)
		defer cancel()
		if got := h.within(t, ctx, h.Hanging(t)); got != Indeterminate {
			t.Errorf("a hanging backend: %v, want %v", got, Indeterminate)
		}
	}
}

// String is for messages.
func (o Outcome) String() string {
	switch o {
	case Unasked:
		return "unasked"
	case Accepted:
		return "accepted"
	case Unknown:
		return "unknown"
	case Refused:
		return "refused"
	case Indeterminate:
		return "indeterminate"
	}
	return fmt.Sprintf("outcome %d", int(o))
}

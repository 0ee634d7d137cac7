package chain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// guard is one link with what stands before it.
type guard struct {
	Link
	opts    *Options
	slots   chan struct{} // one for each question under way
	waiting atomic.Int64
	circuit *circuit
	answers *answers

	asked, accepted, refused, unknown, failed, hits atomic.Uint64

	lastError  atomic.Pointer[string]
	staleSince atomic.Int64 // Unix nanoseconds: since when what is known of connected clients could not be renewed; 0 = it could
}

// Limits of a link that states none.
const (
	defaultTimeout    = 5 * time.Second
	defaultConcurrent = 64
	waitersPerSlot    = 16
)

func newGuard(l Link, o *Options, key []byte) *guard {
	l.Timeout = cmp.Or(l.Timeout, defaultTimeout)
	l.Concurrent = cmp.Or(l.Concurrent, defaultConcurrent)
	cache := o.Cache
	if !l.Cached {
		cache = Cache{}
	}
	return &guard{
		Link: l, opts: o,
		slots:   make(chan struct{}, l.Concurrent),
		circuit: &circuit{Circuit: o.Circuit},
		answers: newAnswers(cache, key),
	}
}

// ask answers from the cache, by the circuit, or by the backend; each answer is counted once.
func (g *guard) ask(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
	g.asked.Add(1)
	key, since := g.answers.key(a), g.answers.generation()
	id, err, hit := g.answers.get(key, g.opts.Now())
	if hit {
		g.hits.Add(1)
	} else {
		id, err = g.question(ctx, func(ctx context.Context) (*auth.Identity, error) { return g.Authn.Authenticate(ctx, a) })
		g.answers.put(key, since, a.Username, id, err, g.opts.Now())
	}
	var no *auth.Refusal
	switch {
	case err == nil:
		g.accepted.Add(1)
	case errors.Is(err, auth.ErrUnknown):
		g.unknown.Add(1)
	case errors.As(err, &no) && no.Reason != mqtt.ServerUnavailable && no.Reason != mqtt.ServerBusy:
		g.refused.Add(1)
	default:
		g.failed.Add(1)
	}
	return id, err
}

// question puts one question to the backend, when circuit and slots let it.
func (g *guard) question(ctx context.Context, do func(context.Context) (*auth.Identity, error)) (*auth.Identity, error) {
	if !g.circuit.enter(g.opts.Now()) {
		return nil, fmt.Errorf("%s cannot be reached and is not asked for a while; it said: %s", g.Name, g.last())
	}
	result := undecided
	defer func() { g.circuit.leave(g.opts.Now(), result) }()
	timed, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	if err := g.slot(timed); err != nil {
		return nil, err
	}
	defer func() { <-g.slots }()

	id, err := g.call(timed, do)
	var no *auth.Refusal
	switch {
	case err == nil, errors.Is(err, auth.ErrUnknown), errors.As(err, &no):
		result = answered
	case errors.Is(err, errPanic):
		// One client's bytes must not close the backend to all others.
		return nil, &auth.Refusal{Reason: mqtt.ServerUnavailable, Text: "authentication is not possible at present", By: g.Name, Why: err.Error()}
	case errors.Is(err, errors.ErrUnsupported): // of a Refresher: nothing was asked
	case errors.Is(ctx.Err(), context.Canceled): // the client went away
		return nil, fmt.Errorf("%s: %w", g.Name, ctx.Err())
	default:
		result = unanswered
		err = fmt.Errorf("%s: %w", g.Name, err)
		text := err.Error()
		g.lastError.Store(&text)
	}
	return id, err
}

// slot takes one of the places for questions under way. The caller gives it back.
func (g *guard) slot(ctx context.Context) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	busy := func(why string) error {
		return &auth.Refusal{Reason: mqtt.ServerBusy, Text: "too many clients connect at present", By: g.Name, Why: why}
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > int64(g.Concurrent)*waitersPerSlot {
		return busy("its queue is full")
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return busy("no turn in time")
	}
}

var (
	errPanic  = errors.New("the backend panicked; see the log")
	errNobody = errors.New("the backend vouched for nobody")
)

// call runs the backend's code. What it lets through is an identity of this link that holds.
func (g *guard) call(ctx context.Context, do func(context.Context) (*auth.Identity, error)) (id *auth.Identity, err error) {
	defer func() {
		if r := recover(); r != nil {
			g.opts.Log.Error("an authentication backend panicked; the client is refused", "backend", g.Name, "panic", r, "stack", string(debug.Stack()))
			id, err = nil, errPanic
		}
	}()
	id, err = do(ctx)
	switch {
	case err != nil:
		return nil, err
	case id == nil:
		return nil, errNobody
	case !id.Expires.IsZero() && !id.Expires.After(g.opts.Now()):
		return nil, &auth.Refusal{Reason: mqtt.NotAuthorized, Text: "authentication failed", By: g.Name, Why: "the backend vouched for what has expired"}
	case id.By != g.by(id):
		named := *id
		named.By = g.by(id)
		id = &named
	}
	return id, nil
}

// by is who vouched. A backend that goes by what others keep names them, because who changes that looks for it: accounts, a
// password file. One that is asked again about its clients goes by its own name, so that it finds them.
func (g *guard) by(id *auth.Identity) string {
	if _, asked := g.Authn.(Refresher); asked || id.By == "" {
		return g.Name
	}
	return id.By
}

func (g *guard) last() string {
	if text := g.lastError.Load(); text != nil {
		return *text
	}
	return "nothing"
}

func (g *guard) counts() Count {
	c := Count{
		Name: g.Name, Asked: g.asked.Load(), Accepted: g.accepted.Load(), Refused: g.refused.Load(),
		Unknown: g.unknown.Load(), Failed: g.failed.Load(), CacheHits: g.hits.Load(),
	}
	c.Opened, c.Open = g.circuit.state()
	if text := g.lastError.Load(); text != nil {
		c.LastError = *text
	}
	return c
}

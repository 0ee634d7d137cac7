package jwt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// retry is how long nobody fetches the key set after somebody did, so that made-up key ids are no way to flood its server.
const retry = 10 * time.Second

// remote is a key set at a URL. It is fetched by who needs it: there is no goroutine of its own.
type remote struct {
	url     string
	client  *http.Client
	refresh time.Duration
	stale   time.Duration
	timeout time.Duration
	now     func() time.Time

	set   atomic.Pointer[keySet]
	turn  chan struct{} // who fetches
	mu    sync.Mutex
	tried time.Time // when it was fetched last, well or not
	err   error     // how that ended
}

type keySet struct {
	keys []key
	at   time.Time
}

func newRemote(c *Config, client *http.Client, now func() time.Time) *remote {
	return &remote{url: c.JWKS, client: client, refresh: c.Refresh, stale: c.Stale, timeout: c.Timeout, now: now, turn: make(chan struct{}, 1)}
}

// current is the set as it is known, fetched again when it is old. The error says that none is good enough any more.
func (r *remote) current(ctx context.Context) ([]key, error) {
	s := r.set.Load()
	var err error
	if s == nil || r.now().Sub(s.at) >= r.refresh {
		err = r.fetch(ctx, s, s == nil || r.now().Sub(s.at) >= r.stale)
		s = r.set.Load()
	}
	if s == nil || r.now().Sub(s.at) >= r.stale {
		if err == nil {
			err = errors.New("it is out of date")
		}
		return nil, fmt.Errorf("key set: %w", err)
	}
	return s.keys, nil
}

// newer is the set after another try to fetch it, for a key that is not in the present one.
func (r *remote) newer(ctx context.Context) ([]key, error) {
	err := r.fetch(ctx, r.set.Load(), true)
	if s := r.set.Load(); s != nil {
		return s.keys, err
	}
	return nil, err
}

// fetch replaces the set that the caller has seen. If somebody else is at it, the caller waits only if it must.
func (r *remote) fetch(ctx context.Context, seen *keySet, must bool) error {
	if !must {
		select {
		case r.turn <- struct{}{}:
		default:
			return nil
		}
	} else {
		select {
		case r.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-r.turn }()
	if r.set.Load() != seen {
		return nil
	}
	r.mu.Lock()
	tried, err := r.tried, r.err
	r.mu.Unlock()
	if !tried.IsZero() && r.now().Sub(tried) < retry {
		return err
	}
	keys, err := r.get(ctx)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) { // the client went away: nothing is known of the server
		return err
	}
	r.mu.Lock()
	r.tried, r.err = r.now(), err
	r.mu.Unlock()
	if err == nil {
		r.set.Store(&keySet{keys, r.now()})
	}
	return err
}

func (r *remote) get(ctx context.Context) ([]key, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxSet+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSet {
		return nil, fmt.Errorf("it has more than %d bytes", maxSet)
	}
	return parseSet(data)
}

package access

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"strings"
	"time"
)

// Authorization lets in who sent an Authorization header from an address (without its port). The error is ErrNone, ErrWrong,
// ErrBusy or a *SlowError. Comparisons take the same time whatever is wrong, also the name.
func (a *Access) Authorization(ctx context.Context, header, from string) (*Caller, error) {
	scheme, rest, _ := strings.Cut(header, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case rest == "":
		return nil, ErrNone
	case strings.EqualFold(scheme, "basic"):
		return a.basic(ctx, rest, from)
	case strings.EqualFold(scheme, "bearer"):
		// What is random is not guessed, so it is looked at however many wrong ones came from there.
		if c := a.bearer(ctx, rest); c != nil {
			return c, nil
		}
	}
	return nil, a.refuse(network(from), "")
}

// refuse is why a wrong credential of a user is refused, which it counts unless the address has to wait anyhow.
func (a *Access) refuse(from, user string) error {
	now := time.Now()
	if err := a.tooOften(from, now); err != nil {
		return err
	}
	a.failed(from, user, now)
	return ErrWrong
}

func (a *Access) tooOften(from string, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if wait := a.slow.wait(from, now); wait > 0 {
		return &SlowError{wait, "too many wrong credentials from this address"}
	}
	return nil
}

// bearer is who has a key: the local one, or one that was made; nil = nobody.
func (a *Access) bearer(ctx context.Context, secret string) *Caller {
	sum := a.sum("bearer " + secret)
	a.mu.Lock()
	local := subtle.ConstantTimeCompare(sum, a.local) == 1
	a.mu.Unlock()
	if local {
		return &Caller{Kind: KindLocal, Scopes: []string{Admin.String()}, id: "local"}
	}
	return a.Keyring.caller(ctx, secret)
}

func (a *Access) basic(ctx context.Context, encoded, from string) (*Caller, error) {
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, a.refuse(network(from), "")
	}
	user, password, _ := strings.Cut(string(text), ":")
	sum := string(a.sum("basic " + encoded))
	now := time.Now()
	a.mu.Lock()
	op := a.seen.find(sum, now)
	if op != nil && a.operators[op.Name] != op {
		op = nil // it has changed since
	}
	a.mu.Unlock()
	if op == nil {
		if op, err = a.verify(ctx, user, password, from); err != nil {
			return nil, err
		}
		a.mu.Lock()
		a.seen.add(sum, op, now)
		a.mu.Unlock()
	}
	return op.caller(), nil
}

// verify is the operator of a name and a password. Who is not there, or disabled, takes as long as a wrong password and gets the same answer.
func (a *Access) verify(ctx context.Context, user, password, from string) (*operator, error) {
	from = network(from)
	now := time.Now()
	if err := a.tooOften(from, now); err != nil {
		return nil, err
	}
	a.mu.Lock()
	op := a.operators[user]
	a.mu.Unlock()
	hash := a.nobody
	if op != nil {
		hash = op.password
	}
	right := false
	if a.hashing.Do(context.WithoutCancel(ctx), false, func() { right = hash.Matches([]byte(password)) }) != nil {
		return nil, ErrBusy
	}
	if !right || op == nil || op.Disabled {
		a.failed(from, user, now)
		return nil, ErrWrong
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if still := a.operators[user]; still == nil || still.live != op.live { // it was revoked meanwhile
		return nil, ErrWrong
	}
	a.slow.forget(from, string(a.sum("user "+user)))
	return a.operators[user], nil
}

// remembered is how long a credential that was right need not be hashed again.
const remembered = 5 * time.Minute

// verified are the keyed hashes of credentials that were right: whose, and until when.
type verified map[string]proof

type proof struct {
	of    *operator
	until time.Time
}

func (v verified) find(sum string, now time.Time) *operator {
	if p := v[sum]; p.until.After(now) {
		return p.of
	}
	return nil
}

func (v verified) add(sum string, of *operator, now time.Time) {
	if len(v) >= 256 {
		clear(v) // it costs some hashes
	}
	v[sum] = proof{of, now.Add(remembered)}
}

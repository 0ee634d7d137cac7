package access

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
)

// The bounds of logins; the one that was used longest ago makes room.
const (
	maxSessions    = 1024
	maxSessionsOne = 16 // of one operator
)

// session is one login of the console. It ends with the process.
type session struct {
	of    *operator // guarded by Access.mu
	began time.Time
	live  context.Context
	end   context.CancelFunc

	mu        sync.Mutex
	used      time.Time
	confirmed time.Time // when the password was given
	open      int       // requests that run
}

// enter and leave surround a request.
func (s *session) enter() { s.use(1) }

func (s *session) leave() { s.use(-1) }

func (s *session) use(more int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = time.Now()
	s.open += more
}

// over tells whether it has ended by itself.
func (s *session) over(cfg *Sessions, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.began) >= cfg.Lifetime || s.open == 0 && now.Sub(s.used) >= cfg.Idle
}

func (s *session) lastUse() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// Login opens a session for an operator and returns what its cookie holds. The error is ErrWrong, ErrBusy or a *SlowError.
func (a *Access) Login(ctx context.Context, user, password, from string) (token string, c *Caller, err error) {
	op, err := a.verify(ctx, user, password, from)
	if err != nil {
		return "", nil, err
	}
	token, c = a.open(op)
	if c == nil { // it has changed meanwhile
		return "", nil, ErrWrong
	}
	return token, c, nil
}

// open makes a session; nil = the operator has changed meanwhile.
func (a *Access) open(op *operator) (string, *Caller) {
	now := time.Now()
	s := &session{of: op, began: now, used: now, confirmed: now}
	s.live, s.end = context.WithCancel(context.Background())
	token := rand.Text()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.operators[op.Name] != op {
		return "", nil
	}
	a.makeRoom(op, now)
	a.sessions[string(a.sum("session "+token))] = s
	return token, a.inSession(s)
}

// inSession is who has a session. The caller holds mu.
func (a *Access) inSession(s *session) *Caller {
	c := s.of.caller()
	c.Session, c.session, c.until = true, s, s.began.Add(a.cfg.Sessions.Lifetime)
	return c
}

// makeRoom ends the sessions that are over, and as many as there are too many. The caller holds mu.
func (a *Access) makeRoom(op *operator, now time.Time) {
	for sum, s := range a.sessions {
		if s.over(&a.cfg.Sessions, now) {
			a.endSession(sum)
		}
	}
	oldest := func(counts func(*session) bool) (sum string, n int) {
		var at time.Time
		for k, s := range a.sessions {
			if !counts(s) {
				continue
			}
			if n++; sum == "" || s.lastUse().Before(at) {
				sum, at = k, s.lastUse()
			}
		}
		return sum, n
	}
	if sum, n := oldest(func(s *session) bool { return s.of == op }); n >= maxSessionsOne {
		a.endSession(sum)
	}
	if sum, n := oldest(func(*session) bool { return true }); n >= maxSessions {
		a.endSession(sum)
	}
}

// endSession ends one. The caller holds mu.
func (a *Access) endSession(sum string) {
	if s := a.sessions[sum]; s != nil {
		s.end()
		delete(a.sessions, sum)
	}
}

// Session lets in who has a session's cookie. The error is ErrEnded.
func (a *Access) Session(token string) (*Caller, error) {
	sum := string(a.sum("session " + token))
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sessions[sum]
	if s == nil {
		return nil, ErrEnded
	}
	if s.over(&a.cfg.Sessions, time.Now()) {
		a.endSession(sum)
		return nil, ErrEnded
	}
	return a.inSession(s), nil
}

// Logout ends a session, if it is there.
func (a *Access) Logout(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endSession(string(a.sum("session " + token)))
}

// Sessions is how many sessions an operator has.
func (a *Access) Sessions(name string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.sessions {
		if s.of.Name == name {
			n++
		}
	}
	return n
}

// Fresh tells whether the caller gave its password just now, or has shown in another way that it is no page left open.
func (a *Access) Fresh(c *Caller) bool {
	if c.session == nil {
		return true
	}
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	return time.Since(c.session.confirmed) < a.cfg.Sessions.Confirm
}

// Confirm notes that the caller, in a session, gave its password again. The errors are those of Login.
func (a *Access) Confirm(ctx context.Context, c *Caller, password, from string) error {
	if _, err := a.verify(ctx, c.Name, password, from); err != nil {
		return err
	}
	if c.session != nil {
		c.session.mu.Lock()
		defer c.session.mu.Unlock()
		c.session.confirmed = time.Now()
	}
	return nil
}

// ChangePassword gives the caller another password, for which it has to give the old one. All its sessions end; one in whose
// session it was done gets another, whose token is returned. The errors are those of Login and PutOperator.
func (a *Access) ChangePassword(ctx context.Context, c *Caller, old, password, from string) (token string, err error) {
	was, err := a.verify(ctx, c.Name, old, from)
	if err != nil {
		return "", err
	}
	if _, err := a.PutOperator(ctx, c.Name, OperatorChange{Password: &password, Own: true}, was.Revision); err != nil || c.session == nil {
		return "", err
	}
	op, err := a.operator(c.Name)
	if err == nil {
		token, _ = a.open(op)
	}
	return token, err
}

func (a *Access) operator(name string) (*operator, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if op := a.operators[name]; op != nil {
		return op, nil
	}
	return nil, accounts.ErrNotFound
}

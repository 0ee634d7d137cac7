package chain

import (
	"container/list"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// answers are those that a backend gave lately. The key is a keyed hash of all the backend was shown, so that no
// credentials are kept. Yes and no have separate room: a flood of guesses forgets nobody who is welcome.
type answers struct {
	Cache
	secret []byte

	mu   sync.Mutex
	born uint64 // how often all or some were forgotten: an answer to an older question is not kept
	yes  room
	no   room
}

type key [sha256.Size]byte

type answer struct {
	key     key
	user    string
	id      *auth.Identity
	err     error
	expires time.Time
}

func newAnswers(c Cache, secret []byte) *answers {
	if c.TTL <= 0 && c.Refused <= 0 {
		c.Entries = 0
	}
	return &answers{Cache: c, secret: secret, yes: newRoom(c.Entries), no: newRoom((c.Entries + 7) / 8)}
}

// key stands for all that a backend may look at. The port is left out: it is another with each connection.
func (s *answers) key(a *auth.Attempt) (k key) {
	if s.Entries == 0 {
		return k
	}
	h := hmac.New(sha256.New, s.secret)
	for _, text := range [...]string{a.ClientID, a.Username, a.Method, a.Listener, a.Address.Addr().String(), a.ProxiedName} {
		field(h, []byte(text))
	}
	field(h, a.Password)
	var cert []byte
	if a.Cert != nil {
		cert = a.Cert.Raw
	}
	field(h, cert)
	var flags byte
	for i, set := range [...]bool{a.HasUser, a.HasPass, a.TLS} {
		if set {
			flags |= 1 << i
		}
	}
	field(h, []byte{flags})
	h.Sum(k[:0])
	return k
}

// field writes its length before it, so that no two attempts are written alike. A hash never fails.
func field(h hash.Hash, data []byte) {
	_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(data))))
	_, _ = h.Write(data)
}

func (s *answers) generation() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.born
}

func (s *answers) get(k key, now time.Time) (*auth.Identity, error, bool) {
	if s.Entries == 0 {
		return nil, nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range [...]*room{&s.yes, &s.no} {
		if a := r.get(k); a != nil {
			if now.Before(a.expires) {
				return a.id, a.err, true
			}
			r.drop(k)
		}
	}
	return nil, nil, false
}

// put keeps an answer to a question that was asked when the generation was since. Failures are not answers.
func (s *answers) put(k key, since uint64, user string, id *auth.Identity, err error, now time.Time) {
	a := &answer{key: k, user: user, id: id, err: err}
	var no *auth.Refusal
	var r *room
	switch {
	case err == nil && s.TTL > 0:
		r, a.expires = &s.yes, now.Add(s.TTL)
		if !id.Expires.IsZero() && id.Expires.Before(a.expires) {
			a.expires = id.Expires
		}
	case s.Refused > 0 && (errors.Is(err, auth.ErrUnknown) || errors.As(err, &no) && no.Reason != mqtt.ServerUnavailable && no.Reason != mqtt.ServerBusy):
		r, a.expires = &s.no, now.Add(s.Refused)
	default:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Entries == 0 || since != s.born {
		return
	}
	r.put(a)
}

// flush forgets what is known under a user name or an identity's name, everything if it is empty.
func (s *answers) flush(name string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.born++
	for _, r := range [...]*room{&s.yes, &s.no} {
		for k, e := range r.byKey {
			a := e.Value.(*answer)
			if name == "" || a.user == name || a.id != nil && a.id.Name == name {
				r.drop(k)
				n++
			}
		}
	}
	return n
}

// room is a bounded set of answers that forgets what was not used for the longest time.
type room struct {
	limit  int
	byKey  map[key]*list.Element // of *answer
	recent *list.List            // the latest in front
}

func newRoom(limit int) room {
	return room{limit: limit, byKey: map[key]*list.Element{}, recent: list.New()}
}

func (r *room) get(k key) *answer {
	e := r.byKey[k]
	if e == nil {
		return nil
	}
	r.recent.MoveToFront(e)
	return e.Value.(*answer)
}

func (r *room) put(a *answer) {
	r.drop(a.key)
	if len(r.byKey) >= r.limit {
		r.drop(r.recent.Back().Value.(*answer).key)
	}
	r.byKey[a.key] = r.recent.PushFront(a)
}

func (r *room) drop(k key) {
	if e := r.byKey[k]; e != nil {
		r.recent.Remove(e)
		delete(r.byKey, k)
	}
}

package password

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
)

// account is a user and the backend that its identity names.
type account struct {
	accounts.User
	by string
}

// credential stands for a user name and a password in memory: their hash under a secret of this process.
type credential [sha256.Size]byte

// verified remembers credentials that were right.
type verified struct {
	secret [sha256.Size]byte
	ttl    time.Duration

	mu    sync.Mutex
	epoch uint64 // counts changes of users
	seen  recent[credential, remembered]
}

type remembered struct {
	*account
	until time.Time
}

func newVerified(size int, ttl time.Duration) *verified {
	v := &verified{ttl: ttl, seen: newRecent[credential, remembered](size)}
	_, _ = rand.Read(v.secret[:]) // never fails
	return v
}

func (v *verified) sum(user string, password []byte) (c credential) {
	h := hmac.New(sha256.New, v.secret[:])
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(user)))
	h.Write(size[:])
	h.Write([]byte(user))
	h.Write(password)
	h.Sum(c[:0])
	return c
}

// get is the account of a credential that was right, nil when it is not remembered, and the epoch at present.
func (v *verified) get(c credential, now time.Time) (*account, uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, ok := v.seen.get(c)
	switch {
	case !ok:
		return nil, v.epoch
	case !now.Before(r.until):
		v.seen.remove(c)
		return nil, v.epoch
	}
	r.until = now.Add(v.ttl)
	v.seen.put(c, r)
	return r.account, v.epoch
}

// add remembers a credential that was found right by an account read in an epoch. It is false, and nothing is remembered, when users were
// changed since then: what was read may not be so any more.
func (v *verified) add(c credential, a *account, epoch uint64, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if epoch != v.epoch {
		return false
	}
	if v.ttl > 0 {
		v.seen.put(c, remembered{a, now.Add(v.ttl)})
	}
	return true
}

// now is the present epoch.
func (v *verified) now() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.epoch
}

// forget drops what is remembered of users that changed, whichever backend vouched: one may now stand before the other.
func (v *verified) forget(users map[string]accounts.UserChange) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.epoch++
	v.seen.removeAll(func(r remembered) bool {
		_, changed := users[r.Name]
		return changed
	})
}

func (v *verified) len() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen.len()
}

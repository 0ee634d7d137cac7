package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
)

// APIKey lets a program use the API. The JSON form has no secrets.
type APIKey struct {
	Name     string    `json:"name"`
	Begins   string    `json:"begins" doc:"What the key begins with, to tell it from others; the rest was shown once."`
	Scopes   []string  `json:"scopes" doc:"What it may do: read, operate or admin, or one of them for one resource, as in events:read."`
	Expires  time.Time `json:"expires,omitzero" doc:"Absent = never."`
	Disabled bool      `json:"disabled,omitempty"`
	Note     string    `json:"note,omitempty"`
	By       string    `json:"by" doc:"Who made it."`
	Used     time.Time `json:"last_used,omitzero"`
	accounts.Stamp
}

// key is an APIKey with its secret. But for when it was used, it is never changed once it is in the table.
type key struct {
	APIKey
	hash [sha256.Size]byte // of the whole key, which has 130 random bits: one round is enough
	live context.Context   // ends with its scopes, or itself
	end  context.CancelFunc

	noted time.Time // what the store has as last use
}

// keyRecord is how a Store keeps one.
type keyRecord struct {
	APIKey
	Hash []byte `json:"hash"`
}

// Keyring holds the keys of programs. Its methods may be called from any goroutine.
type Keyring struct {
	log    *slog.Logger
	store  Store
	stamps *stamps

	changing sync.Mutex // held by a change, from looking to keeping; before mu
	mu       sync.Mutex
	names    map[string]*key
	ids      map[string]*key // by what the key begins with
}

// keyMark is what all keys begin with, so that they are found where they should not be.
const keyMark = "swk_"

func newKey(k APIKey, hash [sha256.Size]byte) *key {
	live, end := context.WithCancel(context.Background())
	return &key{APIKey: k, hash: hash, live: live, end: end, noted: k.Used}
}

func (r *Keyring) read(ctx context.Context) error {
	found, err := r.store.Records(ctx, keyKind)
	if err != nil {
		return err
	}
	for name, body := range found {
		var kept keyRecord
		err := json.Unmarshal(body, &kept)
		if err == nil && len(kept.Hash) != sha256.Size {
			err = errors.New("it has no hash")
		}
		if err != nil {
			return fmt.Errorf("key %q: %w", name, err)
		}
		r.stamps.seen(kept.Revision)
		k := newKey(kept.APIKey, [sha256.Size]byte(kept.Hash))
		r.names[name], r.ids[kept.Begins] = k, k
	}
	return nil
}

// caller is who has a key; nil = nobody, or none that holds.
func (r *Keyring) caller(ctx context.Context, secret string) *Caller {
	begins, _, _ := strings.Cut(strings.TrimPrefix(secret, keyMark), "_")
	hash := sha256.Sum256([]byte(secret))
	now := time.Now()
	r.mu.Lock()
	k := r.ids[keyMark+begins]
	if k == nil || subtle.ConstantTimeCompare(hash[:], k.hash[:]) != 1 || k.Disabled || !k.Expires.IsZero() && !now.Before(k.Expires) {
		r.mu.Unlock()
		return nil
	}
	k.Used = now.UTC().Truncate(time.Second)
	late := k.Used.Sub(k.noted) >= noteEvery
	if late {
		k.noted = k.Used
	}
	c := &Caller{Kind: KindKey, Name: k.Name, Scopes: k.Scopes, live: k.live, until: k.Expires, id: "key " + k.Name}
	r.mu.Unlock()
	if late {
		if err := r.noteUse(ctx, k); err != nil {
			r.log.Warn("when a key was used is not kept", "key", k.Name, "error", err)
		}
	}
	return c
}

// noteEvery is how exactly the store knows when a key was used.
const noteEvery = time.Hour

// noteUse keeps when a key was used, unless it is another one by now.
func (r *Keyring) noteUse(ctx context.Context, k *key) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	same, record := r.names[k.Name] == k, keyRecord{k.APIKey, k.hash[:]}
	k.noted = k.Used
	r.mu.Unlock()
	if !same {
		return nil
	}
	return r.keepKey(ctx, record)
}

// noteUses is noteUse for all that were used since.
func (r *Keyring) noteUses(ctx context.Context) error {
	r.mu.Lock()
	var used []*key
	for _, k := range r.names {
		if !k.noted.Equal(k.Used) {
			used = append(used, k)
		}
	}
	r.mu.Unlock()
	var errs []error
	for _, k := range used {
		errs = append(errs, r.noteUse(ctx, k))
	}
	return errors.Join(errs...)
}

func (r *Keyring) keepKey(ctx context.Context, record keyRecord) error {
	body, err := json.Marshal(record)
	if err == nil {
		err = r.store.PutRecord(context.WithoutCancel(ctx), keyKind, record.Name, body)
	}
	if err != nil {
		return fmt.Errorf("keep the key %q: %w", record.Name, err)
	}
	return nil
}

// Keys are all of them, by name.
func (r *Keyring) Keys() []APIKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]APIKey, 0, len(r.names))
	for _, name := range sorted(r.names) {
		all = append(all, r.names[name].APIKey)
	}
	return all
}

// Key is one; accounts.ErrNotFound = there is none.
func (r *Keyring) Key(name string) (APIKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.names[name]; k != nil {
		return k.APIKey, nil
	}
	return APIKey{}, fmt.Errorf("key %q %w", name, accounts.ErrNotFound)
}

// KeyChange is what is to change of a key; what is nil stays.
type KeyChange struct {
	Scopes   []string
	Expires  *time.Time // the zero time = never
	Disabled *bool
	Note     *string
}

// CreateKey makes a key and returns it, this one time. by is for the records. Scopes are judged by the caller.
func (r *Keyring) CreateKey(ctx context.Context, name string, c KeyChange, by string) (APIKey, string, error) {
	if err := checkKey(name, c, true); err != nil {
		return APIKey{}, "", err
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	was, count := r.names[name], len(r.names)
	r.mu.Unlock()
	switch {
	case was != nil:
		return APIKey{}, "", fmt.Errorf("key %q %w", name, accounts.ErrExists)
	case count >= maxOperators:
		return APIKey{}, "", fmt.Errorf("key %q %w: there are %d already", name, accounts.ErrInvalid, count)
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	k := APIKey{Name: name, Begins: keyMark + strings.ToLower(rand.Text()[:10]), By: by, Stamp: accounts.Stamp{Revision: r.stamps.next(now), Created: now, Changed: now}}
	k.apply(c)
	secret := k.Begins + "_" + rand.Text()
	made := newKey(k, sha256.Sum256([]byte(secret)))
	if err := r.keepKey(ctx, keyRecord{k, made.hash[:]}); err != nil {
		return k, "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[name], r.ids[k.Begins] = made, made
	return k, secret, nil
}

func (k *APIKey) apply(c KeyChange) {
	if c.Scopes != nil {
		k.Scopes = without(c.Scopes)
	}
	set(&k.Expires, c.Expires)
	set(&k.Disabled, c.Disabled)
	set(&k.Note, c.Note)
}

func checkKey(name string, c KeyChange, fresh bool) error {
	wrong := ""
	switch {
	case !plain(name):
		wrong = "a name has 1 to 100 characters, without control characters, colons and slashes"
	case fresh && len(c.Scopes) == 0, c.Scopes != nil && len(c.Scopes) == 0:
		wrong = "it needs a scope"
	case len(c.Scopes) > 64:
		wrong = "it has more than 64 scopes"
	case c.Expires != nil && !c.Expires.IsZero() && !c.Expires.After(time.Now()):
		wrong = "it would be over already"
	case c.Note != nil && len(*c.Note) > 1024:
		wrong = "a note has at most 1024 bytes"
	default:
		return nil
	}
	return fmt.Errorf("key %q %w: %s", name, accounts.ErrInvalid, wrong)
}

// ChangeKey changes a key; what was begun with it ends.
func (r *Keyring) ChangeKey(ctx context.Context, name string, c KeyChange, condition accounts.Revision) (APIKey, error) {
	if err := checkKey(name, c, false); err != nil {
		return APIKey{}, err
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	was, err := r.presentKey(name, condition)
	if err != nil {
		return APIKey{}, err
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	r.mu.Lock()
	k := was.APIKey
	r.mu.Unlock()
	k.apply(c)
	k.Revision, k.Changed = r.stamps.next(now), now
	if err := r.keepKey(ctx, keyRecord{k, was.hash[:]}); err != nil {
		return k, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	made := newKey(k, was.hash)
	r.names[name], r.ids[k.Begins] = made, made
	was.end()
	return k, nil
}

// presentKey is a key that is as a condition says. The caller holds changing.
func (r *Keyring) presentKey(name string, condition accounts.Revision) (*key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.names[name]
	err := accounts.ErrNotFound
	if was != nil {
		err = matches(condition, was.Revision)
	}
	if err != nil {
		return nil, fmt.Errorf("key %q %w", name, err)
	}
	return was, nil
}

// DeleteKey removes a key, at once; what was begun with it ends.
func (r *Keyring) DeleteKey(ctx context.Context, name string, condition accounts.Revision) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	was, err := r.presentKey(name, condition)
	if err != nil {
		return err
	}
	if err := r.store.PutRecord(ctx, keyKind, name, nil); err != nil {
		return fmt.Errorf("remove the key %q: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.names, name)
	delete(r.ids, was.Begins)
	was.end()
	return nil
}

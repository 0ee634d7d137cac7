package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
)

// ErrLastAdmin refuses a change after which nobody could make another.
var ErrLastAdmin = errors.New("is the last admin that is not disabled")

// ErrBuiltin refuses to remove what the next start would make again.
var ErrBuiltin = errors.New("is always there; disable it instead")

// maxOperators is how many operators, and how many keys, there may be.
const maxOperators = 1000

// leastPassword is how short a password may be.
const leastPassword = 8

// Operator is somebody who may use the API and the console. The JSON form has no secrets.
type Operator struct {
	Name         string `json:"name"`
	Role         Role   `json:"role" enum:"viewer,operator,admin"`
	Disabled     bool   `json:"disabled,omitempty"`
	Note         string `json:"note,omitempty"`
	ChangeNeeded bool   `json:"password_change_needed,omitempty" doc:"Somebody else knows the password: whoever made the operator, or gave it a new one."`
	accounts.Stamp
}

// operator is an Operator with its secrets. It is never changed once it is in the table.
type operator struct {
	Operator
	password phc.Hash
	live     context.Context // ends with its password, its role, or itself
	end      context.CancelFunc
}

// operatorRecord is how a Store keeps one. The password of the operator admin is in admin.json, if there is a directory.
type operatorRecord struct {
	Operator
	Password phc.Hash `json:"password,omitzero"`
}

func newOperator(o Operator, password phc.Hash) *operator {
	live, end := context.WithCancel(context.Background())
	return &operator{o, password, live, end}
}

// caller is the operator as somebody who was let in.
func (o *operator) caller() *Caller {
	return &Caller{
		Kind: KindOperator, Name: o.Name, Role: o.Role, Scopes: []string{o.Role.scope()}, ChangeNeeded: o.ChangeNeeded,
		live: o.live, id: "operator " + o.Name,
	}
}

// readOperators reads all of them. admin.json says who the first one is: without it, it is made anew as an admin that is not disabled.
func (a *Access) readOperators(ctx context.Context, admin account) error {
	found, err := a.store.Records(ctx, operatorKind)
	if err != nil {
		return err
	}
	for name, body := range found {
		var r operatorRecord
		if err := json.Unmarshal(body, &r); err != nil {
			return fmt.Errorf("operator %q: %w", name, err)
		}
		if name == admin.user {
			r.Password = admin.password
			if admin.made {
				r.Role, r.Disabled, r.ChangeNeeded = RoleAdmin, false, false
			}
		}
		a.stamps.seen(r.Revision)
		a.operators[name] = newOperator(r.Operator, r.Password)
	}
	if a.operators[admin.user] == nil {
		at := admin.since.UTC().Truncate(time.Millisecond) // nothing was changed since, or there was a record
		o := Operator{Name: admin.user, Role: RoleAdmin, Stamp: accounts.Stamp{Revision: a.stamps.next(at), Created: at, Changed: at}}
		a.operators[admin.user] = newOperator(o, admin.password)
	}
	return nil
}

// Operators are all of them, by name.
func (a *Access) Operators() []Operator {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]Operator, 0, len(a.operators))
	for _, name := range sorted(a.operators) {
		all = append(all, a.operators[name].Operator)
	}
	return all
}

// Operator is one; accounts.ErrNotFound = there is none.
func (a *Access) Operator(name string) (Operator, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o := a.operators[name]; o != nil {
		return o.Operator, nil
	}
	return Operator{}, fmt.Errorf("operator %q %w", name, accounts.ErrNotFound)
}

// OperatorChange is what is to change of an operator; what is nil stays.
type OperatorChange struct {
	Role     *Role
	Disabled *bool
	Note     *string
	Password *string
	Own      bool // the operator chose the password itself: nobody else knows it
}

// PutOperator changes an operator, or makes one where the condition is accounts.Absent. A new password, another role and disabled
// end all that was begun with the old ones.
func (a *Access) PutOperator(ctx context.Context, name string, c OperatorChange, condition accounts.Revision) (Operator, error) {
	if err := a.checkOperator(name, c, condition); err != nil {
		return Operator{}, err
	}
	var password phc.Hash
	if c.Password != nil {
		if err := a.hashing.Do(ctx, true, func() { password = phc.New([]byte(*c.Password)) }); err != nil {
			return Operator{}, err
		}
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	a.mu.Lock()
	was, count := a.operators[name], len(a.operators)
	a.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Millisecond)
	var o Operator
	switch {
	case was == nil && condition != accounts.Absent:
		return o, fmt.Errorf("operator %q %w", name, accounts.ErrNotFound)
	case was == nil && count >= maxOperators:
		return o, fmt.Errorf("operator %q %w: there are %d already", name, accounts.ErrInvalid, count)
	case was == nil:
		o = Operator{Name: name, Role: RoleViewer, Stamp: accounts.Stamp{Created: now}}
	default:
		if err := matches(condition, was.Revision); err != nil {
			return o, fmt.Errorf("operator %q %w", name, err)
		}
		o = was.Operator
		if c.Password == nil {
			password = was.password
		}
	}
	set(&o.Role, c.Role)
	set(&o.Disabled, c.Disabled)
	set(&o.Note, c.Note)
	if c.Password != nil {
		o.ChangeNeeded = !c.Own
	}
	if was != nil && (o.Role != RoleAdmin || o.Disabled) && a.lastAdmin(name) {
		return o, fmt.Errorf("operator %q %w", name, ErrLastAdmin)
	}
	o.Revision, o.Changed = a.stamps.next(now), now
	if err := a.keepOperator(ctx, o, password, c.Password != nil); err != nil {
		return o, err
	}
	a.replace(was, o, password, c.Password != nil)
	return o, nil
}

// checkOperator says what is wrong with a change by itself.
func (a *Access) checkOperator(name string, c OperatorChange, condition accounts.Revision) error {
	wrong := ""
	switch {
	case !plain(name):
		wrong = "a name has 1 to 100 characters, without control characters, colons and slashes"
	case c.Role != nil && c.Role.level() == 0:
		wrong = fmt.Sprintf("there is no role %q: viewer, operator, admin", *c.Role)
	case c.Password == nil && condition == accounts.Absent:
		wrong = "it needs a password"
	case c.Password != nil && len(*c.Password) < leastPassword:
		wrong = fmt.Sprintf("a password has at least %d bytes", leastPassword)
	case c.Note != nil && len(*c.Note) > 1024:
		wrong = "a note has at most 1024 bytes"
	default:
		return nil
	}
	return fmt.Errorf("operator %q %w: %s", name, accounts.ErrInvalid, wrong)
}

// plain tells whether a name can be told in any place, such as a header of HTTP or a path.
func plain(name string) bool {
	return name != "" && len(name) <= 100 && strings.TrimSpace(name) == name &&
		!strings.ContainsFunc(name, func(r rune) bool {
			return !unicode.IsPrint(r) || strings.ContainsRune(`:/\"`, r) || r == unicode.ReplacementChar
		})
}

// lastAdmin tells whether an operator is the only admin that can log in.
func (a *Access) lastAdmin(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	can := func(o *operator) bool { return o.Role == RoleAdmin && !o.Disabled }
	for other, o := range a.operators {
		if other != name && can(o) {
			return false
		}
	}
	return a.operators[name] != nil && can(a.operators[name])
}

// keepOperator puts one where it outlives the process.
func (a *Access) keepOperator(ctx context.Context, o Operator, password phc.Hash, fresh bool) error {
	r := operatorRecord{o, password}
	if o.Name == a.builtin && a.dir != "" {
		r.Password = phc.Hash{}
		if fresh {
			if err := writeAccount(a.dir, account{user: o.Name, password: password}); err != nil {
				return fmt.Errorf("keep the password of %s: %w", o.Name, err)
			}
		}
	}
	body, err := json.Marshal(r)
	if err == nil {
		err = a.store.PutRecord(ctx, operatorKind, o.Name, body)
	}
	if err != nil {
		return fmt.Errorf("keep the operator %q: %w", o.Name, err)
	}
	return nil
}

// replace puts an operator into the table. What was begun with a password, role or leave that is gone, ends.
func (a *Access) replace(was *operator, o Operator, password phc.Hash, fresh bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if was != nil && !fresh && was.Role == o.Role && was.Disabled == o.Disabled {
		now := &operator{o, password, was.live, was.end}
		a.operators[o.Name] = now
		for _, s := range a.sessions {
			if s.of == was {
				s.of = now
			}
		}
		return
	}
	a.operators[o.Name] = newOperator(o, password)
	a.drop(was)
}

// drop ends all that an operator has begun. The caller holds mu.
func (a *Access) drop(was *operator) {
	if was == nil {
		return
	}
	was.end()
	for sum, s := range a.sessions {
		if s.of == was {
			s.end()
			delete(a.sessions, sum)
		}
	}
}

// DeleteOperator removes one; all that it has begun ends.
func (a *Access) DeleteOperator(ctx context.Context, name string, condition accounts.Revision) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	a.mu.Lock()
	was := a.operators[name]
	a.mu.Unlock()
	err := accounts.ErrNotFound
	if was != nil {
		err = matches(condition, was.Revision)
	}
	switch {
	case err != nil:
	case name == a.builtin:
		err = ErrBuiltin
	case a.lastAdmin(name):
		err = ErrLastAdmin
	}
	if err != nil {
		return fmt.Errorf("operator %q %w", name, err)
	}
	if err := a.store.PutRecord(ctx, operatorKind, name, nil); err != nil {
		return fmt.Errorf("remove the operator %q: %w", name, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.operators, name)
	a.drop(was)
	return nil
}

// matches judges a condition on something that is there.
func matches(condition, present accounts.Revision) error {
	c := accounts.Change{If: condition}
	return c.Judge(present)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// without is a list without what repeats, in order.
func without(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

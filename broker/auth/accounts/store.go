package accounts

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// Store keeps users, groups, rules and bans. All methods may be called from any goroutine. What is returned belongs to the caller.
type Store interface {
	Reader
	// Apply makes changes in their order in one transaction: all of them, or none when there is an error, ctx ends, or the process
	// dies. It fills in the Stamp of what is put and Was of each change. progress, unless nil, is told now and then how many are done, the
	// last time all of them; it must not call the store. Of changes that cannot be made the error is a *ChangeError.
	Apply(ctx context.Context, changes []Change, progress func(done int)) error
	// Close ends it. Calls that come later fail with ErrClosed.
	Close() error
}

// Reader is how stored accounts are read.
type Reader interface {
	// User is the user of a name, or ErrNotFound.
	User(ctx context.Context, name string) (User, error)
	// Users lists users by name.
	Users(ctx context.Context, page Page) ([]User, error)
	// Groups are all groups, by name.
	Groups(ctx context.Context) ([]Group, error)
	// Rules are all rules, by id.
	Rules(ctx context.Context) ([]Rule, error)
	// Bans are all bans, by id, also those whose time is over.
	Bans(ctx context.Context) ([]Ban, error)
}

// Page chooses users. The zero value is everybody, at most MaxPage of them.
type Page struct {
	Prefix string // of the name
	Group  string // that they are in; "" = any
	After  string // only names behind this one: the last of the page before
	Limit  int    // 0 or more than MaxPage = MaxPage
}

// MaxPage is how many users a page has at most.
const MaxPage = 1000

// Size is how many users the page may have.
func (p Page) Size() int {
	if p.Limit <= 0 || p.Limit > MaxPage {
		return MaxPage
	}
	return p.Limit
}

// Change puts one item, the one that is not nil, in the place of what was there, or removes it.
type Change struct {
	User   *User
	Group  *Group
	Rule   *Rule
	Ban    *Ban
	Delete bool     // the name or id is all that is looked at
	If     Revision // what it has to be at present: AnyRevision, Absent, Present, or the number of one

	Was *User // what the user was before; filled in by Apply, nil = none, or another kind of item
}

// What a change may ask for besides a number.
const (
	AnyRevision Revision = 0
	Absent      Revision = math.MaxUint64     // it must not be there yet
	Present     Revision = math.MaxUint64 - 1 // it must be there
)

// Item names what the change is about, such as `user "ann"`.
func (c *Change) Item() string {
	switch {
	case c.User != nil:
		return fmt.Sprintf("user %q", c.User.Name)
	case c.Group != nil:
		return fmt.Sprintf("group %q", c.Group.Name)
	case c.Rule != nil:
		return fmt.Sprintf("rule %q", c.Rule.ID)
	case c.Ban != nil:
		return fmt.Sprintf("ban %q", c.Ban.ID)
	}
	return "nothing"
}

// Judge is for stores: whether a change may be made to an item that has this revision, 0 = is not there. The error is nil, ErrExists,
// ErrNotFound or ErrRevision.
func (c *Change) Judge(present Revision) error {
	switch {
	case c.If == Absent && present != 0:
		return ErrExists
	case (c.If != AnyRevision && c.If != Absent || c.Delete) && present == 0:
		return ErrNotFound
	case c.If != AnyRevision && c.If != Absent && c.If != Present && c.If != present:
		return ErrRevision
	}
	return nil
}

// Why changes are not made and items not found.
var (
	ErrNotFound = errors.New("is not there")
	ErrExists   = errors.New("is there already")
	ErrRevision = errors.New("was changed by somebody else in the meantime")
	ErrNoGroup  = errors.New("is in a group that does not exist; make the group first")
	ErrInUse    = errors.New("has users; take them out first")
	ErrInvalid  = errors.New("is not valid")
	ErrClosed   = errors.New("the accounts are closed")
)

// ChangeError says which of several changes could not be made. It wraps one of the errors above.
type ChangeError struct {
	Index int    // in the batch
	Item  string // such as `user "ann"`
	Err   error
}

// Error tells what and why.
func (e *ChangeError) Error() string { return e.Item + " " + e.Err.Error() }

// Unwrap is the reason.
func (e *ChangeError) Unwrap() error { return e.Err }

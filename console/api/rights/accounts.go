package rights

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// Accounts are users, groups and rules that are stored, as accounts.Accounts changes them.
type Accounts interface {
	accounts.Reader
	// Apply makes all of the changes or none.
	Apply(ctx context.Context, changes []accounts.Change, progress func(done int)) error
	// SetPassword hashes a password into u, which Apply is then to put.
	SetPassword(ctx context.Context, u *accounts.User, password []byte) error
	// Generate makes a random secret for u, which Apply is then to put, and returns it.
	Generate(u *accounts.User) (secret string, err error)
}

// accountsOf is the part of the API that is about accounts.
type accountsOf struct {
	Accounts
	options *Options
}

// registerAccounts adds what is about users, groups and rules.
func registerAccounts(h huma.API, options *Options) {
	o := &accountsOf{options.Accounts, options}
	if o.Accounts == nil {
		o.Accounts = nowhere{}
	}
	o.registerUsers(h)
	o.registerBulk(h)
	o.registerGroups(h)
	o.registerRules(h)
}

// stored describes an operation about accounts: they may clash, and the process may store none.
func stored(id, method, path, tag, summary string, errors ...int) huma.Operation {
	return serve.Operation(id, method, path, tag, summary, append(errors, http.StatusConflict)...)
}

// Condition is what a change asks of what is there, by the headers of HTTP (RFC 9110 13.1).
type Condition struct {
	IfMatch     string `header:"If-Match" doc:"The ETag of what is to be changed, or * for anything that is there."`
	IfNoneMatch string `header:"If-None-Match" enum:"*" doc:"* = only if there is none yet; 412 if there is one."`
}

// failure is an error as HTTP has it for who asked for this condition. If-None-Match is answered by 412 where something is there (RFC 9110
// 13.1.2), which without it is a conflict.
func (c *Condition) failure(err error) error {
	if c.IfNoneMatch == "*" && errors.Is(err, accounts.ErrExists) {
		return huma.Error412PreconditionFailed(err.Error())
	}
	return serve.Failure(err)
}

// revision is the condition as a change has it.
func (c *Condition) revision(otherwise accounts.Revision) (accounts.Revision, error) {
	switch tag := strings.Trim(strings.TrimPrefix(c.IfMatch, "W/"), `"`); {
	case c.IfNoneMatch == "*":
		return accounts.Absent, nil
	case tag == "":
		return otherwise, nil
	case tag == "*":
		return accounts.Present, nil
	default:
		n, err := strconv.ParseUint(tag, 10, 63)
		if err != nil || n == 0 {
			return 0, huma.Error412PreconditionFailed("If-Match is not an ETag that was given")
		}
		return accounts.Revision(n), nil
	}
}

// Named is a request about what bears a name.
type Named struct {
	Name string `path:"name" maxLength:"256"`
}

// namedCondition is a request about what bears a name, as long as it is as the condition says.
type namedCondition struct {
	Named
	Condition
}

// deleting answers requests to delete what bears a name; of makes the change that does it.
func (o *accountsOf) deleting(of func(name string) accounts.Change) func(context.Context, *namedCondition) (*struct{}, error) {
	return func(ctx context.Context, in *namedCondition) (*struct{}, error) {
		r, err := in.revision(accounts.AnyRevision)
		if err != nil {
			return nil, err
		}
		c := of(in.Name)
		c.Delete, c.If = true, r
		return nil, o.change(ctx, c, &in.Condition)
	}
}

// tagged is a body with its ETag.
type tagged[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

func tag[T any](r accounts.Revision, body T) *tagged[T] {
	return &tagged[T]{strconv.Quote(strconv.FormatUint(uint64(r), 10)), body}
}

// change makes one change, for who asked for a condition.
func (o *accountsOf) change(ctx context.Context, c accounts.Change, by *Condition) error {
	return by.failure(o.Apply(ctx, []accounts.Change{c}, nil))
}

// reform takes a value over into another type by its JSON form.
func reform[T any](from any) (to T, err error) {
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, &to)
	}
	return to, err
}

// nowhere is where nothing is stored.
type nowhere struct{}

func errNowhere() error {
	return huma.Error409Conflict("accounts are not stored by this process: start it with a data directory")
}

func (nowhere) User(context.Context, string) (accounts.User, error) {
	return accounts.User{}, errNowhere()
}

func (nowhere) Users(context.Context, accounts.Page) ([]accounts.User, error) {
	return nil, errNowhere()
}

func (nowhere) Groups(context.Context) ([]accounts.Group, error) { return nil, errNowhere() }

func (nowhere) Rules(context.Context) ([]accounts.Rule, error) { return nil, errNowhere() }

func (nowhere) Bans(context.Context) ([]accounts.Ban, error) { return nil, errNowhere() }

func (nowhere) Apply(context.Context, []accounts.Change, func(int)) error { return errNowhere() }

func (nowhere) SetPassword(context.Context, *accounts.User, []byte) error { return errNowhere() }

func (nowhere) Generate(*accounts.User) (string, error) { return "", errNowhere() }

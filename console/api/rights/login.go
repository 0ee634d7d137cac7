package rights

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// Me is who asks.
type Me struct {
	User         string      `json:"user" doc:"The name of the operator or of the key; empty for commands on the same machine."`
	Kind         access.Kind `json:"kind" enum:"operator,key,local"`
	Role         access.Role `json:"role,omitempty" enum:"viewer,operator,admin" doc:"Of an operator."`
	Scopes       []string    `json:"scopes" doc:"What it may do: read, operate or admin, or one of them for one resource, as in events:read."`
	ChangeNeeded bool        `json:"password_change_needed" doc:"Somebody else knows the password: PUT /me/password."`
	Confirm      bool        `json:"confirm_needed" doc:"Before operators or keys are changed, the password has to be given again: POST /me/confirm."`
	Version      string      `json:"version" doc:"Of the process."`
}

// accessOf is the part of the API that is about who may use it.
type accessOf struct {
	*access.Access
	options *Options
}

// registerAccess adds what is about who may use the API, and what they did.
func registerAccess(h huma.API, options *Options) {
	o := &accessOf{options.Access, options}
	o.registerLogin(h)
	o.registerOperators(h)
	o.registerKeys(h)
	o.registerAudit(h)
}

func (o *accessOf) me(c *access.Caller) Me {
	return Me{
		User: c.Name, Kind: c.Kind, Role: c.Role, Scopes: c.Scopes, ChangeNeeded: c.ChangeNeeded,
		Confirm: !o.Fresh(c), Version: o.options.Version,
	}
}

// withCookie is a body with a session's cookie.
type withCookie[T any] struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      T
}

// onlyCookie is an answer without a body.
type onlyCookie struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
}

func (o *accessOf) registerLogin(h huma.API) {
	login := serve.Operation("login", http.MethodPost, "/login", "access", "Open a session of the console: the cookie of the answer is its credential")
	login.Description = "The answer is the same, after the same time, whether the operator or the password is wrong. Too many wrong ones from an address have to wait."
	huma.Register(h, login, func(ctx context.Context, in *struct {
		Body struct {
			User     string `json:"user" maxLength:"256"`
			Password string `json:"password" maxLength:"1024" writeOnly:"true"`
		}
	},
	) (*withCookie[Me], error) {
		v := serve.VisitOf(ctx)
		token, c, err := o.Login(ctx, in.Body.User, in.Body.Password, v.From)
		if !errors.Is(err, access.ErrBusy) && !slowed(err) {
			o.noteLogin(ctx, v, in.Body.User, err)
		}
		if err != nil {
			return nil, notIn(err)
		}
		if v.Token != "" {
			o.Logout(v.Token)
		}
		cookie := v.Cookie
		cookie.Value = token
		return &withCookie[Me]{cookie, o.me(c)}, nil
	})
	huma.Register(h, serve.Deleted(serve.Operation("logout", http.MethodPost, "/logout", "access", "End the session")),
		func(ctx context.Context, _ *struct{}) (*onlyCookie, error) {
			v := serve.VisitOf(ctx)
			if v.Token != "" {
				o.Logout(v.Token)
			}
			cookie := v.Cookie
			cookie.MaxAge = -1
			return &onlyCookie{[]http.Cookie{cookie}}, nil
		})
	huma.Register(h, serve.Operation("me", http.MethodGet, "/me", "access", "Who asks, and what it may do"),
		func(ctx context.Context, _ *struct{}) (*answer[Me], error) {
			return &answer[Me]{o.me(serve.VisitOf(ctx).Caller)}, nil
		})
	huma.Register(h, serve.Deleted(serve.Operation("confirm", http.MethodPost, "/me/confirm", "access", "Give the password again, so that operators and keys can be changed for a while")),
		func(ctx context.Context, in *struct {
			Body struct {
				Password string `json:"password" maxLength:"1024" writeOnly:"true"`
			}
		},
		) (*struct{}, error) {
			v := serve.VisitOf(ctx)
			return nil, notIn(o.Confirm(ctx, v.Caller, in.Body.Password, v.From))
		})
	own := serve.Operation("own-password", http.MethodPut, "/me/password", "access", "Change the own password; all other sessions end", http.StatusConflict)
	huma.Register(h, serve.Deleted(own), func(ctx context.Context, in *struct {
		Body struct {
			Old string `json:"old_password" maxLength:"1024" writeOnly:"true"`
			New string `json:"password" minLength:"8" maxLength:"1024" writeOnly:"true"`
		}
	},
	) (*onlyCookie, error) {
		v := serve.VisitOf(ctx)
		if v.Caller.Kind != access.KindOperator {
			return nil, huma.Error409Conflict("only an operator has a password; PATCH /operators/{name} gives it another one")
		}
		token, err := o.ChangePassword(ctx, v.Caller, in.Body.Old, in.Body.New, v.From)
		if err != nil {
			return nil, notIn(err)
		}
		out := &onlyCookie{}
		if token != "" {
			cookie := v.Cookie
			cookie.Value = token
			out.SetCookie = append(out.SetCookie, cookie)
		}
		return out, nil
	})
}

// slowed tells whether somebody has to wait.
func slowed(err error) bool {
	var slow *access.SlowError
	return errors.As(err, &slow)
}

// noteLogin writes down a login. A name that there is not may be a password in the wrong field.
func (o *accessOf) noteLogin(ctx context.Context, v *serve.Visit, user string, err error) {
	e := &access.Entry{At: time.Now().UTC().Truncate(time.Millisecond), Operation: "login", Target: "/login", From: v.From, Status: http.StatusOK, Outcome: access.Done}
	if _, missing := o.Operator(user); missing == nil {
		e.By, e.Kind = user, access.KindOperator
	}
	if err != nil {
		e.Status, e.Outcome = http.StatusUnauthorized, access.Refused
	}
	o.options.Write(ctx, e)
}

// notIn is an error of access as HTTP has it.
func notIn(err error) error {
	var slow *access.SlowError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &slow):
		return huma.ErrorWithHeaders(huma.Error429TooManyRequests(err.Error()), http.Header{"Retry-After": {serve.RetryAfter(slow.Wait)}})
	case errors.Is(err, access.ErrBusy), errors.Is(err, phc.ErrBusy):
		return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(access.ErrBusy.Error()), http.Header{"Retry-After": {"1"}})
	case errors.Is(err, access.ErrWrong):
		return huma.Error401Unauthorized(err.Error())
	case errors.Is(err, access.ErrLastAdmin), errors.Is(err, access.ErrBuiltin):
		return huma.Error409Conflict(err.Error())
	}
	return serve.Failure(err)
}

// conditionOf is the condition of a request that changes what is there.
func conditionOf(c *Condition) (accounts.Revision, error) {
	r, err := c.revision(accounts.Present)
	if err == nil && r == accounts.Absent {
		err = huma.Error412PreconditionFailed("If-None-Match is for what is made by PUT")
	}
	return r, err
}

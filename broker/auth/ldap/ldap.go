// Package ldap asks a directory, by binding as the user, whether a password is right, and which groups the user is in.
//
// It changes nothing there, follows no referrals, and keeps no answers: the chain does.
package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/grant"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Options are what the backend needs of the world.
type Options struct {
	Name string // of the backend; "" = ldap
}

// Backend asks a directory. Its methods may be called from any goroutine.
type Backend struct {
	cfg  Config
	name string
	pool *pool
}

// The claims that an identity of a directory has.
const (
	claimDN    = "dn"    // the distinguished name
	claimLogin = "login" // the user name that was typed
)

// Open prepares the connections. The server need not be there yet. Close must follow.
func Open(_ context.Context, cfg Config, o Options) (*Backend, error) {
	if err := cfg.Usable(); err != nil {
		return nil, err
	}
	where, err := cfg.server()
	if err != nil {
		return nil, err
	}
	b := &Backend{cfg: cfg, name: "ldap", pool: &pool{where: where, start: cfg.StartTLS, timeout: cfg.Timeout, slots: make(chan struct{}, max(cfg.Connections, 1))}}
	if o.Name != "" {
		b.name = o.Name
	}
	return b, b.Reload()
}

// Close ends all connections; those in use when their work is done. Questions after it still make new ones.
func (b *Backend) Close() { b.pool.renew(nil, true) }

// Files are those that it reads.
func (b *Backend) Files() []string { return b.cfg.TLS.Files() }

// Reload reads the files again. If one is bad, all stays as it was.
func (b *Backend) Reload() error {
	var conf *tls.Config
	if b.pool.where.tls || b.pool.start {
		var err error
		if conf, err = b.cfg.TLS.Client(b.pool.where.host); err != nil {
			return err
		}
	}
	b.pool.renew(conf, false)
	return nil
}

// Authenticate binds as the user.
func (b *Backend) Authenticate(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
	if !a.HasUser || !a.HasPass || a.Method != "" || grant.Name(a.Username) != nil {
		return nil, auth.ErrUnknown
	}
	if len(a.Password) == 0 { // RFC 4513 5.1.2: such a bind succeeds, as nobody
		return nil, b.refuse("the password is empty")
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	var id *auth.Identity
	err := b.pool.do(ctx, func(c *conn) (err error) {
		id, err = b.login(c, a.Username, string(a.Password))
		return err
	})
	if err != nil {
		return nil, err
	}
	return id, nil
}

// Refresh looks up what is so now of a user that was let in, where Sapwood may search.
func (b *Backend) Refresh(ctx context.Context, p *auth.Principal) (*auth.Identity, error) {
	login := p.Claims[claimLogin]
	if b.cfg.UserDN != "" || login == "" {
		return nil, fmt.Errorf("only the user may look: %w", errors.ErrUnsupported)
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	var id *auth.Identity
	err := b.pool.do(ctx, func(c *conn) error {
		e, err := b.find(c, login)
		if err == nil && e.DN != p.Claims[claimDN] { // somebody else is called so now
			err = auth.ErrUnknown
		}
		if err == nil {
			id, err = b.identity(c, e, login)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return id, nil
}

// login finds the user's entry, and binds as it.
func (b *Backend) login(c *conn, user, password string) (*auth.Identity, error) {
	if b.cfg.UserDN == "" {
		e, err := b.find(c, user)
		if err != nil {
			return nil, err
		}
		if err := b.bind(c, e.DN, password); err != nil {
			return nil, err
		}
		return b.identity(c, e, user)
	}
	if err := b.bind(c, fill(b.cfg.UserDN, ldap.EscapeDN, user, ""), password); err != nil {
		return nil, err
	}
	e, err := b.read(c, fill(b.cfg.UserDN, ldap.EscapeDN, user, ""))
	if err != nil {
		return nil, err
	}
	return b.identity(c, e, user)
}

// bind proves the password. The connection is the user's afterwards.
func (b *Backend) bind(c *conn, dn, password string) error {
	c.as = ""
	err := c.Bind(dn, password)
	var l *ldap.Error
	switch {
	case err == nil:
		c.as = dn
		return nil
	case !errors.As(err, &l):
		return err
	}
	switch l.ResultCode {
	case ldap.LDAPResultNoSuchObject:
		return auth.ErrUnknown
	case ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultInappropriateAuthentication,
		ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultConstraintViolation, ldap.LDAPResultInsufficientAccessRights, ldap.ErrorEmptyPassword:
		return b.refuse("the directory says: %s", ldap.LDAPResultCodeMap[l.ResultCode])
	}
	return fmt.Errorf("bind: %w", err)
}

// serve makes the connection Sapwood's own, for searching. With user_dn and no bind_dn it stays the user's.
func (b *Backend) serve(c *conn) error {
	switch {
	case b.cfg.BindDN == "" && (b.cfg.UserDN != "" || c.as == ""):
		return nil
	case c.as == b.cfg.BindDN && c.as != "":
		return nil
	}
	c.as = ""
	var err error
	if b.cfg.BindDN == "" {
		err = c.UnauthenticatedBind("")
	} else {
		err = c.Bind(b.cfg.BindDN, b.cfg.BindPassword)
	}
	if err != nil {
		return fmt.Errorf("bind as Sapwood: %w", err)
	}
	c.as = b.cfg.BindDN
	return nil
}

// refuse says why to the operator.
func (b *Backend) refuse(format string, args ...any) error {
	return &auth.Refusal{
		Reason: mqtt.BadUserNameOrPassword, Text: "authentication failed", By: b.name, Why: strings.ToValidUTF8(fmt.Sprintf(format, args...), "\ufffd"),
	}
}

// Package postgres looks up in a PostgreSQL database what a user's password is, as a hash, in which groups the user is, and what rules hold
// for it. The queries are the user's own.
//
// It writes nothing and keeps no answers: the chain does.
package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/grant"
	"github.com/sapwood-mqtt/sapwood/broker/auth/phc"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Options are what the backend needs of the world.
type Options struct {
	Name    string            // of the backend; "" = postgres
	Gate    *phc.Gate         // through which all that hash go; nil = one of its own, for one at a time
	Changed func(name string) // what is known of a user has changed, of all if it is empty; it must not block. nil = do not listen
	Log     *slog.Logger      // nil = none
}

// Backend asks a database. Its methods may be called from any goroutine.
type Backend struct {
	cfg     Config
	name    string
	gate    *phc.Gate
	log     *slog.Logger
	changed func(string)
	tls     atomic.Pointer[tls.Config] // nil = none
	pool    *pgxpool.Pool
	nobody  atomic.Pointer[phc.Hash] // stands for the hash of those who are not known, so that they take as long: the last that was seen
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

// What is taken from the server.
const (
	maxMessage = 4 << 20 // bytes of a message
	maxIdle    = 5 * time.Minute
	maxAge     = time.Hour
	keepAlive  = 30 * time.Second
)

// Open prepares the connections. The server need not be there yet. Close must follow.
func Open(_ context.Context, cfg Config, o Options) (*Backend, error) {
	if err := cfg.Usable(); err != nil {
		return nil, err
	}
	b := &Backend{cfg: cfg, name: "postgres", gate: o.Gate, log: o.Log, changed: o.Changed}
	first := phc.New(nil)
	b.nobody.Store(&first)
	if o.Name != "" {
		b.name = o.Name
	}
	if b.gate == nil {
		b.gate = phc.NewGate(1, 64)
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if err := b.Reload(); err != nil {
		return nil, err
	}
	conf, err := b.poolConfig()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	if b.pool, err = pgxpool.NewWithConfig(ctx, conf); err != nil {
		stop()
		return nil, err
	}
	if cfg.Notify != "" && b.changed != nil {
		b.ended.Go(func() { b.listen(ctx) })
	}
	return b, nil
}

// Close ends all connections. Questions after it fail.
func (b *Backend) Close() {
	b.stop()
	b.ended.Wait()
	b.pool.Close()
}

// Files are those that it reads.
func (b *Backend) Files() []string { return b.cfg.TLS.Files() }

// Reload reads the files again, for connections that are made from now on. If one is bad, all stays as it was.
func (b *Backend) Reload() error {
	if !b.cfg.encrypted() {
		return nil
	}
	conf, err := b.cfg.TLS.Client(b.cfg.Host)
	if err == nil {
		b.tls.Store(conf)
	}
	return err
}

// poolConfig is all that the driver is told. It reads the variables of libpq too; what they could say is said here.
func (b *Backend) poolConfig() (*pgxpool.Config, error) {
	conf, err := pgxpool.ParseConfig("host=localhost port=5432 user=x dbname=x password=x sslmode=disable sslrootcert='' sslcert='' sslkey='' target_session_attrs=any")
	if err != nil {
		return nil, err
	}
	c := conf.ConnConfig
	c.Host, c.Port, c.Database, c.User, c.Password = b.cfg.Host, uint16(b.cfg.Port), b.cfg.Database, b.cfg.User, b.cfg.Password
	c.Fallbacks = nil // above all none that goes on without TLS
	c.ConnectTimeout = b.cfg.Timeout
	c.MaxProtocolMessageBodyLen = maxMessage
	c.DialFunc = (&net.Dialer{KeepAlive: keepAlive}).DialContext // so that who only listens notices that nobody is there
	c.RuntimeParams = map[string]string{
		"application_name":  "sapwood",
		"statement_timeout": strconv.FormatInt(b.cfg.Timeout.Milliseconds(), 10),
	}
	c.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing is prepared: it works through a pool such as pgbouncer
	conf.MaxConns, conf.MinConns = int32(b.cfg.Connections), 0
	conf.MaxConnIdleTime, conf.MaxConnLifetime = maxIdle, maxAge
	conf.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		c.TLSConfig = b.tls.Load()
		return nil
	}
	return conf, nil
}

// Authenticate compares the password with the stored hash.
func (b *Backend) Authenticate(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
	if !a.HasUser || !a.HasPass || a.Method != "" || grant.Name(a.Username) != nil {
		return nil, auth.ErrUnknown
	}
	hash, known, err := b.hash(ctx, a.Username, a.ClientID)
	var no *auth.Refusal
	if err != nil && !errors.As(err, &no) {
		return nil, err
	}
	right := false
	err = b.gate.Do(ctx, false, func() { right = hash.Matches(a.Password) })
	switch {
	case errors.Is(err, phc.ErrBusy), errors.Is(err, context.DeadlineExceeded): // many hash: no fault of the database
		return nil, &auth.Refusal{Reason: mqtt.ServerBusy, Text: "too many clients connect at present", By: b.name, Why: err.Error()}
	case err != nil:
		return nil, err
	case no != nil: // whatever the password, and told like a wrong one
		no.Reason = mqtt.BadUserNameOrPassword
		return nil, no
	case !known:
		return nil, auth.ErrUnknown
	case !right:
		return nil, &auth.Refusal{Reason: mqtt.BadUserNameOrPassword, Text: "authentication failed", By: b.name, Why: "the password is wrong"}
	}
	return b.identity(ctx, a.Username, a.ClientID)
}

// Refresh looks up what is so now of a user that was let in.
func (b *Backend) Refresh(ctx context.Context, p *auth.Principal) (*auth.Identity, error) {
	_, known, err := b.hash(ctx, p.Name, p.ClientID)
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, auth.ErrUnknown
	}
	return b.identity(ctx, p.Name, p.ClientID)
}

// hash is that of the user's password. A user without one is refused; that one and who is not known get somebody's, so that it takes as
// long to find out.
func (b *Backend) hash(ctx context.Context, user, client string) (h phc.Hash, known bool, err error) {
	texts, err := b.column(ctx, b.cfg.Query, user, client, 1)
	switch {
	case err != nil:
		return h, false, err
	case len(texts) == 0:
		return *b.nobody.Load(), false, nil
	case texts[0] == nil:
		return *b.nobody.Load(), false, b.refuse(user, "has no password")
	}
	if h, err = phc.Parse(*texts[0]); err != nil {
		return *b.nobody.Load(), false, b.refuse(user, "the stored password "+err.Error())
	}
	b.nobody.Store(&h)
	return h, true, nil
}

// identity is what else is stored about a user.
func (b *Backend) identity(ctx context.Context, user, client string) (*auth.Identity, error) {
	id := &auth.Identity{Name: user, By: b.name}
	groups, err := b.column(ctx, b.cfg.Groups, user, client, grant.MaxGroups)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if g != nil {
			id.Groups = append(id.Groups, *g)
		}
	}
	rules, err := b.column(ctx, b.cfg.Rules, user, client, grant.MaxRules)
	if err != nil {
		return nil, err
	}
	for i, text := range rules {
		if text == nil {
			continue
		}
		r, err := grant.Rule(fmt.Sprintf("%s.rules[%d]", b.name, i), []byte(*text))
		if err != nil {
			return nil, b.refuse(user, err.Error())
		}
		id.Rules = append(id.Rules, r)
	}
	if err := grant.Identity(id); err != nil {
		return nil, b.refuse(user, err.Error())
	}
	return id, nil
}

// column is the first column of all rows that a query finds, as text; nil = NULL. More rows than most are refused. An empty query finds nothing.
func (b *Backend) column(ctx context.Context, query, user, client string, most int) (list []*string, err error) {
	if query == "" {
		return nil, nil
	}
	n, err := parameters(query)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	rows, err := b.pool.Query(ctx, query, []any{user, client}[:n]...)
	if err != nil {
		return nil, b.failed(user, err)
	}
	defer rows.Close()
	for rows.Next() {
		if len(list) == most {
			return nil, b.refuse(user, fmt.Sprintf("has more than %d rows", most))
		}
		raw := rows.RawValues()
		if len(raw) == 0 {
			return nil, errors.New("the query has no column")
		}
		if raw[0] == nil {
			list = append(list, nil)
			continue
		}
		text := string(raw[0])
		list = append(list, &text)
	}
	if err := rows.Err(); err != nil {
		return nil, b.failed(user, err)
	}
	return list, nil
}

// failed sorts errors of the server: what it cannot make of a name, such as a number, is one client's affair; all others mean that
// nobody can be judged.
func (b *Backend) failed(user string, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && strings.HasPrefix(pg.Code, "22") { // data exception
		return b.refuse(user, pg.Message)
	}
	return err
}

func (b *Backend) refuse(user, why string) error {
	return &auth.Refusal{
		Reason: mqtt.NotAuthorized, Text: "authentication failed", By: b.name, Why: strings.ToValidUTF8(fmt.Sprintf("user %q: %s", user, why), "\ufffd"),
	}
}

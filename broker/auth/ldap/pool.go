package ldap

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// conn is one connection. It is used by one goroutine at a time.
type conn struct {
	*ldap.Conn
	as   string // who it is bound as; "" = nobody
	made time.Time
	age  int // of the pool when it was made
}

// pool holds idle connections and bounds how many there are.
type pool struct {
	where   place
	start   bool // TLS by StartTLS
	timeout time.Duration
	slots   chan struct{} // one for each connection in use

	mu     sync.Mutex
	tls    *tls.Config
	idle   []*conn
	age    int // another one makes all older connections go
	closed bool
}

// Connections are given up after this time, idle or not, so that a directory behind a balancer is spread again.
const maxAge = 10 * time.Minute

// do runs f with a connection. One that turns out to be dead when it is used again is replaced once.
func (p *pool) do(ctx context.Context, f func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.slots }()
	c := p.take()
	reused := c != nil
	for {
		var err error
		if c == nil {
			if c, err = p.dial(ctx); err != nil {
				return err
			}
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		err = f(c)
		if !stop() {
			_ = c.Close()
			return ctx.Err()
		}
		if !ldap.IsErrorWithCode(err, ldap.ErrorNetwork) && !c.IsClosing() {
			p.give(c)
			return err
		}
		_ = c.Close()
		if !reused {
			return err
		}
		c, reused = nil, false
	}
}

func (p *pool) take() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		if !c.IsClosing() && time.Since(c.made) < maxAge {
			return c
		}
		_ = c.Close()
	}
	return nil
}

func (p *pool) give(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.age != p.age {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, c)
}

// renew makes all connections that are there go when their work is done, and uses conf for new ones.
func (p *pool) renew(conf *tls.Config, closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		_ = c.Close()
	}
	p.idle, p.tls, p.closed = nil, conf, closed
	p.age++
}

// dial makes a connection, encrypted and verified where it is to be; there is none that goes on without.
func (p *pool) dial(ctx context.Context) (*conn, error) {
	p.mu.Lock()
	conf, age := p.tls, p.age
	p.mu.Unlock()
	raw, err := (&net.Dialer{}).DialContext(ctx, p.where.network, p.where.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	c, err := p.begin(ctx, raw, conf)
	if !stop() {
		_ = raw.Close()
		return nil, ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	c.SetTimeout(p.timeout)
	return &conn{Conn: c, made: time.Now(), age: age}, nil
}

func (p *pool) begin(ctx context.Context, raw net.Conn, conf *tls.Config) (*ldap.Conn, error) {
	if p.where.tls {
		secure := tls.Client(raw, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		raw = secure
	}
	c := ldap.NewConn(raw, p.where.tls)
	c.Start()
	if p.start {
		c.SetTimeout(p.timeout)
		if err := c.StartTLS(conf); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("start TLS: %w", err)
		}
	}
	return c, nil
}

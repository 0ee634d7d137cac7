package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/load"
	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

// fleet are the clients of one broker.
type fleet struct {
	o       options
	address string
	tls     *tls.Config

	handshakes atomic.Int64 // begun
	resumed    atomic.Int64 // of those that ended well
	connected  atomic.Int64
	working    sync.WaitGroup
	calm       chan struct{} // holds as many as may connect at once before the storm
}

// measure runs one broker through the storm and returns its row of the table.
func measure(ctx context.Context, o options, b peer.Broker, p *pki) (string, error) {
	r, err := b.Start(ctx, "")
	if err != nil {
		return "", err
	}
	defer r.Stop()
	ctx, cancel := context.WithCancel(ctx)
	f := &fleet{o: o, address: r.Address, tls: cheap(p), calm: make(chan struct{}, 32)}
	defer f.working.Wait()
	defer cancel()

	cut := make(chan struct{})
	for i := range o.clients {
		f.working.Go(func() { f.flap(ctx, fmt.Sprintf("storm-%d", i), cut) })
	}
	all := int64(o.clients)
	fmt.Fprintf(os.Stderr, "%s: connecting %d clients\n", b.Name, all)
	if _, err := f.reach(ctx, all, 10*time.Minute); err != nil {
		return "", err
	}
	watch, err := startWatch(ctx, o, r.Address)
	if err != nil {
		return "", err
	}
	f.handshakes.Store(0)
	f.resumed.Store(0)
	before, err := load.ReadUsage(r.PID())
	if err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "%s: the storm\n", b.Name)
	began := time.Now()
	f.connected.Add(-int64(o.clients))
	close(cut)
	most, err := f.reach(ctx, int64(float64(o.clients)*0.99), 10*time.Minute)
	if err != nil {
		return "", err
	}
	every, err := f.reach(ctx, all, 10*time.Minute)
	if err != nil {
		return "", err
	}
	after, err := load.ReadUsage(r.PID())
	if err != nil {
		return "", err
	}
	seen, err := watch.end()
	if err != nil {
		return "", err
	}
	for why, n := range seen.Lost {
		fmt.Fprintf(os.Stderr, "%s: %d clients that were to stay lost their connection: %s\n", b.Name, n, why)
	}
	n := float64(o.clients)
	return fmt.Sprintf("| %s | %.1f s | %.1f s | %.2f | %.0f %% | %.2f ms | %v / %v / %v | %d |", b.Name,
		most.Sub(began).Seconds(), every.Sub(began).Seconds(), float64(f.handshakes.Load())/n, 100*float64(f.resumed.Load())/n,
		(after.CPU-before.CPU).Seconds()*1000/n,
		seen.P50.Round(time.Millisecond), seen.P99.Round(time.Millisecond), seen.Max.Round(time.Millisecond), seen.Missed), nil
}

// cheap makes the clients' side of a handshake cost as little as it can: all of them share a core, where devices have one each.
func cheap(p *pki) *tls.Config {
	return &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12, CurvePreferences: []tls.CurveID{tls.X25519}, InsecureSkipVerify: true}
}

// reach waits until so many clients are connected and tells when that was.
func (f *fleet) reach(ctx context.Context, n int64, patience time.Duration) (time.Time, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline, said := time.Now().Add(patience), time.Now()
	for {
		select {
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case now := <-tick.C:
			have := f.connected.Load()
			if have >= n {
				return now, nil
			}
			if now.Sub(said) > 5*time.Second {
				said = now
				fmt.Fprintf(os.Stderr, "  %d of %d connected\n", have, n)
			}
			if now.After(deadline) {
				return now, fmt.Errorf("%d of %d clients are connected after %v", have, n, patience)
			}
		}
	}
}

// connect is one try: TCP, TLS and CONNECT within the client's patience.
func (f *fleet) connect(ctx context.Context, id string, cache tls.ClientSessionCache) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, f.o.patience)
	defer cancel()
	tcp, err := (&net.Dialer{}).DialContext(ctx, "tcp", f.address)
	if err != nil {
		return nil, err
	}
	cfg := f.tls.Clone()
	cfg.ServerName, cfg.ClientSessionCache = "127.0.0.1", cache
	c := tls.Client(tcp, cfg)
	f.handshakes.Add(1)
	stop := context.AfterFunc(ctx, func() { tcp.SetDeadline(time.Unix(1, 0)) })
	err = c.HandshakeContext(ctx)
	if err == nil {
		packet := append([]byte{0x10, byte(12 + len(id)), 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, byte(f.o.keepAlive / time.Second), 0, byte(len(id))}, id...)
		_, err = c.Write(packet)
	}
	var ack [4]byte
	if err == nil {
		_, err = io.ReadFull(c, ack[:])
	}
	if err == nil && ack[3] != 0 {
		err = fmt.Errorf("CONNACK 0x%02x", ack[3])
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		tcp.Close()
		return nil, err
	}
	if c.ConnectionState().DidResume {
		f.resumed.Add(1)
	}
	f.connected.Add(1)
	return c, nil
}

// flap is a client that loses its connection when cut is closed, and reconnects without any patience.
func (f *fleet) flap(ctx context.Context, id string, cut <-chan struct{}) {
	var cache tls.ClientSessionCache
	if f.o.resume {
		cache = tls.NewLRUClientSessionCache(1)
	}
	for storm := range 2 {
		var c *tls.Conn
		if storm == 0 {
			f.calm <- struct{}{}
		}
		for err := errors.New("not yet"); err != nil; {
			if ctx.Err() != nil {
				return
			}
			c, err = f.connect(ctx, id, cache)
		}
		if storm == 0 {
			<-f.calm
		}
		ended := context.AfterFunc(ctx, func() { c.NetConn().Close() })
		ping(ctx, c, f.o.keepAlive*3/4, cut)
		ended()
		c.NetConn().Close()
	}
}

// ping keeps a connection alive until it is cut, or ends. One that was made after the cut lasts.
func ping(ctx context.Context, c *tls.Conn, every time.Duration, cut <-chan struct{}) {
	select {
	case <-cut:
		cut = nil
	default:
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var answer [2]byte
	for {
		select {
		case <-cut:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := c.Write([]byte{0xC0, 0}); err != nil {
				return
			}
			if _, err := io.ReadFull(c, answer[:]); err != nil {
				return
			}
		}
	}
}

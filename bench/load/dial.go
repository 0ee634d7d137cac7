package load

import (
	"context"
	"fmt"
	"net"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// connecting is how many connections may be between connect and ready: below the
// listen backlog of 100 that some brokers have, since an overflowing backlog costs a
// second per connection.
const connecting = 64

// dial connects the clients and returns when all are ready: connected, and
// subscribed where they have filters.
func (r *rig) dial(ctx context.Context, clients []*client) error {
	var base int
	r.do(func() { base = r.readied })
	for i, cl := range clients {
		conn, err := r.connect(ctx, i)
		if err != nil {
			return fmt.Errorf("connect client %d of %d: %w", i+1, len(clients), err)
		}
		if tcp, ok := conn.(*net.TCPConn); ok && cl.sub != nil {
			// What arrives in small segments uses up a receive buffer fast, and a full one
			// makes the kernel drop and the broker wait for its retransmission timer. The
			// kernel bounds this by its own limit.
			tcp.SetReadBuffer(receiveBuffer)
		}
		r.arriving <- cl
		r.loop.Attach(conn)
		if (i+1)%(connecting/2) != 0 && i+1 < len(clients) {
			continue
		}
		enough := base + i + 1 - connecting/2
		if i+1 == len(clients) {
			enough = base + len(clients)
		}
		if err := r.await(ctx, "connect", func() bool { return r.readied >= enough }); err != nil {
			return err
		}
	}
	return nil
}

// receiveBuffer is asked for on the connections that messages come to.
const receiveBuffer = 4 << 20

// perSource is how many connections share a source address on the loopback network,
// well below the number of ephemeral ports.
const perSource = 10_000

// connect opens the i-th connection of a batch.
func (r *rig) connect(ctx context.Context, i int) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1}
	host, _, err := net.SplitHostPort(r.opts.Address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host).To4(); ip != nil && ip[0] == 127 && i >= perSource {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/perSource%250))}
	}
	return d.DialContext(ctx, "tcp", r.opts.Address)
}

// depart closes the connections of the clients, with a DISCONNECT, and waits for it.
func (r *rig) depart(ctx context.Context, clients []*client) error {
	var target int
	r.do(func() {
		target = r.closed
		for _, cl := range clients {
			if cl.conn != nil {
				target++
				cl.leave()
			}
		}
	})
	return r.await(ctx, "disconnect", func() bool { return r.closed >= target })
}

// leave closes every connection at the end of the run, on the loop.
func (r *rig) leave() {
	for cl := range r.clients {
		if cl.conn != nil {
			cl.leave()
		}
	}
}

func (cl *client) leave() {
	cl.leaving = true
	cl.conn.Write([]byte{byte(mqtt.DISCONNECT) << 4, 0})
	cl.conn.Close()
}

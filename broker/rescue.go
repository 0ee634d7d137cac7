package broker

import (
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/sapwood-mqtt/sapwood/broker/loop"
)

// errPanic is why a connection ends in whose service something panicked.
var errPanic = errors.New("a panic while it was served")

// panicked closes the connection whose input made us panic, and nobody else's.
func (sh *shard) panicked(conn *loop.Conn, input []byte, r any) {
	id := ""
	if c, ok := conn.State.(*client); ok {
		id = c.id
	}
	sh.b.panicked(r, "client", id, "remote", addressOf(conn), "input", hex.EncodeToString(input[:min(len(input), 256)]))
	conn.Abort(errPanic)
}

// spare, deferred, keeps a panic to the connection it happened for.
func (sh *shard) spare(conn *loop.Conn) {
	if r := recover(); r != nil {
		sh.panicked(conn, nil, r)
	}
}

// rescue, deferred, keeps a panic to the client c, in whose affairs it happened without a packet of its own:
// its connection, if it is on this shard, closes.
func (sh *shard) rescue(c *client) {
	if r := recover(); r != nil {
		sh.failed(c, r)
	}
}

func (sh *shard) failed(c *client, r any) {
	sh.b.panicked(r, "client", c.id)
	if c.shard == sh && c.conn != nil {
		c.conn.Abort(errPanic)
	}
}

// post has do run on the loop in c's affairs; false when the loop has ended. A panic in it ends no more than c's
// connection.
func (sh *shard) post(c *client, do func()) bool {
	return sh.loop.Post(func() {
		defer sh.rescue(c)
		sh.tick(sh.loop.Now())
		do()
	})
}

// guard runs a task of the broker itself, whose panic ends nothing.
func (b *Broker) guard(task string, do func()) {
	defer func() {
		if r := recover(); r != nil {
			b.panicked(r, "task", task)
		}
	}()
	do()
}

// panicked counts and logs a panic that was recovered.
func (b *Broker) panicked(r any, about ...any) {
	b.panics.Add(1)
	b.log.Error("a panic, recovered; the connection it was for is closed", append(about, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))...)
}

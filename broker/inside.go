package broker

import "github.com/sapwood-mqtt/sapwood/broker/tally"

// inside are a shard's clients that are the process's own (Listener.Own), such as the canary. What they send and get is counted as everybody's
// and told apart where it is read: figures of traffic are those of others, and in the books their messages are the server's own.
type inside struct {
	clients map[*client]struct{}
	gone    ownTraffic // of those that are not there any more
}

// ownTraffic is what the process's own clients sent and got.
type ownTraffic struct{ in, inBytes, out, outBytes uint64 }

func (t *ownTraffic) add(c *client) {
	if c.tally != nil {
		t.in += c.tally.Received()
		t.inBytes += c.tally.InBytes
		t.out += c.tally.Sent()
		t.outBytes += c.tally.OutBytes
	}
}

func (x *inside) came(c *client) {
	if x.clients == nil {
		x.clients = make(map[*client]struct{})
	}
	x.clients[c] = struct{}{}
}

func (x *inside) left(c *client) {
	if _, there := x.clients[c]; there {
		delete(x.clients, c)
		x.gone.add(c)
	}
}

// traffic is what they sent and got since the start, and how many subscriptions they have.
func (x *inside) traffic() (t ownTraffic, subscriptions int) {
	t = x.gone
	for c := range x.clients {
		t.add(c)
		subscriptions += len(c.s.Subscriptions())
	}
	return t, subscriptions
}

// lines are the books, in which what the process's own clients sent is the server's own.
func (k *books) lines() tally.Lines {
	l := k.Lines
	t, _ := k.inside.traffic()
	l.Received -= t.in
	l.Own += t.in
	l.BytesIn -= t.inBytes
	l.BytesOut -= t.outBytes
	return l
}

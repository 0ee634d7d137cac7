package limit

import (
	"sync"
	"time"
)

// Reason is a rate that was reached.
type Reason uint8

// The rates.
const (
	None Reason = iota
	ClientMessages
	ClientBytes
	UserMessages
	UserBytes
	ClassMessages
	ClassBytes
	ListenerMessages
	ListenerBytes
	TotalMessages
	TotalBytes
	DeliverMessages
	DeliverBytes
	UserConnects
	reasonEnd
)

// Reasons is the number of reasons plus one: the size of an array indexed by Reason.
const Reasons = int(reasonEnd)

// String is the reason as it stands in metrics and events.
func (r Reason) String() string {
	return [Reasons]string{
		"", "client_publish_messages", "client_publish_bytes", "user_publish_messages", "user_publish_bytes",
		"class_publish_messages", "class_publish_bytes", "listener_publish_messages", "listener_publish_bytes",
		"total_publish_messages", "total_publish_bytes", "client_deliver_messages", "client_deliver_bytes", "user_connects",
	}[r]
}

// gauge is a bucket and what it measures.
type gauge struct {
	*bucket
	bytes bool
	why   Reason
}

func (g *gauge) of(bytes int) int64 {
	if g.bytes {
		return int64(bytes)
	}
	return 1
}

// Pace is how fast one connected client may send and get: its own buckets and those it shares with others. It belongs to one
// goroutine at a time.
type Pace struct {
	Answer  Answer
	publish []gauge
	deliver []gauge
	user    string // whose account it holds, "" = none
}

// Publish asks whether a PUBLISH of so many bytes may come now, and notes it. If not, it returns the rate that is in the
// way, and for how many ms.
func (p *Pace) Publish(now int64, bytes int) (why Reason, wait int64) {
	for i := range p.publish {
		g := &p.publish[i]
		if w := g.Wait(now, g.of(bytes)); w > wait {
			why, wait = g.why, w
		}
	}
	if why == None {
		for i := range p.publish {
			p.publish[i].Take(now, p.publish[i].of(bytes))
		}
	}
	return why, wait
}

// Delivers tells that what the client gets is limited.
func (p *Pace) Delivers() bool { return len(p.deliver) > 0 }

// Delivered notes a message that was sent to the client, and tells how many ms nothing is to follow it, and by which rate.
func (p *Pace) Delivered(now int64, bytes int) (why Reason, wait int64) {
	for i := range p.deliver {
		g := &p.deliver[i]
		g.Take(now, g.of(bytes))
		if w := g.Wait(now, 1); w > wait {
			why, wait = g.why, w
		}
	}
	return why, wait
}

// pair are the buckets of those who share them.
type pair struct{ messages, bytes *bucket }

func newPair(messages, bytes int64, burst time.Duration) pair {
	return pair{newBucket(messages, burst), newBucket(bytes, burst)}
}

// account is what a user's clients share. It stays for as long as it matters.
type account struct {
	pair
	connects *bucket
	clients  int
}

// Pool holds the buckets that clients share. Its methods may be called from any goroutine; none is on the message path.
type Pool struct {
	rates   *Rates
	total   pair
	classes []pair

	mu        sync.Mutex
	users     map[string]*account
	sweep     int // users from when on to look for those that do not matter any more
	listeners map[string]pair
}

// NewPool makes a pool in which every bucket is full.
func NewPool(r *Rates) *Pool {
	p := &Pool{rates: r, users: make(map[string]*account), sweep: 1024, listeners: make(map[string]pair)}
	p.total = newPair(r.Total.PublishMessages, r.Total.PublishBytes, r.Burst)
	for i := range r.Classes {
		p.classes = append(p.classes, newPair(r.Classes[i].Together.PublishMessages, r.Classes[i].Together.PublishBytes, r.Burst))
	}
	return p
}

// rateOf is what holds for a client: of class, the place of the class that fits it, or -1.
func (p *Pool) rateOf(class int) (ClientRate, UserRate, Answer) {
	c, u, answer := p.rates.Client, p.rates.User, p.rates.Answer
	if class < 0 {
		return c, u, answer
	}
	k := &p.rates.Classes[class]
	if k.Answer != "" {
		answer = k.Answer
	}
	client := ClientRate{
		k.or(k.Client.PublishMessages, c.PublishMessages), k.or(k.Client.PublishBytes, c.PublishBytes),
		k.or(k.Client.DeliverMessages, c.DeliverMessages), k.or(k.Client.DeliverBytes, c.DeliverBytes),
	}
	user := UserRate{
		k.or(k.User.PublishMessages, u.PublishMessages), k.or(k.User.PublishBytes, u.PublishBytes), k.or(k.User.Connects, u.Connects),
	}
	return client, user, answer
}

// Connect asks whether a user may connect once more, and notes it; class is the place of its class.
func (p *Pool) Connect(now int64, user string, class int) bool {
	_, u, _ := p.rateOf(class)
	if user == "" || u.Connects == 0 {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.account(now, user, u)
	// A minute is counted as a second that takes 60 times as long: rates are whole numbers.
	now /= 60
	if a.connects == nil || a.connects.Wait(now, 1) > 0 {
		return a.connects == nil
	}
	a.connects.Take(now, 1)
	return true
}

// Enter returns the pace of a client that is connected now, nil when nothing limits it. Leave has to follow.
func (p *Pool) Enter(now int64, w *Who, class int) *Pace {
	c, u, answer := p.rateOf(class)
	pace := &Pace{Answer: answer}
	publish := func(b *bucket, bytes bool, why Reason) {
		if b != nil {
			pace.publish = append(pace.publish, gauge{b, bytes, why})
		}
	}
	publish(newBucket(c.PublishMessages, p.rates.Burst), false, ClientMessages)
	publish(newBucket(c.PublishBytes, p.rates.Burst), true, ClientBytes)
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.User != "" && (u.PublishMessages > 0 || u.PublishBytes > 0) {
		a := p.account(now, w.User, u)
		a.clients++
		pace.user = w.User
		publish(a.messages, false, UserMessages)
		publish(a.bytes, true, UserBytes)
	}
	if class >= 0 {
		publish(p.classes[class].messages, false, ClassMessages)
		publish(p.classes[class].bytes, true, ClassBytes)
	}
	at, known := p.listeners[w.Listener]
	if !known {
		at = newPair(p.rates.Listener.PublishMessages, p.rates.Listener.PublishBytes, p.rates.Burst)
		p.listeners[w.Listener] = at
	}
	publish(at.messages, false, ListenerMessages)
	publish(at.bytes, true, ListenerBytes)
	publish(p.total.messages, false, TotalMessages)
	publish(p.total.bytes, true, TotalBytes)
	for _, g := range []gauge{
		{newBucket(c.DeliverMessages, p.rates.Burst), false, DeliverMessages},
		{newBucket(c.DeliverBytes, p.rates.Burst), true, DeliverBytes},
	} {
		if g.bucket != nil {
			pace.deliver = append(pace.deliver, g)
		}
	}
	if len(pace.publish) == 0 && len(pace.deliver) == 0 {
		return nil
	}
	return pace
}

// Leave gives back what Enter returned.
func (p *Pool) Leave(pace *Pace) {
	if pace == nil || pace.user == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.users[pace.user]; a != nil && a.clients > 0 {
		a.clients--
	}
}

// account is that of a user. Accounts that do not matter any more leave now and then: there are about twice as many as users
// that are here, or were within rates.burst or the last minute.
func (p *Pool) account(now int64, user string, u UserRate) *account {
	if a := p.users[user]; a != nil {
		return a
	}
	if len(p.users) >= p.sweep {
		for name, a := range p.users {
			if a.clients == 0 && a.messages.idle(now) && a.bytes.idle(now) && a.connects.idle(now/60) {
				delete(p.users, name)
			}
		}
		p.sweep = max(2*len(p.users), 1024)
	}
	a := &account{pair: newPair(u.PublishMessages, u.PublishBytes, p.rates.Burst), connects: newBucket(u.Connects, time.Second)}
	p.users[user] = a
	return a
}

package broker

import (
	"container/heap"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// timer is when a client, or a task of the shard itself, is due.
type timer struct {
	at     int64
	client *client
	task   func()
}

// timers is a heap by time. A client has one entry at most and knows its place, so that it leaves nothing behind.
type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at < t[j].at }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t.note(i)
	t.note(j)
}

func (t timers) note(i int) {
	if c := t[i].client; c != nil {
		c.timer = i + 1
	}
}

func (t *timers) Push(x any) {
	*t = append(*t, x.(timer))
	t.note(len(*t) - 1)
}

func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*t = old[:len(old)-1]
	if last.client != nil {
		last.client.timer = 0
	}
	return last
}

// agenda is what is due when: keep-alives, wills, session expiries, and tasks of the shard itself.
type agenda struct {
	sh     *shard
	timers timers
}

// watch makes sure that c is looked at when its session needs it. A deadline that has moved on
// since (every packet moves the keep-alive) is found out when the timer fires.
func (a *agenda) watch(c *client) {
	d := c.s.Deadline()
	if c.expires != 0 && (d == 0 || c.expires < d) {
		d = c.expires
	}
	switch {
	case d == 0:
	case c.timer == 0:
		heap.Push(&a.timers, timer{at: d, client: c})
	case d < a.timers[c.timer-1].at:
		a.timers[c.timer-1].at = d
		heap.Fix(&a.timers, c.timer-1)
	}
}

// forget takes c out, whose session is over.
func (a *agenda) forget(c *client) {
	if c.timer != 0 {
		heap.Remove(&a.timers, c.timer-1)
	}
}

// every runs task at an interval, as long as the shard lives.
func (a *agenda) every(d time.Duration, task func()) {
	at := a.sh.now + d.Milliseconds()
	heap.Push(&a.timers, timer{at: at, task: func() { defer a.every(d, task); task() }})
}

// maxDue bounds the timers of one turn, so that 100,000 sessions that expire in the same second
// do not stop the loop.
const maxDue = 1000

func (a *agenda) run() {
	for n := 0; len(a.timers) > 0 && a.timers[0].at <= a.sh.now; n++ {
		if n == maxDue {
			a.sh.loop.Wake()
			return
		}
		due := heap.Pop(&a.timers).(timer)
		if due.task != nil {
			a.sh.b.guard("timer", due.task)
			continue
		}
		a.attend(due.client)
	}
	a.sh.lobby.expire()
	next := a.sh.now + 1000
	if len(a.timers) > 0 {
		next = min(next, a.timers[0].at)
	}
	if a.sh.health.pending() {
		next = min(next, a.sh.health.next)
	}
	if at, any := a.sh.paces.wheel.Next(); any {
		next = min(next, at)
	}
	a.sh.loop.WakeAt(a.sh.loop.Now().Add(time.Duration(max(next-a.sh.now, 1)) * time.Millisecond))
}

// attend does what is due for c.
func (a *agenda) attend(c *client) {
	defer a.sh.rescue(c)
	if a.sh.health.waits(c) {
		c.s.Heard(a.sh.turn())
	}
	a.sh.perform(c, nil, c.s.Tick(a.sh.turn(), a.sh.take()))
	if c.expires != 0 && c.expires <= a.sh.now {
		c.expires = 0
		c.kick(ByExpiry, mqtt.MaximumConnectTime, "the credentials have expired")
	}
	if c.s.Ended() {
		a.sh.count.SessionsExpired++
		return
	}
	a.watch(c)
}

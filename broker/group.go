package broker

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sapwood-mqtt/sapwood/broker/handle"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// groupBit tells an entry of the subscription index that stands for a shared subscription: the
// rest of its ID is the group's number.
const groupBit = 1 << 31

func entry(id, options uint32) topic.Entry { return topic.Entry{ID: id, Options: options} }

// groups are the shared subscriptions, by "$share/group/filter". Choosing a member takes no lock.
type groups struct {
	handles handle.Table[group]

	mu     sync.RWMutex
	byName map[string]*group
}

// group is one shared subscription (MQTT5 4.8.2).
type group struct {
	name    string
	id      uint32
	members atomic.Pointer[[]member] // replaced as a whole
	turn    atomic.Uint32
}

type member struct {
	client  *client
	options uint32
}

func (gs *groups) get(id uint32) *group { return gs.handles.Get(id &^ groupBit) }

func (gs *groups) find(name string) *group {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	return gs.byName[name]
}

// join adds or replaces a member; id has to go into the index then, whoever made the group: nobody's subscription
// may wait for another shard's.
func (gs *groups) join(name string, c *client, options uint32) (id uint32) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.byName[name]
	if g == nil {
		if gs.byName == nil {
			gs.byName = make(map[string]*group)
		}
		g = &group{name: name}
		g.members.Store(new([]member))
		g.id = gs.handles.Add(g) | groupBit
		gs.byName[name] = g
	}
	members := slices.Clone(*g.members.Load())
	if i := slices.IndexFunc(members, func(m member) bool { return m.client == c }); i >= 0 {
		members[i].options = options
	} else {
		members = append(members, member{c, options})
	}
	g.members.Store(&members)
	return g.id
}

// leave removes a member; gone tells that it was the last: id has to leave the index and then
// be given to release.
func (gs *groups) leave(name string, c *client) (id uint32, gone bool) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.byName[name]
	if g == nil {
		return 0, false
	}
	members := slices.DeleteFunc(slices.Clone(*g.members.Load()), func(m member) bool { return m.client == c })
	g.members.Store(&members)
	if len(members) > 0 {
		return g.id, false
	}
	delete(gs.byName, name)
	return g.id, true
}

func (gs *groups) release(id uint32) { gs.handles.Remove(id &^ groupBit) }

// len is the number of members of all groups.
func (gs *groups) len() int {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	n := 0
	for _, g := range gs.byName {
		n += len(*g.members.Load())
	}
	return n
}

// count is the number of groups.
func (gs *groups) count() int {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	return len(gs.byName)
}

// choose returns the member of g that gets m, nil if none can take it.
func (r *router) choose(g *group, m *mqtt.Message) (*client, uint32) { return r.chooseBut(g, m, nil) }

// manyMembers is from when on the least loaded is sought among some members, not all.
const manyMembers = 16

// chooseBut chooses among all but one member. Who is offline gets nothing while another is online, and whose queue is
// full no QoS 1 or 2 message while another has room; when all are offline, these wait for one whose session lasts. Who may
// not receive m, or is in quarantine, is no choice; when that alone leaves nobody, the message is lost and counted.
//
// Whether a member may is what sh.asked asks.
func (r *router) chooseBut(g *group, m *mqtt.Message, not *client) (*client, uint32) {
	members := *g.members.Load()
	n := len(members)
	if n == 0 {
		return nil, 0
	}
	start := 0
	switch r.sh.b.delivery().Shared {
	case StickyPublisher:
		start = int(maphash.String(r.sh.b.seed, m.Publisher) % uint64(n))
	case StickyTopic:
		start = int(maphash.Bytes(r.sh.b.seed, m.Topic) % uint64(n))
	default:
		start = int(g.turn.Add(1) % uint32(n))
	}
	leastLoaded := r.sh.b.delivery().Shared == LeastLoaded
	var best, full, offline, denied *member
	look := n
	if leastLoaded && n > manyMembers {
		look = manyMembers
	}
	for i := 0; i < n && (i < look || best == nil); i++ {
		mb := &members[(start+i)%n]
		c := mb.client
		switch {
		case c == not:
		case !r.receives(c), c.barred.Load():
			denied = mb
		case !c.online.Load():
			if offline == nil && c.stored != 0 {
				offline = mb
			}
		case m.QoS > 0 && c.full.Load():
			full = mb
		case !leastLoaded:
			return c, mb.options
		case best == nil || c.load.Load() < best.client.load.Load():
			best = mb
		}
	}
	if best = cmp.Or(best, full, offline); best == nil {
		if denied != nil && not == nil {
			r.sh.books.miss(denied.client, m, session.Denied)
		}
		return nil, 0
	}
	return best.client, best.options
}

// redistribute gives what waits for an offline member of shared subscriptions, and was never sent to it, to
// members that are online. It reads the queue off the loop.
func (r *router) redistribute(c *client) {
	if !c.shares(isOnline) || r.sh.health.why() != nil { // it is called again when the store is well
		return
	}
	from, to := c.s.Unsent()
	if from > to {
		return
	}
	r.sh.readQueue(c, from, to, func(found readResult) bool {
		if c.s.Ended() || c.s.Connected() {
			return false
		}
		for _, it := range found.items {
			if g := it.Delivery.Group; g != "" && !it.Released && c.s.Queue().Rests(it.Seq) && r.sh.b.groups.has(g, c, isOnline) {
				if r.requeue(again{msg: it.Message, from: c, group: g, seq: it.Seq, why: session.StoreUnwell}) {
					c.s.Queue().Withdraw(it.Seq, it.Message)
				}
			}
		}
		r.sh.measure(c)
		return true
	})
}

// shares tells whether c is in a shared subscription with another member that suits.
func (c *client) shares(suits func(*client) bool) bool {
	return slices.ContainsFunc(c.s.Subscriptions(), func(s session.Subscription) bool {
		return strings.HasPrefix(s.Filter, "$share/") && c.shard.b.groups.has(s.Filter, c, suits)
	})
}

// has tells whether a group has another member than c that suits.
func (gs *groups) has(name string, c *client, suits func(*client) bool) bool {
	g := gs.find(name)
	return g != nil && slices.ContainsFunc(*g.members.Load(), func(m member) bool { return m.client != c && suits(m.client) })
}

func isOnline(c *client) bool { return c.online.Load() }

// keepsOrIsOnline tells that c can take over what waits for another.
func keepsOrIsOnline(c *client) bool { return c.stored != 0 || c.online.Load() }

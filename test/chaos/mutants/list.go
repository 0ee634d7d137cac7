// Package mutants breaks the broker on purpose, one line at a time, and has test/chaos find out: a checker that lets a
// broken broker pass proves nothing about a whole one. The tree is not touched; the compiler is given another file.
package mutants

import "fmt"

// Mutant is one line of the source, broken.
type Mutant struct {
	Name string
	File string // from the root of the repository
	Old  string // stands there exactly once
	New  string
	Try  []Try // what can find it, the likeliest first
}

// Try is a way to treat a broker.
type Try struct {
	Name string   // for people
	Test string   // of test/chaos
	Args []string // its flags; {seed} stands for another number each time
}

// String names it by what is done.
func (t Try) String() string { return t.Name }

// killed is a real process that is killed.
func killed(cycles int) Try {
	return Try{"process killed", "TestModes", []string{"-modes=kill", fmt.Sprint("-cycles=", cycles)}}
}

// denied is a real process whose disk takes nothing for a while.
func denied() Try {
	return Try{"writes fail, process killed", "TestModes", []string{"-modes=writes-fail-kill", "-cycles=6"}}
}

// powerless is a broker on a simulated disk that loses its power, fails and is tidied up.
func powerless(cycles int) Try {
	return Try{"power loss", "TestPowerLoss/fsync", []string{fmt.Sprint("-power.cycles=", cycles), "-power.seed={seed}"}}
}

// unsynced is the same where nothing but Sync fails.
func unsynced() Try {
	return Try{"syncs fail, power loss", "TestPowerLoss/fsync", []string{"-power.cycles=20", "-power.seed={seed}", "-power.faults=sync error"}}
}

// Mutants lists them all: those of the broker, then those of the engine.
func Mutants() []Mutant { return append(ofBroker(), ofEngine()...) }

func ofBroker() []Mutant {
	return []Mutant{
		{
			"PUBACK before the message is stored", "broker/session/inbound.go",
			"return l.reply(batch, &Effect{Kind: Send, Type: mqtt.PUBACK, ID: p.ID, Reason: reason}, do)",
			"return l.answer(&Effect{Kind: Send, Type: mqtt.PUBACK, ID: p.ID, Reason: reason}, do)",
			[]Try{killed(6)},
		},
		{
			"PUBREC without a record of its identifier", "broker/session/inbound.go",
			"			do = append(do, Effect{Kind: Keep, Change: Receive, ID: p.ID})\n", "",
			[]Try{killed(6)},
		},
		{
			"PUBREL forgotten by the store", "broker/session/inbound.go",
			"	do = append(do, Effect{Kind: Keep, Change: Complete, ID: p.ID})\n", "",
			[]Try{killed(6)},
		},
		{
			"a QoS 2 message that comes again is taken for a new one", "broker/session/inbound.go",
			"	if again {\n", "	if again && false {\n",
			[]Try{killed(6)},
		},
		{
			"PUBREL without a record of PUBREC", "broker/session/acks.go",
			"	do = append(do, Effect{Kind: Keep, Change: Release, Seq: seq})\n", "",
			[]Try{killed(6)},
		},
		{
			"acknowledged messages stay in the queue", "broker/perform.go",
			"		r.Op, r.Seq = store.Settle, e.Seq\n", "		r.Op, r.Seq = store.Settle, 0\n",
			[]Try{killed(6)},
		},
		{
			"one message too many leaves the queue", "broker/perform.go",
			"		r.Op, r.Seq = store.Settle, e.Seq\n", "		r.Op, r.Seq = store.Settle, e.Seq+1\n",
			[]Try{killed(6)},
		},
		{
			"SUBSCRIBE is not stored", "broker/perform.go",
			"			sh.router.keepSubscription(c, store.Subscribe, e.Sub)\n", "",
			[]Try{killed(2)},
		},
		{
			"UNSUBSCRIBE is not stored", "broker/perform.go",
			"			sh.router.keepSubscription(c, store.Unsubscribe, e.Sub)\n", "",
			[]Try{killed(6)},
		},
		{
			"a queue begins one position too late after a start", "broker/shard.go",
			"		First: r.First, Next: r.Next,", "		First: r.First + 1, Next: r.Next,",
			[]Try{killed(6)},
		},
		{
			"identifiers of QoS 2 messages are not loaded", "broker/shard.go",
			"Disconnected: m.Disconnected, Received: r.Received,", "Disconnected: m.Disconnected,",
			[]Try{killed(6)},
		},
		{
			"the session is not stored", "broker/session/session.go",
			"	do = append(do, Effect{Kind: Keep, Change: PutSession})\n	return s.reply(t.Batch, ack, do)\n", "	return s.reply(t.Batch, ack, do)\n",
			[]Try{killed(6)},
		},
		{
			"a retained message is stored as removed", "broker/retained.go",
			"	op := store.Retain\n", "	op := store.Unretain\n",
			[]Try{killed(6)},
		},
		{
			"a retained message is not removed from the store", "broker/store/disk/index/index.go",
			"		x.unretain(view(r.Message.Topic))\n", "",
			[]Try{killed(6)},
		},
		{
			"a packet identifier is given again while it is in use", "broker/session/outbound.go",
			"func packetID(seq uint64) uint16 { return uint16((seq-1)%idSpan) + 1 }", "func packetID(seq uint64) uint16 { return uint16((seq-1)%7) + 1 }",
			[]Try{killed(6)},
		},
		{
			"what is sent again is not marked", "broker/session/queue.go",
			", dup: h.dup && o.doubtful(it.Seq)", "",
			[]Try{killed(6)},
		},
	}
}

func ofEngine() []Mutant {
	return []Mutant{
		{
			"no fsync", "broker/store/disk/wal/append.go",
			"		if err := c.file.Sync(); err != nil {\n			l.poison(err, l.group, false)\n			return base, full(err)\n",
			"		if err := error(nil); err != nil {\n			l.poison(err, l.group, false)\n			return base, full(err)\n",
			[]Try{powerless(6)},
		},
		{
			"what could not be written is acknowledged", "broker/store/disk/committer.go",
			"		c.fail(g, err)\n", "		c.tell(g, nil)\n",
			[]Try{denied()},
		},
		{
			"checksums are not looked at", "broker/store/disk/wal/frame.go",
			"	if n == 0 || order.Uint32(b) != crc32.Update(seed, castagnoli, b[4:n]) {\n", "	if n == 0 {\n",
			[]Try{powerless(20)},
		},
		{
			"a failed fsync is tried again", "broker/store/disk/wal/append.go",
			"		if err := c.file.Sync(); err != nil {\n			l.poison(err, l.group, false)\n			return base, full(err)\n",
			"		if err := c.file.Sync(); err != nil && c.file.Sync() != nil {\n			l.poison(err, l.group, false)\n			return base, full(err)\n",
			[]Try{unsynced()},
		},
		{
			"a new segment is not in its directory for good", "broker/store/disk/wal/spare.go",
			"		name = segmentName(h.number)\n		err = p.sys.SyncDir(p.dir)\n", "		name = segmentName(h.number)\n",
			[]Try{powerless(20)},
		},
		{
			"the log begins anew without what it held", "broker/store/disk/image.go",
			"	replayed, err := im.wal.Replay(from, func(w wal.Record) error {\n", "	replayed, err := im.wal.Replay(from, func(w wal.Record) error {\n		if w.At.Segment%3 == 2 {\n			return nil\n		}\n",
			[]Try{killed(6)},
		},
		{
			"a checkpoint says that the log counts from a later place", "broker/store/disk/save.go",
			"	h.checkpoint = checkpoint{number, s.applied}\n", "	later := s.applied\n	later.Segment++\n	h.checkpoint = checkpoint{number, later}\n",
			[]Try{powerless(20)},
		},
		{
			"positions are given again after a checkpoint", "broker/store/disk/index/load.go",
			"	l.x.sessions[r.Session].given = last\n", "	l.x.sessions[r.Session].given = max(last, 1) - 1\n",
			[]Try{powerless(20)},
		},
		{
			"segments go while something of them is needed", "broker/store/disk/maintain.go",
			"		if u.live(g.Number) == 0 && oldest.number >= u.moved[g.Number] {\n", "		if oldest.number >= u.moved[g.Number] {\n",
			[]Try{powerless(20)},
		},
		{
			"survivors change places before they are on disk", "broker/store/disk/compact.go",
			"	if err := m.s.upkeep.cold.Sync(); err != nil {\n		return err\n	}\n", "",
			[]Try{powerless(20)},
		},
		{
			"survivors are moved to the place of another", "broker/store/disk/compact.go",
			"		m.s.index.Move(&m.rec, p.from, p.to)\n", "		m.s.index.Move(&m.rec, p.from, m.places[0].to)\n",
			[]Try{powerless(20)},
		},
		{
			"packet identifiers are not in the checkpoint", "broker/store/disk/index/snapshot.go",
			"	if se == nil || s.packet == math.MaxUint16 {\n", "	if se == nil || s.packet < math.MaxUint16 {\n",
			[]Try{powerless(20)},
		},
		{
			"the end of a message's exchange is forgotten in the log", "broker/store/disk/index/index.go",
			"			*it = slotTaken | slotReleased\n", "			_ = it\n",
			[]Try{killed(6)},
		},
	}
}

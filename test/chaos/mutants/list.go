// Package mutants breaks the broker on purpose, one line at a time, and has test/chaos find out: a checker that lets a
// broken broker pass proves nothing about a whole one. The tree is not touched; the compiler is given another file.
package mutants

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
	Test string   // of test/chaos
	Args []string // its flags
}

// killed is a real process that is killed; so is early, while it starts, too.
func killed() Try { return Try{"TestModes", []string{"-modes=kill", "-cycles=6"}} }

// Mutants lists them all.
func Mutants() []Mutant {
	return []Mutant{
		{
			"PUBACK before the message is stored", "broker/session/inbound.go",
			"return l.reply(batch, &Effect{Kind: Send, Type: mqtt.PUBACK, ID: p.ID, Reason: reason}, do)",
			"return l.answer(&Effect{Kind: Send, Type: mqtt.PUBACK, ID: p.ID, Reason: reason}, do)",
			[]Try{killed()},
		},
		{
			"PUBREC without a record of its identifier", "broker/session/inbound.go",
			"			do = append(do, Effect{Kind: Keep, Change: Receive, ID: p.ID})\n", "",
			[]Try{killed()},
		},
		{
			"PUBREL forgotten by the store", "broker/session/inbound.go",
			"	do = append(do, Effect{Kind: Keep, Change: Complete, ID: p.ID})\n", "",
			[]Try{killed()},
		},
		{
			"a QoS 2 message that comes again is taken for a new one", "broker/session/inbound.go",
			"	if again {\n", "	if again && false {\n",
			[]Try{killed()},
		},
		{
			"PUBREL without a record of PUBREC", "broker/session/acks.go",
			"	do = append(do, Effect{Kind: Keep, Change: Release, Seq: seq})\n", "",
			[]Try{killed()},
		},
		{
			"acknowledged messages stay in the queue", "broker/perform.go",
			"		r.Op, r.Seq = store.Settle, e.Seq\n", "		r.Op, r.Seq = store.Settle, 0\n",
			[]Try{killed()},
		},
		{
			"one message too many leaves the queue", "broker/perform.go",
			"		r.Op, r.Seq = store.Settle, e.Seq\n", "		r.Op, r.Seq = store.Settle, e.Seq+1\n",
			[]Try{killed()},
		},
		{
			"SUBSCRIBE is not stored", "broker/perform.go",
			"			sh.router.keepSubscription(c, store.Subscribe, e.Sub)\n", "",
			[]Try{killed()},
		},
		{
			"UNSUBSCRIBE is not stored", "broker/perform.go",
			"			sh.router.keepSubscription(c, store.Unsubscribe, e.Sub)\n", "",
			[]Try{killed()},
		},
		{
			"a queue begins one position too late after a start", "broker/shard.go",
			"		First: r.First, Next: r.Next,", "		First: r.First + 1, Next: r.Next,",
			[]Try{killed()},
		},
		{
			"identifiers of QoS 2 messages are not loaded", "broker/shard.go",
			"Disconnected: m.Disconnected, Received: r.Received,", "Disconnected: m.Disconnected,",
			[]Try{killed()},
		},
		{
			"the session is not stored", "broker/session/session.go",
			"	do = append(do, Effect{Kind: Keep, Change: PutSession})\n	return s.reply(t.Batch, ack, do)\n", "	return s.reply(t.Batch, ack, do)\n",
			[]Try{killed()},
		},
		{
			"a retained message is not stored", "broker/retained.go",
			"	r.keepRetained(store.Retain, kept)\n", "",
			[]Try{killed()},
		},
		{
			"a retained message is not removed from the store", "broker/retained.go",
			"		r.keepRetained(store.Unretain, m) // also if there is none: the batch that was to remove it may have failed\n", "",
			[]Try{killed()},
		},
		{
			"a packet identifier is given again while it is in use", "broker/session/outbound.go",
			"func packetID(seq uint64) uint16 { return uint16((seq-1)%idSpan) + 1 }", "func packetID(seq uint64) uint16 { return uint16((seq-1)%7) + 1 }",
			[]Try{killed()},
		},
		{
			"what is sent again is not marked", "broker/session/queue.go",
			"dup: h.dup && o.doubtful(it.Seq), ", "",
			[]Try{killed()},
		},
	}
}

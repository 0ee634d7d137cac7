package tally

// UnknownName stands for the topics of what was dropped unread, and of what was denied or refused on topics that have no row and no
// branch: so the sums over the tree are those of the books.
const UnknownName = "(topic not known)"

// Anew counts copies of messages that were published before: retained ones for a new subscription, those that went on to another
// member of a shared subscription; less than none for those that the store did not keep and that are tried again.
func (t *Topics) Anew(topic Topic, n int) {
	p := t.anew[topic>>pageBits]
	if p == nil {
		p = new([pageSize]uint32)
		t.anew[topic>>pageBits] = p
	}
	p[topic&(pageSize-1)] += uint32(n)
	t.touched.add(topic)
}

// Unknown counts copies that were dropped unread, so that nobody knows of which topic they were.
func (t *Topics) Unknown(reason uint8, n uint64) { t.count(t.unknownTopic(), reason, n) }

func (t *Topics) unknownTopic() Topic {
	if t.unknown == 0 {
		t.unknown = t.names.Number([]byte(UnknownName))
	}
	return t.unknown
}

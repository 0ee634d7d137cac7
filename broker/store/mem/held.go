package mem

import (
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// held is a message and how many positions refer to it.
type held struct {
	msg  *mqtt.Message
	refs int
}

// item is one position: settled (both nil), released (msg nil) or queued.
type item struct {
	msg *held
	how *store.Delivery
}

// spare keeps a few emptied helds for the next message, so that a flow of
// messages that are settled soon allocates nothing.
type spare struct {
	helds []*held
}

// maxSpare bounds the list of spare helds, which are 32 KiB at most.
const maxSpare = 2048

func (s *spare) held(m *mqtt.Message) *held {
	n := len(s.helds)
	if n == 0 {
		return &held{msg: m}
	}
	h := s.helds[n-1]
	s.helds = s.helds[:n-1]
	h.msg = m
	return h
}

// putHeld takes a held that nothing refers to.
func (s *spare) putHeld(h *held) {
	h.msg = nil
	if len(s.helds) < maxSpare {
		s.helds = append(s.helds, h)
	}
}

package broker

import (
	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// news is what Control did to all clients: it also holds for those who were being authenticated, for the answer may be older.
type news struct {
	ends   func(*auth.Principal) bool // they are to go
	reason mqtt.ReasonCode
	why    string
	change func(*auth.Principal) *auth.Identity // nil = ends counts
}

// meanwhile is the news since an authentication began, oldest first. The zero value has heard none.
type meanwhile struct {
	list []*news
	lost bool // there was more than is kept
}

// maxNews is how much of it is kept. A client that takes longer to authenticate is sent away, to come again.
const maxNews = 64

func (m *meanwhile) hear(n *news) {
	if len(m.list) == maxNews {
		m.list, m.lost = nil, true
	}
	if !m.lost {
		m.list = append(m.list, n)
	}
}

// catchUp is who a client is after the news, or why it is not welcome any more.
func (m *meanwhile) catchUp(who *auth.Principal) (*auth.Principal, *session.Refusal) {
	if m.lost {
		return nil, &session.Refusal{Reason: mqtt.ServerBusy, Text: "try again", Why: "the accounts changed too often while it was authenticated"}
	}
	for _, n := range m.list {
		if n.change != nil {
			if id := n.change(who); id != who.Identity {
				who = &auth.Principal{Identity: id, ClientID: who.ClientID, Peer: who.Peer, Mount: who.Mount}
			}
			continue
		}
		if n.ends(who) {
			r := &session.Refusal{Reason: mqtt.ServerUnavailable, Text: n.why, Why: "while it was authenticated"}
			if n.reason == mqtt.NotAuthorized || n.reason == mqtt.Banned { // others stand in no CONNACK (MQTT5 3.2.2.2)
				r.Reason = n.reason
			}
			return nil, r
		}
	}
	return who, nil
}

// tell tells those of a shard who are being authenticated.
func (n *news) tell(sh *shard) {
	for _, p := range sh.lobby.waiting {
		if p.conn != nil && p.request != nil {
			p.meanwhile.hear(n)
		}
	}
	for _, r := range sh.renewals.of {
		if r.exchange != nil {
			r.meanwhile.hear(n)
		}
	}
}

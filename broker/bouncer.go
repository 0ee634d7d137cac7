package broker

import (
	"errors"
	"net/netip"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/flapping"
	"github.com/sapwood-mqtt/sapwood/broker/limit"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// What the lobby asks about those who want in, from the cheapest question to the dearest: about the address as a connection is
// accepted, about what a CONNECT claims, and about who it turned out to be.

// keepsAway tells that a connection is not worth a word: its address is banned, descriptors are scarce, or under overload a
// handshake would have to come before the word. It may be called from any goroutine.
func (b *Broker) keepsAway(door *Door, from netip.AddrPort, handshake bool) bool {
	if v := b.entrance.bans.Address(time.Now(), from.Addr()); v != nil && !v.Quarantine {
		b.burden.banned.Add(1)
		b.turnedAway(door, from, RefusedBanned, v.Text())
		return true
	}
	if st := b.Overload(); st.Descriptors || handshake && st.Level >= overload.Connects {
		b.burden.closed.Add(1)
		b.turnedAway(door, from, RefusedOverload, st.Why)
		return true
	}
	return false
}

// keepsOut is why a CONNECT is refused whoever sends it; nil = it is not. Nothing that it claims is proven.
func (l *lobby) keepsOut(p *pending) *session.Refusal {
	if st := l.sh.b.Overload(); st.Level >= overload.Connects {
		l.sh.count.Shed[overload.Connects]++
		return &session.Refusal{Reason: mqtt.ServerBusy, Text: "the server is overloaded", Why: st.Why}
	}
	return l.banned(l.sh.b.entrance.bans.Any(time.Now(), p.request.ClientID, p.request.Username, p.peer.Address.Addr()))
}

func (l *lobby) banned(b *ban.Ban) *session.Refusal {
	if b == nil || b.Quarantine {
		return nil
	}
	l.sh.count.Banned++
	return &session.Refusal{Reason: mqtt.Banned, Text: b.Text(), Why: "by " + b.By}
}

// turnsAway is why a client that has proven who it is does not get in all the same; nil = it does.
func (l *lobby) turnsAway(p *pending, who *auth.Principal, old *client, taking bool) *session.Refusal {
	if r := l.banned(l.sh.b.entrance.bans.User(time.Now(), who.Name)); r != nil {
		return r
	}
	if f := l.sh.b.entrance.flapping; f != nil {
		c := flapping.Connect{Client: who.ClientID, User: who.Name, Remote: who.Peer.Remote(), Address: host(&who.Peer), Takes: taking}
		if taking {
			peer := &old.who.Load().Peer
			c.From, c.FromHost = peer.Remote(), host(peer)
		}
		if found := f.Connected(l.sh.now, &c); found != nil {
			if r := l.flaps(who, old, found); r != nil {
				return r
			}
		}
	}
	w := l.sh.b.laws.now.Load()
	if w.pool == nil {
		return nil
	}
	id := limit.Who{User: who.Name, Groups: who.Groups, Client: who.ClientID, Listener: who.Peer.Listener}
	if !w.pool.Connect(l.sh.now, who.Name, w.rates.ClassOf(&id)) {
		l.sh.count.Limited[limit.UserConnects]++
		return &session.Refusal{Reason: mqtt.ConnectionRateExceeded, Text: "the user connects too often"}
	}
	return nil
}

func host(p *auth.Peer) string { return p.Address.Addr().String() }

// flaps tells of somebody who flaps, and bans it if that is configured: also the one that is connected under the client id.
func (l *lobby) flaps(who *auth.Principal, old *client, f *flapping.Finding) *session.Refusal {
	l.sh.count.Flapping++
	l.sh.b.log.Warn("a client flaps", "name", f.Name, "user", f.User, "text", f.Text, "answer", string(f.Answer))
	told := Limited{Party: partyOf(who), What: "flapping", Text: f.Text}
	if f.User {
		told.ClientID = ""
	}
	l.sh.b.tell(told)
	if f.Answer != flapping.Ban {
		return nil
	}
	b := ban.Ban{Subject: ban.Client, Value: f.Name, Reason: "flapping: " + f.Text, By: "flapping", Until: time.Now().Add(f.For)}
	if f.User {
		b.Subject = ban.User
	}
	if err := l.sh.b.entrance.bans.AddNow(b); errors.Is(err, ban.ErrOutlasts) { // it is in quarantine, and stays there
		return nil
	} else if err != nil {
		l.sh.b.log.Error("a client that flaps could not be banned", "name", f.Name, "error", err)
		return nil
	}
	l.sh.b.banChanged(Banned{Ban: b}, false, false)
	if old != nil {
		l.sh.wards.judge(old)
	}
	return l.banned(&b)
}

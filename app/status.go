package app

import (
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/admission"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// overview answers GET /api/v1/status.
func (a *App) overview() api.Overview {
	now := time.Now()
	v := api.Overview{
		Version: Version, Started: a.began, Uptime: now.Sub(a.began).Seconds(),
		Durability: string(a.cfg.Durability), Promise: a.cfg.Promise(), Warnings: warnings(a),
	}
	if err := a.isReady(); err != nil {
		v.Reason = err.Error()
	}
	v.Ready = v.Reason == ""
	heavy := a.broker.Overload()
	v.Overload = api.Overload{Shed: heavy.Level.String(), Why: heavy.Why}
	b, _ := a.broker.Stats()
	kept := a.store.Stats()
	v.Counts = api.Counts{
		Connected: b.Connected, Sessions: b.Sessions, Subscriptions: b.Subscriptions,
		Retained: kept.Retained, RetainedBytes: kept.RetainedBytes,
		QueuedMessages: kept.Messages, QueuedBytes: b.QueuedBytes,
		StoreErrors: b.StoreErrors, WrongLogins: a.site.access.Load().Failures(),
	}
	if a.disk != nil {
		s := a.disk.Status()
		v.Store = &api.Disk{Dir: s.Dir, Health: s.Health, Bytes: s.Bytes, Live: s.Live, Free: s.Free, Damaged: s.Damaged}
	}
	return v
}

// warnings are what weakens the promise, what is open to others, and what of TLS needs care.
func warnings(a *App) []string {
	all := standing(a)
	for _, c := range care(a) {
		all = append(all, c.text)
	}
	return all
}

// standing are the warnings of what was found at the start, and of what the configuration leaves open.
func standing(a *App) []string {
	return append(slices.Clone(a.found.Warnings), a.config().Warnings()...)
}

// concern is what of TLS needs care; grave = it keeps clients out.
type concern struct {
	text  string
	grave bool
}

// care is what needs it, of the TLS of all addresses.
func care(a *App) (all []concern) {
	of := func(what string, c *certificates) {
		if c == nil {
			return
		}
		status := c.Status()
		for _, w := range status.Warnings {
			all = append(all, concern{what + ": " + w, slices.Contains(status.Grave, w)})
		}
	}
	of("http.tls", a.site.certs)
	for _, g := range a.doors.all() {
		of("the listener "+g.door.Listener().Name, g.certs)
	}
	return all
}

// status tells about all listeners.
func (d *doors) status() (all []api.Listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.gates {
		f := g.door.Figures()
		l := api.Listener{
			Name: g.cfg.name(), URL: g.url(), Authentication: d.entry.names(g.cfg.Backends), Warning: d.entry.cfg.exposure(g.cfg).warning(),
			Connections: f.Connections, Addresses: f.Addresses, WaitingForHandshake: f.WaitingForHandshake, Handshaking: f.Handshaking,
			Turned: map[string]uint64{},
		}
		for reason, n := range f.Turned {
			if n > 0 {
				l.Turned[admission.Reason(reason).String()] = n
			}
		}
		if g.certs != nil {
			status := g.certs.Status()
			l.TLS = &status
		}
		all = append(all, l)
	}
	return all
}

// backends tells what was asked of those that are asked who clients are.
func (d *doors) backends() (all []api.Backend) {
	who := d.who()
	if who.chain == nil {
		return nil
	}
	for _, c := range who.chain.Counts() {
		b := api.Backend{
			Name: c.Name, Asked: c.Asked, Accepted: c.Accepted, Refused: c.Refused, Unknown: c.Unknown, Failed: c.Failed,
			CacheHits: c.CacheHits, Open: c.Open, LastError: c.LastError,
		}
		if c.Name == "password" && who.password != nil {
			s := who.password.Stats()
			b.CacheHits = s.Cached
			b.More = map[string]uint64{
				"wrong": s.Wrong, "barred": s.Barred, "busy": s.Busy, "slowed": s.Slowed, "too_long": s.TooLong, "alarms": s.Alarms,
				"hashes": s.Hashing.Hashes, "hashes_waiting": uint64(s.Hashing.Waiting), "remembered": uint64(s.Remembered),
			}
		}
		all = append(all, b)
	}
	return all
}

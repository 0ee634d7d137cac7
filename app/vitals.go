package app

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"path/filepath"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/admission"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/metrics"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	figures "github.com/sapwood-mqtt/sapwood/fleet/history"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
)

// historyDir is where the data directory keeps the history of figures.
const historyDir = "history"

// openVitals has the pulse taken from now on.
func (a *App) openVitals(context.Context) error {
	if a.cfg.History.Enabled {
		o := figures.Options{Bytes: a.cfg.History.Bytes, Logger: a.log}
		if a.disk != nil {
			o.Dir = filepath.Join(a.cfg.Data, historyDir)
			o.Free = sources{a}.freeOnDisk
		} else {
			o.Bytes = min(o.Bytes, inMemory)
		}
		kept, err := figures.Open(o)
		if err != nil { // charts are no reason not to serve
			a.log.Error("the history of figures is kept in memory only", "error", err)
			a.lesser = append(a.lesser, "the history of figures is kept in memory only: "+err.Error())
			o.Dir, o.Free, o.Bytes = "", nil, min(o.Bytes, inMemory)
			if kept, err = figures.Open(o); err != nil {
				return err
			}
		}
		a.kept = kept
		recallCanaries(a, time.Now())
		a.open.add("history", func(context.Context) error { return kept.Close() })
	}
	a.openTopicSeries()
	a.vitals = vitals.New(sources{a}.options())
	ctx, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.vitals.Run(ctx)
	}()
	a.open.add("vitals", func(context.Context) error { end(); <-done; return nil })
	a.openTidings()
	a.sent.exporter.Measure(a.vitals.Latest)
	return nil
}

// sources are where the figures come from.
type sources struct{ *App }

func (a sources) options() vitals.Options {
	o := vitals.Options{
		Version: Version, Stats: a.broker.Stats, Loops: a.broker.View().Loops, Late: a.broker.View().Late, History: a.kept,
		Queued: func() int { return a.store.Stats().Messages },
		Doors:  a.doors.vitals, Backends: a.doors.vitalBackends, State: a.state, Changes: a.changes, More: a.sent.series,
	}
	if a.disk != nil {
		o.Health = a.store.Health
		o.Store = func() *vitals.Store {
			s := a.disk.Status()
			return &vitals.Store{
				Health: s.Health, Bytes: s.Bytes, Live: s.Live, Free: s.Free, Damaged: s.Damaged, Commits: s.Commits.Groups, Written: s.Commits.Bytes,
				CommitP50: s.Commits.SyncP50, CommitP99: s.Commits.SyncP99,
			}
		}
	}
	o.Books, o.Problems, o.Kept = a.ledger.Imbalances, a.problems, a.series
	o.Logins = func() uint64 {
		if who := a.site.access.Load(); who != nil {
			return who.Failures()
		}
		return 0
	}
	return o
}

// state is how the process is, for its vitals. While it starts that is no news.
func (a sources) state() vitals.State {
	s := vitals.State{Warnings: standing(a.App)}
	if s.Ready = a.isReady(); errors.Is(s.Ready, errStarting) {
		s.Ready = nil
	}
	o := a.broker.Overload()
	s.Overload, s.OverloadWhy = int(o.Level), o.Why
	c := a.config()
	s.MaxConnections, s.LagLimit = c.Limits.MaxConnections, c.Overload.LagConnects
	s.Kept = vitals.Kept{Retained: c.Limits.MaxRetained, RetainedBytes: c.Limits.MaxRetainedBytes, QueuedBytes: c.Limits.MaxTotalQueued}
	return s
}

// freeOnDisk is what is left below the data directory; where the system does not tell, writing will show.
func (a sources) freeOnDisk() int64 {
	if free := a.disk.Status().Free; free >= 0 {
		return free
	}
	return math.MaxInt64
}

// mostChanges is how many events GET /api/v1/now shows at most.
const mostChanges = 50

// changes are the events of the last hour that are worth seeing, the newest first.
func (a sources) changes() []fact.Fact {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	page, err := a.facts.Query(ctx, fact.Query{Kinds: worthSeeing(), From: time.Now().Add(-time.Hour), Limit: mostChanges})
	if err != nil {
		a.log.Debug("what has changed is not known", "error", err)
	}
	return page.Facts
}

// worthSeeing are the kinds of events that GET /api/v1/now shows.
func worthSeeing() []fact.Kind {
	return []fact.Kind{
		fact.Started, fact.Stopping, fact.Reloaded, fact.Admin, fact.OverloadChanged, fact.StoreChanged, fact.Imbalance, fact.CanaryFailed, fact.CanaryBack,
		fact.CertificateWarning, fact.BackendFailed, fact.BackendBack, fact.RetainedDeleted, fact.Banned, fact.Unbanned, fact.Quarantined, fact.QuarantineEnded,
	}
}

// vitals tells of the listeners.
func (d *doors) vitals() (all []vitals.Door) {
	one := func(name, url string, g *gate) {
		door := d.web
		if g != nil {
			door = g.door
		}
		f := door.Figures()
		v := vitals.Door{Name: name, URL: url, Door: door, Connections: f.Connections, Handshaking: f.Handshaking + f.WaitingForHandshake, Turned: map[string]uint64{}}
		for reason, n := range f.Turned {
			v.Turned[admission.Reason(reason).String()] = n
		}
		if g != nil && g.certs != nil {
			for _, c := range g.certs.Status().Certificates {
				if v.Expires.IsZero() || c.NotAfter.Before(v.Expires) {
					v.Expires = c.NotAfter
				}
			}
		}
		all = append(all, v)
	}
	for _, g := range d.all() {
		one(g.cfg.name(), g.url(), g)
	}
	if d.webPolicy() != nil {
		one(webName, "", nil)
	}
	return all
}

// vitalBackends tells of those that are asked who clients are.
func (d *doors) vitalBackends() (all []vitals.Backend) {
	for _, b := range d.backends() {
		all = append(all, vitals.Backend{Name: b.Name, Accepted: b.Accepted, Refused: b.Refused, Unknown: b.Unknown, Failed: b.Failed, CacheHits: b.CacheHits, Open: b.Open})
	}
	return all
}

// openMetrics has /metrics answered.
func openMetrics(a *App, served *api.API) {
	if !a.cfg.Metrics.Enabled {
		return
	}
	a.site.metrics.Store(metrics.New(metrics.Options{
		Latest: a.vitals.Latest, Open: a.cfg.Metrics.Open, Local: !public(a.cfg.HTTP.Address),
		Protect: func(h http.Handler) http.Handler { return served.Protect("metrics", access.Read, h) },
	}))
}

// metricsHandler is that of /metrics, nil while there is none.
func (s *site) metricsHandler() http.Handler {
	if h := s.metrics.Load(); h != nil {
		return h
	}
	return nil
}

// watched are the vitals as the API sees them.
type watched struct {
	*vitals.Vitals
	kept *figures.History
}

var errNoHistory = errors.New("history.enabled is false: no figures are kept")

// Query implements api.Vitals.
func (w watched) Query(q figures.Query) ([]figures.Series, time.Duration, error) {
	if w.kept == nil {
		return nil, 0, errNoHistory
	}
	found, step := w.kept.Query(q)
	return found, step, nil
}

// Metrics implements api.Vitals.
func (w watched) Metrics() ([]figures.Series, error) {
	if w.kept == nil {
		return nil, errNoHistory
	}
	return w.kept.Metrics(), nil
}

// apiVitals are the figures for the API, and those that pages watch.
func apiVitals(a *App) (api.Vitals, map[string]api.Producer) {
	live := func(text func(*vitals.Snapshot) []byte) api.Producer {
		return func(ctx context.Context) (any, error) {
			s, err := a.vitals.Next(ctx, nil)
			if err != nil {
				return nil, err
			}
			return json.RawMessage(text(s)), nil
		}
	}
	return watched{a.vitals, a.kept}, map[string]api.Producer{
		"stats": live((*vitals.Snapshot).StatsJSON), "load": live((*vitals.Snapshot).LoadJSON),
	}
}

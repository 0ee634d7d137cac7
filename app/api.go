package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/transport/proxy"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
	"github.com/sapwood-mqtt/sapwood/fleet/canary"
)

// EnvAdminPassword is the variable with the password that the user admin gets at the first start.
const EnvAdminPassword = envPrefix + "_ADMIN_PASSWORD"

// options are those of the API of a process whose engine is on disk, if it has one.
type options = api.Options[disk.Status, disk.Report, disk.Compacted]

// openAPI lets the API answer. What it keeps is in the data directory, which is ours by the store's lock.
func (a *App) openAPI(context.Context) error {
	s := a.site
	if s.url == "" {
		return nil
	}
	dir := ""
	if a.disk != nil {
		dir = a.cfg.Data
	}
	who, err := access.Open(access.Options{
		Dir: dir, Password: os.Getenv(EnvAdminPassword), Store: a.people.db.Access(), Config: a.cfg.HTTP.access(), Logger: a.log,
	})
	if err != nil {
		return CannotStore(a.cfg.Data, err)
	}
	s.access.Store(who)
	a.open.add("access", who.Close)
	proxies, err := proxy.ParseTrusted(a.cfg.HTTP.MQTT.Proxy.Trusted)
	if err != nil {
		return fmt.Errorf("http.mqtt.proxy: %w", err)
	}
	o := options{
		Access: who, Version: Version, Proxies: proxies, Status: a.overview, Logger: a.log, Accounts: a.people.accounts, Recorder: a.facts,
		Doors:    api.Doors{Listeners: a.doors.status, Backends: a.doors.backends},
		Canaries: func() canary.Report { return a.canary.Report() },
	}
	if a.disk != nil {
		o.Engine = backedUp{a.disk, a.people.db}
	}
	if a.reload != nil {
		o.Config = configAPI{a.reload}
	}
	control, view := a.broker.Control(), a.broker.View()
	o.Books = apiBooks{a.ledger, view}
	o.Policy = rights.Policy{Authorizer: a.rules.policy, Clients: apiClients{view, control}, Bans: apiBans{control}, Flush: a.doors.flush}
	o.Facts = apiFacts{a.facts}
	o.Tracer = apiTracer{view, control}
	o.Reasons = reasonsOf(a)
	o.Vitals, o.Live = apiVitals(a)
	o.Present = api.Present{
		Clients: inspector{view, control}, Retained: apiRetained{view, control, shelf(a), a.facts.Record}, Topics: apiTopics{view}, Publish: control, Request: a.requests,
		Queues: control,
	}
	served := api.New(o)
	openMetrics(a, served)
	s.api.Store(served)
	a.open.add("api", func(ctx context.Context) error {
		s.metrics.Store(nil)
		s.api.Store(nil) // what it shows closes next
		return served.Stop(ctx)
	})
	if a.disk == nil {
		return nil
	}
	a.open.add("local key", func(context.Context) error {
		if err := who.CloseLocal(dir); err != nil { // it is worth nothing any more
			a.log.Warn("the key for local commands stays", "error", err)
		}
		return nil
	})
	err = errors.Join(who.OpenLocal(dir, local(s.url)), a.disk.Announce(s.url[strings.Index(s.url, "://")+len("://"):]))
	if err != nil { // a full disk keeps no broker from starting
		a.log.Warn("commands on this machine will not find the API by --data", "error", err)
	}
	return nil
}

// local is the URL of the API as a command on the same machine reaches it.
func local(at string) string {
	u, err := url.Parse(at)
	if err != nil {
		return at
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
		u.Host = "localhost:" + u.Port()
	}
	return u.String()
}

// OpenAPI describes the API, as a file for other tools.
func OpenAPI() ([]byte, error) { return api.New(options{}).OpenAPI() }

package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/transport"
	"github.com/sapwood-mqtt/sapwood/console"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/metrics"
)

// site is the HTTP side: health checks, the API, and MQTT over WebSocket.
type site struct {
	url   string // where it is answered; "" when it is off
	ready func() error
	doors *doors
	certs *certificates // nil = no TLS

	access atomic.Pointer[access.Access] // nil until the API is open; figures ask for it meanwhile
	api    atomic.Pointer[api.API]       // nil until it is open, and when the stop has begun

	metrics atomic.Pointer[metrics.Handler] // as api; also nil where they are off
}

// openHTTP comes first and goes last, so that /readyz can say no while the rest starts and stops.
func (a *App) openHTTP(context.Context) error {
	if a.cfg.HTTP.Off() {
		return nil
	}
	l, err := transport.Listen(a.cfg.HTTP.Address)
	if err != nil {
		return cannotListen("http.address", a.cfg.HTTP.Address, err)
	}
	s := a.site
	s.url = "http://" + l.Addr().String()
	if s.certs, err = a.certs.open("http.tls", a.cfg.HTTP.TLS, []string{"h2", "http/1.1"}); err != nil {
		return errors.Join(err, l.Close())
	}
	server := s.server(a.log)
	a.open.add("http", func(ctx context.Context) error {
		defer s.certs.stop()
		return server.Shutdown(ctx)
	})
	serve := func() error { return server.Serve(l) }
	if s.certs != nil {
		s.url = "https://" + l.Addr().String()
		server.TLSConfig = s.certs.Config()
		serve = func() error { return server.ServeTLS(l, "", "") }
	}
	go a.serve("http "+l.Addr().String(), serve)
	return nil
}

func (s *site) server(log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           console.MQTT(console.Metrics(console.Handler(s.ready, s.handler), s.metricsHandler), s.doors.webPolicy, s.doors.takeWeb),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ConnState:         newCrowd(log).state,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// handler is that of the API, nil while there is none.
func (s *site) handler() http.Handler {
	if served := s.api.Load(); served != nil {
		return served
	}
	return nil
}

// Package metrics gives the figures of the process in the format of Prometheus. It is the only user of the Prometheus client library, and
// knows figures only by what they say of themselves: a new one needs nothing here.
package metrics

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/fleet/history"
	"github.com/sapwood-mqtt/sapwood/fleet/vitals"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Config says who may read the metrics.
type Config struct {
	Enabled   bool     `yaml:"enabled" reload:"restart" doc:"Whether there are any."`
	Open      bool     `yaml:"open" reload:"restart" doc:"Let everybody read them without credentials. Where http.address is a loopback address this needs no leave, but for requests that a proxy passed on or that name another host."`
	Topics    []string `yaml:"topics" reload:"restart" doc:"Filters of topics that have series of their own, with the label topic. Who may read the metrics sees these topics' names."`
	MaxTopics int      `yaml:"max_topics" reload:"restart" min:"1" max:"10000" doc:"How many topics have series." exceeded:"those with most messages came first; the others are counted in sapwood_topics_left_out"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return Config{Enabled: true, Topics: []string{}, MaxTopics: 100} }

// Check refuses filters that are none.
func (c *Config) Check(bad func(key, message, fix string)) {
	for _, f := range c.Topics {
		if err := topic.ValidFilter(f); err != nil {
			bad("topics", fmt.Sprintf("%q is no filter: %v", f, err), "write it as for a subscription: line/+/temperature")
		}
	}
}

// Options are what a Handler stands on.
type Options struct {
	Latest  func() *vitals.Snapshot         // nil before the first reading
	Open    bool                            // everybody may read
	Local   bool                            // who can reach it may read, but for what a proxy passed on
	Protect func(http.Handler) http.Handler // lets in operators and keys of the API that may read; nil = nobody has any
}

// Handler answers /metrics.
type Handler struct {
	o         Options
	answer    http.Handler
	protected http.Handler
}

// New makes one.
func New(o Options) *Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{o.Latest})
	h := &Handler{o: o, answer: promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 5 * time.Second, EnableOpenMetrics: true})}
	h.protected = http.HandlerFunc(nobody)
	if o.Protect != nil {
		h.protected = o.Protect(http.HandlerFunc(h.read))
	}
	return h
}

// ServeHTTP lets in who may read, by GET or HEAD: the others console.Metrics has turned away.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Header.Get("Authorization") == "" && (h.o.Open || h.o.Local && !passedOn(r) && direct(r.Host)) {
		h.read(w, r)
		return
	}
	h.protected.ServeHTTP(w, r)
}

func (h *Handler) read(w http.ResponseWriter, r *http.Request) {
	if h.o.Latest() == nil {
		http.Error(w, "there are no figures yet", http.StatusServiceUnavailable)
		return
	}
	h.answer.ServeHTTP(w, r)
}

// nobody is let in.
func nobody(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "metrics need the credentials of the API, or metrics.open", http.StatusUnauthorized)
}

// passedOn tells whether a proxy sent the request for somebody else.
func passedOn(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(name) != "" {
			return true
		}
	}
	return false
}

// direct tells whether a request names this machine, or an address. Any other name may be that of a site whose page a browser on this machine
// shows, which has had its name resolve to it (DNS rebinding).
func direct(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

// collector gives the latest figures, whatever they are.
type collector struct{ latest func() *vitals.Snapshot }

// Describe implements prometheus.Collector: what comes is known only then.
func (collector) Describe(chan<- *prometheus.Desc) {}

const prefix = "sapwood_"

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.latest()
	if s == nil {
		return
	}
	for i := range s.Series {
		x := &s.Series[i]
		if x.Spread != nil {
			out <- spread(x)
			continue
		}
		if x.Value != x.Value {
			continue // not known here
		}
		kind := prometheus.GaugeValue
		if x.Kind == history.Counter {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(prefix+x.Name, x.Help, x.Names, nil), kind, x.Value, x.Values...)
	}
	out <- turns(&s.Delays)
}

// spread is a histogram: Prometheus' buckets hold those before them, too.
func spread(x *vitals.Series) prometheus.Metric {
	buckets, below := make(map[float64]uint64, len(x.Spread.Bounds)), uint64(0)
	for i, n := range x.Spread.Counts {
		below += n
		if i < len(x.Spread.Bounds) {
			buckets[x.Spread.Bounds[i]] = below
		}
	}
	return prometheus.MustNewConstHistogram(prometheus.NewDesc(prefix+x.Name, x.Help, x.Names, nil), below, x.Spread.Sum, buckets, x.Values...)
}

// turns are the loops' turns by how long they took, with a bound for each fourfold.
func turns(d *loop.Delays) prometheus.Metric {
	buckets, below := map[float64]uint64{}, uint64(0)
	for i, n := range d.Buckets {
		if i > 0 && i%8 == 0 {
			buckets[loop.DelayBound(i).Seconds()] = below
		}
		below += n
	}
	desc := prometheus.NewDesc(prefix+"loop_turn_seconds", "Turns of event loops by how long they took: the longest that what happens meanwhile waits.", nil, nil)
	return prometheus.MustNewConstHistogram(desc, below, d.Sum.Seconds(), buckets)
}

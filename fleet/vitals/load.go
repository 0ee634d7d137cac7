package vitals

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/loop"
	"github.com/sapwood-mqtt/sapwood/fleet/load"
)

// Load is how busy the process is. What is not known is absent.
type Load struct {
	At time.Time `json:"at"`
	load.Load
	LoopLag   Lag            `json:"loop_lag_seconds" doc:"How long a turn of an event loop took: the longest that what happens meanwhile waits. Of the last second."`
	Loops     []LoopLoad     `json:"loops" doc:"Each event loop."`
	Store     *StoreLoad     `json:"store,omitempty" doc:"Absent with durability memory."`
	Disk      *DiskLoad      `json:"disk,omitempty" doc:"Absent with durability memory."`
	Listeners []ListenerLoad `json:"listeners"`
	Headroom  Headroom       `json:"headroom"`
}

// Lag is how late event loops were.
type Lag struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// LoopLoad is one event loop.
type LoopLoad struct {
	Sockets int     `json:"sockets"`
	Busy    float64 `json:"busy" doc:"Part of the last second in which it worked, 0 to 1."`
	P50     float64 `json:"lag_p50_seconds"`
	P99     float64 `json:"lag_p99_seconds"`
}

// StoreLoad is the engine on disk.
type StoreLoad struct {
	CommitP50 float64 `json:"commit_p50_seconds" doc:"Of the last 1,024 group commits."`
	CommitP99 float64 `json:"commit_p99_seconds"`
	Queue     int     `json:"queue" doc:"Changes that wait for a commit."`
	Commits   uint64  `json:"commits"`
	Health    string  `json:"health"`
}

// DiskLoad is the file system below the data directory.
type DiskLoad struct {
	Bytes int64 `json:"bytes" doc:"Of the store."`
	Free  int64 `json:"free" doc:"On its file system; -1 = not known."`
}

// ListenerLoad is one place where clients connect.
type ListenerLoad struct {
	Name        string  `json:"name"`
	URL         string  `json:"url"`
	Connections int     `json:"connections"`
	InBytes     uint64  `json:"in_bytes" doc:"Of MQTT: without TLS and WebSocket frames."`
	OutBytes    uint64  `json:"out_bytes"`
	InRate      float64 `json:"in_bytes_rate"`
	OutRate     float64 `json:"out_bytes_rate"`
	Handshaking int     `json:"handshaking" doc:"TLS handshakes under way or waiting for room."`
}

// Headroom tells what is nearest its limit.
type Headroom struct {
	Nearest   string     `json:"nearest,omitempty" doc:"The resource."`
	Percent   float64    `json:"percent" doc:"How much of it is in use."`
	Text      string     `json:"text,omitempty"`
	Resources []Resource `json:"resources"`
}

// Resource is one that has a limit.
type Resource struct {
	Name    string  `json:"name" enum:"cpu,memory,descriptors,connections,disk,loop_lag"`
	Percent float64 `json:"percent"`
	Used    float64 `json:"used"`
	Limit   float64 `json:"limit"`
	Unit    string  `json:"unit"`
}

// measure fills in the load of a snapshot.
func (v *Vitals) measure(s *Snapshot, l load.Load, loops []broker.LoopFigures) {
	s.Load = Load{At: s.At, Load: l, Listeners: []ListenerLoad{}, Loops: []LoopLoad{}}
	elapsed := Every
	if before := v.last.Load(); before != nil {
		elapsed = s.At.Sub(before.At)
	}
	var all loop.Delays
	queue := 0
	traffic := map[*broker.Door]broker.DoorTraffic{}
	known := len(v.delays) == len(loops)
	if !known {
		v.delays = make([]loop.Delays, len(loops))
	}
	for i := range loops {
		f := &loops[i]
		s.Delays.Add(&f.Delays)
		turns := f.Delays
		turns.Sub(&v.delays[i])
		v.delays[i] = f.Delays
		all.Add(&turns)
		busy := min(turns.Sum.Seconds()/elapsed.Seconds(), 1)
		s.Load.Loops = append(s.Load.Loops, LoopLoad{f.Sockets, busy, turns.Quantile(0.5).Seconds(), turns.Quantile(0.99).Seconds()})
		queue += f.Awaiting
		for door, t := range f.Doors {
			sum := traffic[door]
			traffic[door] = broker.DoorTraffic{Received: sum.Received + t.Received, Sent: sum.Sent + t.Sent}
		}
	}
	s.Load.LoopLag = Lag{all.Quantile(0.5).Seconds(), all.Quantile(0.99).Seconds()}
	if v.o.Late != nil { // a turn that does not end is in no count yet
		s.Load.LoopLag.P99 = max(s.Load.LoopLag.P99, v.o.Late().Seconds())
	}
	for _, d := range s.doors {
		t := traffic[d.Door]
		x := ListenerLoad{Name: d.Name, URL: d.URL, Connections: d.Connections, InBytes: t.Received, OutBytes: t.Sent, Handshaking: d.Handshaking}
		if before := v.last.Load(); before != nil {
			if i := slices.IndexFunc(before.Load.Listeners, func(o ListenerLoad) bool { return o.Name == d.Name }); i >= 0 {
				was := &before.Load.Listeners[i]
				x.InRate = math.Max(float64(int64(x.InBytes-was.InBytes)), 0) / elapsed.Seconds()
				x.OutRate = math.Max(float64(int64(x.OutBytes-was.OutBytes)), 0) / elapsed.Seconds()
			}
		}
		s.Load.Listeners = append(s.Load.Listeners, x)
	}
	if st := s.store; st != nil {
		s.Load.Store = &StoreLoad{st.CommitP50.Seconds(), st.CommitP99.Seconds(), queue, st.Commits, st.Health}
		s.Load.Disk = &DiskLoad{st.Bytes, st.Free}
	}
	if l.CPU != nil {
		v.cpu = append(v.cpu, *l.CPU)
		v.cpu = v.cpu[max(len(v.cpu)-10, 0):]
		for _, c := range v.cpu {
			s.heavy += c / float64(len(v.cpu))
		}
	}
	s.Load.Headroom = headroom(s)
}

// headroom finds what is nearest its limit.
func headroom(s *Snapshot) Headroom {
	h := Headroom{Resources: []Resource{}}
	add := func(name string, used, limit float64, unit string) {
		if limit > 0 && !math.IsNaN(used) {
			h.Resources = append(h.Resources, Resource{name, math.Round(used/limit*1000) / 10, used, limit, unit})
		}
	}
	l := &s.Load
	if l.CPU != nil {
		add("cpu", s.heavy, l.Cores, "cores")
	}
	if l.Memory.Limit != nil {
		add("memory", float64(l.Memory.Used), float64(*l.Memory.Limit), "bytes")
	}
	add("descriptors", load.Number(l.FDs.Open), max(load.Number(l.FDs.Limit), 0), "")
	add("connections", float64(s.raw.Connected), float64(s.state.MaxConnections), "")
	add("retained", float64(s.raw.Retained), float64(s.state.Kept.Retained), "")
	add("retained_bytes", float64(s.raw.RetainedBytes), float64(s.state.Kept.RetainedBytes), "bytes")
	add("queued_bytes", float64(s.raw.QueuedBytes), float64(s.state.Kept.QueuedBytes), "bytes")
	if l.Disk != nil && l.Disk.Free >= 0 {
		add("disk", float64(l.Disk.Bytes), float64(l.Disk.Bytes+l.Disk.Free), "bytes")
	}
	add("loop_lag", l.LoopLag.P99, s.state.LagLimit.Seconds(), "seconds")
	for _, r := range h.Resources {
		if h.Nearest == "" || r.Percent > h.Percent {
			h.Nearest, h.Percent = r.Name, r.Percent
			h.Text = fmt.Sprintf("%s is nearest its limit: %.0f %% in use", label(r.Name), r.Percent)
		}
	}
	return h
}

// label is a resource's name for people.
func label(name string) string {
	return map[string]string{
		"cpu": "the processor", "memory": "memory", "descriptors": "file descriptors", "connections": "the number of connections",
		"retained": "the number of retained messages", "retained_bytes": "retained messages", "queued_bytes": "what waits in queues",
		"disk": "the disk", "loop_lag": "the event loops' lag",
	}[name]
}

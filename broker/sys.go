package broker

import (
	"fmt"
	"math"
	"runtime/metrics"
	"strconv"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// sys publishes the broker's figures below $SYS/broker, in the layout that Mosquitto's users and
// exporters know (mosquitto(8), "Broker Status"). Its fields belong to shard 0's loop.
type sys struct {
	b       *Broker
	last    Stats
	lastAt  time.Time
	load    map[string]*[3]float64 // averages per minute over 1, 5 and 15 minutes
	heapMax uint64
	heap    []metrics.Sample
}

func newSys(b *Broker) *sys {
	return &sys{
		b: b, lastAt: b.started, load: make(map[string]*[3]float64),
		heap: []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}},
	}
}

// publish gathers the figures and publishes them on shard 0.
func (s *sys) publish(sh *shard) {
	s.b.gather(func(now Stats) {
		sh.loop.Post(func() {
			sh.tick(sh.loop.Now())
			sh.b.guard("sys", func() { s.tell(sh, &now, sh.loop.Now()) })
		})
	})
}

func (s *sys) tell(sh *shard, now *Stats, at time.Time) {
	put := func(name, value string) {
		m := mqtt.Message{Topic: []byte("$SYS/broker/" + name), Payload: []byte(value), Retain: true}
		sh.router.publish(nil, m.Keep())
	}
	num := func(name string, v uint64) { put(name, strconv.FormatUint(v, 10)) }
	put("version", "sapwood version "+s.b.opts.Version)
	put("uptime", fmt.Sprintf("%d seconds", int(at.Sub(s.b.started).Seconds())))
	offline := uint64(max(now.Sessions-now.Connected, 0))
	num("clients/total", uint64(now.Sessions))
	num("clients/connected", uint64(now.Connected))
	num("clients/active", uint64(now.Connected)) // the names of older versions
	num("clients/disconnected", offline)
	num("clients/inactive", offline)
	num("clients/maximum", uint64(now.MaxConnected))
	num("clients/expired", now.SessionsExpired)
	num("messages/received", now.PacketsReceived)
	num("messages/sent", now.PacketsSent)
	num("bytes/received", now.BytesReceived)
	num("bytes/sent", now.BytesSent)
	num("publish/messages/received", now.PublishReceived)
	num("publish/messages/sent", now.PublishSent)
	num("publish/messages/dropped", now.TotalDropped())
	num("publish/bytes/received", now.PublishBytesReceived)
	num("publish/bytes/sent", now.PublishBytesSent)
	num("subscriptions/count", uint64(now.Subscriptions))
	num("shared_subscriptions/count", uint64(now.Shared))
	retained := now.Retained + now.RetainedOwn // as Mosquitto counts
	num("retained messages/count", uint64(retained))
	st := s.b.store.Stats()
	num("store/messages/count", uint64(st.Messages+retained))
	num("store/messages/bytes", uint64(st.Bytes+now.RetainedBytes))
	num("messages/stored", uint64(st.Messages+retained))
	metrics.Read(s.heap)
	heap := s.heap[0].Value.Uint64()
	s.heapMax = max(s.heapMax, heap)
	num("heap/current", heap)
	num("heap/maximum", s.heapMax)
	s.tellLoad(put, now, at)
}

// tellLoad publishes moving averages per minute, as a load average is made.
func (s *sys) tellLoad(put func(name, value string), now *Stats, at time.Time) {
	seconds := at.Sub(s.lastAt).Seconds()
	for _, x := range []struct {
		name      string
		now, last uint64
	}{
		{"messages/received", now.PacketsReceived, s.last.PacketsReceived},
		{"messages/sent", now.PacketsSent, s.last.PacketsSent},
		{"publish/received", now.PublishReceived, s.last.PublishReceived},
		{"publish/sent", now.PublishSent, s.last.PublishSent},
		{"publish/dropped", now.TotalDropped(), s.last.TotalDropped()},
		{"bytes/received", now.BytesReceived, s.last.BytesReceived},
		{"bytes/sent", now.BytesSent, s.last.BytesSent},
		{"sockets", now.Connects, s.last.Connects},
		{"connections", now.Connects, s.last.Connects},
	} {
		averages := s.load[x.name]
		if averages == nil {
			averages = new([3]float64)
			s.load[x.name] = averages
		}
		perMinute := float64(x.now-x.last) / max(seconds, 0.001) * 60
		for i, minutes := range []int{1, 5, 15} {
			keep := math.Exp(-seconds / (60 * float64(minutes)))
			averages[i] = perMinute + keep*(averages[i]-perMinute)
			put(fmt.Sprintf("load/%s/%dmin", x.name, minutes), strconv.FormatFloat(averages[i], 'f', 2, 64))
		}
	}
	s.last, s.lastAt = *now, at
}

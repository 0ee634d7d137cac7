package canary

import (
	"math"
	"math/bits"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// The histogram's buckets: up to 100 µs, 200 µs, 400 µs and so on, the last without a bound.
const (
	firstBucket = 100 * time.Microsecond
	buckets     = 18
)

// Bucket is how many deliveries took at most so long, those of the buckets before it not included.
type Bucket struct {
	UpTo  float64 `json:"up_to_seconds,omitempty" doc:"Absent = any time."`
	Count uint64  `json:"count"`
}

// Figures are what became of the probes of one QoS.
type Figures struct {
	QoS       mqtt.QoS `json:"qos"`
	Sent      uint64   `json:"sent" doc:"Since the start of the process, as all counts and times but the ratios."`
	Delivered uint64   `json:"delivered"`
	Lost      uint64   `json:"lost" doc:"Not there within the timeout, or not taken at all."`
	Late      uint64   `json:"late" doc:"Those of the lost that came after all."`
	Last      float64  `json:"last_seconds" doc:"How long the last delivery took."`
	Sum       float64  `json:"sum_seconds" doc:"Of all deliveries."`
	P50       float64  `json:"p50_seconds"`
	P99       float64  `json:"p99_seconds"`
	Histogram []Bucket `json:"histogram"`
	HourRatio float64  `json:"hour_ratio" doc:"Delivered of sent in the last hour; 1 while nothing was sent."`
	DayRatio  float64  `json:"day_ratio"`
}

// day is what is judged; slots is its minutes, remembered one by one.
const (
	day   = 24 * time.Hour
	slots = 24 * 60
)

// minute is what became of the probes of one minute.
type minute struct {
	number     int64 // of the minute, since 1970
	sent, came uint32
}

// record counts the probes of one QoS.
type record struct {
	sent, came, late uint64
	last, sum        time.Duration
	counts           [buckets]uint64
	minutes          [slots]minute
}

func (r *record) at(now time.Time) *minute {
	number := now.Unix() / 60
	m := &r.minutes[number%slots]
	if m.number != number {
		*m = minute{number: number}
	}
	return m
}

// recall adds what was counted at a time before one began, and tells whether that is not too old.
func (r *record) recall(at time.Time, sent, lost uint64, began time.Time) bool {
	if at.After(began) || began.Sub(at) > day-2*time.Minute {
		return false
	}
	m := r.at(at)
	m.sent += uint32(sent)
	m.came += uint32(sent - min(lost, sent))
	return true
}

// arrived counts a probe that was sent at a time and took so long.
func (r *record) arrived(sent time.Time, took time.Duration) {
	r.sent++
	r.came++
	r.last = took
	r.sum += took
	r.counts[bucketOf(took)]++
	m := r.at(sent)
	m.sent++
	m.came++
}

// lost counts a probe that did not arrive in time.
func (r *record) lost(sent time.Time) {
	r.sent++
	r.at(sent).sent++
}

func bucketOf(took time.Duration) int {
	if took <= firstBucket {
		return 0
	}
	return min(bits.Len64(uint64((took-1)/firstBucket)), buckets-1)
}

func upTo(bucket int) time.Duration { return firstBucket << bucket }

// ratio is how many of those that were sent in the last minutes were delivered.
func (r *record) ratio(now time.Time, minutes int64) float64 {
	var sent, came uint64
	from := now.Unix()/60 - minutes
	for i := range r.minutes {
		if m := &r.minutes[i]; m.number > from {
			sent += uint64(m.sent)
			came += uint64(m.came)
		}
	}
	if sent == 0 {
		return 1
	}
	return float64(came) / float64(sent)
}

// quantile is the upper bound of the bucket that holds it; of the last one, the greatest bound there is.
func (r *record) quantile(q float64) time.Duration {
	if r.came == 0 {
		return 0
	}
	rank, sum := uint64(math.Ceil(q*float64(r.came))), uint64(0)
	for i, n := range r.counts {
		if sum += n; sum >= rank {
			return upTo(min(i, buckets-2))
		}
	}
	return upTo(buckets - 2)
}

func (r *record) figures(qos mqtt.QoS, now time.Time) Figures {
	f := Figures{
		QoS: qos, Sent: r.sent, Delivered: r.came, Lost: r.sent - r.came, Late: r.late, Last: r.last.Seconds(), Sum: r.sum.Seconds(),
		P50: r.quantile(0.5).Seconds(), P99: r.quantile(0.99).Seconds(), HourRatio: r.ratio(now, 60), DayRatio: r.ratio(now, slots),
	}
	for i, n := range r.counts {
		b := Bucket{Count: n}
		if i < buckets-1 {
			b.UpTo = upTo(i).Seconds()
		}
		f.Histogram = append(f.Histogram, b)
	}
	return f
}

// Package canary sends messages through the broker as a device would, at each QoS, and measures whether and how soon they
// arrive: the proof, all the time, that the broker delivers. It speaks MQTT on a connection that it is given, and
// knows nothing else of the broker.
package canary

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// ClientID is the canary's. Prefix is what its topics begin with, which no wildcard of a client finds.
const (
	ClientID = "$canary"
	Prefix   = "$canary/"
)

// Config says how often it is looked.
type Config struct {
	Interval time.Duration `yaml:"interval" reload:"restart" unit:"duration" doc:"Time between two messages at QoS 0 that the broker has to deliver to its own client; every tenth time, and while something is lost, also at QoS 1 and 2, which are stored. 0s sends none."`
	Timeout  time.Duration `yaml:"timeout" reload:"restart" unit:"duration" doc:"How long a probe may take." exceeded:"it is counted as lost, and told"`

	Objective float64 `yaml:"objective" reload:"restart" min:"0" max:"1" doc:"The part of the messages of 24 hours that has to be delivered in time, at the worst QoS; 0 = any." exceeded:"GET /api/v1/now tells it as a problem"`
}

// storedEvery is every which round has probes that are stored: each of those writes to the disk, which may be an SD card.
const storedEvery = 10

// DefaultConfig probes once a second.
func DefaultConfig() Config {
	return Config{Interval: time.Second, Timeout: 5 * time.Second, Objective: 0.999}
}

// Check refuses what cannot work.
func (c *Config) Check(bad func(key, message, fix string)) {
	if c.Interval != 0 && c.Interval < 100*time.Millisecond {
		bad("interval", "must be 0s or at least 100ms", "write 1s")
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > time.Minute {
		bad("timeout", "must be between 100ms and 1m", "write 5s")
	}
}

// Options are what a canary needs.
type Options struct {
	Config
	Dial   func(context.Context) (net.Conn, error) // a connection to the broker
	Record func(fact.Fact)                         // is told when delivery fails, and when it works again
}

// Canary probes a broker. Its methods may be called from any goroutine.
type Canary struct {
	o Options

	mu      sync.Mutex
	began   time.Time
	known   time.Time // from when on minutes are known: earlier than began where Recall told
	records [3]record
	awaited map[uint64]probe // by number
	next    uint64
	outage  *Outage // the one that lasts
	outages []Outage
}

// probe is one message on its way.
type probe struct {
	qos  mqtt.QoS
	sent time.Time
	done chan struct{} // closed when it is there
	late bool          // it has been counted as lost
}

// Outage is a time in which not everything was delivered.
type Outage struct {
	From time.Time  `json:"from" doc:"When the first probe that was lost was sent."`
	To   time.Time  `json:"to,omitzero" doc:"When the first that was delivered again was sent. Absent = it lasts."`
	QoS  []mqtt.QoS `json:"qos" doc:"Those that were lost."`
	Lost uint64     `json:"lost" doc:"How many."`
	Why  string     `json:"why"`
}

// remembered is how many outages are.
const remembered = 100

// Report is what is known of delivery.
type Report struct {
	Interval  float64   `json:"interval_seconds" doc:"0 = there are no canaries."`
	Timeout   float64   `json:"timeout_seconds"`
	Since     time.Time `json:"since,omitzero" doc:"The start of the process: counts, times and outages are since then."`
	DaySince  time.Time `json:"day_since,omitzero" doc:"What hour_ratio and day_ratio are known of begins then, 24 hours ago at the earliest: the history of figures tells what earlier processes sent and lost."`
	Delivers  bool      `json:"delivers" doc:"The last probes arrived."`
	DayRatio  float64   `json:"day_ratio" doc:"Delivered of sent in the last 24 hours, or since day_since, at the worst QoS."`
	Objective float64   `json:"objective" doc:"What day_ratio has to be at least: canaries.objective; 0 = any."`
	Met       bool      `json:"objective_met"`
	Text      string    `json:"text"`
	Canaries  []Figures `json:"canaries"`
	Outages   []Outage  `json:"outages" doc:"The last ones, newest first."`
}

// New makes a canary. Run has it sing.
func New(o Options) *Canary {
	now := time.Now()
	return &Canary{o: o, began: now, known: now, awaited: make(map[uint64]probe)}
}

// Run probes until ctx ends.
func (c *Canary) Run(ctx context.Context) {
	tick := time.NewTicker(c.o.Interval)
	defer tick.Stop()
	var on *client.Client
	defer func() {
		if on != nil {
			c.leave(on)
		}
	}()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var why error
		if on == nil || on.Err() != nil {
			on, why = c.connect(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		highest := mqtt.QoS(0)
		if n%storedEvery == 0 || !c.delivers() {
			highest = 2
		}
		c.round(ctx, on, highest, why)
	}
}

// leave ends the client's session with its connection.
func (c *Canary) leave(on *client.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	d := mqtt.Disconnect{}
	d.Props.Has = d.Props.Has.With(mqtt.PropSessionExpiry)
	if on.Disconnect(ctx, d) != nil { // it is not there any more: the session expires
		on.Abort()
	}
}

// connect makes the client anew: nothing of an earlier one is of interest.
func (c *Canary) connect(ctx context.Context) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	on, err := client.Dial(ctx, client.Options{
		DialConn: c.o.Dial, ClientID: ClientID, CleanStart: true, SessionExpiry: 60, KeepAlive: 60, Timeout: c.o.Timeout, OnMessage: c.take,
	})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	sub := mqtt.Subscribe{Filters: []mqtt.Subscription{{Filter: []byte(Prefix + "#"), Options: 2}}}
	ack, err := on.Subscribe(ctx, sub)
	if err == nil && ack.Reasons[0].Failed() {
		err = ack.Reasons[0]
	}
	if err != nil {
		on.Abort()
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return on, nil
}

func (c *Canary) delivers() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outage == nil
}

// round sends one probe of each QoS up to the highest, and waits for them. on is nil where there is no connection, and why says the reason.
func (c *Canary) round(ctx context.Context, on *client.Client, highest mqtt.QoS, why error) {
	due, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	began := time.Now()
	var lost []mqtt.QoS
	for qos := range highest + 1 {
		err := why
		if on != nil {
			err = c.probe(due, on, qos)
		} else {
			c.mu.Lock()
			c.records[qos].lost(began)
			c.mu.Unlock()
		}
		if ctx.Err() != nil { // the broker stops: that is no loss
			return
		}
		if err != nil {
			lost, why = append(lost, qos), cmp.Or(why, err) // the time of the first that is lost is that of the others
		}
	}
	c.judge(began, lost, why)
}

// probe sends one message and waits until it is there.
func (c *Canary) probe(ctx context.Context, on *client.Client, qos mqtt.QoS) error {
	p := probe{qos: qos, sent: time.Now(), done: make(chan struct{})}
	c.mu.Lock()
	c.next++
	number := c.next
	c.awaited[number] = p
	c.mu.Unlock()
	_, err := on.Start(ctx, &mqtt.Publish{
		Topic: fmt.Appendf(nil, "%sqos%d", Prefix, qos), Payload: binary.BigEndian.AppendUint64(nil, number), QoS: qos,
	})
	if err == nil {
		select {
		case <-p.done:
			return nil
		case <-on.Done():
			err = fmt.Errorf("the connection ended: %w", on.Err())
		case <-ctx.Done():
			err = fmt.Errorf("nothing arrived within %v", c.o.Timeout)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.awaited[number]; !there { // it came this moment
		return nil
	}
	c.records[qos].lost(p.sent)
	p.late = true
	c.awaited[number] = p
	c.forget(number)
	return err
}

// patience is how many probes later one that was lost is not waited for any more.
const patience = 1000

func (c *Canary) forget(now uint64) {
	for number := range c.awaited {
		if number+patience < now {
			delete(c.awaited, number)
		}
	}
}

// take gets what the broker delivers.
func (c *Canary) take(m *mqtt.Publish) error {
	now := time.Now()
	if len(m.Payload) != 8 {
		return nil // somebody else may write here too
	}
	number := binary.BigEndian.Uint64(m.Payload)
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.awaited[number]
	if !ok {
		return nil
	}
	delete(c.awaited, number)
	if p.late {
		c.records[p.qos].late++
		return nil
	}
	c.records[p.qos].arrived(p.sent, now.Sub(p.sent))
	close(p.done)
	return nil
}

// judge tells when an outage begins and ends.
func (c *Canary) judge(began time.Time, lost []mqtt.QoS, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(lost) > 0 && c.outage == nil:
		c.outage = &Outage{From: began, Why: why.Error()}
		c.o.Record(fact.Fact{
			At: began, Kind: fact.CanaryFailed, Client: ClientID,
			Text: fmt.Sprintf("The broker did not deliver its own test message at QoS %d: %v.", lost[0], why),
		})
		fallthrough
	case len(lost) > 0:
		c.outage.Lost += uint64(len(lost))
		for _, q := range lost {
			if !slices.Contains(c.outage.QoS, q) {
				c.outage.QoS = append(c.outage.QoS, q)
			}
		}
	case c.outage != nil:
		x := *c.outage
		x.To, c.outage = began, nil
		if c.outages = append(c.outages, x); len(c.outages) > remembered {
			c.outages = slices.Delete(c.outages, 0, 1)
		}
		c.o.Record(fact.Fact{
			At: began, Kind: fact.CanaryBack, Client: ClientID, Count: x.Lost,
			Text: fmt.Sprintf("The broker delivers its own test messages again, after %v in which %d were lost.", x.To.Sub(x.From).Round(100*time.Millisecond), x.Lost),
		})
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// percent is a ratio for people; what is not all is never told as 100.
func percent(ratio float64) string {
	return strconv.FormatFloat(math.Floor(ratio*100_000)/1000, 'f', -1, 64)
}

// Recall takes what an earlier process counted of one QoS at a time of the last 24 hours; what is older changes nothing.
func (c *Canary) Recall(qos mqtt.QoS, at time.Time, sent, lost uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records[qos].recall(at, sent, lost, c.began) && at.Before(c.known) {
		c.known = at
	}
}

// span says for people what time ratios are of.
func (c *Canary) span(now time.Time) string {
	if now.Sub(c.known) >= day-2*time.Minute {
		return "in the last 24 hours"
	}
	return "since " + c.known.UTC().Format("2006-01-02 15:04 UTC")
}

// Report tells what is known. It is the zero Report for a nil canary.
func (c *Canary) Report() Report {
	if c == nil {
		return Report{Text: "There are no canaries: canaries.interval is 0s."}
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	r := Report{
		Objective: c.o.Objective, Interval: c.o.Interval.Seconds(), Timeout: c.o.Timeout.Seconds(), Since: c.began, DaySince: latest(c.known, now.Add(-day)), Delivers: c.outage == nil, DayRatio: 1,
		Outages: slices.Clone(c.outages),
	}
	for i := range c.records {
		f := c.records[i].figures(mqtt.QoS(i), now)
		r.Canaries, r.DayRatio = append(r.Canaries, f), min(r.DayRatio, f.DayRatio)
	}
	r.Met = r.DayRatio >= r.Objective
	if c.outage != nil {
		r.Outages = append(r.Outages, *c.outage)
		r.Text = fmt.Sprintf("The broker does not deliver its own test messages since %s: %s.", c.outage.From.UTC().Format(time.TimeOnly), c.outage.Why)
	} else {
		r.Text = fmt.Sprintf("The broker delivered %s %% of its own test messages %s.", percent(r.DayRatio), c.span(now))
		if !r.Met {
			r.Text = strings.TrimSuffix(r.Text, ".") + fmt.Sprintf("; the objective is %.6g %%.", 100*r.Objective)
		}
	}
	slices.Reverse(r.Outages)
	return r
}

package limit

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Answer is what a client is answered that publishes faster than it may.
type Answer string

// The answers.
const (
	Delay      Answer = "delay"
	Refuse     Answer = "refuse"
	Disconnect Answer = "disconnect"
)

// Rates bound how much clients may send and get in a time. Each is a token bucket: what was not used is saved up, for Burst
// at most. 0 = no limit, everywhere.
type Rates struct {
	Answer   Answer        `yaml:"answer" enum:"delay,refuse,disconnect" doc:"What a client is answered that publishes faster than it may. delay: it is not read until it may go on, and its keep-alive stands still. refuse: PUBACK or PUBREC 0x97 Quota exceeded; QoS 0 is dropped and counted; QoS 1 and 2 of clients before MQTT 5, who cannot be told, are delayed. disconnect: DISCONNECT 0x96 Message rate too high."`
	Burst    time.Duration `yaml:"burst" unit:"duration" doc:"How much may come at once after a silence: what the rate allows in this time. A single larger message passes when as much as possible is saved up."`
	Client   ClientRate    `yaml:"client" doc:"Each client."`
	User     UserRate      `yaml:"user" doc:"Each user: all clients of one identity together. Anonymous clients have none."`
	Listener Rate          `yaml:"listener" doc:"Each listener: all its clients together."`
	Total    Rate          `yaml:"total" doc:"All clients together."`
	Classes  []Class       `yaml:"classes" doc:"What holds for some clients instead. The first class that fits a client counts."`
}

// Rate is what may be published in a second.
type Rate struct {
	PublishMessages int64 `yaml:"publish_messages" unit:"messages per second" doc:"PUBLISH packets a second; 0 = no limit." exceeded:"rates.answer"`
	PublishBytes    int64 `yaml:"publish_bytes" unit:"bytes" doc:"Bytes of PUBLISH packets a second; 0 = no limit." exceeded:"rates.answer"`
}

// ClientRate is what one client may send and get in a second.
type ClientRate struct {
	PublishMessages int64 `yaml:"publish_messages" unit:"messages per second" doc:"PUBLISH packets a second; 0 = no limit." exceeded:"rates.answer"`
	PublishBytes    int64 `yaml:"publish_bytes" unit:"bytes" doc:"Bytes of PUBLISH packets a second; 0 = no limit." exceeded:"rates.answer"`
	DeliverMessages int64 `yaml:"deliver_messages" unit:"messages per second" doc:"Messages sent to the client a second; 0 = no limit." exceeded:"QoS 1 and 2 wait in the queue, QoS 0 is dropped and counted (rate_limited)"`
	DeliverBytes    int64 `yaml:"deliver_bytes" unit:"bytes" doc:"Bytes of messages sent to the client a second; 0 = no limit." exceeded:"as deliver_messages"`
}

// UserRate is what all clients of one user may do together.
type UserRate struct {
	PublishMessages int64 `yaml:"publish_messages" unit:"messages per second" doc:"PUBLISH packets a second; 0 = no limit." exceeded:"rates.answer"`
	PublishBytes    int64 `yaml:"publish_bytes" unit:"bytes" doc:"Bytes of PUBLISH packets a second; 0 = no limit." exceeded:"rates.answer"`
	Connects        int64 `yaml:"connects" unit:"connections per minute" doc:"Connections a minute, as many of which may come at once; 0 = no limit." exceeded:"CONNACK 0x9F Connection rate exceeded (3.1.1: 0x03 Server unavailable)"`
}

// Class is what holds for some clients: those for whom each of Users, Groups, Clients and Listeners that is not empty
// names them. In names * stands for any characters. A rate or number of 0 is as without the class.
type Class struct {
	Name              string     `yaml:"name" doc:"For events and counts."`
	Users             []string   `yaml:"users" doc:"Users it is for; * stands for any characters. Empty = all."`
	Groups            []string   `yaml:"groups" doc:"Groups one of which its users are in."`
	Clients           []string   `yaml:"clients" doc:"Client ids it is for."`
	Listeners         []string   `yaml:"listeners" doc:"Listeners it is for."`
	Unlimited         bool       `yaml:"unlimited" doc:"Whether rates.client and rates.user do not hold for the class: then a rate of 0 is no limit."`
	Client            ClientRate `yaml:"client" doc:"Each client; 0 = as rates.client."`
	User              UserRate   `yaml:"user" doc:"Each user; 0 = as rates.user."`
	Together          Rate       `yaml:"together" doc:"All clients of the class together."`
	Answer            Answer     `yaml:"answer" enum:",delay,refuse,disconnect" doc:"As rates.answer; empty = that."`
	MaxInflight       int        `yaml:"max_inflight" unit:"messages" doc:"As limits.max_inflight; 0 = that." exceeded:"further ones wait in the queue"`
	MaxQueuedMessages int        `yaml:"max_queued_messages" unit:"messages" doc:"As limits.max_queued_messages; 0 = that." exceeded:"delivery.overflow"`
	MaxQueuedBytes    int64      `yaml:"max_queued_bytes" unit:"bytes" doc:"As limits.max_queued_bytes; 0 = that." exceeded:"delivery.overflow"`
	MaxSubscriptions  int        `yaml:"max_subscriptions" unit:"subscriptions" doc:"As limits.max_subscriptions; 0 = that." exceeded:"SUBACK 0x97 Quota exceeded"`
	ReceiveMaximum    int        `yaml:"receive_maximum" unit:"messages" doc:"As limits.receive_maximum; 0 = that." exceeded:"DISCONNECT 0x93 Receive Maximum exceeded"`
}

// DefaultRates limits nothing.
func DefaultRates() Rates { return Rates{Answer: Delay, Burst: time.Second} }

// maxRate keeps the arithmetic of buckets in range.
const maxRate = 1_000_000_000_000

// Verify tells what in r cannot be.
func (r *Rates) Verify() error {
	var errs []error
	bad := func(key, text string) { errs = append(errs, fmt.Errorf("rates.%s %s", key, text)) }
	check := func(key string, rates ...int64) {
		for _, n := range rates {
			if n < 0 || n > maxRate {
				bad(key, fmt.Sprintf("has a rate of %d: it has to be 0 to %d", n, int64(maxRate)))
			}
		}
	}
	if !slices.Contains([]Answer{Delay, Refuse, Disconnect}, r.Answer) {
		bad("answer", fmt.Sprintf("is %q: it has to be delay, refuse or disconnect", r.Answer))
	}
	if r.Burst < 10*time.Millisecond || r.Burst > time.Hour {
		bad("burst", fmt.Sprintf("is %v: it has to be 10ms to 1h", r.Burst))
	}
	check("client", r.Client.PublishMessages, r.Client.PublishBytes, r.Client.DeliverMessages, r.Client.DeliverBytes)
	check("user", r.User.PublishMessages, r.User.PublishBytes, r.User.Connects)
	check("listener", r.Listener.PublishMessages, r.Listener.PublishBytes)
	check("total", r.Total.PublishMessages, r.Total.PublishBytes)
	for i := range r.Classes {
		c := &r.Classes[i]
		key := fmt.Sprintf("classes[%d]", i)
		if !slices.Contains([]Answer{"", Delay, Refuse, Disconnect}, c.Answer) {
			bad(key+".answer", fmt.Sprintf("is %q: it has to be delay, refuse, disconnect or empty", c.Answer))
		}
		check(key, c.Client.PublishMessages, c.Client.PublishBytes, c.Client.DeliverMessages, c.Client.DeliverBytes,
			c.User.PublishMessages, c.User.PublishBytes, c.User.Connects)
		check(key+".together", c.Together.PublishMessages, c.Together.PublishBytes)
		if max(c.MaxInflight, c.ReceiveMaximum) > 65535 || min(c.MaxInflight, c.ReceiveMaximum, c.MaxQueuedMessages, c.MaxSubscriptions) < 0 || c.MaxQueuedBytes < 0 {
			bad(key, "has a number out of range: max_inflight and receive_maximum go to 65535, and none is below 0")
		}
	}
	return errors.Join(errs...)
}

// Who is a client as classes see it.
type Who struct {
	User     string
	Groups   []string
	Client   string
	Listener string
}

// ClassOf is the place of the first class that fits, -1 = none.
func (r *Rates) ClassOf(w *Who) int {
	return slices.IndexFunc(r.Classes, func(c Class) bool {
		return names(c.Users, w.User) && names(c.Clients, w.Client) && names(c.Listeners, w.Listener) &&
			(len(c.Groups) == 0 || slices.ContainsFunc(w.Groups, func(g string) bool { return names(c.Groups, g) }))
	})
}

func names(patterns []string, text string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return topic.Like(p, text) })
}

// Of is what holds for a client of the class instead of l.
func (c *Class) Of(l Limits) Limits {
	for _, x := range []struct {
		to   *int
		from int
	}{
		{&l.MaxInflight, c.MaxInflight},
		{&l.MaxQueuedMessages, c.MaxQueuedMessages},
		{&l.MaxSubscriptions, c.MaxSubscriptions},
		{&l.ReceiveMaximum, c.ReceiveMaximum},
	} {
		if x.from > 0 {
			*x.to = x.from
		}
	}
	if c.MaxQueuedBytes > 0 {
		l.MaxQueuedBytes = c.MaxQueuedBytes
	}
	return l
}

// or is a rate of the class: n, or what holds without it.
func (c *Class) or(n, without int64) int64 {
	if n == 0 && !c.Unlimited {
		return without
	}
	return n
}

// Off tells that r limits nothing.
func (r *Rates) Off() bool {
	return r.Client == ClientRate{} && r.User == UserRate{} && r.Listener == Rate{} && r.Total == Rate{} && len(r.Classes) == 0
}

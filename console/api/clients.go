package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/ban"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/console/api/filter"
	"github.com/sapwood-mqtt/sapwood/console/api/payload"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Client is one client as a list holds it. Principals are never changed.
type Client struct {
	ID            string
	Who           *auth.Principal
	Version       mqtt.Version
	Connected     bool
	CleanStart    bool
	Durable       bool
	Quarantined   bool
	Since         time.Time
	Seen          time.Time
	KeepAlive     time.Duration
	Expiry        time.Duration
	Subscriptions int
	Resting       int
	Inflight      int
	Queued        int
	QueueBytes    int64
	Pending       int
	Traffic
}

// Traffic is what a client sent and got.
type Traffic struct {
	In, Out         Flow
	Dropped, Denied uint64
}

// Flow is one direction of a client's traffic.
type Flow struct {
	Messages uint64  `json:"messages"`
	Bytes    uint64  `json:"bytes" doc:"Payloads."`
	Rate     float32 `json:"rate" doc:"Messages per second."`
}

// Inspected is all about one client.
type Inspected struct {
	Client
	Subs       []session.Subscription
	Resting    map[string]bool
	Limits     []LimitUse
	Will       *session.Will
	Negotiated Negotiated
	QoSIn      [3]uint64
	QoSOut     [3]uint64
	DroppedBy  map[string]uint64
}

// LimitUse is how much of a limit a client has used.
type LimitUse struct {
	Name  string `json:"name" doc:"As the configuration names it."`
	Used  int64  `json:"used"`
	Limit int64  `json:"limit"`
}

// Negotiated is what client and broker have agreed on.
type Negotiated struct {
	ReceiveMaximum       int `json:"receive_maximum" doc:"QoS 1 and 2 messages that the client takes at a time."`
	MaximumPacketSize    int `json:"maximum_packet_size" doc:"That the client takes; 0 = any."`
	TopicAliasMaximum    int `json:"topic_alias_maximum" doc:"Aliases that the broker may set."`
	ServerReceiveMaximum int `json:"server_receive_maximum" doc:"QoS 1 and 2 messages that the broker takes at a time."`
	ServerTopicAliases   int `json:"server_topic_alias_maximum" doc:"Aliases that the client may set."`
}

// Queued is one message that waits for a client.
type Queued struct {
	Position uint64
	Message  *mqtt.Message
	Delivery mqtt.Delivery
}

// Subscriber is one subscription of one client.
type Subscriber struct {
	Client, User string
	session.Subscription
	Resting bool
	Own     bool // its client is the process's own
}

// Inspector shows what the broker holds for its clients. Where there is no such client, ok is false.
type Inspector interface {
	// Rows are all clients but the process's own, such as the canary: those are not counted among the clients, and no action on many is about them. Each can
	// be looked at by its id. They take the place of what is in old, which is not to be used any more.
	Rows(ctx context.Context, old []Client) ([]Client, error)
	// Some are the clients of these ids, in their order; one that is not there has no id.
	Some(ctx context.Context, ids []string) ([]Client, error)
	Inspect(ctx context.Context, id string) (x Inspected, ok bool, err error)
	Flights(ctx context.Context, id string) (list []session.Flight, now time.Time, ok bool, err error)
	Queue(ctx context.Context, id string, after uint64, most int) (list []Queued, more, ok bool, err error)
	Subscriptions(ctx context.Context, each func([]Subscriber)) error
	EndSession(ctx context.Context, id, why string) (ok bool, err error)
}

// ClientRow is one client as lists show it.
type ClientRow struct {
	ID            string     `json:"id"`
	User          string     `json:"user,omitempty" doc:"Absent = anonymous."`
	Groups        []string   `json:"groups,omitempty"`
	Address       string     `json:"address,omitempty" doc:"Where it is, or was last, connected from; absent = not known since the start."`
	Listener      string     `json:"listener,omitempty"`
	Protocol      string     `json:"protocol" example:"5.0"`
	TLS           *bool      `json:"tls,omitempty" doc:"Absent = not known: it was not here since the start."`
	Connected     bool       `json:"connected"`
	Since         *time.Time `json:"since,omitempty" doc:"Connected, or away, since then."`
	Seen          *time.Time `json:"seen,omitempty" doc:"Last heard; absent = not since the start."`
	KeepAlive     *float64   `json:"keep_alive_seconds,omitempty" doc:"0 = off; absent = not known: it was not here since the start."`
	Expiry        float64    `json:"session_expiry_seconds" doc:"-1 = never."`
	CleanStart    *bool      `json:"clean_start,omitempty" doc:"Absent = not known: it was not here since the start."`
	Subscriptions int        `json:"subscriptions"`
	Resting       int        `json:"resting" doc:"Subscriptions that it may not have at present."`
	Inflight      int        `json:"inflight" doc:"QoS 1 and 2 messages sent and not settled."`
	Queued        int        `json:"queued" doc:"QoS 1 and 2 messages that wait."`
	QueueBytes    int64      `json:"queue_bytes" doc:"What those queued and those in flight weigh against limits.max_queued_bytes: topic, properties, payload and 128 bytes each."`
	In            Flow       `json:"in" doc:"From the client."`
	Out           Flow       `json:"out" doc:"To the client."`
	Dropped       uint64     `json:"dropped" doc:"Copies of messages meant for it."`
	Denied        uint64     `json:"denied" doc:"Messages of its own."`
	Quarantined   bool       `json:"quarantined"`
	Pending       int        `json:"pending_bytes" doc:"Written, and not taken by its connection yet."`
	Gone          bool       `json:"gone,omitempty" doc:"It was there when the list was made, and is not any more: the row is as it was then."`
}

// ClientDetail is all about one client.
type ClientDetail struct {
	ClientRow
	Filters    []FilterRow `json:"filters"`
	Limits     []LimitUse  `json:"limits" doc:"How close it is to each."`
	Will       *WillRow    `json:"will,omitempty"`
	Negotiated Negotiated  `json:"negotiated"`
	QoS        QoSMix      `json:"qos"`
	// DroppedBy is by reason.
	DroppedBy map[string]uint64 `json:"dropped_by"`
}

// QoSMix are messages by QoS.
type QoSMix struct {
	In  [3]uint64 `json:"in"`
	Out [3]uint64 `json:"out"`
}

// FilterRow is one subscription of a client.
type FilterRow struct {
	Filter            string `json:"filter" doc:"As subscribed, with $share/ and the group."`
	QoS               int    `json:"qos"`
	NoLocal           bool   `json:"no_local"`
	RetainAsPublished bool   `json:"retain_as_published"`
	RetainHandling    int    `json:"retain_handling"`
	ID                uint32 `json:"id,omitempty" doc:"Subscription identifier."`
	Resting           bool   `json:"resting,omitempty" doc:"It may not have it at present."`
	Group             string `json:"group,omitempty" doc:"Of a shared subscription."`
}

// WillRow is a client's will.
type WillRow struct {
	Topic  string  `json:"topic"`
	QoS    int     `json:"qos"`
	Retain bool    `json:"retain"`
	Delay  float64 `json:"delay_seconds"`
	Size   int     `json:"size" doc:"Of its payload."`
}

// FlightRow is one QoS 1 or 2 message under way.
type FlightRow struct {
	Direction string   `json:"direction" enum:"in,out" doc:"in = from the client."`
	PacketID  int      `json:"packet_id"`
	QoS       int      `json:"qos"`
	State     string   `json:"state" doc:"What is awaited."`
	Topic     string   `json:"topic,omitempty" doc:"Where it is known: of a session that ends with its connection it is not kept once it is sent."`
	Position  uint64   `json:"position,omitempty" doc:"In the queue."`
	Size      *int     `json:"size,omitempty" doc:"Of its payload, where it is known."`
	Weight    int      `json:"weight,omitempty" doc:"What it counts against limits.max_queued_bytes: topic, properties, payload, and 128 bytes."`
	Age       *float64 `json:"age_seconds,omitempty" doc:"Since the last packet about it; absent = since before the start."`
}

// QueueRow is one message that waits.
type QueueRow struct {
	Position  uint64        `json:"position,omitempty" doc:"Absent = QoS 0, which cannot be named."`
	Topic     string        `json:"topic"`
	QoS       int           `json:"qos"`
	Retain    bool          `json:"retain,omitempty"`
	Group     string        `json:"group,omitempty" doc:"The shared subscription by which it came."`
	Size      int           `json:"size" doc:"Of its payload."`
	Publisher string        `json:"publisher,omitempty"`
	Expires   *time.Time    `json:"expires,omitempty"`
	Expired   bool          `json:"expired,omitempty" doc:"It is dropped when its turn comes."`
	Payload   payload.Shown `json:"payload"`
}

// QueuePage is a part of a queue.
type QueuePage struct {
	Items []QueueRow `json:"items"`
	Next  string     `json:"next,omitempty" doc:"Give it as cursor to go on; absent at the end."`
}

// SubscriptionRow is one subscription of one client in a list.
type SubscriptionRow struct {
	Client string `json:"client"`
	User   string `json:"user,omitempty"`
	FilterRow
}

func since(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.UTC()
	return &u
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func appendAddress(b []byte, c *Client) []byte {
	if !c.Who.Peer.Address.IsValid() {
		return b
	}
	return c.Who.Peer.Address.AppendTo(b)
}

// within reads a network, or an address without its port, which is that of all ports; as a ban reads it.
func within(value string) func(*Client) bool {
	network, err := ban.NetworkOf(value)
	if err != nil {
		return nil
	}
	return func(c *Client) bool { return network.Contains(c.Who.Peer.Address.Addr().Unmap().WithZone("")) }
}

func addressOf(c *Client) string { return string(appendAddress(nil, c)) }

// clientSchema are the fields of lists of clients.
func clientSchema() *filter.Schema[Client] {
	type f = filter.Field[Client]
	number := func(name string, n func(*Client) float64) f { return f{Name: name, Kind: filter.Number, Number: n} }
	yes := func(name string, is func(*Client) bool) f {
		return f{Name: name, Kind: filter.Bool, Number: func(c *Client) float64 { return truth(is(c)) }}
	}
	text := func(name string, word bool, s func(*Client) string) f { return f{Name: name, Text: s, Word: word} }
	return filter.New(text("id", true, func(c *Client) string { return c.ID }),
		text("id", true, func(c *Client) string { return c.ID }),
		text("user", true, func(c *Client) string { return c.Who.Name }),
		f{Name: "groups", Kind: filter.Texts, Texts: func(c *Client) []string { return c.Who.Groups }},
		f{Name: "address", Append: appendAddress, Word: true, Within: within},
		text("listener", false, func(c *Client) string { return c.Who.Peer.Listener }),
		text("protocol", false, func(c *Client) string { return c.Version.String() }),
		yes("tls", func(c *Client) bool { return c.Who.Peer.TLS }),
		yes("connected", func(c *Client) bool { return c.Connected }),
		f{Name: "since", Kind: filter.Time, Number: func(c *Client) float64 { return unix(c.Since) }},
		f{Name: "seen", Kind: filter.Time, Number: func(c *Client) float64 { return unix(c.Seen) }},
		f{Name: "keep_alive_seconds", Kind: filter.Duration, Number: func(c *Client) float64 { return c.KeepAlive.Seconds() }},
		f{Name: "session_expiry_seconds", Kind: filter.Duration, Number: expiry},
		yes("clean_start", func(c *Client) bool { return c.CleanStart }),
		number("subscriptions", func(c *Client) float64 { return float64(c.Subscriptions) }),
		number("resting", func(c *Client) float64 { return float64(c.Resting) }),
		number("inflight", func(c *Client) float64 { return float64(c.Inflight) }),
		number("queued", func(c *Client) float64 { return float64(c.Queued) }),
		number("queue_bytes", func(c *Client) float64 { return float64(c.QueueBytes) }),
		number("in", func(c *Client) float64 { return float64(c.In.Messages) }),
		number("in_bytes", func(c *Client) float64 { return float64(c.In.Bytes) }),
		number("in_rate", func(c *Client) float64 { return float64(c.In.Rate) }),
		number("out", func(c *Client) float64 { return float64(c.Out.Messages) }),
		number("out_bytes", func(c *Client) float64 { return float64(c.Out.Bytes) }),
		number("out_rate", func(c *Client) float64 { return float64(c.Out.Rate) }),
		number("dropped", func(c *Client) float64 { return float64(c.Dropped) }),
		number("denied", func(c *Client) float64 { return float64(c.Denied) }),
		yes("quarantined", func(c *Client) bool { return c.Quarantined }),
		number("pending_bytes", func(c *Client) float64 { return float64(c.Pending) }),
	)
}

func expiry(c *Client) float64 {
	if c.Expiry < 0 {
		return -1
	}
	return c.Expiry.Seconds()
}

func clientRow(c *Client) ClientRow {
	r := ClientRow{
		ID: c.ID, User: c.Who.Name, Groups: c.Who.Groups, Address: addressOf(c), Listener: c.Who.Peer.Listener, Protocol: c.Version.String(),
		Connected: c.Connected, Since: since(c.Since), Seen: since(c.Seen), Expiry: expiry(c),
		Subscriptions: c.Subscriptions, Resting: c.Resting, Inflight: c.Inflight, Queued: c.Queued, QueueBytes: c.QueueBytes,
		In: c.In, Out: c.Out, Dropped: c.Dropped, Denied: c.Denied, Quarantined: c.Quarantined, Pending: c.Pending,
	}
	if !c.Who.Restored {
		seconds := c.KeepAlive.Seconds()
		r.TLS, r.KeepAlive, r.CleanStart = &c.Who.Peer.TLS, &seconds, &c.CleanStart
	}
	return r
}

func filterRow(s *session.Subscription, resting bool) FilterRow {
	group, _, _, _ := topic.ParseShared(s.Filter) // one that is subscribed to is valid
	return FilterRow{
		Filter: s.Filter, QoS: int(s.Options.QoS()), NoLocal: s.Options.NoLocal(), RetainAsPublished: s.Options.RetainAsPublished(),
		RetainHandling: int(s.Options.RetainHandling()), ID: s.ID, Resting: resting, Group: group,
	}
}

// clientsOf is the part of the API that shows clients.
type clientsOf struct {
	Inspector
	schema  *filter.Schema[Client]
	rosters rosters
	subs    *filter.Schema[Subscriber]
}

// registerClients adds what is about clients and their sessions.
func registerClients(h huma.API, live Inspector) *clientsOf {
	o := &clientsOf{Inspector: live, schema: clientSchema(), subs: subscriberSchema()}
	if live != nil {
		o.rosters.read = live.Rows
	}
	o.registerLists(h)
	o.registerOne(h)
	o.registerSubscriptions(h)
	o.registerEnd(h)
	return o
}

// there says so where nothing can be shown.
func (o *clientsOf) there() error {
	if o.Inspector == nil {
		return huma.Error409Conflict("this process shows no clients")
	}
	return nil
}

// Identified is a request about one client.
type Identified struct {
	ID string `path:"id" maxLength:"65535" doc:"The client id."`
}

// foundClient is the error of a request about one client.
func foundClient(id string, ok bool, err error) error {
	switch {
	case err != nil:
		return serve.Failure(err)
	case !ok:
		return serve.Missing("client", id)
	}
	return nil
}

func (o *clientsOf) registerOne(h huma.API) {
	huma.Register(h, serve.Operation("client", http.MethodGet, "/clients/{id}", "clients", "One client: its subscriptions, its limits, its will", http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *Identified) (*answer[ClientDetail], error) {
			if err := o.there(); err != nil {
				return nil, err
			}
			x, ok, err := o.Inspect(ctx, in.ID)
			if err := foundClient(in.ID, ok, err); err != nil {
				return nil, err
			}
			d := ClientDetail{ClientRow: clientRow(&x.Client), Filters: []FilterRow{}, Limits: x.Limits, Negotiated: x.Negotiated, QoS: QoSMix{x.QoSIn, x.QoSOut}, DroppedBy: x.DroppedBy}
			for i := range x.Subs {
				d.Filters = append(d.Filters, filterRow(&x.Subs[i], x.Resting[x.Subs[i].Filter]))
			}
			if w := x.Will; w != nil {
				d.Will = &WillRow{string(w.Msg.Topic), int(w.Msg.QoS), w.Msg.Retain, float64(w.Delay), len(w.Msg.Payload)}
			}
			return &answer[ClientDetail]{d}, nil
		})
	type flights struct {
		Items []FlightRow `json:"items"`
	}
	huma.Register(h, serve.Operation("client-inflight", http.MethodGet, "/clients/{id}/inflight", "clients", "The QoS 1 and 2 messages under way between a client and the broker", http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *Identified) (*answer[flights], error) {
			if err := o.there(); err != nil {
				return nil, err
			}
			list, now, ok, err := o.Flights(ctx, in.ID)
			if err := foundClient(in.ID, ok, err); err != nil {
				return nil, err
			}
			f := flights{[]FlightRow{}}
			for i := range list {
				x := &list[i]
				r := FlightRow{Direction: "in", PacketID: int(x.ID), QoS: int(x.QoS), State: x.State, Topic: x.Topic, Position: x.Seq, Weight: x.Size}
				if x.Known {
					r.Size = &x.Payload
				}
				if x.Out {
					r.Direction = "out"
				}
				if x.At != 0 {
					age := max(now.Sub(time.UnixMilli(x.At)).Seconds(), 0)
					r.Age = &age
				}
				f.Items = append(f.Items, r)
			}
			return &answer[flights]{f}, nil
		})
	huma.Register(h, serve.Operation("client-queue", http.MethodGet, "/clients/{id}/queue", "clients", "Look at what waits for a client; nothing is taken out", http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *struct {
			Identified
			Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"20"`
			Cursor  string `query:"cursor" maxLength:"20" doc:"next of the page before: a position."`
			Payload int    `query:"payload_bytes" minimum:"0" maximum:"65536" default:"1024" doc:"How much of each payload's text is shown."`
		},
		) (*answer[QueuePage], error) {
			if err := o.there(); err != nil {
				return nil, err
			}
			after := uint64(0)
			if in.Cursor != "" {
				n, err := strconv.ParseUint(in.Cursor, 10, 63)
				if err != nil {
					return nil, huma.Error422UnprocessableEntity("the cursor is not one that this list gave")
				}
				after = n
			}
			list, more, ok, err := o.Queue(ctx, in.ID, after, in.Limit)
			if err := foundClient(in.ID, ok, err); err != nil {
				return nil, err
			}
			q := QueuePage{Items: []QueueRow{}}
			for i := range list {
				q.Items = append(q.Items, queueRow(&list[i], in.Payload))
				if more && list[i].Position != 0 {
					q.Next = strconv.FormatUint(list[i].Position, 10)
				}
			}
			return &answer[QueuePage]{q}, nil
		})
}

func queueRow(w *Queued, most int) QueueRow {
	m := w.Message
	r := QueueRow{
		Position: w.Position, Topic: string(m.Topic), QoS: int(w.Delivery.QoS), Retain: w.Delivery.Retain, Group: w.Delivery.Group,
		Size: len(m.Payload), Publisher: m.Publisher, Payload: payload.Show(string(m.Topic), m.Payload, most),
	}
	if m.Expires != 0 {
		r.Expires = since(time.UnixMilli(m.Expires))
		r.Expired = r.Expires.Before(time.Now())
	}
	return r
}

// subscriberSchema are the fields of lists of subscriptions.
func subscriberSchema() *filter.Schema[Subscriber] {
	type f = filter.Field[Subscriber]
	key := func(b []byte, s *Subscriber) []byte { return append(append(append(b, s.Filter...), 0), s.Client...) }
	return filter.New(f{Append: key},
		f{Name: "filter", Text: func(s *Subscriber) string { return s.Filter }, Word: true},
		f{Name: "client", Text: func(s *Subscriber) string { return s.Client }, Word: true},
		f{Name: "user", Text: func(s *Subscriber) string { return s.User }, Word: true},
		f{Name: "qos", Kind: filter.Number, Number: func(s *Subscriber) float64 { return float64(s.Options.QoS()) }},
		f{Name: "resting", Kind: filter.Bool, Number: func(s *Subscriber) float64 { return truth(s.Resting) }},
		f{Name: "shared", Kind: filter.Bool, Number: func(s *Subscriber) float64 { return truth(strings.HasPrefix(s.Filter, "$share/")) }},
		f{Name: "own", Kind: filter.Bool, Number: func(s *Subscriber) float64 { return truth(s.Own) }},
	)
}

// maxSubscriptions is how many subscriptions that match one list holds.
const maxSubscriptions = 100_000

func (o *clientsOf) registerEnd(h huma.API) {
	end := serve.Operation("session-end", http.MethodDelete, "/sessions/{id}", "clients", "End a session: its client is disconnected, what waits for it is dropped", http.StatusNotFound, http.StatusConflict)
	huma.Register(h, serve.Deleted(end), func(ctx context.Context, in *Identified) (*struct{}, error) {
		if err := o.there(); err != nil {
			return nil, err
		}
		ok, err := o.EndSession(ctx, in.ID, "its session was ended by an administrator")
		o.rosters.forget()
		if err != nil {
			return nil, huma.Error503ServiceUnavailable(err.Error())
		}
		return nil, foundClient(in.ID, ok, nil)
	})
}

func (o *clientsOf) registerSubscriptions(h huma.API) {
	huma.Register(h, serve.Operation("subscriptions", http.MethodGet, "/subscriptions", "clients", "Subscriptions of all clients; those of the broker's own, such as its canary, with the filter own:true. With topic those that a message of it would match", http.StatusConflict),
		func(ctx context.Context, in *struct {
			ListQuery
			Topic string `query:"topic" maxLength:"65535" doc:"A topic name: who would receive a message of it, unless a rule forbids it. Of a shared subscription one member gets it."`
		},
		) (*answer[serve.List[SubscriptionRow]], error) {
			if err := o.there(); err != nil {
				return nil, err
			}
			if in.Topic != "" {
				if err := topic.ValidName(in.Topic); err != nil {
					return nil, huma.Error422UnprocessableEntity("topic: " + err.Error())
				}
			}
			match, err := o.subs.Parse(in.Filter, time.Now())
			if err != nil {
				return nil, huma.Error422UnprocessableEntity(err.Error())
			}
			var some []Subscriber
			total, matched := 0, 0
			err = o.Subscriptions(ctx, func(list []Subscriber) {
				list = others(list, in.Filter)
				total += len(list)
				for i := range list {
					if s := &list[i]; (in.Topic == "" || receives(s.Filter, in.Topic)) && match(s) {
						if matched++; len(some) < maxSubscriptions {
							some = append(some, *s)
						}
					}
				}
			})
			if err != nil {
				return nil, serve.Failure(err)
			}
			found, err := page(o.subs, each(some), &in.ListQuery, func(s *Subscriber) SubscriptionRow {
				return SubscriptionRow{s.Client, s.User, filterRow(&s.Subscription, s.Resting)}
			})
			if err == nil {
				found.Body.Total, found.Body.Matched = total, matched
			}
			return found, err
		})
}

// others are subscriptions without those of the process's own clients, unless a filter asks for them.
func others(list []Subscriber, expr string) []Subscriber {
	if strings.Contains(expr, "own:") {
		return list
	}
	return slices.DeleteFunc(list, func(s Subscriber) bool { return s.Own })
}

// receives tells whether a filter, of a shared subscription what it shares, matches a topic name.
func receives(subscribed, name string) bool {
	_, inner, shared, err := topic.ParseShared(subscribed)
	if err != nil {
		return false
	}
	if !shared {
		inner = subscribed
	}
	return topic.Match(inner, name)
}

package rights

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/console/api/serve"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Clients are those that the broker knows, as far as the API acts on them.
type Clients interface {
	// Principal is who a client is; false = there is no such client id.
	Principal(ctx context.Context, id string) (*auth.Principal, bool, error)
	// Disconnect closes a client's connection, which is told why; false = it is not connected.
	Disconnect(ctx context.Context, id, why string) (bool, error)
}

// Ban keeps somebody out, or apart.
type Ban struct {
	Subject    string    `json:"subject" enum:"client,user,address,pattern" doc:"pattern is of client ids, in which * stands for any characters."`
	Value      string    `json:"value" minLength:"1" doc:"The client id, the user name, the address or network, or the pattern."`
	Quarantine bool      `json:"quarantine,omitempty" doc:"It may connect, but is kept apart."`
	Reason     string    `json:"reason,omitempty" maxLength:"1024" doc:"It is told."`
	Until      time.Time `json:"until,omitzero" doc:"Absent = for ever."`
	By         string    `json:"by,omitempty" readOnly:"true"`
}

// Bans keep clients out, or apart.
type Bans interface {
	// List are those in force, by subject and value.
	List(ctx context.Context) ([]Ban, error)
	// Add puts a ban in the place of what was there for the same subject and value, and tells how many clients it met.
	Add(ctx context.Context, b Ban) (met int, err error)
	// Remove takes one out; false = there is none.
	Remove(ctx context.Context, subject, value string) (bool, error)
}

// Policy is what the API needs to explain decisions and to act on clients. What is nil is not there.
type Policy struct {
	Authorizer auth.Authorizer
	Clients    Clients
	Bans       Bans
	Flush      func() int // forgets what is remembered of credentials and decisions, and tells how many
}

// Explain is a question about a client that is there, or about one that is described.
type Explain struct {
	Client   string            `json:"client,omitempty" doc:"A client id. One that the broker knows is asked about as it is, unless more is given."`
	User     string            `json:"user,omitempty"`
	Groups   []string          `json:"groups,omitempty"`
	Listener string            `json:"listener,omitempty"`
	Address  string            `json:"address,omitempty" doc:"An address; absent = a local socket."`
	CN       string            `json:"cn,omitempty" doc:"Common name of the client's certificate."`
	Claims   map[string]string `json:"claims,omitempty"`

	Action string `json:"action" enum:"publish,subscribe,receive,retain" doc:"retain is to publish a retained message."`
	Topic  string `json:"topic" minLength:"1" maxLength:"65535" doc:"A topic name, or a filter to subscribe to."`
	QoS    int    `json:"qos,omitempty" minimum:"0" maximum:"2"`
}

// Explained is the decision with what it is about.
type Explained struct {
	auth.Decision
	Client Asked `json:"client"`
}

// Asked is the client that a question was about.
type Asked struct {
	Known    bool              `json:"known" doc:"The broker knows the client id, and it is its identity that was asked about."`
	ClientID string            `json:"client_id,omitempty"`
	User     string            `json:"user,omitempty" doc:"Absent = anonymous."`
	Groups   []string          `json:"groups,omitempty"`
	Listener string            `json:"listener,omitempty"`
	Address  string            `json:"address,omitempty"`
	CN       string            `json:"cn,omitempty"`
	Claims   map[string]string `json:"claims,omitempty"`
	By       string            `json:"by,omitempty" doc:"The backend that vouched."`
}

// described tells that the client is described by more than its id.
func (e *Explain) described() bool {
	return e.User != "" || len(e.Groups) > 0 || e.Listener != "" || e.Address != "" || e.CN != "" || len(e.Claims) > 0
}

// principal is the client that is described.
func (e *Explain) principal() (*auth.Principal, error) {
	p := &auth.Principal{Identity: &auth.Identity{Name: e.User, Groups: e.Groups, Claims: e.Claims}, ClientID: e.Client}
	p.Peer.Listener = e.Listener
	if e.Address != "" {
		addr, err := netip.ParseAddr(e.Address)
		if err != nil {
			return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("%q is no address", e.Address))
		}
		p.Peer.Address = netip.AddrPortFrom(addr.Unmap(), 0)
	}
	if e.CN != "" {
		p.Peer.Cert = &x509.Certificate{Subject: pkix.Name{CommonName: e.CN}}
	}
	return p, nil
}

func (e *Explain) question() (*auth.Question, error) {
	q := &auth.Question{QoS: mqtt.QoS(e.QoS), Topic: []byte(e.Topic)}
	switch e.Action {
	case "publish", "retain":
		q.Action, q.Retain = auth.Publish, e.Action == "retain"
	case "subscribe":
		q.Action = auth.Subscribe
	case "receive":
		q.Action = auth.Receive
	}
	err := topic.ValidName(q.Topic)
	if q.Action == auth.Subscribe {
		_, inner, shared, bad := topic.ParseShared(e.Topic)
		if err = bad; shared { // rules are about what is shared
			q.Topic = []byte(inner)
		} else if err == nil {
			err = topic.ValidFilter(q.Topic)
		}
	}
	if err != nil {
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("the topic %q: %v", e.Topic, err))
	}
	return q, nil
}

func askedAbout(p *auth.Principal, known bool) Asked {
	a := Asked{
		Known: known, ClientID: p.ClientID, User: p.Name, Groups: p.Groups, Claims: p.Claims, By: p.By,
		Listener: p.Peer.Listener, CN: p.Peer.CommonName(),
	}
	if p.Peer.Address.IsValid() {
		a.Address = p.Peer.Address.Addr().String()
	}
	return a
}

// registerPolicy adds what is about decisions and what is done to clients.
func registerPolicy(h huma.API, p Policy) {
	huma.Register(h, serve.Operation("acl-explain", http.MethodPost, "/acl/explain", "rules", "Whether a client may do something, which rule decides, and why"),
		func(ctx context.Context, in *struct{ Body Explain }) (*answer[Explained], error) {
			if p.Authorizer == nil {
				return nil, huma.Error409Conflict("this process asks no rules: everything is allowed")
			}
			q, err := in.Body.question()
			if err != nil {
				return nil, err
			}
			who, err := in.Body.principal()
			if err != nil {
				return nil, err
			}
			known := false
			if in.Body.Client != "" && p.Clients != nil && !in.Body.described() {
				there, ok, err := p.Clients.Principal(ctx, in.Body.Client)
				if err != nil {
					return nil, huma.Error503ServiceUnavailable(err.Error())
				}
				if known = ok; ok {
					who = there
				}
			}
			return &answer[Explained]{Explained{p.Authorizer.Explain(who, q), askedAbout(who, known)}}, nil
		})
	disconnect := serve.Operation("client-disconnect", http.MethodPost, "/clients/{id}/disconnect", "clients",
		"Close a client's connection; its session stays as after a lost connection", http.StatusNotFound)
	huma.Register(h, serve.Deleted(disconnect), func(ctx context.Context, in *struct {
		ID   string `path:"id"`
		Body *struct {
			Reason string `json:"reason,omitempty" maxLength:"1024" doc:"It is told (MQTT 5)."`
		}
	},
	) (*struct{}, error) {
		if p.Clients == nil {
			return nil, serve.Missing("client", in.ID)
		}
		reason := "disconnected by an administrator"
		if in.Body != nil && in.Body.Reason != "" {
			reason = in.Body.Reason
		}
		ok, err := p.Clients.Disconnect(ctx, in.ID, reason)
		switch {
		case err != nil:
			return nil, huma.Error503ServiceUnavailable(err.Error())
		case !ok:
			return nil, huma.Error404NotFound(fmt.Sprintf("no client %q is connected", in.ID))
		}
		return nil, nil
	})
	type flushed struct {
		Forgotten int `json:"forgotten"`
	}
	huma.Register(h, serve.Operation("auth-flush", http.MethodPost, "/auth/cache/flush", "users", "Forget what is remembered of credentials, so that every backend is asked again"),
		func(context.Context, *struct{}) (*answer[flushed], error) {
			if p.Flush == nil {
				return &answer[flushed]{}, nil
			}
			return &answer[flushed]{flushed{p.Flush()}}, nil
		})
	registerBans(h, p.Bans)
}

package acl

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/topic"
)

// Expectation is what one client should be allowed to do, and what not: a test of rules. The zero value is an
// anonymous client on a Unix socket.
type Expectation struct {
	Subject `yaml:",inline"`
	May     []string `yaml:"may" json:"may,omitempty"`         // questions, as ParseQuestion reads them
	MayNot  []string `yaml:"may_not" json:"may_not,omitempty"` // questions
}

// Subject is a client that need not exist.
type Subject struct {
	Client   string            `yaml:"client" json:"client,omitempty"`
	User     string            `yaml:"user" json:"user,omitempty"`
	Groups   []string          `yaml:"groups" json:"groups,omitempty"`
	Listener string            `yaml:"listener" json:"listener,omitempty"`
	Address  string            `yaml:"address" json:"address,omitempty"` // "" or "unix" = a Unix socket
	CN       string            `yaml:"cn" json:"cn,omitempty"`
	Claims   map[string]string `yaml:"claims" json:"claims,omitempty"`
}

// Result is one question of an expectation with its answer.
type Result struct {
	Client   string        `json:"client"`
	User     string        `json:"user,omitempty"`
	Question string        `json:"question"`
	Expected bool          `json:"expected"` // that it is allowed
	Decision auth.Decision `json:"decision"`
}

// Failed tells that the answer is not the expected one.
func (r *Result) Failed() bool { return r.Expected != r.Decision.Allowed }

// Principal makes the client.
func (s *Subject) Principal() (*auth.Principal, error) {
	p := &auth.Principal{
		Identity: &auth.Identity{Name: s.User, Groups: s.Groups, Claims: s.Claims},
		ClientID: s.Client, Peer: auth.Peer{Listener: s.Listener},
	}
	if s.CN != "" {
		p.Peer.Cert = &x509.Certificate{Subject: pkix.Name{CommonName: s.CN}}
	}
	if s.Address != "" && s.Address != "unix" {
		a, err := netip.ParseAddr(s.Address)
		if err != nil {
			return nil, fmt.Errorf("the address %q is none; write it as 192.0.2.7, or unix for a Unix socket", s.Address)
		}
		p.Peer.Address = netip.AddrPortFrom(a.Unmap(), 0)
	}
	return p, nil
}

// ParseQuestion reads a question: publish, subscribe, receive or retain (publish a retained message), if need be
// qos=0, qos=1 or qos=2, and the topic, which may hold spaces.
func ParseQuestion(text string) (*auth.Question, error) {
	word, name, _ := strings.Cut(strings.TrimSpace(text), " ")
	a, ok := actionNamed(word)
	if !ok {
		return nil, fmt.Errorf("%q begins with none of publish, subscribe, receive and retain", text)
	}
	q := &auth.Question{Action: a, Retain: word == "retain"}
	name = strings.TrimLeft(name, " ")
	if rest, ok := strings.CutPrefix(name, "qos="); ok {
		level, after, _ := strings.Cut(rest, " ")
		if len(level) != 1 || level[0] < '0' || level[0] > '2' {
			return nil, fmt.Errorf("%q: there are qos=0, qos=1 and qos=2", text)
		}
		q.QoS, name = mqtt.QoS(level[0]-'0'), strings.TrimLeft(after, " ")
	}
	q.Topic = []byte(name)
	var err error
	if a == auth.Subscribe {
		_, inner, shared, bad := topic.ParseShared(name)
		if err = bad; shared {
			q.Topic = []byte(inner)
		} else if err == nil {
			err = topic.ValidFilter(name)
		}
	} else {
		err = topic.ValidName(name)
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	return q, nil
}

// Test answers every question of the expectations. The error tells all that cannot be asked.
func (e *Engine) Test(list []Expectation) ([]Result, error) {
	var results []Result
	var errs []error
	for i := range list {
		x := &list[i]
		who, err := x.Principal()
		if err != nil {
			errs = append(errs, fmt.Errorf("expectation %d: %w", i+1, err))
			continue
		}
		if len(x.May)+len(x.MayNot) == 0 {
			errs = append(errs, fmt.Errorf("expectation %d has neither may nor may_not", i+1))
		}
		for n, text := range append(append([]string(nil), x.May...), x.MayNot...) {
			q, err := ParseQuestion(text)
			if err != nil {
				errs = append(errs, fmt.Errorf("expectation %d: %w", i+1, err))
				continue
			}
			results = append(results, Result{
				Client: x.Client, User: x.User, Question: text, Expected: n < len(x.May), Decision: e.Explain(who, q),
			})
		}
	}
	return results, errors.Join(errs...)
}

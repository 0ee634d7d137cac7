// Package webhook asks a server of the user's own, over HTTP, who a client is and what it may do. Only an answer that is
// understood to the last word counts; everything else is a failure, and a failure lets nobody in.
//
// It keeps no answers: the chain does.
package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/grant"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// Options are what the backend needs of the world.
type Options struct {
	Name string // of the backend; "" = http
}

// Backend asks a server. Its methods may be called from any goroutine.
type Backend struct {
	cfg    Config
	name   string
	client atomic.Pointer[http.Client]
}

// maxAnswer is the longest answer that is read, in bytes.
const maxAnswer = 256 << 10

// Open reads the files of the configuration; nobody is asked yet.
func Open(_ context.Context, cfg Config, o Options) (*Backend, error) {
	b := &Backend{cfg: cfg, name: "http"}
	if o.Name != "" {
		b.name = o.Name
	}
	if err := cfg.Usable(); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	for _, h := range cfg.Headers {
		if err := h.check(); err != nil {
			return nil, err
		}
	}
	if err := b.Reload(); err != nil {
		return nil, err
	}
	return b, nil
}

// Files are those that it reads.
func (b *Backend) Files() []string { return b.cfg.TLS.Files() }

// Reload reads the files again. If one is bad, all stays as it was.
func (b *Backend) Reload() error {
	client, err := b.cfg.TLS.HTTP(b.cfg.URL, b.cfg.Timeout, b.cfg.Connections)
	if err != nil {
		return err
	}
	if old := b.client.Swap(client); old != nil {
		old.CloseIdleConnections()
	}
	return nil
}

// Close gives up idle connections. It may still be asked.
func (b *Backend) Close() { b.client.Load().CloseIdleConnections() }

// question is what is sent.
type question struct {
	Action     string `json:"action"` // connect or refresh
	Name       string `json:"name,omitempty"`
	ClientID   string `json:"client_id"`
	Username   string `json:"username,omitempty"`
	Password   string `json:"password,omitempty"`
	Binary     string `json:"password_base64,omitempty"` // in its place, where it is not UTF-8
	Address    string `json:"address,omitempty"`
	Listener   string `json:"listener,omitempty"`
	TLS        bool   `json:"tls"`
	CommonName string `json:"common_name,omitempty"`
}

// answer is what comes back.
type answer struct {
	Result  string            `json:"result"` // allow, deny or unknown
	Name    string            `json:"name"`   // "" = the user name
	Groups  []string          `json:"groups"`
	Claims  map[string]string `json:"claims"`
	Rules   json.RawMessage   `json:"rules"`
	Expires *time.Time        `json:"expires"` // RFC 3339
	Reason  string            `json:"reason"`  // for the operator
}

// Authenticate asks about an attempt to connect.
func (b *Backend) Authenticate(ctx context.Context, a *auth.Attempt) (*auth.Identity, error) {
	if a.Method != "" { // an exchange that the server takes no part in
		return nil, auth.ErrUnknown
	}
	q := question{Action: "connect", Username: a.Username}
	q.from(&a.Peer, a.ClientID)
	if utf8.Valid(a.Password) {
		q.Password = string(a.Password)
	} else {
		q.Binary = base64.StdEncoding.EncodeToString(a.Password)
	}
	return b.ask(ctx, &q)
}

// Refresh asks what is so now about a client that was let in.
func (b *Backend) Refresh(ctx context.Context, p *auth.Principal) (*auth.Identity, error) {
	if !b.cfg.Refresh {
		return nil, fmt.Errorf("refresh is off: %w", errors.ErrUnsupported)
	}
	q := question{Action: "refresh", Name: p.Name}
	q.from(&p.Peer, p.ClientID)
	return b.ask(ctx, &q)
}

func (q *question) from(p *auth.Peer, clientID string) {
	q.ClientID, q.Listener, q.TLS, q.CommonName = clientID, p.Listener, p.TLS, p.CommonName()
	if p.Address.IsValid() {
		q.Address = p.Address.Addr().String()
	}
}

// form is the question as form fields.
func (q *question) form() url.Values {
	v := url.Values{"action": {q.Action}, "client_id": {q.ClientID}, "tls": {fmt.Sprint(q.TLS)}}
	for name, value := range map[string]string{
		"name": q.Name, "username": q.Username, "password": q.Password, "password_base64": q.Binary,
		"address": q.Address, "listener": q.Listener, "common_name": q.CommonName,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

func (b *Backend) ask(ctx context.Context, q *question) (*auth.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	data, err := b.post(ctx, q)
	if err != nil {
		return nil, err
	}
	var a answer
	if err := grant.Strict(data, &a); err != nil {
		return nil, fmt.Errorf("the answer: %w", err)
	}
	switch a.Result {
	case "allow":
		id, err := b.identity(q, &a)
		if err != nil {
			return nil, fmt.Errorf("the answer: %w", err)
		}
		return id, nil
	case "deny":
		why := "the server says no"
		if a.Reason != "" {
			why = fmt.Sprintf("the server says no: %.200q", a.Reason)
		}
		return nil, &auth.Refusal{Reason: mqtt.NotAuthorized, Text: "authentication failed", By: b.name, Why: why}
	case "unknown":
		return nil, auth.ErrUnknown
	}
	return nil, fmt.Errorf("the answer: result %.50q is not allow, deny or unknown", a.Result)
}

func (b *Backend) identity(q *question, a *answer) (id *auth.Identity, err error) {
	id = &auth.Identity{Name: a.Name, Groups: a.Groups, Claims: a.Claims, By: b.name}
	for _, name := range []string{q.Username, q.Name} {
		if id.Name == "" {
			id.Name = name
		}
	}
	if a.Expires != nil {
		id.Expires = *a.Expires
	}
	if id.Rules, err = grant.Rules(b.name+".rules", a.Rules); err != nil {
		return nil, err
	}
	return id, grant.Identity(id)
}

// post sends the question and reads the whole answer.
func (b *Backend) post(ctx context.Context, q *question) ([]byte, error) {
	body, kind := []byte(q.form().Encode()), "application/x-www-form-urlencoded"
	if b.cfg.Format != "form" {
		var err error
		if body, err = json.Marshal(q); err != nil {
			return nil, err
		}
		kind = "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, h := range b.cfg.Headers {
		req.Header.Set(h.Name, h.Value)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Accept", "application/json")
	resp, err := b.client.Load().Do(req)
	var in *url.Error
	if errors.As(err, &in) { // without the URL: who wrote a secret into it does not want it in the log
		err = in.Err
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch media, _, bad := mime.ParseMediaType(resp.Header.Get("Content-Type")); {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the answer is %.50s", resp.Status)
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	case bad != nil || media != "application/json":
		return nil, fmt.Errorf("the answer is %.50q, not application/json", resp.Header.Get("Content-Type"))
	}
	return data, nil
}

// Package request sends a message and waits for the one that answers it (MQTT5 4.10), for those who do not speak MQTT themselves. It listens on a
// connection that it is given and publishes by a function that it is given; who may ask for what is not its affair.
package request

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// ClientID is that of the client that listens. Prefix is what the response topics begin with that it makes up.
const (
	ClientID = "$request"
	Prefix   = "response/api/"
)

// Most is how many requests may wait at a time; MaxResponse bounds the packet of a response, in bytes: a larger one never comes.
const (
	Most        = 256
	MaxResponse = 1 << 20
)

// Why a request is not answered.
var (
	ErrBusy    = fmt.Errorf("%d requests wait for their response already", Most)
	ErrTaken   = errors.New("another request waits on this response topic; without correlation data only one can")
	ErrTimeout = errors.New("no response came in time")
	ErrNobody  = errors.New("nobody has subscribed to the topic of the request")
	ErrClosed  = errors.New("the process is stopping")
)

// RefusedError is a request that the broker did not take, with its reason.
type RefusedError struct{ Reason mqtt.ReasonCode }

// Error implements error.
func (e *RefusedError) Error() string { return "the request was refused: " + e.Reason.String() }

// Options are what requests need.
type Options struct {
	Dial func(context.Context) (net.Conn, error) // a connection to the broker
}

// Asked is one request. Message has neither response topic nor correlation data: both are added.
type Asked struct {
	Message mqtt.Message
	Publish func(context.Context, mqtt.Message) (mqtt.ReasonCode, error)
	// Topic, unless empty, is where the response comes, for responders that cannot read a response topic (MQTT 3.1.1). It is a valid name.
	Topic string
}

// Response is what came.
type Response struct {
	Topic       string
	Payload     []byte
	ContentType string
	User        []mqtt.UserProperty
	Took        time.Duration
}

// Requests are those of one process. Their methods may be called from any goroutine.
type Requests struct {
	o    Options
	dial chan struct{} // one place: who has it connects
	own  string        // prefix of the response topics of this process

	mu      sync.Mutex
	on      *client.Client // nil = not connected yet
	waiting map[string]*wait
	closed  bool
}

// wait is one request that is not answered yet.
type wait struct {
	correlation []byte
	response    chan Response // one place
}

// New makes requests possible. It connects when the first one comes.
func New(o Options) *Requests {
	return &Requests{o: o, dial: make(chan struct{}, 1), own: Prefix + rand.Text() + "/", waiting: map[string]*wait{}}
}

// Do publishes a request and waits for its response until ctx ends, which is ErrTimeout. Response topics and correlation data cannot be
// guessed, and what comes with other correlation data is not taken for the response.
func (r *Requests) Do(ctx context.Context, q Asked) (Response, error) {
	name, w := q.Topic, &wait{correlation: random(), response: make(chan Response, 1)}
	if name == "" {
		name = r.own + hex.EncodeToString(random())
	}
	if err := r.expect(name, w); err != nil {
		return Response{}, err
	}
	defer r.forget(name)
	on, err := r.connected(ctx)
	if err != nil {
		return Response{}, late(ctx, fmt.Errorf("listen for the response: %w", err))
	}
	if q.Topic != "" {
		if err := subscribe(ctx, on, name); err != nil {
			return Response{}, late(ctx, err)
		}
		defer unsubscribe(on, name)
	}
	m := q.Message
	m.Forward = mqtt.AppendCorrelationData(mqtt.AppendResponseTopic(m.Forward, name), w.correlation)
	began := time.Now()
	switch reason, err := q.Publish(ctx, m); {
	case err != nil:
		return Response{}, late(ctx, err)
	case reason == mqtt.NoMatchingSubscribers:
		return Response{}, ErrNobody
	case reason.Failed():
		return Response{}, &RefusedError{reason}
	}
	select {
	case got := <-w.response:
		got.Took = time.Since(began)
		return got, nil
	case <-on.Done():
		return Response{}, fmt.Errorf("listen for the response: %w", on.Err())
	case <-ctx.Done():
		return Response{}, ErrTimeout
	}
}

// late makes of an error after the end of ctx what it means.
func late(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ErrTimeout
	}
	return err
}

func random() []byte {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return b
}

func (r *Requests) expect(name string, w *wait) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return ErrClosed
	case len(r.waiting) >= Most:
		return ErrBusy
	case r.waiting[name] != nil:
		return ErrTaken
	}
	r.waiting[name] = w
	return nil
}

func (r *Requests) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, name)
}

// take gets what the broker delivers.
func (r *Requests) take(m *mqtt.Publish) error {
	r.mu.Lock()
	w := r.waiting[string(m.Topic)]
	r.mu.Unlock()
	if w == nil {
		return nil // too late
	}
	got := Response{Topic: string(m.Topic), Payload: bytes.Clone(m.Payload)}
	mine := true
	m.Props.Each(func(id mqtt.PropertyID, name, value []byte) bool {
		switch id {
		case mqtt.PropCorrelationData:
			mine = bytes.Equal(value, w.correlation)
		case mqtt.PropContentType:
			got.ContentType = string(value)
		case mqtt.PropUser:
			got.User = append(got.User, mqtt.UserProperty{Name: bytes.Clone(name), Value: bytes.Clone(value)})
		}
		return mine
	})
	if !mine {
		return nil
	}
	select {
	case w.response <- got:
	default: // it has its response
	}
	return nil
}

// connected is a client that listens; it connects where there is none.
func (r *Requests) connected(ctx context.Context) (*client.Client, error) {
	select {
	case r.dial <- struct{}{}:
		defer func() { <-r.dial }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	on := r.on
	r.mu.Unlock()
	if on != nil && on.Err() == nil {
		return on, nil
	}
	on, err := client.Dial(ctx, client.Options{
		DialConn: r.o.Dial, ClientID: ClientID, CleanStart: true, KeepAlive: 60, Timeout: 10 * time.Second,
		MaximumPacketSize: MaxResponse, OnMessage: r.take,
	})
	if err != nil {
		return nil, err
	}
	if err := subscribe(ctx, on, r.own+"#"); err != nil {
		on.Abort()
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		on.Abort()
		return nil, ErrClosed
	}
	r.on = on
	return on, nil
}

// subscribe listens at QoS 1, to what is published from now on: what is retained answers no request.
func subscribe(ctx context.Context, on *client.Client, filter string) error {
	const fresh = 2 << 4 // Retain Handling 2 (MQTT5 3.8.3.1)
	ack, err := on.Subscribe(ctx, mqtt.Subscribe{Filters: []mqtt.Subscription{{Filter: []byte(filter), Options: 1 | fresh}}})
	if err == nil && ack.Reasons[0].Failed() {
		err = ack.Reasons[0]
	}
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", strings.ToValidUTF8(filter, "?"), err)
	}
	return nil
}

// unsubscribe is not waited for by who asked: it may have no time left.
func unsubscribe(on *client.Client, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := on.Unsubscribe(ctx, mqtt.Unsubscribe{Filters: [][]byte{[]byte(name)}}); err != nil {
		on.Abort() // so that nothing is left: the next request connects again
	}
}

// Close ends all requests that wait.
func (r *Requests) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.on != nil {
		r.on.Abort()
	}
	return nil
}

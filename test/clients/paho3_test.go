package clients

import (
	"context"
	"errors"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// paho3 is a client of paho.mqtt.golang.
type paho3 struct {
	mqtt.Client
	session bool
}

func dialPaho3(_ context.Context, version byte, o options) (client, error) {
	opts := mqtt.NewClientOptions().
		AddBroker(o.url()).
		SetTLSConfig(trusting()).
		SetUsername(o.user).
		SetPassword(o.password).
		SetClientID(o.id).
		SetProtocolVersion(uint(version)).
		SetCleanSession(!o.keep).
		SetStore(mqtt.NewOrderedMemoryStore()).
		SetAutoReconnect(o.reconnect).
		SetMaxReconnectInterval(20 * time.Millisecond).
		SetConnectTimeout(patience)
	if o.will != nil {
		opts.SetWill(o.will.Topic, o.will.Payload, o.will.QoS, o.will.Retain)
	}
	seen := newReleased()
	opts.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		if m.Qos() == 2 && !seen.first(m.MessageID(), m.Duplicate(), string(m.Payload())) {
			return
		}
		o.receive(message{Topic: m.Topic(), Payload: string(m.Payload()), QoS: m.Qos(), Retain: m.Retained()})
	})
	c := mqtt.NewClient(opts)
	token := c.Connect()
	if err := waitToken(token); err != nil {
		return nil, err
	}
	return &paho3{c, token.(*mqtt.ConnectToken).SessionPresent()}, nil
}

// released does what a receiver of QoS 2 owes its application and paho's clients leave to it: they hand
// on each PUBLISH as it comes, also one that is sent again because the PUBREC was lost.
type released struct {
	mu   sync.Mutex
	last map[uint16]string
}

func newReleased() *released { return &released{last: map[uint16]string{}} }

// first tells whether this is not the repetition of the packet that last had this identifier.
func (r *released) first(id uint16, dup bool, payload string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	again := dup && r.last[id] == payload
	r.last[id] = payload
	return !again
}

func waitToken(t mqtt.Token) error {
	if !t.WaitTimeout(patience) {
		return errors.New("timed out")
	}
	return t.Error()
}

func (c *paho3) present() bool { return c.session }

func (c *paho3) subscribe(filter string, qos byte) (byte, error) {
	t := c.Subscribe(filter, qos, nil)
	err := waitToken(t)
	for _, code := range t.(*mqtt.SubscribeToken).Result() { // under the filter without its $share/group/
		return code, err
	}
	return 0, errors.Join(err, errors.New("SUBACK without a code"))
}

func (c *paho3) unsubscribe(filter string) error { return waitToken(c.Unsubscribe(filter)) }

func (c *paho3) publish(m message) <-chan outcome {
	done := make(chan outcome, 1)
	t := c.Publish(m.Topic, m.QoS, m.Retain, m.Payload)
	go func() { done <- outcome{err: waitToken(t)} }()
	return done
}

func (c *paho3) close() error {
	c.Disconnect(100)
	return nil
}

package clients

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
)

// paho5 is a client of paho.golang, paho5auto one of its autopaho. Both publish in the order of the calls.
type (
	paho5 struct {
		*paho.Client
		session bool
		queue   chan func()
	}
	paho5auto struct {
		*autopaho.ConnectionManager
		session bool
		stop    context.CancelFunc
	}
)

func dialPaho5(ctx context.Context, _ byte, o options) (client, error) {
	conn, err := net.Dial("tcp", o.addr)
	if err != nil {
		return nil, err
	}
	c := paho.NewClient(paho.ClientConfig{ClientID: o.id, Conn: conn, OnPublishReceived: pahoHandlers(o), OnServerDisconnect: pahoTold(o), PacketTimeout: patience})
	connect := &paho.Connect{
		ClientID: o.id, KeepAlive: 30, CleanStart: !o.keep,
		Properties: &paho.ConnectProperties{SessionExpiryInterval: pahoExpiry(o), RequestProblemInfo: true},
	}
	if o.will != nil {
		connect.WillMessage = &paho.WillMessage{Topic: o.will.Topic, Payload: []byte(o.will.Payload), QoS: o.will.QoS, Retain: o.will.Retain}
		connect.WillProperties = &paho.WillProperties{}
	}
	ack, err := c.Connect(ctx, connect)
	if err != nil {
		return nil, err
	}
	p := &paho5{c, ack.SessionPresent, make(chan func(), 10000)}
	go func() {
		for publish := range p.queue {
			publish()
		}
	}()
	return p, nil
}

func pahoExpiry(o options) *uint32 {
	var seconds uint32
	if o.keep {
		seconds = 300
	}
	return &seconds
}

func pahoTold(o options) func(*paho.Disconnect) {
	return func(d *paho.Disconnect) {
		if o.told != nil {
			o.told(d.ReasonCode)
		}
	}
}

func pahoHandlers(o options) []func(paho.PublishReceived) (bool, error) {
	seen := newReleased()
	return []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
		p := r.Packet
		if p.QoS == 2 && !seen.first(p.PacketID, p.Duplicate(), string(p.Payload)) {
			return true, nil
		}
		m := message{Topic: p.Topic, Payload: string(p.Payload), QoS: p.QoS, Retain: p.Retain}
		for _, u := range p.Properties.User {
			if m.User == nil {
				m.User = map[string][]string{}
			}
			m.User[u.Key] = append(m.User[u.Key], u.Value)
		}
		m.ContentType, m.Response, m.Correlation = p.Properties.ContentType, p.Properties.ResponseTopic, string(p.Properties.CorrelationData)
		if e := p.Properties.MessageExpiry; e != nil {
			m.Expiry = *e
		}
		m.Text = p.Properties.PayloadFormat != nil && *p.Properties.PayloadFormat == 1
		o.receive(m)
		return true, nil
	}}
}

func pahoPublish(m message) *paho.Publish {
	p := &paho.Publish{
		Topic: m.Topic, Payload: []byte(m.Payload), QoS: m.QoS, Retain: m.Retain,
		Properties: &paho.PublishProperties{ContentType: m.ContentType, ResponseTopic: m.Response},
	}
	if m.Correlation != "" {
		p.Properties.CorrelationData = []byte(m.Correlation)
	}
	for key, values := range m.User {
		for _, v := range values {
			p.Properties.User.Add(key, v)
		}
	}
	if m.Expiry > 0 {
		p.Properties.MessageExpiry = &m.Expiry
	}
	if m.Text {
		p.Properties.PayloadFormat = new(byte)
		*p.Properties.PayloadFormat = 1
	}
	if m.Alias > 0 {
		p.Properties.TopicAlias = &m.Alias
	}
	return p
}

func pahoSubscribe(ctx context.Context, filter string, qos byte, subscribe func(context.Context, *paho.Subscribe) (*paho.Suback, error)) (byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ack, err := subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
	if ack == nil {
		return 0, err
	}
	return ack.Reasons[0], nil
}

func pahoUnsubscribe(filter string, unsubscribe func(context.Context, *paho.Unsubscribe) (*paho.Unsuback, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := unsubscribe(ctx, &paho.Unsubscribe{Topics: []string{filter}})
	return err
}

func (c *paho5) present() bool { return c.session }

func (c *paho5) subscribe(filter string, qos byte) (byte, error) {
	return pahoSubscribe(context.Background(), filter, qos, c.Subscribe)
}

func (c *paho5) unsubscribe(filter string) error { return pahoUnsubscribe(filter, c.Unsubscribe) }

func (c *paho5) publish(m message) <-chan outcome {
	done := make(chan outcome, 1)
	c.queue <- func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r, err := c.Publish(ctx, pahoPublish(m))
		if r != nil && m.QoS > 0 {
			err = nil // an error repeats the reason code
			done <- outcome{code: r.ReasonCode}
			return
		}
		done <- outcome{err: err}
	}
	return done
}

func (c *paho5) close() error { return c.Disconnect(&paho.Disconnect{}) }

// pahoSession survives a fault of paho.golang 0.23.0: a PUBREC that is handled just after the connection
// was lost has it write its PUBREL to a nil connection. The PUBREL is already stored, so it goes out later.
type pahoSession struct{ *state.State }

func (s *pahoSession) PacketReceived(p *packets.ControlPacket, publish chan<- *packets.Publish) (err error) {
	defer func() {
		if p.Type == packets.PUBREC && recover() != nil {
			err = net.ErrClosed
		}
	}()
	return s.State.PacketReceived(p, publish)
}

func dialAutopaho(ctx context.Context, _ byte, o options) (client, error) {
	u, err := url.Parse(o.url())
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	up := make(chan bool, 1)
	first := true
	cfg := autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{u},
		TlsCfg:                        trusting(),
		KeepAlive:                     30,
		CleanStartOnInitialConnection: !o.keep,
		SessionExpiryInterval:         *pahoExpiry(o),
		ReconnectBackoff:              func(int) time.Duration { return 20 * time.Millisecond },
		ConnectTimeout:                patience,
		OnConnectionUp: func(_ *autopaho.ConnectionManager, ack *paho.Connack) {
			if first {
				up <- ack.SessionPresent
				first = false
			}
		},
		OnConnectionDown: func() bool { return o.reconnect },
		ClientConfig:     paho.ClientConfig{ClientID: o.id, Session: &pahoSession{state.NewInMemory()}, OnPublishReceived: pahoHandlers(o), OnServerDisconnect: pahoTold(o), PacketTimeout: patience},
	}
	if o.will != nil {
		cfg.WillMessage = &paho.WillMessage{Topic: o.will.Topic, Payload: []byte(o.will.Payload), QoS: o.will.QoS, Retain: o.will.Retain}
		cfg.WillProperties = &paho.WillProperties{}
	}
	cm, err := autopaho.NewConnection(life, cfg)
	if err != nil {
		stop()
		return nil, err
	}
	select {
	case present := <-up:
		return &paho5auto{cm, present, stop}, nil
	case <-ctx.Done():
		stop()
		return nil, fmt.Errorf("autopaho: %w", ctx.Err())
	}
}

func (c *paho5auto) present() bool { return c.session }

func (c *paho5auto) subscribe(filter string, qos byte) (byte, error) {
	return pahoSubscribe(context.Background(), filter, qos, c.Subscribe)
}

func (c *paho5auto) unsubscribe(filter string) error { return pahoUnsubscribe(filter, c.Unsubscribe) }

// publish hands the message to autopaho's queue, which sends one after the other and says no more.
func (c *paho5auto) publish(m message) <-chan outcome {
	done := make(chan outcome, 1)
	err := c.PublishViaQueue(context.Background(), &autopaho.QueuePublish{Publish: pahoPublish(m)})
	done <- outcome{err: err}
	return done
}

func (c *paho5auto) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := c.Disconnect(ctx)
	c.stop()
	return err
}

package client

import (
	"context"
	"fmt"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// limits are what the server said in CONNACK, or the defaults (MQTT5 3.2.2.3).
type limits struct {
	keepAlive  time.Duration
	maxPacket  uint32
	maxQoS     mqtt.QoS
	retain     bool
	topicAlias uint16
	receive    int
}

// connect dials and shakes hands. The link has no writer yet.
func (c *Client) connect(ctx context.Context, cleanStart bool) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opt.Timeout)
	defer cancel()
	conn, err := c.opt.DialConn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	l := &link{
		mu: &c.mu, refill: c.pump,
		conn: conn, born: time.Now(), version: c.opt.Version, timeout: c.opt.Timeout, tap: c.opt.Tap,
		input: input{
			largest: int(c.opt.MaximumPacketSize), topicAliases: c.opt.TopicAliasMaximum,
			aliases: map[uint16][]byte{},
		},
		sent: map[uint16]string{},
		dead: make(chan struct{}), written: make(chan struct{}),
		wake: make(chan struct{}, 1), drained: make(chan struct{}),
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err = c.shake(l, cleanStart)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("no CONNACK: %w", context.Cause(ctx))
		}
		return nil, err
	}
	return l, nil
}

// shake sends CONNECT and reads CONNACK.
func (c *Client) shake(l *link, cleanStart bool) error {
	packet := c.opt.connectPacket(cleanStart).AppendTo(nil)
	if l.tap != nil {
		l.tap(Sent, packet)
	}
	if _, err := l.conn.Write(packet); err != nil {
		return fmt.Errorf("send CONNECT: %w", err)
	}
	p, err := l.next()
	if err != nil {
		return fmt.Errorf("read CONNACK: %w", err)
	}
	if p.Type != mqtt.CONNACK {
		return fmt.Errorf("read CONNACK: %w", violation(mqtt.ProtocolError, "another packet came first"))
	}
	if p.Connack.Reason != mqtt.Success {
		return reasonError(mqtt.CONNACK, p.Connack.Reason, &p.Connack.Props)
	}
	if p.Connack.SessionPresent && cleanStart {
		return fmt.Errorf("read CONNACK: %w", violation(mqtt.ProtocolError, "a session is present after a clean start"))
	}
	l.connack = p.Connack
	l.connack.Props = cloneProperties(p.Connack.Props)
	l.resumed = p.Connack.SessionPresent || l.version == mqtt.V31 && !cleanStart
	l.limits = c.opt.limits(&l.connack.Props)
	l.quota = min(l.limits.receive, c.opt.MaxInflight)
	l.lastSent = time.Now()
	return nil
}

func (o *Options) connectPacket(cleanStart bool) *mqtt.Connect {
	p := &mqtt.Connect{
		Version: o.Version, CleanStart: cleanStart, KeepAlive: o.KeepAlive,
		ClientID: []byte(o.ClientID), Will: o.Will,
		Username: []byte(o.Username), HasUser: o.Username != "",
		Password: o.Password, HasPass: o.Password != nil,
	}
	if o.Version < mqtt.V5 {
		return p
	}
	p.Props.User = o.UserProperties
	if o.SessionExpiry > 0 {
		p.Props.Has = p.Props.Has.With(mqtt.PropSessionExpiry)
		p.Props.SessionExpiry = o.SessionExpiry
	}
	if o.ReceiveMaximum < 65535 {
		p.Props.Has = p.Props.Has.With(mqtt.PropReceiveMaximum)
		p.Props.ReceiveMaximum = o.ReceiveMaximum
	}
	if o.MaximumPacketSize > 0 {
		p.Props.Has = p.Props.Has.With(mqtt.PropMaximumPacketSize)
		p.Props.MaximumPacketSize = o.MaximumPacketSize
	}
	if o.TopicAliasMaximum > 0 {
		p.Props.Has = p.Props.Has.With(mqtt.PropTopicAliasMaximum)
		p.Props.TopicAliasMaximum = o.TopicAliasMaximum
	}
	return p
}

func (o *Options) limits(p *mqtt.Properties) limits {
	l := limits{
		keepAlive: time.Duration(o.KeepAlive) * time.Second,
		maxPacket: 1 << 30, maxQoS: 2, retain: true, receive: 65535,
		topicAlias: p.TopicAliasMaximum,
	}
	if p.Has.Has(mqtt.PropServerKeepAlive) {
		l.keepAlive = time.Duration(p.ServerKeepAlive) * time.Second
	}
	if p.Has.Has(mqtt.PropMaximumPacketSize) {
		l.maxPacket = p.MaximumPacketSize
	}
	if p.Has.Has(mqtt.PropMaximumQoS) {
		l.maxQoS = p.MaximumQoS
	}
	if p.Has.Has(mqtt.PropRetainAvailable) {
		l.retain = p.RetainAvailable
	}
	if p.Has.Has(mqtt.PropReceiveMaximum) {
		l.receive = int(p.ReceiveMaximum)
	}
	return l
}

package client

import (
	"errors"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// stopped is how OnMessage ends the client.
type stopped struct{ err error }

// Error is the error of OnMessage.
func (s *stopped) Error() string { return s.err.Error() }

// read handles packets until the connection or the client ends.
func (c *Client) read(l *link) error {
	for {
		p, err := l.next()
		if err != nil {
			return err
		}
		if err := c.handle(l, p); err != nil {
			return err
		}
		if err := l.yield(); err != nil {
			return err
		}
	}
}

func (c *Client) handle(l *link, p *mqtt.Packet) error {
	if c.isEnding() != nil { // DISCONNECT is on its way: nothing is taken any more
		return nil
	}
	switch p.Type {
	case mqtt.PUBLISH:
		return c.receive(l, &p.Publish)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP:
		return c.acknowledged(l, p.Type, &p.Ack)
	case mqtt.PUBREL:
		return c.release(l, p.Ack.ID)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		return c.answered(p.Type, &p.Suback)
	case mqtt.PINGRESP:
		c.mu.Lock()
		l.pinged = time.Time{}
		c.mu.Unlock()
		return nil
	case mqtt.DISCONNECT:
		if l.version == mqtt.V5 {
			return reasonError(mqtt.DISCONNECT, p.Disconnect.Reason, &p.Disconnect.Props)
		}
	}
	return violation(mqtt.ProtocolError, "a "+p.Type.String()+" from a server")
}

// receive takes a message: hands it on, then acknowledges it.
func (c *Client) receive(l *link, p *mqtt.Publish) error {
	if err := l.resolve(p); err != nil {
		return err
	}
	if p.QoS == 2 {
		c.mu.Lock()
		known := c.received[p.ID]
		if known { // until PUBREL the id stands for the same message
			l.sendAck(mqtt.PUBREC, p.ID, mqtt.Success)
		}
		held := len(c.received)
		c.mu.Unlock()
		if known {
			return nil
		}
		if held >= int(c.opt.ReceiveMaximum) {
			return violation(mqtt.ReceiveMaximumExceeded, "more QoS 2 messages than the receive maximum")
		}
	}
	err := c.deliver(l, p)
	if err != nil && !errors.Is(err, ErrStop) {
		return &stopped{err}
	}
	c.mu.Lock()
	switch p.QoS {
	case 1:
		l.sendAck(mqtt.PUBACK, p.ID, mqtt.Success)
	case 2:
		c.received[p.ID] = true
		l.sendAck(mqtt.PUBREC, p.ID, mqtt.Success)
	}
	c.mu.Unlock()
	if err != nil {
		return &stopped{ErrClosed}
	}
	return nil
}

func (c *Client) deliver(l *link, p *mqtt.Publish) error {
	if c.opt.OnMessage == nil {
		return nil
	}
	l.setBusy(true)
	defer l.setBusy(false)
	return c.opt.OnMessage(p)
}

// release takes PUBREL: the id is free for another message.
func (c *Client) release(l *link, id uint16) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	reason := mqtt.Success
	if !c.received[id] {
		reason = mqtt.PacketIDNotFound
	}
	delete(c.received, id)
	l.sendAck(mqtt.PUBCOMP, id, reason)
	return nil
}

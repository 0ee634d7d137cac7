package client_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// bench is a client under test and the far ends of the connections it dials.
// Everything runs in a synctest bubble: a script that waits for what never comes
// is a deadlock, reported at once, and time passes only when all are idle.
type bench struct {
	t     *testing.T
	v     mqtt.Version
	dials chan net.Conn
	opt   client.Options
	c     *client.Client
}

func script(t *testing.T, o client.Options, f func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, v: o.Version, dials: make(chan net.Conn), opt: o}
		if b.v == 0 {
			b.v = mqtt.V5
		}
		b.opt.DialConn = func(ctx context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			select {
			case b.dials <- far:
				return near, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		f(b)
		if b.c != nil {
			b.c.Abort()
			<-b.c.Done()
		}
	})
}

// dial starts Dial; the script goes on as the server.
func (b *bench) dial() chan error {
	done := make(chan error, 1)
	go func() {
		var err error
		b.c, err = client.Dial(context.Background(), b.opt)
		done <- err
	}()
	return done
}

// connected is the server's end after the handshake with ack.
func (b *bench) connected(ack mqtt.Connack) *far {
	b.t.Helper()
	done := b.dial()
	s := b.accept(ack)
	if err := <-done; err != nil {
		b.t.Fatal(err)
	}
	return s
}

// accept takes the next connection and answers its CONNECT.
func (b *bench) accept(ack mqtt.Connack) *far {
	b.t.Helper()
	s := b.far()
	s.want(mqtt.CONNECT)
	s.connack(ack)
	return s
}

func (b *bench) far() *far { return &far{t: b.t, v: b.v, conn: <-b.dials} }

// outcome is what Publish returned.
type outcome struct {
	reason mqtt.ReasonCode
	err    error
}

func (b *bench) publish(p mqtt.Publish) chan outcome {
	done := make(chan outcome, 1)
	go func() {
		reason, err := b.c.Publish(context.Background(), &p)
		done <- outcome{reason, err}
	}()
	synctest.Wait()
	return done
}

// far is the server's end of one connection.
type far struct {
	t    *testing.T
	v    mqtt.Version
	conn net.Conn
	in   []byte
	mqtt.Packet
}

// read is the next packet; false at the end of the connection.
func (s *far) read() bool {
	s.t.Helper()
	for {
		h, n, err := mqtt.ParseHeader(s.in)
		if err != nil {
			s.t.Fatal(err)
		}
		if n > 0 && len(s.in) >= n+h.Length {
			body := s.in[n : n+h.Length]
			s.in = s.in[n+h.Length:]
			if err := s.Decode(s.v, h, body, mqtt.Limits{}); err != nil {
				s.t.Fatalf("%v from the client: %v", h.Type, err)
			}
			return true
		}
		buf := make([]byte, 4096)
		got, err := s.conn.Read(buf)
		if err != nil {
			if len(s.in) > 0 {
				s.t.Fatalf("cut inside a packet: % x", s.in)
			}
			return false
		}
		s.in = append(s.in, buf[:got]...)
	}
}

func (s *far) want(t mqtt.Type) *far {
	s.t.Helper()
	if !s.read() {
		s.t.Fatalf("connection ended, want %v", t)
	}
	if s.Type != t {
		s.t.Fatalf("got %v, want %v: %+v", s.Type, t, s.Packet)
	}
	return s
}

func (s *far) wantPublish(topic string, id uint16, dup bool) {
	s.t.Helper()
	s.want(mqtt.PUBLISH)
	if p := &s.Publish; string(p.Topic) != topic || p.ID != id || p.Dup != dup {
		s.t.Fatalf("PUBLISH %q id %d dup %v, want %q %d %v", p.Topic, p.ID, p.Dup, topic, id, dup)
	}
}

func (s *far) wantAck(t mqtt.Type, id uint16, reason mqtt.ReasonCode) {
	s.t.Helper()
	s.want(t)
	if s.Ack.ID != id || s.Ack.Reason != reason {
		s.t.Fatalf("%v of %d with %v, want %d, %v", t, s.Ack.ID, s.Ack.Reason, id, reason)
	}
}

func (s *far) wantDisconnect(reason mqtt.ReasonCode) {
	s.t.Helper()
	s.want(mqtt.DISCONNECT)
	if s.Disconnect.Reason != reason {
		s.t.Fatalf("DISCONNECT with %v, want %v", s.Disconnect.Reason, reason)
	}
	s.wantEnd()
}

func (s *far) wantEnd() {
	s.t.Helper()
	if s.read() {
		s.t.Fatalf("%v, want the end of the connection", s.Type)
	}
}

// wantSilence asserts that the client has nothing to say now.
func (s *far) wantSilence() {
	s.t.Helper()
	synctest.Wait()
	heard := make(chan bool)
	go func() { heard <- s.read() }()
	synctest.Wait()
	select {
	case <-heard:
		s.t.Fatalf("%v, want silence", s.Type)
	default:
		// The reader above must end: a PINGRESP-free way is to have the client
		// answer a PUBREL that it does not know.
		s.write(mqtt.Ack{ID: 65535}, mqtt.PUBREL)
		if !<-heard || s.Type != mqtt.PUBCOMP || s.Ack.ID != 65535 {
			s.t.Fatalf("%v, want silence", s.Type)
		}
	}
}

func (s *far) raw(b []byte) {
	s.t.Helper()
	if _, err := s.conn.Write(b); err != nil && err != io.ErrClosedPipe {
		s.t.Error(err)
	}
}

func (s *far) connack(a mqtt.Connack) { s.t.Helper(); s.raw(a.AppendTo(nil, s.v, 0)) }

func (s *far) write(a mqtt.Ack, t mqtt.Type) { s.t.Helper(); s.raw(a.AppendTo(nil, t, s.v, 0)) }

func (s *far) ack(t mqtt.Type, id uint16, reason mqtt.ReasonCode) {
	s.t.Helper()
	s.write(mqtt.Ack{ID: id, Reason: reason}, t)
}

func (s *far) publish(p mqtt.Publish) { s.t.Helper(); s.raw(p.AppendTo(nil, s.v)) }

func (s *far) suback(t mqtt.Type, id uint16, reasons ...mqtt.ReasonCode) {
	s.t.Helper()
	a := mqtt.Suback{ID: id, Reasons: reasons}
	s.raw(a.AppendTo(nil, t, s.v, 0))
}

// cut ends the connection as a network fault does.
func (s *far) cut() { s.conn.Close() }

func message(topic string, q mqtt.QoS) mqtt.Publish {
	return mqtt.Publish{Topic: []byte(topic), Payload: []byte("x"), QoS: q}
}

func filters(names ...string) (out []mqtt.Subscription) {
	for _, n := range names {
		out = append(out, mqtt.Subscription{Filter: []byte(n), Options: 1})
	}
	return out
}

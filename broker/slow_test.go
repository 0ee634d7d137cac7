package broker_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// plain is a connection without a reader of its own, with small buffers.
func (s *served) plain(words string) *net.TCPConn {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	conn := nc.(*net.TCPConn)
	conn.SetReadBuffer(128 << 10)                  // less than the loopback packet size makes TCP crawl
	conn.SetDeadline(time.Now().Add(2 * patience)) // a test that takes longer as a whole renews it with each step
	s.tell(conn, "CONNECT "+words)
	if p, err := readPacket(bufio.NewReaderSize(io.LimitReader(conn, 1000), 16), mqtt.V5); err != nil || p.Type != mqtt.CONNACK {
		s.t.Fatal(p, err)
	}
	return conn
}

func (s *served) tell(conn net.Conn, line string) {
	s.t.Helper()
	out, err := packettext.Encode(nil, mqtt.V5, line)
	if err == nil {
		_, err = conn.Write(out)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// large reports whether tests are to take the full size, for which nobody waits at every change.
func large() bool { return !raced && os.Getenv("SAPWOOD_STRESS") != "" }

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestSlowConsumer: one of many subscribers never reads. All others get everything, it costs the broker a
// bounded amount, and what it misses is counted.
func TestSlowConsumer(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		const messages, size = 400, 40_000
		others := 199
		if large() {
			others = 999
		}
		s := serve(t, broker.Options{Shards: shards})
		s.tell(s.plain("id=slow"), "SUBSCRIBE id=1 t qos=0")
		var conns []*net.TCPConn
		for i := range others {
			c := s.plain(fmt.Sprint("id=o", i))
			s.tell(c, "SUBSCRIBE id=1 small qos=0")
			conns = append(conns, c)
		}
		fast := s.plain("id=fast")
		s.tell(fast, "SUBSCRIBE id=1 t qos=0")
		s.until("all have subscribed", func(st broker.Stats) bool { return st.Subscriptions == others+2 })
		before := heap()
		pub := s.plain("id=pub")
		end := make(chan error, 2)
		go func() {
			payload := bytes.Repeat([]byte("x"), size)
			for range messages {
				out := (&mqtt.Publish{Topic: []byte("t"), Payload: payload}).AppendTo(nil, mqtt.V5)
				out = (&mqtt.Publish{Topic: []byte("small"), Payload: payload[:10]}).AppendTo(out, mqtt.V5)
				if _, err := pub.Write(out); err != nil {
					end <- err
					return
				}
			}
			end <- nil
		}()
		go func() {
			r := bufio.NewReader(fast)
			for n := -1; n < messages; n++ { // SUBACK first
				if _, err := readPacket(r, mqtt.V5); err != nil {
					end <- err
					return
				}
			}
			end <- nil
		}()
		for range 2 {
			if err := <-end; err != nil {
				t.Fatal(err)
			}
		}
		want := 6 + len((&mqtt.Publish{Topic: []byte("small"), Payload: make([]byte, 10)}).AppendTo(nil, mqtt.V5))*messages
		for i, c := range conns {
			if n, err := io.CopyN(io.Discard, c, int64(want)); err != nil {
				t.Fatalf("o%d: %d of %d bytes: %v", i, n, want, err)
			}
		}
		st := s.stats()
		lost := st.Dropped[session.SlowConsumer]
		if lost == 0 || lost != st.TotalDropped() || st.PublishSent+lost != uint64(messages*(others+2)) {
			t.Errorf("sent %d, slow_consumer %d, dropped %d", st.PublishSent, lost, st.TotalDropped())
		}
		// Of 16 MB the slow one's connection takes 5, and its queue in the broker 2.4; between shards a turn's worth stays allocated.
		if grown := heap() - before; grown > 10<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
	})
}

// TestRetainedToASlowReader: "#" over very many retained topics, to a client that reads in small pieces, while live
// messages flow: all retained ones arrive, live ones go between, and the broker does not hold them for it.
func TestRetainedToASlowReader(t *testing.T) {
	topics := 40_000
	if large() {
		topics = 200_000
	}
	s := serve(t, broker.Options{Shards: 2})
	fill := s.plain("id=fill")
	payload := bytes.Repeat([]byte("some retained words "), 15) // all of them are three times what a system's socket may hold
	acks := make([]byte, 5*1000)                                // PUBACK 0x10: nobody has subscribed
	var out []byte
	for i := range topics {
		out = (&mqtt.Publish{Topic: fmt.Appendf(nil, "r/%d/%d", i/1000, i%1000), Payload: payload, Retain: true, QoS: 1, ID: uint16(i%1000 + 1)}).AppendTo(out, mqtt.V5)
		if i%1000 == 999 {
			fill.SetDeadline(time.Now().Add(patience))
			_, err := fill.Write(out)
			if err == nil {
				_, err = io.ReadFull(fill, acks)
			}
			if err != nil {
				t.Fatal(err)
			}
			out = out[:0]
		}
	}
	for _, words := range []string{"qos=0", "qos=1", "qos=1 expiry=100"} {
		t.Run(words, func(t *testing.T) { slowReplay(t, s, topics, words) })
	}
}

func slowReplay(t *testing.T, s *served, topics int, words string) {
	qos, rest, _ := strings.Cut(words, " ")
	connect := "id=slow " + rest
	start := s.stats()
	sub := s.plain(connect)
	pub := s.client("id=live")
	before := heap()
	s.tell(sub, "SUBSCRIBE id=1 # "+qos)
	r := bufio.NewReaderSize(sub, 4096)
	retained, live, published, grown, firstLive := 0, 0, 0, int64(0), 0
	var acks []byte
	for n := 0; retained < topics || live < published; n++ {
		if n%1000 == 999 {
			sub.SetDeadline(time.Now().Add(patience))
			if published < 100 {
				published++
				pub.send(`PUBLISH topic=live "now"`)
				pub.idle() // it is on its way: what it waits behind is the broker's doing
			}
		}
		p, err := readPacket(r, mqtt.V5)
		if err != nil {
			t.Fatalf("%d retained and %d of %d live came; dropped %v: %v", retained, live, published, s.stats().Dropped, err)
		}
		switch {
		case p.Type != mqtt.PUBLISH:
			continue
		case p.Publish.Retain:
			retained++
		default:
			if live++; live == 1 {
				firstLive = retained
			}
		}
		if p.Publish.QoS > 0 {
			acks = (&mqtt.Ack{ID: p.Publish.ID}).AppendTo(acks, mqtt.PUBACK, mqtt.V5, 0)
		}
		if len(acks) >= 100 || r.Buffered() == 0 {
			if _, err := sub.Write(acks); err != nil {
				t.Fatal(err)
			}
			acks = acks[:0]
		}
		if n%(topics/2) == 1000 {
			grown = max(grown, heap()-before)
		}
	}
	if retained != topics || firstLive > topics/2 { // the sockets hold some thousands of them
		t.Errorf("%d retained of %d; the first live one came after %d", retained, topics, firstLive)
	}
	if grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if st := s.stats(); st.TotalDropped() != start.TotalDropped() {
		t.Errorf("%d dropped", st.Dropped)
	}
	sub.Close()
	pub.conn.Close()
	s.until("both are gone", func(st broker.Stats) bool { return st.Connected == 1 })
}

// TestLargeRetained: retained messages that are larger together than a client's output all arrive, whether by a
// wildcard or one by one.
func TestLargeRetained(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		s := serve(t, broker.Options{Shards: shards})
		pub := s.client("id=pub")
		const n, size = 300, 50_000
		var filters []byte
		for i := range n {
			pub.write((&mqtt.Publish{Topic: fmt.Appendf(nil, "r/%d", i), Payload: make([]byte, size), Retain: true}).AppendTo(nil, mqtt.V5))
			filters = fmt.Appendf(filters, "r/%d qos=0, ", i)
		}
		pub.idle()
		for _, filter := range []string{"r/# qos=0", string(filters[:len(filters)-2])} {
			sub := s.plain("id=sub")
			s.tell(sub, "SUBSCRIBE id=1 "+filter)
			s.until("the output is at its cap", func(st broker.Stats) bool { return st.PublishBytesSent > 60_000 })
			r := bufio.NewReader(sub)
			for got := 0; got < n; {
				p, err := readPacket(r, mqtt.V5)
				if err != nil {
					t.Fatalf("%d came: %v", got, err)
				}
				if p.Type == mqtt.PUBLISH {
					got++
				}
			}
			sub.Close()
		}
		if st := s.stats(); st.TotalDropped() != 0 {
			t.Errorf("%d dropped", st.Dropped)
		}
	})
}

// TestUnsubscribedReplay: after UNSUBACK nothing more comes of the retained messages. [MQTT5 MQTT-3.10.4-2]
func TestUnsubscribedReplay(t *testing.T) {
	s := serve(t, broker.Options{Shards: 1})
	pub := s.client("id=pub")
	for i := range 5000 {
		pub.write((&mqtt.Publish{Topic: fmt.Appendf(nil, "r/%d", i), Payload: make([]byte, 2000), Retain: true}).AppendTo(nil, mqtt.V5))
	}
	pub.idle()
	sub := s.plain("id=sub")
	s.tell(sub, "SUBSCRIBE id=1 r/# qos=0")
	s.tell(sub, "UNSUBSCRIBE id=2 r/#")
	s.tell(sub, "PINGREQ")
	r, n := bufio.NewReader(sub), 0
	for unsubscribed := false; ; n++ {
		p, err := readPacket(r, mqtt.V5)
		if err != nil {
			t.Fatal(err)
		}
		if p.Type == mqtt.PINGRESP {
			break
		}
		if unsubscribed && p.Type == mqtt.PUBLISH {
			t.Fatal("a message after UNSUBACK")
		}
		unsubscribed = unsubscribed || p.Type == mqtt.UNSUBACK
	}
	if n >= 5000 {
		t.Errorf("%d packets came", n)
	}
}

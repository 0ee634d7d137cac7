package conformance

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// Tests that measure the whole process do not call t.Parallel: they run one after the other, before those that
// do.

// heap is what the program holds after a collection, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// descriptors is the number of open files of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("there is no /proc")
	}
	return len(entries)
}

// socket opens a plain connection, closed at the end of the test.
func socket(t *testing.T, b *served) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func wire(t testing.TB, v mqtt.Version, lines ...string) []byte {
	t.Helper()
	var out []byte
	for _, line := range lines {
		var err error
		if out, err = packettext.Encode(out, v, line); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// 1,000 connections announce 256 MiB before CONNECT and then wait: nothing is allocated by what is announced
// (F004).
func TestAnnouncedSize(t *testing.T) {
	b := serve(t, with(t, "connect_timeout=1m")) // none of them is closed for taking its time
	by := newBystander(t, b)
	before := heap()
	for i := range 1000 {
		c := socket(t, b)
		announcement := wire(t, mqtt.V5, "RAW 10 ff ff ff 7f 00 04 'MQTT' 05")
		if i%2 == 0 { // the most that may come at all, but for its last byte
			announcement = append(wire(t, mqtt.V5, "RAW 10 fd 3f 0004 'MQTT' 05 02 0000 00 1f00"), bytes.Repeat([]byte("x"), 1000)...)
		}
		c.Write(announcement)
	}
	b.until("those beyond the limit are closed", func(s broker.Stats) bool { return s.Sockets == 501 })
	if grown := heap() - before; grown > 20<<20 {
		t.Errorf("1,000 connections cost %d KiB", grown>>10)
	}
	by.unaffected()
	if n := b.stats().Violations[mqtt.PacketTooLarge]; n != 500 {
		t.Errorf("%d were too large", n)
	}
}

// 1,000 connections that never send a byte are closed when their time for CONNECT is over (F122).
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	b := serve(t, with(t, "connect_timeout=500ms"))
	by := newBystander(t, b)
	for range 1000 {
		socket(t, b)
	}
	by.unaffected()
	b.until("all are closed", func(s broker.Stats) bool { return s.Sockets == 1 && s.ConnectTimeouts == 1000 })
	by.unaffected()
}

// Thousands of connections come and go in every way; goroutines, descriptors and memory return to what they
// were (F142).
func TestNoLeaks(t *testing.T) {
	b := serve(t, broker.Options{})
	by := newBystander(t, b)
	cycle := func(i int) {
		conn, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		v := []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}[i%3]
		hello := []string{fmt.Sprintf(`CONNECT id=c%d clean will=w "x"`, i%50), "SUBSCRIBE id=1 t/# qos=1", "PUBLISH qos=1 id=1 topic=t/x"}
		switch i % 4 {
		case 0:
			conn.Write(wire(t, v, append(hello, "DISCONNECT")...))
		case 1:
			conn.Write(wire(t, v, append(hello, "RAW 00")...))
		case 2:
			conn.Write(wire(t, v, hello...)[:20])
			return
		case 3: // reset
			conn.Write(wire(t, v, hello...))
			conn.(*net.TCPConn).SetLinger(0)
			return
		}
		conn.SetReadDeadline(time.Now().Add(patience))
		for buf := make([]byte, 512); err == nil; {
			_, err = conn.Read(buf)
		}
		if os.IsTimeout(err) {
			t.Errorf("cycle %d: the broker did not close", i)
		}
	}
	round := func(n int) {
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range n {
					cycle(g*n + i)
				}
			})
		}
		wg.Wait()
		b.until("all are gone", func(s broker.Stats) bool { return s.Sockets == 1 && s.Sessions == 1 && s.Subscriptions == 1 })
	}
	round(100) // warm
	goroutines, files, bytes := runtime.NumGoroutine(), descriptors(t), heap()
	round(500)
	eventually(t, "goroutines and descriptors are as before", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	})
	if grown := heap() - bytes; grown > 2<<20 {
		t.Errorf("4,000 connections left %d KiB behind", grown>>10)
	}
	by.unaffected()
}

// flood publishes n messages on a connection of its own and waits until the broker has dealt with them.
func flood(t *testing.T, b *served, n int, line func(i int) string) {
	t.Helper()
	c := dial(t, b.addr, "flood", mqtt.V5)
	c.exchange("CONNECT id=flood clean", "CONNACK 0x00")
	for i := range n {
		c.send(line(i))
		if i%256 == 255 {
			c.barrier()
		}
	}
	c.barrier()
	c.send("DISCONNECT")
	c.expectClosed()
}

// deaf connects a client that subscribes and then reads nothing any more; it takes as little as it can.
func deaf(t *testing.T, b *served, lines ...string) net.Conn {
	t.Helper()
	conn := socket(t, b)
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	conn.Write(wire(t, mqtt.V5, lines...))
	return conn
}

// A subscriber that never reads: what waits for it is bounded, QoS 0 is dropped and counted, and a
// subscriber that does read gets everything (F125).
func TestNeverReadingQoS0(t *testing.T) {
	b := serve(t, broker.Options{})
	by := newBystander(t, b)
	deaf(t, b, "CONNECT id=deaf clean", "SUBSCRIBE id=1 flood qos=0")
	good := dial(t, b.addr, "good", mqtt.V5)
	good.exchange("CONNECT id=good clean", "CONNACK 0x00")
	good.exchange("SUBSCRIBE id=1 flood qos=0", "SUBACK id=1 0x00")
	b.until("both have subscribed", func(s broker.Stats) bool { return s.Subscriptions == 3 })
	before := heap()
	const n, size = 640, 32 << 10 // 20 MiB
	payload := strings.Repeat("x", size)
	p := dial(t, b.addr, "publisher", mqtt.V5)
	p.exchange("CONNECT id=publisher clean", "CONNACK 0x00")
	for i := range n {
		p.send(`PUBLISH topic=flood "` + payload + `"`)
		if i >= 16 { // never more ahead of the subscriber that reads
			good.expect(`PUBLISH topic=flood "` + payload + `"`)
		}
	}
	for range 16 {
		good.expect(`PUBLISH topic=flood "` + payload + `"`)
	}
	s := b.stats()
	if s.Dropped[session.SlowConsumer] < n/2 {
		t.Errorf("%d dropped", s.Dropped[session.SlowConsumer])
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("20 MiB to a subscriber that does not read cost %d KiB", grown>>10)
	}
	by.unaffected()
}

// A subscriber that never reads or acknowledges, QoS 1: its queue is bounded by count and by bytes, and what
// is beyond is dealt with as configured and counted (F126).
func TestNeverReadingQoS1(t *testing.T) {
	f := func(name, expiry string, settings []string, check func(s broker.Stats, codes map[string]int) bool) {
		t.Helper()
		b := serve(t, with(t, append(settings, "max_inflight=10")...))
		by := newBystander(t, b)
		deaf(t, b, "CONNECT id=deaf clean"+expiry, "SUBSCRIBE id=1 flood qos=1")
		b.until("it has subscribed", func(s broker.Stats) bool { return s.Subscriptions == 2 })
		p := dial(t, b.addr, "publisher", mqtt.V5)
		p.exchange("CONNECT id=publisher clean", "CONNACK 0x00")
		codes := map[string]int{}
		before := heap()
		for i := range 1000 {
			p.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=flood "%s"`, i+1, strings.Repeat("x", 4096)))
			a, err := p.next()
			if err != nil {
				t.Fatal(err)
			}
			_, code, _ := strings.Cut(a.line, fmt.Sprintf("PUBACK id=%d", i+1))
			code, _, _ = strings.Cut(code, " reason=")
			codes[code]++
		}
		if grown := heap() - before; grown > 3<<20 {
			t.Errorf("%s: 4 MiB cost %d KiB", name, grown>>10)
		}
		b.until(fmt.Sprintf("%s%s: %v", name, expiry, codes), func(s broker.Stats) bool { return check(s, codes) })
		by.unaffected()
	}
	// Ten are in flight, and the limit holds for what waits. Another shard learns with its next turn that the queue is full: some
	// more are accepted until then, and dropped.
	for _, expiry := range []string{"", " expiry=300"} {
		f("refuse newest, by count", expiry, []string{"max_queued_messages=100"}, func(s broker.Stats, codes map[string]int) bool {
			in, dropped := codes[""], int(s.Dropped[session.QueueFull])
			return in >= 110 && in <= 400 && codes[" 0x97"] == 1000-in && dropped == 890
		})
		f("refuse newest, by bytes", expiry, []string{"max_queued_bytes=1000000"}, func(s broker.Stats, codes map[string]int) bool {
			in := codes[""]
			return s.QueuedBytes <= 1_050_000 && in >= 200 && in <= 600 && codes[" 0x97"] == 1000-in
		})
		f("drop oldest", expiry, []string{"max_queued_messages=100", "overflow=drop_oldest"}, func(s broker.Stats, codes map[string]int) bool {
			return codes[""] == 1000 && s.Dropped[session.QueueFull] == 890
		})
		f("disconnect", expiry, []string{"max_queued_messages=100", "overflow=disconnect"}, func(s broker.Stats, codes map[string]int) bool {
			return s.Connected == 2 && codes[""] >= 100
		})
	}
}

// All sessions together are bounded, too: beyond, publishers of QoS 1 are told 0x97 (F132).
func TestTotalQueue(t *testing.T) {
	t.Parallel()
	b := serve(t, with(t, "max_total_queued_bytes=1000000"))
	for i := range 20 {
		c := dial(t, b.addr, "away", mqtt.V5)
		c.exchange(fmt.Sprintf("CONNECT id=away%d expiry=300", i), "CONNACK 0x00")
		c.exchange("SUBSCRIBE id=1 t qos=1", "SUBACK id=1 0x01")
		c.drop()
	}
	b.until("all are away", func(s broker.Stats) bool { return s.Connected == 0 })
	p := dial(t, b.addr, "publisher", mqtt.V5)
	p.exchange("CONNECT id=publisher clean", "CONNACK 0x00")
	payload := strings.Repeat("x", 4096)
	taken := 0
	eventually(t, "no more is taken", func() bool {
		p.send(`PUBLISH qos=1 id=1 topic=t "` + payload + `"`)
		a, err := p.next()
		if err != nil || strings.HasPrefix(a.line, "PUBACK id=1 0x97") {
			return err == nil
		}
		taken++ // it is counted when the loops of those who get it have it
		b.until("all have it", func(s broker.Stats) bool {
			return s.QueuedBytes+int64(s.Dropped[session.ServerFull])<<12 >= int64(taken*20)<<12
		})
		return false
	})
	if taken < 10 {
		t.Errorf("%d of 4 KiB for 20 are more than 1,000,000 bytes", taken)
	}
	if s := b.stats(); s.QueuedBytes > 1_100_000 || s.Dropped[session.ServerFull] == 0 {
		t.Errorf("%d bytes queued, %d dropped", s.QueuedBytes, s.Dropped[session.ServerFull])
	}
}

// A large message to many subscribers that do not read: its payload is there once (F129).
func TestFanOutBomb(t *testing.T) {
	b := serve(t, with(t, "max_packet_size=2000000", "max_outgoing_bytes=8000000"))
	const n = 100
	for i := range n {
		deaf(t, b, fmt.Sprintf("CONNECT id=deaf%d clean", i), "SUBSCRIBE id=1 bomb qos=0")
	}
	b.until("all have subscribed", func(s broker.Stats) bool { return s.Subscriptions == n })
	// More than the sockets take, so that something waits for each of them.
	flood(t, b, 4, func(int) string { return `PUBLISH topic=bomb "` + strings.Repeat("x", 1<<20) + `"` })
	before := heap()
	flood(t, b, 1, func(int) string { return `PUBLISH topic=bomb "` + strings.Repeat("x", 1<<20) + `"` })
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("one message of 1 MiB to %d subscribers cost %d KiB", n, grown>>10)
	}
}

// Topics that nobody subscribed to or retained leave nothing behind beyond those that the books have room for (F133).
func TestTopicExplosion(t *testing.T) {
	books := broker.DefaultBookkeeping()
	books.Topics = 10_000
	b := serve(t, broker.Options{Books: &books})
	newBystander(t, b)
	explode := func(from int) {
		flood(t, b, 20000, func(i int) string { return fmt.Sprintf("PUBLISH topic=random/%d/%d", i%100, from+i) })
	}
	explode(0)
	before := heap()
	explode(20000)
	if grown := heap() - before; grown > 2<<20 {
		t.Errorf("20,000 topics left %d KiB behind", grown>>10)
	}
}

// A client that goes for good takes all it had with it: queue, packet identifiers, subscriptions (F113),
// also with a flood of QoS 2 messages that were never released (F069).
func TestSessionFreed(t *testing.T) {
	b := serve(t, broker.Options{})
	p := dial(t, b.addr, "publisher", mqtt.V5)
	p.exchange("CONNECT id=publisher clean", "CONNACK 0x00")
	before := heap()
	for round := range 2 {
		c := dial(t, b.addr, "c", mqtt.V5)
		c.exchange("CONNECT id=c expiry=1 receive-max=1", "CONNACK 0x00")
		c.exchange("SUBSCRIBE id=1 t qos=1", "SUBACK id=1 0x01")
		for i := range 1000 {
			c.exchange(fmt.Sprintf("PUBLISH qos=2 id=%d topic=nobody", i+1), fmt.Sprintf("PUBREC id=%d 0x10", i+1))
		}
		for range 1000 { // it acknowledges none; its time begins when it goes
			p.exchange(`PUBLISH qos=1 id=1 topic=t "`+strings.Repeat("x", 2048)+`"`, "PUBACK id=1 0x00")
		}
		b.until("all are queued", func(s broker.Stats) bool { return s.QueuedBytes >= 2_000_000 && s.Sessions == 2 })
		c.drop()
		b.until("it has expired", func(s broker.Stats) bool {
			return s.Sessions == 1 && s.QueuedBytes == 0 && s.Subscriptions == 0 && s.SessionsExpired == uint64(round+1)
		})
	}
	if grown := heap() - before; grown > 2<<20 {
		t.Errorf("expired sessions left %d KiB behind", grown>>10)
	}
}

// A broker starts with what another left in the store: sessions, queues, retained messages, and with what is
// left of the life of messages (F114).
func TestRestart(t *testing.T) {
	t.Parallel()
	s := mem.New()
	first := serve(t, broker.Options{Store: s})
	c := dial(t, first.addr, "c", mqtt.V5)
	c.exchange("CONNECT id=c expiry=300", "CONNACK 0x00")
	c.exchange("SUBSCRIBE id=1 t/# qos=2", "SUBACK id=1 0x02")
	c.exchange("PUBLISH qos=2 id=77 topic=other", "PUBREC id=77 0x10")
	c.drop()
	first.until("c is away", func(s broker.Stats) bool { return s.Connected == 0 })
	p := dial(t, first.addr, "p", mqtt.V5)
	p.exchange("CONNECT id=p clean", "CONNACK 0x00")
	published := time.Now()
	p.exchange(`PUBLISH qos=1 id=1 topic=t/1 expiry=2 "short"`, "PUBACK id=1 0x00")
	p.exchange(`PUBLISH qos=1 id=2 topic=t/2 expiry=100 "long"`, "PUBACK id=2 0x00")
	p.exchange(`PUBLISH qos=1 id=3 retain topic=r expiry=100 "kept"`, "PUBACK id=3 0x10")
	p.exchange(`PUBLISH qos=1 id=4 retain topic=q expiry=1 "gone"`, "PUBACK id=4 0x10")
	p.drop()
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-time.After(2100 * time.Millisecond)
	second := serve(t, broker.Options{Store: s})
	c = dial(t, second.addr, "c", mqtt.V5)
	c.exchange("CONNECT id=c expiry=300", "CONNACK 0x00 present")
	got := c.expect(`PUBLISH qos=1 id=2 topic=t/2 "long"`)
	if strings.Contains(got.line, "dup") { // it came while c was away, so it was never sent [MQTT5 MQTT-3.3.1-1]
		t.Errorf("DUP without a first time: %s", got.line)
	}
	least := 99 - int(time.Since(published).Seconds())
	if err := match(mqtt.V5, fmt.Sprintf(`PUBLISH qos=1 topic=t/2 expiry=%d..98 "long"`, least), got.line); err != nil {
		t.Errorf("what is left of 100 s after 2.1 s: %v", err)
	}
	c.exchange("PUBLISH qos=2 id=77 dup topic=t/3", "PUBREC id=77 0x00") // the same message [MQTT5 MQTT-4.3.3-10]
	c.exchange("PUBREL id=77", "PUBCOMP id=77 0x00")
	c.exchange("SUBSCRIBE id=1 # qos=0", "SUBACK id=1 0x00")
	c.expect(`PUBLISH retain topic=r "kept"`)
	c.exchange("PINGREQ", "PINGRESP")
}

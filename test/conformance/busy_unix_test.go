//go:build unix

package conformance

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// busy is the processor time that this process used.
func busy(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// A subscriber that does not acknowledge its retained messages costs nothing while it does not.
func TestRetainedUnacknowledged(t *testing.T) {
	b := serve(t, broker.Options{})
	p := dial(t, b.addr, "p", mqtt.V5)
	p.exchange("CONNECT id=p clean", "CONNACK 0x00")
	for i := range 10 {
		p.exchange(fmt.Sprintf(`PUBLISH qos=1 id=1 retain topic=r/%d "x"`, i), "PUBACK id=1 0x10")
	}
	c := dial(t, b.addr, "c", mqtt.V5)
	c.exchange("CONNECT id=c clean receive-max=1", "CONNACK 0x00")
	c.exchange("SUBSCRIBE id=1 r/+ qos=1", "SUBACK id=1 0x01")
	topics := map[string]bool{}
	next := func() {
		t.Helper()
		a, err := c.next()
		if _, topic, ok := strings.Cut(a.line, "topic="); ok {
			topics[topic] = true
		} else {
			t.Fatalf("got %s, %v", a.line, err)
		}
	}
	next()
	before := busy(t)
	<-time.After(500 * time.Millisecond)
	if used := busy(t) - before; used > 200*time.Millisecond {
		t.Errorf("half a second of waiting took %v of processor time", used)
	}
	for i := range 9 {
		c.send(fmt.Sprintf("PUBACK id=%d", i+1))
		next()
	}
	if len(topics) != 10 {
		t.Errorf("got %d of 10 topics", len(topics))
	}
}

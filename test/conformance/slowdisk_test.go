package conformance

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file/faulty"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// F216: while a sync takes four seconds, nobody is taken for dead who is not, QoS 0 goes on and what nobody has to wait
// for is answered; then all that came meanwhile is acknowledged with one sync or a few, and the time it took is shown.
// Whoever is late with its PINGREQ is dead: a machine that is too busy for a keep-alive of two seconds is asked for less.
func TestSlowSync(t *testing.T) {
	for keepAlive := 2; !slowSync(t, keepAlive); keepAlive *= 2 {
		t.Logf("this machine is too busy for a keep-alive of %d s", keepAlive)
	}
}

// slowSync is false if the clients had too much time between two PINGREQs.
func slowSync(t *testing.T, keepAlive int) bool {
	const publishers, each = 20, 25
	interval := time.Duration(keepAlive) * time.Second
	d := faulty.New(1)
	cfg := disk.DefaultConfig()
	cfg.SegmentSize, cfg.Reserve = 4<<20, 1<<20
	st, err := disk.Open("data", disk.Fsync, cfg, disk.Options{System: d})
	if err != nil {
		t.Fatal(err)
	}
	b := serve(t, broker.Options{Store: st})
	pinged := time.Now() // since then everybody has sent something
	clients := make([]*client, publishers)
	for i := range clients {
		clients[i] = dial(t, b.addr, fmt.Sprint("p", i), mqtt.V311)
		clients[i].exchange(fmt.Sprintf("CONNECT id=p%d clean keepalive=%d", i, keepAlive), "CONNACK 0x00")
	}
	away := dial(t, b.addr, "away", mqtt.V5)
	away.exchange("CONNECT id=away expiry=3600", "CONNACK 0x00")
	away.exchange("SUBSCRIBE id=1 q qos=1", "SUBACK id=1 0x01")
	watcher := dial(t, b.addr, "watcher", mqtt.V5)
	watcher.exchange("CONNECT id=watcher clean", "CONNACK 0x00")
	watcher.exchange("SUBSCRIBE id=1 live qos=0", "SUBACK id=1 0x00")

	goOn, waiting := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	var once sync.Once
	stop := d.Slow(faulty.Match{Op: faulty.OpSync}, func() {
		once.Do(func() { close(waiting) })
		<-goOn
	})
	before := st.Status().Commits
	clients[0].send(`PUBLISH qos=1 id=1 topic=q "first"`)
	<-waiting
	began := time.Now()
	for i, c := range clients {
		for n := range each {
			c.send(fmt.Sprintf(`PUBLISH qos=1 id=%d topic=q "%d"`, n+2, i))
		}
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < 2*interval { // longer than one and a half times the keep-alive
		round := time.Now()
		for _, c := range clients {
			c.send("PINGREQ")
			if time.Since(pinged) > interval && keepAlive < 60 {
				return false
			}
			c.expect("PINGRESP") // and no PUBACK
		}
		watcher.send(`PUBLISH topic=live "x"`)
		watcher.expect(`PUBLISH topic=live "x"`)
		pinged = round
		<-tick.C
	}
	took := time.Since(began)
	stop()
	release()
	clients[0].expect("PUBACK id=1")
	for _, c := range clients {
		for n := range each {
			c.expect(fmt.Sprintf("PUBACK id=%d", n+2))
		}
	}
	after := st.Status().Commits
	if groups := after.Groups - before.Groups; groups > 10 {
		t.Errorf("%d messages took %d syncs", publishers*each+1, groups)
	}
	if after.SyncMax < took/2 { // another sync may have been the first to wait
		t.Errorf("a sync took %v, and %v is shown", took, after.SyncMax)
	}
	for range publishers*each + 1 {
		if a, err := away.next(); err != nil || !strings.HasPrefix(a.line, "PUBLISH") {
			t.Fatal(a.line, err)
		} else {
			away.send("PUBACK " + strings.Fields(a.line[strings.Index(a.line, "id="):])[0])
		}
	}
	return true
}

package capture_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/console/api/capture"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/packettext"
)

// desk is one with taps of the test's own.
func desk(t testing.TB) (*capture.Desk, *[]*trace.Tap) {
	taps := new([]*trace.Tap)
	d := capture.NewDesk(func(_ context.Context, f trace.Filter, _ time.Duration) (*trace.Tap, error) {
		tap := trace.NewTap(f, nil)
		*taps = append(*taps, tap)
		return tap, nil
	})
	t.Cleanup(d.Close)
	return d, taps
}

func begin(t testing.TB, d *capture.Desk) *capture.Trace {
	t.Helper()
	x, err := d.Begin(t.Context(), trace.Filter{Client: "c"}, "", "test", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// all waits for n packets.
func all(t testing.TB, x *capture.Trace, n int) (got []trace.Packet) {
	t.Helper()
	for at := uint64(0); len(got) < n; {
		list, next, changed := x.Read(at)
		got, at = append(got, list...), next
		if len(list) > 0 {
			continue
		}
		if changed == nil {
			t.Fatalf("it ended after %d packets of %d", len(got), n)
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatalf("%d packets of %d", len(got), n)
		}
	}
	return got
}

// exchange offers what a client of a version says and hears.
func exchange(t testing.TB, offer func(trace.Packet), v mqtt.Version, client, address string) {
	large := `"` + strings.Repeat("x", 60_000) + `"`
	version := map[mqtt.Version]string{mqtt.V311: "v3.1.1", mqtt.V5: "v5"}[v]
	script := []string{
		">CONNECT " + version + " id=" + client + " clean username=u password=sesame", "<CONNACK 0x00", ">SUBSCRIBE id=1 t/# qos=2", "<SUBACK id=1 0x02",
		`>PUBLISH topic=t/0 "a"`, `>PUBLISH qos=1 id=2 topic=t/1 "b"`, "<PUBACK id=2", `<PUBLISH qos=2 id=1 topic=t/2 "c"`, ">PUBREC id=1", "<PUBREL id=1", ">PUBCOMP id=1",
		"<PUBLISH qos=1 id=2 topic=t/large " + large, ">PUBACK id=2", ">PINGREQ", "<PINGRESP", ">DISCONNECT",
	}
	if client == "late" {
		script = []string{">SUBSCRIBE id=1 late/# qos=1", "<PUBLISH qos=1 id=9 topic=late/1 user=a=b \"x\"", ">PUBACK id=9"}
	}
	for i, line := range script {
		raw, err := packettext.Encode(nil, v, line[1:])
		if err != nil {
			t.Fatal(err)
		}
		dir := trace.In
		if line[0] == '<' {
			dir = trace.Out
		}
		offer(trace.Packet{
			At: 1_700_000_000_000 + int64(i), Client: client, Address: netip.MustParseAddrPort(address), Dir: dir, Version: v, Raw: trace.Capture(raw, 0, 1<<20), Size: len(raw),
		})
	}
	offer(trace.Packet{At: 1_700_000_001_000, Client: client, Address: netip.MustParseAddrPort(address), Text: "closed: enough", Closed: true})
}

// TestFiles: what was traced comes out as JSON and as a capture, without passwords.
func TestFiles(t *testing.T) {
	d, taps := desk(t)
	x := begin(t, d)
	exchange(t, (*taps)[0].Offer, mqtt.V5, "five", "127.0.0.1:5555")
	all(t, x, 17)
	var lines, file bytes.Buffer
	if err := errors.Join(x.JSON(&lines), x.PCAP(&file)); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(lines.Bytes(), []byte("sesame")) || bytes.Contains(file.Bytes(), []byte("sesame")) || !bytes.Contains(file.Bytes(), []byte("t/large")) {
		t.Error("the password is there, or a topic is not")
	}
	var got []string
	for e := json.NewDecoder(&lines); e.More(); {
		var l trace.Line
		if err := e.Decode(&l); err != nil {
			t.Fatal(err)
		}
		got = append(got, l.Direction+" "+l.Type)
	}
	if want := "in CONNECT,out CONNACK,in SUBSCRIBE,out SUBACK,in PUBLISH,in PUBLISH,out PUBACK,out PUBLISH,in PUBREC,out PUBREL,in PUBCOMP," +
		"out PUBLISH,in PUBACK,in PINGREQ,out PINGRESP,in DISCONNECT, note"; strings.Join(got, ",") != want {
		t.Errorf("%s", got)
	}
}

// TestDesk: buffers and the number of traces are bounded; those that run are not pushed out.
func TestDesk(t *testing.T) {
	d, taps := desk(t)
	x := begin(t, d)
	for round := range uint64(3) {
		for range 3000 {
			(*taps)[0].Offer(trace.Packet{Raw: make([]byte, 2000)})
		}
		for {
			_, _, changed := x.Read(1 << 40)
			if x.Info().Packets == (round+1)*3000 {
				break
			}
			<-changed
		}
	}
	if i := x.Info(); i.Bytes > 16<<20 || i.Kept > 8999 || i.By != "test" || !i.Running {
		t.Errorf("%+v", i)
	}
	var list []*capture.Trace
	for range capture.MaxTraces - 1 {
		list = append(list, begin(t, d))
	}
	if _, err := d.Begin(t.Context(), trace.Filter{Client: "c"}, "", "", time.Minute); !errors.Is(err, capture.ErrFull) {
		t.Errorf("one more: %v", err)
	}
	(*taps)[0].Close()
	for x.Info().Running {
		if _, _, changed := x.Read(1 << 40); changed != nil {
			<-changed
		}
	}
	begin(t, d)
	if d.Find(x.Info().ID) != nil || d.Find(list[0].Info().ID) == nil || len(d.All()) != capture.MaxTraces {
		t.Error("another one than that which has ended was forgotten")
	}
	if !d.Delete(list[0].Info().ID) || d.Delete(list[0].Info().ID) {
		t.Error("delete")
	}
	if _, err := d.Begin(t.Context(), trace.Filter{Client: "c"}, "", "", 2*time.Hour); err == nil {
		t.Error("two hours are taken")
	}
}

func TestPrefix(t *testing.T) {
	for in, want := range map[string]string{
		"10.1.2.3": "10.1.2.3/32", "10.1.2.3/8": "10.0.0.0/8", "::1": "::1/128", "::ffff:10.0.0.1": "10.0.0.1/32", "x": "", "": "",
	} {
		p, err := capture.Prefix(in)
		if got := fmt.Sprint(p); (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%q: %s, %v", in, got, err)
		}
	}
}

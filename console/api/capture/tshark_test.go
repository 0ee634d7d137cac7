//go:build tshark

package capture_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/trace"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// traced writes the exchange of four clients as a capture file and returns its name.
func traced(t testing.TB) string {
	d, taps := desk(t)
	x := begin(t, d)
	n := 0
	offer := func(p trace.Packet) { n++; (*taps)[0].Offer(p) }
	exchange(t, offer, mqtt.V311, "four", "10.0.0.4:4444")
	exchange(t, offer, mqtt.V5, "five", "127.0.0.1:5555")
	exchange(t, offer, mqtt.V5, "six", "[2001:db8::6]:6666")
	exchange(t, offer, mqtt.V5, "late", "10.0.0.7:7777")
	all(t, x, n)
	name := filepath.Join(t.TempDir(), "trace.pcapng")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(x.PCAP(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestTshark: Wireshark reads what was traced as MQTT, finds every packet, its topic and its client id, and nothing wrong with it.
// It needs tshark: apt-get install -y tshark.
func TestTshark(t *testing.T) {
	file := traced(t)
	fields := func(filter string, names ...string) []string {
		t.Helper()
		args := []string{"-r", file, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y", filter, "-T", "fields"}
		for _, n := range names {
			args = append(args, "-e", n)
		}
		out, err := exec.Command("tshark", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if len(out) == 0 {
			return nil
		}
		return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	}
	for _, wrong := range []string{"_ws.malformed", "tcp.checksum.status == 0", "ip.checksum.status == 0", "tcp.analysis.flags"} {
		if bad := fields(wrong, "frame.number", "_ws.col.Info"); len(bad) > 0 {
			t.Errorf("%s: %s", wrong, strings.Join(bad, "; "))
		}
	}
	if got := fields("tcp.flags.syn == 1 && tcp.flags.ack == 0", "frame.comment"); len(got) != 4 {
		t.Errorf("connections: %q", got)
	}
	if got := strings.Join(fields("mqtt.msgtype == 1", "mqtt.clientid", "mqtt.ver", "mqtt.passwd"), "; "); got != "four\t4\t******; five\t5\t******; six\t5\t******; late\t5\t" {
		t.Errorf("CONNECT: %q", got)
	}
	topics := fields("mqtt.msgtype == 3", "mqtt.topic", "mqtt.qos")
	if got, want := strings.Join(topics, "; "), strings.TrimSuffix(strings.Repeat("t/0\t0; t/1\t1; t/2\t2; t/large\t1; ", 3), "; "); got != want+"; late/1\t1" {
		t.Errorf("PUBLISH: %q, want %q", got, want)
	}
	for kind, n := range map[string]int{"2": 3, "4": 7, "5": 3, "6": 3, "7": 3, "8": 4, "9": 3, "12": 3, "13": 3, "14": 3} {
		if got := fields("mqtt.msgtype == "+kind, "frame.number"); len(got) != n {
			t.Errorf("%d packets of type %s, want %d", len(got), kind, n)
		}
	}
}

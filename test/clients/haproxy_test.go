package clients

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// startHAProxy runs haproxy until the test ends, with a port of this machine for each backend, and returns these as host:port.
func startHAProxy(t *testing.T, backends ...string) []string {
	t.Helper()
	config := "global\n  maxconn 100\ndefaults\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n"
	var fronts []string
	for i, backend := range backends {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		fronts = append(fronts, ln.Addr().String())
		ln.Close() // haproxy takes no port 0 and tells
		config += fmt.Sprintf("listen l%d\n  bind %s\n  %s\n", i, fronts[i], backend)
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	write(t, file, config)
	var out journal
	cmd := exec.Command("haproxy", "-db", "-f", file)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy says:\n%s", out.String())
		}
	})
	for _, front := range fronts {
		until(t, "haproxy listens", func() bool {
			c, err := net.DialTimeout("tcp", front, time.Second)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	return fronts
}

// TestHAProxy: behind haproxy, which tells by PROXY headers of both versions and by X-Forwarded-For where a client comes from, rules and bans
// go by the client's address; without a header nobody gets in, and from elsewhere none is believed.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	trusting := `proxy: {trusted: ["127.0.0.1/32"]}, `
	b := startConfigured(t, `authorization: {rules: [{allow: [publish, subscribe, receive], topics: ["#"], addresses: [127.0.0.2, 127.0.0.3]}]}
listeners:
`+listenerAt("tcp", "127.0.0.1:0", trusting)+listenerAt("mqtts", "127.0.0.1:0", trusting)+listenerAt("ws", "127.0.0.1:0", trusting)+
		listenerAt("tcp", "127.0.0.1:0", `proxy: {trusted: ["192.0.2.0/24"]}, `)+"http: {address: \"127.0.0.1:0\"}\n")
	fronts := startHAProxy(t,
		"mode tcp\n  server b "+b.at(0)+" send-proxy",
		"mode tcp\n  server b "+b.at(0)+" send-proxy-v2",
		"mode tcp\n  server b "+b.at(1)+" send-proxy-v2",
		"mode http\n  option forwardfor\n  server b "+b.at(2),
		"mode tcp\n  server b "+b.at(3)+" send-proxy-v2",
	)
	for i, name := range []string{"v1", "v2", "v2 before TLS"} {
		t.Run(name, func(t *testing.T) {
			m := &mosquitto{t: t, version: "mqttv5", broker: fronts[i]}
			if i == 2 {
				m.args = []string{"--cafile", authority()}
			}
			from2, from3, from4 := m.at(fronts[i], append(m.args, "-A", "127.0.0.2")...), m.at(fronts[i], append(m.args[:len(m.args):len(m.args)], "-A", "127.0.0.3")...),
				m.at(fronts[i], append(m.args[:len(m.args):len(m.args)], "-A", "127.0.0.4")...)
			s := from2.sub("-t", "t")
			from3.run("mosquitto_pub", "-t", "t", "-m", "1", "-q", "1")
			s.gets("t 0 0 1")
			from4.refused("Not authorized", "-t", "t")
			b.cli("", "ban", "address", "127.0.0.2")
			s.ends("")
			from2.refused("")
			from3.run("mosquitto_pub", "-t", "t", "-m", "2", "-q", "1")
			b.cli("", "unban", "address", "127.0.0.2")
			from2.run("mosquitto_pub", "-t", "t", "-m", "3", "-q", "1")
		})
	}
	t.Run("X-Forwarded-For", func(t *testing.T) {
		c, err := dialJS(t.Context(), 5, options{addr: fronts[3], door: "ws", id: "page"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		if code, _ := c.subscribe("t", 1); code != 0x87 { // it comes from 127.0.0.1
			t.Errorf("may subscribe: %#x", code)
		}
	})
	t.Run("no header", func(t *testing.T) {
		m := &mosquitto{t: t, version: "mqttv5", args: []string{"-A", "127.0.0.1"}}
		m.at(b.at(0), m.args...).refused("")
	})
	t.Run("not believed", func(t *testing.T) {
		m := &mosquitto{t: t, version: "mqttv5", args: []string{"-A", "127.0.0.2"}}
		m.at(fronts[4], m.args...).refused("")
		m.at(b.at(3), m.args...).run("mosquitto_pub", "-t", "t", "-m", "direct", "-q", "1")
	})
}

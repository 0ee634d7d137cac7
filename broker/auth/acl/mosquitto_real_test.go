//go:build mosquitto

// Run by .ci/run, which installs mosquitto: go test -tags mosquitto ./broker/auth/acl

package acl_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// mosquitto runs the real one with an ACL file.
func mosquitto(t *testing.T, text string) (address string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = free.Addr().String()
	free.Close()
	dir := t.TempDir()
	file, conf := filepath.Join(dir, "acl"), filepath.Join(dir, "conf")
	port := address[strings.LastIndex(address, ":")+1:]
	for name, text := range map[string]string{file: text, conf: "listener " + port + " 127.0.0.1\nallow_anonymous true\nuser root\nacl_file " + file + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto" // Debian puts it where PATH may not look
	}
	server := exec.Command(path, "-c", conf)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address
		}
	}
	t.Fatalf("mosquitto does not take\n%s", text)
	return ""
}

// TestAgainstMosquitto: for random files the rules answer as the real Mosquitto does.
func TestAgainstMosquitto(t *testing.T) {
	topics := []string{"a", "a/b", "a/c1", "b", "b/joe/x", "c/c1/joe", "c/c2/ann", "two words", "a/two words/c1", "$own/a", "$own/c1"}
	pick := func(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }
	for seed := range 25 {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		var b strings.Builder
		for range r.IntN(14) {
			access := pick(r, "read ", "write ", "readwrite ", "deny ", "", "read  ")
			switch r.IntN(7) {
			case 0:
				fmt.Fprintln(&b, "user "+pick(r, "joe", "ann"))
			case 1, 2:
				fmt.Fprintln(&b, "pattern "+pick(r, "read ", "write ", "readwrite ", "deny ")+pick(r, "a/%c", "b/%u/#", "c/%c/%u", "+/%c/+", "a/#", "$own/%c", "#", "%c"))
			case 3:
				fmt.Fprintln(&b, pick(r, "# a comment", "", "   "))
			default:
				if filter := pick(r, "a", "a/#", "+/b", "#", "b/joe/x", "two words", "a/two words/+", "c/+/joe", "$own/#", "+/+"); access != "" || !strings.Contains(filter, " ") {
					fmt.Fprintln(&b, " topic "[r.IntN(2):]+access+filter)
				}
			}
		}
		text := b.String() + "user root\ntopic #\ntopic $own/#\n"
		rules, err := acl.ParseMosquitto("acl", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		e := engine(t, rules...)
		address := mosquitto(t, text)
		root, err := client.Dial(t.Context(), client.Options{Address: "mqtt://" + address, Version: mqtt.V5, ClientID: "root", Username: "root"})
		if err != nil {
			t.Fatal(err)
		}
		for _, user := range []string{"", "joe", "ann"} {
			for _, id := range []string{"c1", "c2"} {
				got := make(chan string, 100)
				c, err := client.Dial(t.Context(), client.Options{
					Address: "mqtt://" + address, Version: mqtt.V5, ClientID: id, Username: user,
					OnMessage: func(p *mqtt.Publish) error { got <- string(p.Topic); return nil },
				})
				if err != nil {
					t.Fatal(err)
				}
				ack, err := c.Subscribe(t.Context(), mqtt.Subscribe{Filters: []mqtt.Subscription{{Filter: []byte("#")}, {Filter: []byte("$own/#")}}})
				if err != nil || ack.Reasons[0].Failed() || ack.Reasons[1].Failed() {
					t.Fatal(ack, err)
				}
				who := someone(id, user)
				for _, name := range topics {
					reason, _ := c.Publish(t.Context(), &mqtt.Publish{Topic: []byte(name), QoS: 1})
					if want := !reason.Failed(); want != e.Authorize(who, &auth.Question{Action: auth.Publish, Topic: []byte(name)}) {
						t.Errorf("%s: Mosquitto says %v to a publish of %q by %q, %q", text, want, name, id, user)
					}
				}
				for _, name := range topics {
					if reason, err := root.Publish(t.Context(), &mqtt.Publish{Topic: []byte(name), QoS: 1, Payload: []byte("from root")}); err != nil || reason.Failed() {
						t.Fatal(name, reason, err)
					}
				}
				may := map[string]bool{}
				if _, err := c.Subscribe(t.Context(), mqtt.Subscribe{Filters: []mqtt.Subscription{{Filter: []byte("end")}}}); err != nil {
					t.Fatal(err)
				}
				for len(got) > 0 { // all of it came before SUBACK
					may[<-got] = true
				}
				for _, name := range topics {
					if may[name] != e.Authorize(who, &auth.Question{Action: auth.Receive, Topic: []byte(name)}) {
						t.Errorf("%s: Mosquitto says %v to the receipt of %q by %q, %q", text, may[name], name, id, user)
					}
				}
				c.Abort()
			}
		}
		root.Abort()
	}
}

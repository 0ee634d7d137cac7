//go:build mosquitto

// Run by .ci/run, which installs mosquitto: go test -tags mosquitto ./mqtt/client

package client_test

import (
	"context"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/mqtt/client"
)

// mosquitto starts the real one on a free port and returns its address.
func mosquitto(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto" // Debian puts it where PATH may not look
	}
	server := exec.Command(path, "-p", strconv.Itoa(port))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatal("mosquitto does not listen")
	return ""
}

// Every version and QoS, through a connection that is cut again and again:
// QoS 1 at least once, QoS 2 exactly once, both in order.
func TestMosquittoThroughCuts(t *testing.T) {
	address := mosquitto(t)
	for _, v := range versions {
		for q := mqtt.QoS(1); q <= 2; q++ {
			t.Run(v.String()+" QoS "+strconv.Itoa(int(q)), func(t *testing.T) {
				const messages = 300
				got := make(chan string, messages*10)
				var near net.Conn
				o := client.Options{
					Version: v, ClientID: "sub" + v.String() + strconv.Itoa(int(q)), SessionExpiry: 60,
					Reconnect: client.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond},
					DialConn: func(ctx context.Context) (net.Conn, error) {
						conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
						near = conn
						return conn, err
					},
				}
				taken := 0
				o.OnMessage = func(p *mqtt.Publish) error {
					got <- string(p.Payload)
					if taken++; taken%50 == 0 {
						near.Close() // before the acknowledgement
					}
					return nil
				}
				sub, err := client.Dial(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				defer sub.Abort()
				topic := o.ClientID
				if _, err := sub.Subscribe(t.Context(), mqtt.Subscribe{Filters: []mqtt.Subscription{
					{Filter: []byte(topic), Options: mqtt.SubOptions(q)},
				}}); err != nil {
					t.Fatal(err)
				}
				o.ClientID, o.OnMessage = "pub"+topic, nil
				pub, err := client.Dial(t.Context(), client.Options{
					Version: v, ClientID: "pub" + topic, SessionExpiry: 60, Address: address,
				})
				if err != nil {
					t.Fatal(err)
				}
				var want []string
				for i := range messages {
					want = append(want, strconv.Itoa(i))
					p := mqtt.Publish{Topic: []byte(topic), Payload: []byte(want[i]), QoS: q}
					if _, err := pub.Publish(t.Context(), &p); err != nil {
						t.Fatal(err)
					}
				}
				if err := pub.Close(t.Context()); err != nil {
					t.Error(err)
				}
				var all []string
				for len(all) == 0 || all[len(all)-1] != want[messages-1] {
					select {
					case m := <-got:
						all = append(all, m)
					case <-time.After(time.Minute):
						t.Fatalf("%d messages, then no more", len(all))
					}
				}
				if q == 1 { // at least once: the order is that of the first times
					seen := map[string]bool{}
					all = slices.DeleteFunc(all, func(m string) bool { again := seen[m]; seen[m] = true; return again })
				}
				if !slices.Equal(all, want) {
					t.Errorf("got %d messages: %v", len(all), all)
				}
			})
		}
	}
}

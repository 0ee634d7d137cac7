package conformance

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/admission"
	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/test/binary"
)

// fewFiles is how many files the process of TestDescriptors may have open.
const fewFiles = 256

// TestDescriptors: a process that has no descriptors for more connections closes those that come, counts and tells that, goes on with all
// else, files and API included, and takes clients again when some have left. The watermark that would refuse before is off (F120, F121).
func TestDescriptors(t *testing.T) {
	t.Parallel()
	cmd := sapwood(t, t.TempDir(), "serve", "--json", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0")
	cmd.Env = append(cmd.Env, "SAPWOOD_OVERLOAD_DESCRIPTORS=0")
	limited := exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, fewFiles), cmd.Path}, cmd.Args[1:]...)...)
	limited.Env = cmd.Env
	p, err := binary.Serve(t, limited)
	if err != nil {
		t.Fatalf("%v: %s", err, &p.Logs)
	}
	ask := func(path string, into any) bool {
		authorization := "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:given"))
		status, err := binary.Call(t.Context(), p.HTTP, authorization, http.MethodGet, path, nil, into)
		if err != nil && status != http.StatusTooManyRequests {
			t.Fatal(err)
		}
		return err == nil
	}
	enter := func(id string) *client { // nil = it was closed instead
		c, err := tryDial(t, p.MQTT[0], id, mqtt.V5)
		if errors.Is(err, syscall.ECONNRESET) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		c.send("CONNECT clean id=" + id)
		switch a, err := c.next(); {
		case err != nil && !strings.Contains(err.Error(), "nothing"):
			c.conn.Close()
			return nil
		case err != nil || !strings.HasPrefix(a.line, "CONNACK 0x00"):
			t.Fatalf("%s: %s %v", id, a.line, err)
		}
		return c
	}
	by := enter("by")
	by.exchange("SUBSCRIBE id=1 t qos=1", "SUBACK id=1 0x01")
	var crowd []*client
	fill := func() { // until one is closed
		for c := by; c != nil; {
			if c = enter(fmt.Sprint("c", len(crowd))); c != nil {
				crowd = append(crowd, c)
			}
			if len(crowd) == fewFiles {
				t.Fatalf("%d connections with %d descriptors", len(crowd), fewFiles)
			}
		}
	}
	fill()
	if len(crowd) < fewFiles/2 {
		t.Errorf("only %d connections", len(crowd))
	}
	for i := range 3 { // well: what is there goes on, with files and API
		fill()
		by.send(fmt.Sprintf(`PUBLISH qos=1 retain id=%d topic=t "%d"`, i+10, i))
		by.expect(fmt.Sprintf(`PUBLISH qos=1 topic=t "%d"`, i))
		by.expect(fmt.Sprintf("PUBACK id=%d", i+10))
	}
	ready, err := http.Get(p.HTTP + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Body.Close()
	if text, _ := io.ReadAll(ready.Body); ready.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", ready.Status, text)
	}
	reason := admission.NoDescriptors.String()
	var events struct {
		Items []struct {
			Text  string
			Count int
		}
	}
	told := 0
	eventually(t, "the events tell of those that were closed", func() bool {
		if !ask("/events?kind=refused&reason="+reason, &events) {
			return false
		}
		told = 0
		for _, e := range events.Items {
			told += max(e.Count, 1)
		}
		return told >= 4
	})
	if told > 0 && !strings.Contains(events.Items[0].Text, "no file descriptors are left") {
		t.Error(events.Items[0].Text)
	}
	var stats struct {
		TurnedAway map[string]int `json:"turned_away"`
	}
	eventually(t, "they are counted", func() bool { return ask("/stats", &stats) && stats.TurnedAway[reason] >= 4 })
	for _, c := range crowd[:20] {
		c.conn.Close()
	}
	eventually(t, "others are let in again", func() bool { return enter("again") != nil })
	by.exchange("PINGREQ", "PINGRESP")
	p.Stop()
	if !strings.Contains(p.Logs.String(), "no file descriptor left") {
		t.Errorf("the log says nothing of it:\n%s", &p.Logs)
	}
}

package conformance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// F225: a broker with much in its store listens after seconds of work, and reads what waits only as somebody comes for it
// (320,000 entries of the 10^8; that a start which takes long says so is TestLongStart of package app).
func TestLargeStore(t *testing.T) {
	t.Parallel()
	const sessions, messages, size, topics = 300, 1000, 96 << 10, 20_000
	data := filepath.Join(t.TempDir(), "data")
	fill(t, data, sessions, messages, size, topics)
	if _, err := under.File(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p := launch(t, data)
	took := time.Since(began)
	worked := worked(t, p.Cmd.Process.Pid)
	if p.Found.Sessions != sessions || p.Found.Retained != topics || worked > 10*time.Second {
		t.Errorf("after %v of work it found %+v", worked, p.Found)
	}
	memory := status(t, p.Cmd.Process.Pid, "VmRSS")
	if memory > messages*size {
		t.Errorf("%d bytes of memory for %d bytes of messages that wait", memory, messages*size)
	}
	c := dial(t, p.addr, "s7", mqtt.V5)
	c.send("CONNECT id=s7 expiry=3600 receive-max=10")
	c.expect("CONNACK 0x00 present")
	for n := range 10 {
		c.expect(fmt.Sprintf(`PUBLISH qos=1 topic=q/%d "%s"`, n, bytes.Repeat([]byte("."), size)))
	}
	t.Logf("ready after %v, with %v of work and %d MiB", took, worked, memory>>20)
	p.Kill()
}

// worked is the processor time that a process has used: how long that takes is for the machine to say.
func worked(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // from the third on
	var ticks time.Duration
	for _, f := range fields[11:13] { // of the user and of the system, in hundredths of a second
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}

// fill makes a store in which messages wait for all sessions, and topics have retained messages.
func fill(t *testing.T, data string, sessions, messages, size, topics int) {
	t.Helper()
	st, err := disk.Open(data, disk.Process, disk.DefaultConfig(), disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	var batch store.Batch
	commit := func() {
		t.Helper()
		batch.Done = func(err error) { done <- err }
		st.Commit(&batch)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		batch = store.Batch{}
	}
	var targets []store.Target
	for i := range sessions {
		id := store.SessionID(i + 1)
		batch.Records = append(batch.Records, store.Record{Op: store.PutSession, Session: id, Meta: &store.Session{
			ID: id, ClientID: fmt.Sprint("s", i), Version: mqtt.V5, Expiry: 3600, Disconnected: time.Now().UnixMilli(), Unsent: 1,
		}})
		targets = append(targets, store.Target{Session: id, Delivery: store.Delivery{QoS: 1}})
	}
	commit()
	for i := range messages {
		m := &mqtt.Message{Topic: fmt.Append(nil, "q/", i), Payload: bytes.Repeat([]byte("."), size), QoS: 1}
		batch.Records = []store.Record{{Op: store.Enqueue, Message: m.Keep(), Targets: append([]store.Target(nil), targets...)}}
		commit()
	}
	for i := range topics {
		m := &mqtt.Message{Topic: fmt.Append(nil, "r/", i), Payload: []byte("r"), Retain: true}
		if batch.Records = append(batch.Records, store.Record{Op: store.Retain, Message: m.Keep()}); len(batch.Records) == 1000 {
			commit()
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

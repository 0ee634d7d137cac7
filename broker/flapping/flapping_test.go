package flapping

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// start is any time, in ms.
const start = 1_900_000_000_000

func config() Config {
	return Config{Answer: Ban, Window: 10 * time.Second, Connects: 5, User: 20, Takeovers: 2, BanTime: time.Minute}
}

// count connects n times, every ms, and returns what was found at which connection.
func count(d *Detector, now *int64, n int, every int64, c func(i int) Connect) (at []int, texts []string) {
	for i := range n {
		*now += every
		one := c(i)
		if f := d.Connected(*now, &one); f != nil {
			at, texts = append(at, i), append(texts, fmt.Sprint(f.User, " ", f.Name, ": ", f.Text))
		}
	}
	return at, texts
}

func TestConnects(t *testing.T) {
	d, now := New(config()), int64(start)
	one := func(int) Connect { return Connect{Client: "c", Remote: "192.0.2.1:5", Address: "192.0.2.1"} }
	at, texts := count(d, &now, 50, 100, one)
	if fmt.Sprint(at) != "[5]" || !strings.HasPrefix(texts[0], "false c: it connected more than 5 times in 10s, now from 192.0.2.1:5") {
		t.Errorf("found at %v: %v", at, texts)
	}
	if at, _ := count(d, &now, 50, 2100, one); len(at) != 0 { // slower than 5 in 10 s
		t.Errorf("found at %v", at)
	}
	now += 20_000
	if at, _ := count(d, &now, 50, 100, one); fmt.Sprint(at) != "[5]" { // a new episode
		t.Errorf("found at %v", at)
	}
}

func TestTakeovers(t *testing.T) {
	c := config()
	c.Connects = 0
	d, now := New(c), int64(start)
	at, texts := count(d, &now, 10, 100, func(i int) Connect {
		a, b := "192.0.2.1", "192.0.2.2"
		if i%2 == 0 {
			a, b = b, a
		}
		return Connect{Client: "twin", Remote: a + ":1", Address: a, Takes: i > 0, From: b + ":2", FromHost: b}
	})
	if fmt.Sprint(at) != "[3]" || !strings.Contains(texts[0], "192.0.2.1:2 and 192.0.2.2:1") && !strings.Contains(texts[0], "192.0.2.2:2 and 192.0.2.1:1") {
		t.Errorf("found at %v: %v", at, texts)
	}
	// One device that comes back before the broker has seen it go is no fight.
	at, texts = count(d, &now, 10, 100, func(i int) Connect {
		return Connect{Client: "one", Remote: fmt.Sprint("192.0.2.1:", i), Address: "192.0.2.1", Takes: true, From: "192.0.2.1:9", FromHost: "192.0.2.1"}
	})
	if len(at) != 0 {
		t.Errorf("found at %v: %v", at, texts)
	}
}

func TestUsers(t *testing.T) {
	d, now := New(config()), int64(start)
	at, texts := count(d, &now, 30, 10, func(i int) Connect {
		return Connect{Client: fmt.Sprint("c", i), User: "ann", Remote: "192.0.2.1:5"}
	})
	if fmt.Sprint(at) != "[20]" || !strings.HasPrefix(texts[0], "true ann: its clients connected more than 20 times in 10s, now c20 from 192.0.2.1:5") {
		t.Errorf("found at %v: %v", at, texts)
	}
}

// TestBounded: however many names come, memory is bounded, and a quiet one makes room.
func TestBounded(t *testing.T) {
	d, now := New(config()), int64(start)
	for i := range most + most/4 {
		now++
		d.Connected(now, &Connect{Client: fmt.Sprint("c", i)})
	}
	if n := len(d.names); n > most {
		t.Errorf("%d names", n)
	}
	d.Set(Config{Answer: Off})
	if d.Connected(now, &Connect{Client: "x"}) != nil || d.names[name{false, "x"}] != nil {
		t.Error("off is not off")
	}
}

func TestVerify(t *testing.T) {
	c := Defaults()
	if err := c.Verify(); err != nil {
		t.Error(err)
	}
	bad := Config{Answer: "shout", Connects: -1}
	for _, word := range []string{"answer", "window", "connects", "ban_time"} {
		if err := bad.Verify(); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// content is what message n says: of it nothing can be changed unnoticed.
func content(n int) string {
	return fmt.Sprintf("<%d>", n) + strings.Repeat(fmt.Sprintf(" %d", n), 1800/len(fmt.Sprintf(" %d", n)))
}

// kept is what a killed broker left on disk: a session, away, with messages queued from number first to number
// last, and messages retained at r/N for every tenth number up to last.
type kept struct {
	data        string // as kill -9 left it
	old         string // a copy of it from before the last hundred messages or so
	first, last int
}

const retainedEvery = 10

// keep makes one: with segments that were compacted, two checkpoints, and a log that went on through a restart.
func keep(t *testing.T) *kept {
	t.Helper()
	k := &kept{data: filepath.Join(t.TempDir(), "data"), old: filepath.Join(t.TempDir(), "old"), first: 401}
	p := launch(t, k.data)
	away := subscribeAway(t, p)
	pub := k.publisher(t, p)
	k.publish(pub, k.first-1)
	for n := 1; n < k.first; n++ {
		if n%retainedEvery != 0 {
			away.expect("PUBLISH topic=q/" + strconv.Itoa(n) + " qos=1 \"" + content(n) + "\"")
			away.send(fmt.Sprintf("PUBACK id=%d", n-n/retainedEvery))
		}
	}
	away.barrier()
	away.drop()
	does(t, k.data, "store", "compact") // retained messages move to a cold segment
	k.publish(pub, 800)
	does(t, k.data, "store", "compact")
	k.publish(pub, 1000)
	copyDir(t, k.old, k.data)
	k.publish(pub, 1100)
	p.Kill()
	p = launch(t, k.data)
	k.publish(k.publisher(t, p), 1200)
	p.Kill()
	return k
}

// subscribeAway makes the session.
func subscribeAway(t *testing.T, p *process) *client {
	t.Helper()
	c := dial(t, p.addr, "away", mqtt.V5)
	c.exchange("CONNECT id=away expiry=3600", "CONNACK 0x00")
	c.exchange("SUBSCRIBE id=1 q/# qos=1", "SUBACK id=1 0x01")
	return c
}

func (k *kept) publisher(t *testing.T, p *process) *client {
	c := dial(t, p.addr, "pub", mqtt.V5)
	c.exchange("CONNECT id=pub clean", "CONNACK 0x00")
	return c
}

// publish publishes up to number n, each message when the one before is acknowledged.
func (k *kept) publish(c *client, n int) {
	c.t.Helper()
	for k.last < n {
		if err := k.next(c); err != nil {
			c.t.Fatal(err)
		}
	}
}

// next publishes one message; an error is that it was not acknowledged.
func (k *kept) next(c *client) error {
	c.t.Helper()
	n, topic := k.last+1, "topic=q/"
	if n%retainedEvery == 0 {
		topic = "retain topic=r/"
	}
	c.send(fmt.Sprintf(`PUBLISH qos=1 id=1 %s%d "%s"`, topic, n, content(n)))
	a, err := c.next()
	if err == nil && a.line != "PUBACK id=1" && a.line != "PUBACK id=1 0x10" {
		err = errors.New(a.line)
	}
	if err != nil {
		return fmt.Errorf("message %d: %w", n, err)
	}
	k.last = n
	return nil
}

// queued are the numbers of the messages in the queue.
func (k *kept) queued() (list []int) {
	for n := k.first; n <= k.last; n++ {
		if n%retainedEvery != 0 {
			list = append(list, n)
		}
	}
	return list
}

// within are the messages, queued and retained, that a segment holds.
func (k *kept) within(f folder, segment string) (queued, retained []int) {
	b := f.read(f.path(segment))
	for n := retainedEvery; n <= k.last; n++ {
		switch found := bytes.Contains(b, []byte(content(n))); {
		case found && n%retainedEvery == 0:
			retained = append(retained, n)
		case found && n >= k.first:
			queued = append(queued, n)
		}
	}
	return queued, retained
}

// copyDir copies a directory as a tool does that knows nothing of what it copies: file by file, and what is gone
// meanwhile is left out.
func copyDir(t testing.TB, to, from string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(from, path)
		target := filepath.Join(to, name)
		var b []byte
		if err == nil && d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if err == nil {
			b, err = os.ReadFile(path)
		}
		if err == nil {
			err = os.WriteFile(target, b, 0o600)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// folder is a copy of a data directory to be harmed.
type folder struct {
	t    testing.TB
	data string
	old  string // a copy from before
}

func (f folder) path(name string) string { return filepath.Join(f.data, "store", name) }

func (f folder) read(path string) []byte {
	f.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f folder) write(path string, b []byte) {
	f.t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// names lists the files of the store by a pattern, sorted.
func (f folder) names(pattern string) (list []string) {
	f.t.Helper()
	paths, err := filepath.Glob(f.path(pattern))
	if err != nil || len(paths) == 0 {
		f.t.Fatalf("no %s: %v", pattern, err)
	}
	for _, p := range paths {
		list = append(list, filepath.Base(p))
	}
	slices.Sort(list)
	return list
}

// find tells which segment holds message n, and where its payload begins.
func (f folder) find(n int) (name string, at int) {
	f.t.Helper()
	for _, name := range f.names("*.seg") {
		if at := bytes.Index(f.read(f.path(name)), []byte(content(n))); at >= 0 {
			return name, at
		}
	}
	f.t.Fatalf("message %d is in no segment", n)
	return "", 0
}

// change changes the bytes of a file.
func (f folder) change(path string, how func(b []byte) []byte) { f.write(path, how(f.read(path))) }

func (f folder) flip(path string, at int) {
	f.change(path, func(b []byte) []byte {
		b[at] ^= 4
		return b
	})
}

func (f folder) remove(path string) {
	f.t.Helper()
	if err := os.RemoveAll(path); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) rename(from, to string) {
	f.t.Helper()
	if err := os.Rename(from, to); err != nil {
		f.t.Fatal(err)
	}
}

// after is what two lives of a broker on a harmed directory came to.
type after struct {
	t        *testing.T
	refused  string // why it did not start; "" = it did
	session  bool   // it was there
	missing  []int  // messages of the queue
	retained []int  // missing ones
	damage   []record
	cut      bool // it said that a tail was cut
}

// harmed harms a copy of what is kept, starts the broker on it, has it keep one message more and tidy up, kills and
// starts it again, and takes all that it delivers: every message has to be what was published, in order and once.
func (k *kept) harmed(t *testing.T, harm func(f folder)) *after {
	t.Helper()
	f := folder{t, filepath.Join(t.TempDir(), "data"), k.old}
	copyDir(t, f.data, k.data)
	harm(f)
	a := &after{t: t}
	p, err := begin(t, f.data)
	if err != nil {
		a.refused = fmt.Sprintf("%v: %s", err, &p.Logs)
		return a
	}
	a.lookRetained(k, p)
	more := *k
	more.publish(k.publisher(t, p), k.last+1)
	does(t, f.data, "store", "compact")
	p.Kill()
	a.heed(p)
	p = launch(t, f.data)
	a.drain(&more, p)
	p.Kill()
	a.heed(p)
	return a
}

func (a *after) heed(p *process) {
	for _, r := range p.records() {
		switch r.Msg {
		case "the store is damaged":
			a.damage = append(a.damage, r)
		case "a torn tail was cut":
			a.cut = true
		}
	}
}

// message reads a line as one of the messages that were published, exactly.
func (a *after) message(line, prefix string) (n int) {
	a.t.Helper()
	w := words(line)
	for _, word := range w {
		if text, ok := strings.CutPrefix(word, "topic="+prefix); ok {
			n, _ = strconv.Atoi(text)
		}
	}
	if n == 0 || w[len(w)-1] != `"`+content(n)+`"` {
		a.t.Fatalf("damaged: got %s", line)
	}
	return n
}

// lookRetained takes all retained messages.
func (a *after) lookRetained(k *kept, p *process) {
	a.t.Helper()
	c := dial(a.t, p.addr, "look", mqtt.V5)
	c.exchange("CONNECT id=look clean", "CONNACK 0x00")
	c.exchange("SUBSCRIBE id=1 r/# qos=0", "SUBACK id=1 0x00")
	found := map[int]bool{}
	for range p.Found.Retained {
		got, err := c.next()
		if err != nil {
			a.t.Fatalf("%d of %d retained messages, then %v", len(found), p.Found.Retained, err)
		}
		found[a.message(got.line, "r/")] = true
	}
	for n := retainedEvery; n <= k.last; n += retainedEvery {
		if !found[n] {
			a.retained = append(a.retained, n)
		}
	}
	if len(found) != p.Found.Retained || !c.open() {
		a.t.Errorf("%d retained messages, %d different ones", p.Found.Retained, len(found))
	}
}

// drain takes the queue of away.
func (a *after) drain(k *kept, p *process) {
	a.t.Helper()
	c := dial(a.t, p.addr, "away", mqtt.V5)
	c.send("CONNECT id=away expiry=3600")
	ack, err := c.next()
	if err != nil {
		a.t.Fatal(err)
	}
	if a.session = strings.Contains(ack.line, "present"); !a.session {
		a.missing = k.queued()
		return
	}
	found := map[int]bool{}
	for last := 0; last < k.last; {
		got, err := c.next()
		if err != nil {
			a.t.Fatalf("after message %d: %v", last, err)
		}
		n := a.message(got.line, "q/")
		if n <= last {
			a.t.Fatalf("message %d after %d", n, last)
		}
		last, found[n] = n, true
		for _, w := range words(got.line) {
			if strings.HasPrefix(w, "id=") {
				c.send("PUBACK " + w)
			}
		}
	}
	for _, n := range k.queued() {
		if !found[n] {
			a.missing = append(a.missing, n)
		}
	}
}

// lost fails unless these are the messages that are missing of the queue, and none of the retained ones.
func (a *after) lost(queued ...int) {
	a.t.Helper()
	a.started()
	if !slices.Equal(a.missing, queued) || len(a.retained) > 0 {
		a.t.Errorf("missing of the queue: %v, want %v; retained: %v", a.missing, queued, a.retained)
	}
}

func (a *after) started() {
	a.t.Helper()
	if a.refused != "" {
		a.t.Fatalf("it did not start: %s", a.refused)
	}
}

// told fails unless the log names a damage in a file, at the place if that is not negative.
func (a *after) told(file string, at int) {
	a.t.Helper()
	ok := slices.ContainsFunc(a.damage, func(r record) bool {
		return filepath.Base(r.File) == file && (at < 0 || r.Offset <= int64(at) && (r.Bytes == 0 || int64(at) < r.Offset+r.Bytes))
	})
	if !ok {
		a.t.Errorf("nobody says that %s is damaged at %d: %+v", file, at, a.damage)
	}
}

// loud fails when something is missing and nobody says so.
func (a *after) loud() {
	a.t.Helper()
	if a.refused == "" && len(a.missing)+len(a.retained) > 0 && len(a.damage) == 0 {
		a.t.Errorf("%d queued and %d retained messages are missing, and nobody says so", len(a.missing), len(a.retained))
	}
}

// What is damaged on disk while the broker is away: everything else is there, in order and once, nothing that is
// damaged is delivered, it is told, and the broker goes on.
func TestDamagedDisk(t *testing.T) {
	t.Parallel()
	k := keep(t)
	t.Run("whole", func(t *testing.T) {
		a := k.harmed(t, func(folder) {})
		a.lost()
		if len(a.damage) > 0 {
			t.Errorf("it is whole, but: %+v", a.damage)
		}
	})
	t.Run("tail", func(t *testing.T) { t.Parallel(); tornTails(t, k) })
	t.Run("rot", func(t *testing.T) { t.Parallel(); rottenBits(t, k) })
	t.Run("files", func(t *testing.T) { t.Parallel(); lostFiles(t, k) })
}

// F217: a torn last record, a page of zeros, garbage.
func tornTails(t *testing.T, k *kept) {
	last := k.last - 1 // the last one queued
	if k.last%retainedEvery != 0 {
		t.Fatal("the last message is one that is retained")
	}
	f := func(name string, retained bool, queued []int, cut bool, harm func(b []byte, at int) []byte) {
		t.Run(name, func(t *testing.T) {
			a := k.harmed(t, func(f folder) {
				segment, at := f.find(k.last)
				f.change(f.path(segment), func(b []byte) []byte { return harm(b, at) })
			})
			if retained && slices.Equal(a.retained, []int{k.last}) {
				a.retained = nil
			}
			a.lost(queued...)
			if a.cut != cut {
				t.Errorf("a tail was cut: %v, want %v", a.cut, cut)
			}
		})
	}
	size := len(content(k.last))
	f("a record half written", true, nil, true, func(b []byte, at int) []byte { clear(b[at+size/2:]); return b })
	f("a record half written, the file cut off", true, nil, true, func(b []byte, at int) []byte { return b[:at+size/2] })
	f("a page of zeros", true, []int{last - 1, last}, true, func(b []byte, at int) []byte {
		clear(b[at+size-4096 : at+size])
		return b
	})
	f("garbage behind", false, nil, false, func(b []byte, at int) []byte {
		random := rand.New(rand.NewPCG(1, 2))
		for i := at + size + 100; i < len(b); i++ {
			b[i] = byte(random.Uint32())
		}
		return b
	})
	f("garbage behind the file", false, nil, false, func(b []byte, _ int) []byte { return append(b, b[:10_000]...) })
	f("garbage for the last record", true, nil, true, func(b []byte, at int) []byte {
		copy(b[at:at+size], bytes.Repeat([]byte{0xA5}, size))
		return b
	})
}

// F218: a flipped bit anywhere.
func rottenBits(t *testing.T, k *kept) {
	queued := func(n int) func(t *testing.T) {
		return func(t *testing.T) {
			var segment string
			var at int
			a := k.harmed(t, func(f folder) {
				segment, at = f.find(n)
				f.flip(f.path(segment), at+100)
			})
			a.lost(n)
			a.told(segment, at+100)
		}
	}
	t.Run("a queued message before the checkpoint", queued(503))
	t.Run("a queued message behind the checkpoint", queued(907))
	t.Run("a queued message before the restart", queued(1098))
	t.Run("a retained message", func(t *testing.T) {
		var segment string
		var at int
		a := k.harmed(t, func(f folder) {
			segment, at = f.find(200)
			f.flip(f.path(segment), at+5)
		})
		if a.started(); !slices.Equal(a.retained, []int{200}) || len(a.missing) > 0 {
			t.Errorf("missing: retained %v, queued %v", a.retained, a.missing)
		}
		a.told(segment, at+5)
	})
	t.Run("a header of a segment", func(t *testing.T) {
		var segment string
		a := k.harmed(t, func(f folder) {
			segment, _ = f.find(950)
			f.flip(f.path(segment), 18)
		})
		a.lost()
		a.told(segment, 18)
	})
	t.Run("checkpoints", func(t *testing.T) {
		for _, place := range []int{3, 30, 100, -20} { // magic, number, the first chunk, the last
			for both := range 2 {
				var names []string
				a := k.harmed(t, func(f folder) {
					names = f.names("checkpoint-*")
					for _, name := range names[1-both:] {
						at := place
						if at < 0 {
							at += len(f.read(f.path(name)))
						}
						f.flip(f.path(name), at)
					}
				})
				a.started()
				a.told(names[1], -1)
				if both == 0 {
					a.lost()
				}
				a.loud()
			}
		}
	})
	t.Run("the marker", func(t *testing.T) {
		f := func(near string, i int, refused string) {
			t.Helper()
			a := k.harmed(t, func(f folder) {
				path := filepath.Join(f.data, "store.json")
				f.flip(path, bytes.Index(f.read(path), []byte(near))+i)
			})
			if refused == "" {
				a.lost()
			}
			if !strings.Contains(a.refused, refused) {
				t.Errorf("%q, byte %d: %q, want %q", near, i, a.refused, refused)
			}
		}
		f("{", 0, "")
		f("format", 0, "")
		f(`"format":`, len(`"format":`), "newer Sapwood") // 5 for 1
		f(`"id"`, 1, "")
		f(`"id":"`, len(`"id":"`), "") // perhaps another id
		f(`"id":"`, len(`"id":"`)+5, "")
		f("T", 0, "") // of the time
		f("begun", 0, "")
		f("true", 0, "")
	})
	t.Run("the lock", func(t *testing.T) {
		a := k.harmed(t, func(f folder) { f.flip(filepath.Join(f.data, "lock"), 0) })
		a.lost()
	})
}

// F220: a file is deleted, emptied, renamed, or from a copy made earlier.
func lostFiles(t *testing.T, k *kept) {
	whole := folder{t: t, data: k.data}
	ways := map[string]func(f folder, name string){
		"deleted": func(f folder, name string) { f.remove(f.path(name)) },
		"emptied": func(f folder, name string) { f.write(f.path(name), nil) },
		"renamed": func(f folder, name string) { f.rename(f.path(name), f.path(strings.Replace(name, "0000", "0009", 1))) },
		"old": func(f folder, name string) {
			old := filepath.Join(f.old, "store", name)
			if _, err := os.Stat(old); err == nil {
				f.write(f.path(name), f.read(old))
			}
		},
	}
	for way, harm := range ways {
		t.Run("a segment "+way, func(t *testing.T) {
			for _, n := range []int{200, 500, 1000, 1150} {
				segment, _ := whole.find(n)
				queued, retained := k.within(whole, segment)
				a := k.harmed(t, func(f folder) { harm(f, segment) })
				a.started()
				if way != "old" && (!slices.Equal(a.missing, queued) || !slices.Equal(a.retained, retained)) {
					t.Errorf("%s: missing %v and %v, held %v and %v", segment, a.missing, a.retained, queued, retained)
				}
				if way == "old" && slices.ContainsFunc(a.missing, func(n int) bool { return n <= 1000 || n > 1100 }) {
					t.Errorf("%s: missing %v", segment, a.missing)
				}
				a.loud()
			}
		})
		t.Run("a checkpoint "+way, func(t *testing.T) {
			names := whole.names("checkpoint-*")
			for _, list := range [][]string{names[:1], names[1:], names} {
				a := k.harmed(t, func(f folder) {
					for _, name := range list {
						harm(f, name)
					}
				})
				if len(list) < 2 {
					a.lost()
				}
				a.started()
				a.loud()
			}
		})
	}
	refused := func(name, want string, harm func(f folder)) {
		t.Run(name, func(t *testing.T) {
			a := k.harmed(t, harm)
			if !strings.Contains(a.refused, want) {
				t.Errorf("got %q, %d missing, want %q", a.refused, len(a.missing), want)
			}
		})
	}
	refused("everything deleted", "is empty: mount or restore the data", func(f folder) { f.remove(f.path("")) })
	t.Run("the marker deleted", func(t *testing.T) {
		a := k.harmed(t, func(f folder) { f.remove(filepath.Join(f.data, "store.json")) })
		a.lost()
		a.told("store.json", -1)
	})
	t.Run("the lock deleted", func(t *testing.T) {
		a := k.harmed(t, func(f folder) { f.remove(filepath.Join(f.data, "lock")) })
		a.lost()
	})
	t.Run("everything is old", func(t *testing.T) {
		a := k.harmed(t, func(f folder) {
			f.remove(f.path(""))
			copyDir(t, f.path(""), filepath.Join(f.old, "store"))
		})
		if a.started(); !a.session || len(a.damage) > 0 || len(a.missing) > 200 {
			t.Errorf("session %v, %d missing, damage %+v", a.session, len(a.missing), a.damage)
		}
	})
}

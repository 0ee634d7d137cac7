package books

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// rowsFile is where the counts by topic and by client are saved, and begun where in it the time stands at which that was begun.
const (
	rowsFile = "books.rows"
	begun    = 24
)

// saved waits until the counts by topic and by client are on the disk as they are now. Meanwhile somebody publishes what is denied: it is not saved
// as long as nothing is counted.
func (b *broker) saved() {
	b.t.Helper()
	now, other := time.Now().UnixMilli(), b.join("p-other")
	for range 10 { // after a saving that a slow disk held up the next one is 200 times as far away
		if reached(func() bool {
			other.give(1, 0, "denied/x", "")
			f, err := os.ReadFile(filepath.Join(b.dir, "data", rowsFile))
			return err == nil && len(f) > begun+8 && int64(binary.LittleEndian.Uint64(f[begun:])) > now
		}) {
			return
		}
	}
	b.t.Fatal("nothing is saved")
}

// same compares all topics, branches and clients with what the generator did.
func (w *world) same(b *broker) {
	b.t.Helper()
	for branch := range w.tree {
		if w.branch(b, branch); b.t.Failed() {
			b.t.FailNow() // all that follows would be waited for too
		}
	}
	for topic := range w.topics {
		w.topic(b, topic)
	}
	for id := range w.in {
		w.client(b, id)
	}
	for id := range w.out {
		w.client(b, id)
	}
	b.sums()
}

// sums compares the sums of the rows of topics with the lines of the books.
func (b *broker) sums() {
	b.t.Helper()
	var lines count
	same(b, "books", "the sum over the tree", count(nil), func(got, _ count) bool { return maps.Equal(got, lines) }, func() count {
		var p page
		b.does(http.MethodGet, "/books", nil, &p)
		c, wrong := p.lines()
		if wrong != "" {
			b.t.Error(wrong)
		}
		lines = count{"messages": c["routed"] + c["unheard"], "copies": c["copies"] - c["taken back"], "unheard": c["unheard"], "denied": c["denied"]}
		for name, n := range c {
			if len(name) > 9 && name[:9] == "dropped: " {
				lines["dropped"] += n
			}
		}
		lines.tidy()
		var list struct{ Items []row }
		b.does(http.MethodGet, "/topics/tree?limit=1000", nil, &list)
		got := count{}
		for _, r := range list.Items {
			for name, n := range map[string]int64{"messages": r.Messages, "copies": r.Copies, "unheard": r.Unheard, "denied": r.Denied, "dropped": r.Dropped} {
				got[name] += n
			}
		}
		return got.tidy()
	})
}

// row is a row of the tree.
type row struct {
	Topic                                      string
	Topics                                     int
	Retained                                   bool
	Messages, Copies, Unheard, Denied, Dropped int64
}

// TestKept: messages and bytes by topic, branch and client, by QoS and by size, are exactly the generator's over all runs: after clean stops, after kill -9 when
// they had been saved before, and whatever the number of event loops. What a crash loses stands in a row of its own, and the sums over the tree are the books'.
// A filter that matched is not told as unfed in the next run.
func TestKept(t *testing.T) {
	t.Parallel()
	b := start(t, "limits: {max_outgoing_messages: 100000000, max_outgoing_bytes: 1GiB}\nbooks: {save: 1s}\n"+restrict("publish", "denied/#", "p*"))
	w := &world{tree: map[string]*figures{}, topics: map[string]bool{}, in: map[string]*figures{}, out: map[string]*figures{}, retained: map[string]kept{}}
	chance := rand.New(rand.NewPCG(rand.Uint64(), 7))
	run := func(loops int) {
		b.env = []string{fmt.Sprint("GOMAXPROCS=", loops)}
		b.begin()
	}
	publish := func() {
		t.Helper()
		var publishers []*peer
		for _, h := range hears {
			p := b.join(h.client + " receive-max=60000 expiry=100000")
			if len(w.tree) == 0 { // its session remembers
				p.subscribe(fmt.Sprintf("%s qos=%d", h.filter, h.qos))
			}
		}
		for i := range 3 {
			publishers = append(publishers, b.join(fmt.Sprintf("p%d expiry=100000", i)))
		}
		for range 4 {
			w.publish(publishers[chance.IntN(3)], 1+chance.IntN(250), chance)
		}
		w.same(b)
	}
	for _, loops := range []int{3, 1, 2} {
		publish()
		b.Stop()
		run(loops)
		w.same(b)
	}
	b.unfed()
	publish()
	b.saved()
	b.Kill()
	run(3)
	w.same(b)
	b.unfed()

	p := b.join("torrent")
	p.give(100, 0, "torn/x", "")
	p.give(300, 1, "torn/x", "")
	b.Kill() // whether it was saved or not
	run(1)
	b.sums()
	if err := os.WriteFile(filepath.Join(b.dir, "data", rowsFile), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Kill()
	run(2)
	b.sums()
	var events struct{ Items []struct{ Text string } }
	b.does(http.MethodGet, "/events?kind=not_recorded&reason=books", nil, &events)
	if len(events.Items) != 1 {
		t.Errorf("a damaged file is told by %+v", events)
	}
	b.Kill()
	if err := os.WriteFile(filepath.Join(b.dir, "data", "books.json"), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(2)
	b.sums()
	const aside = "books.json.damaged"
	if !reached(func() bool {
		var now struct{ Problems []struct{ Text string } }
		b.does(http.MethodGet, "/now", nil, &now)
		b.does(http.MethodGet, "/events?kind=not_recorded&reason=books&text="+aside, nil, &events)
		problem := slices.ContainsFunc(now.Problems, func(p struct{ Text string }) bool { return strings.Contains(p.Text, aside) })
		return problem && len(events.Items) == 1
	}) {
		t.Errorf("damaged books are no problem, or are told by %+v", events)
	}
	if kept, err := os.ReadFile(filepath.Join(b.dir, "data", aside)); string(kept) != "something else" {
		t.Error(string(kept), err)
	}
	b.Stop()
}

// unfed looks that no filter of the receivers is told as one that never matched.
func (b *broker) unfed() {
	b.t.Helper()
	var list struct{ Items []struct{ Filter string } }
	if b.does(http.MethodGet, "/topics/unfed", nil, &list); len(list.Items) != 0 {
		b.t.Errorf("unfed are %+v", list.Items)
	}
}

// TestRetainedListed: topics of which nothing is known but their retained message are in the tree, in the list, and found by a word in it; a filter that they
// match is not told as unfed.
func TestRetainedListed(t *testing.T) {
	t.Parallel()
	b := start(t, "")
	p := b.join("p")
	p.give(1, 1, "bin/deep/one", `retain "needle in it"`)
	p.give(1, 1, "bin", `retain "hay"`)
	b.Stop()
	for _, name := range []string{rowsFile, "books.json"} {
		if err := os.Remove(filepath.Join(b.dir, "data", name)); err != nil {
			t.Fatal(err)
		}
	}
	b.begin()
	b.join("s").subscribe("bin/+/+ qos=0")
	ask := func(query string, want ...row) {
		t.Helper()
		var list struct{ Items []row }
		b.does(http.MethodGet, query, nil, &list)
		if fmt.Sprint(list.Items) != fmt.Sprint(want) {
			t.Errorf("%s is %+v, want %+v", query, list.Items, want)
		}
	}
	b.unfed()
	ask("/topics/tree", row{Topic: "bin", Topics: 2, Retained: true, Copies: 1})
	ask("/topics/tree?branch=bin", row{Topic: "bin/deep", Topics: 1, Copies: 1})
	ask("/topics/tree?branch="+url.QueryEscape("bin/deep"), row{Topic: "bin/deep/one", Topics: 1, Retained: true, Copies: 1})
	ask("/topics?payload=needle", row{Topic: "bin/deep/one", Topics: 1, Retained: true, Copies: 1})
	ask("/topics?filter=hay")
	ask("/topics?filter=deep", row{Topic: "bin/deep/one", Topics: 1, Retained: true, Copies: 1})
	b.Stop()
}

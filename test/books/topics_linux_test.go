package books

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

var topics = flag.Int("topics", 30_000, "of TestTopics and TestHeavy")

// name is a topic of five levels: a sensor of one of 10,000 machines.
func name(i int) []byte {
	return fmt.Appendf(nil, "company/plant%d/line%d/machine%d/sensor%d", i%10, i/10%10, i/100%100, i)
}

// publish sends a message to each topic and then n more, by Zipf's law, and returns how many each got, and the number of the last one.
func publish(p *peer, topics, n int) (counts, last []int) {
	counts, last = make([]int, topics), make([]int, topics)
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.2, 10, uint64(topics-1))
	var out []byte
	for i := range topics + n {
		x := i
		if i >= topics {
			x = int(zipf.Uint64()) * 7919 % topics // anywhere in the tree
		}
		counts[x]++
		last[x] = i
		m := mqtt.Publish{Topic: name(x), Payload: fmt.Appendf(nil, `{"sensor":%d,"value":%d}`, x, i)}
		if out = m.AppendTo(out, mqtt.V5); len(out) > 64<<10 {
			p.raw(out)
			out = out[:0]
		}
	}
	p.raw(out)
	p.idle()
	return counts, last
}

// latest is the number of the last message to a topic that had so few that the payload of each was kept.
func latest(counts, last []int) int {
	n := 0
	for x, i := range last {
		if counts[x] <= 8 {
			n = max(n, i)
		}
	}
	return n
}

type topList struct {
	Items []struct {
		Topic         string
		Weight, Error int
	}
	Error int
	Exact bool
}

// heaviest are the counts of the most published topics.
func heaviest(counts []int, n int) []int {
	order := make([]int, len(counts))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return counts[b] - counts[a] })
	return order[:n]
}

// TestTopics publishes to many topics: the tree's sums are the total, the top list is exact, and the process says what it takes.
func TestTopics(t *testing.T) {
	t.Parallel()
	b := start(t, fmt.Sprintf("books: {topics: %d}\n", *topics+20_000))
	p := b.join("p")
	before := b.memory()
	began := time.Now()
	counts, last := publish(p, *topics, *topics)
	total := int64(2 * *topics)
	t.Logf("%d messages in %v", total, time.Since(began).Round(time.Millisecond))
	b.books(count{"received": total, "unheard": total})
	var tree struct {
		Items []struct{ Messages, Topics int64 }
	}
	b.timed("/topics/tree", "/topics/tree", &tree)
	var messages, distinct int64
	for _, r := range tree.Items {
		messages += r.Messages
		distinct += r.Topics
	}
	if messages != total || distinct != int64(*topics) {
		t.Errorf("the tree has %d messages of %d on %d topics of %d", messages, total, distinct, *topics)
	}
	var top topList
	b.timed("/topics/top", "/topics/top?by=messages&limit=100", &top)
	for i, x := range heaviest(counts, 100) {
		if !top.Exact || len(top.Items) != 100 || top.Items[i].Weight != counts[x] {
			t.Fatalf("number %d is %+v of %d, exact %v; counted %d of %s", i, top.Items[i:min(i+1, len(top.Items))], len(top.Items), top.Exact, counts[x], name(x))
		}
	}
	var found struct{ Matched int }
	b.timed("/topics by name", fmt.Sprintf("/topics?filter=sensor%d", *topics-1), &found)
	if found.Matched != 1 {
		t.Errorf("%d topics have the name", found.Matched)
	}
	b.timed("/topics sorted", "/topics?sort=-messages", &found)
	b.timed("/topics by payload", fmt.Sprintf("/topics?payload=%%22value%%22:%d}", latest(counts, last)), &found)
	if found.Matched != 1 {
		t.Errorf("%d topics have the payload", found.Matched)
	}
	after := b.memory()
	t.Logf("%d MiB resident before, %d MiB after: %d bytes a topic", before>>20, after>>20, (after-before) / *topics)
	b.again(before, total)
}

// again stops and starts the broker, and tells what that and the counts it carries over take.
func (b *broker) again(before int, messages int64) {
	b.t.Helper()
	began := time.Now()
	b.Stop()
	stopped := time.Now()
	file, err := os.Stat(filepath.Join(b.dir, "data", rowsFile))
	if err != nil {
		b.t.Fatal(err)
	}
	starts := time.Now()
	b.begin()
	b.t.Logf("stopped in %v, started in %v, with %d bytes a topic on the disk; %d MiB resident, %d before the first topic", stopped.Sub(began).Round(time.Millisecond),
		time.Since(starts).Round(time.Millisecond), int(file.Size()) / *topics, b.memory()>>20, before>>20)
	var tree struct {
		Items []struct{ Messages, Topics int64 }
	}
	b.timed("/topics/tree after the start", "/topics/tree", &tree)
	sum, distinct := int64(0), int64(0)
	for _, r := range tree.Items {
		sum += r.Messages
		distinct += r.Topics
	}
	if sum != messages || distinct != int64(*topics) {
		b.t.Errorf("after the start the tree has %d messages of %d on %d topics of %d", sum, messages, distinct, *topics)
	}
	b.Stop()
}

// TestHeavy has more topics than have rows: the sketch's weights are right within the error it states, and nothing that is heavier than that is missed.
func TestHeavy(t *testing.T) {
	t.Parallel()
	b := start(t, fmt.Sprintf("books: {topics: %d}\n", *topics/10))
	counts, _ := publish(b.join("p"), *topics, 3**topics)
	b.books(count{"received": int64(4 * *topics), "unheard": int64(4 * *topics)})
	var tree struct{ Items []struct{ Messages int64 } }
	b.does(http.MethodGet, "/topics/tree", nil, &tree)
	var messages int64
	for _, r := range tree.Items {
		messages += r.Messages
	}
	if messages != int64(4**topics) {
		t.Errorf("the tree has %d messages of %d", messages, 4**topics)
	}
	var top topList
	b.does(http.MethodGet, "/topics/top?by=messages&limit=100", nil, &top)
	weight := map[string]int{}
	for i, n := range counts {
		weight[string(name(i))] = n
	}
	told := map[string]bool{}
	for _, x := range top.Items {
		told[x.Topic] = true
		if n := weight[x.Topic]; x.Weight < n || x.Weight-x.Error > n {
			t.Errorf("%s has %d, and it is told %d less at most %d", x.Topic, n, x.Weight, x.Error)
		}
	}
	missed := 0
	for _, x := range heaviest(counts, 100) {
		if n := string(name(x)); !told[n] {
			if missed++; counts[x] > top.Items[len(top.Items)-1].Weight {
				t.Errorf("%s with %d is missed; the least told has %d", n, counts[x], top.Items[len(top.Items)-1].Weight)
			}
		}
	}
	t.Logf("error %d of %d messages; %d of the heaviest 100 are not among the 100 told", top.Error, 4**topics, missed)
	b.Stop()
}

// memory is what the process has resident, in bytes.
func (b *broker) memory() int {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.Cmd.Process.Pid))
	if err != nil {
		b.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.t.Fatal(err)
	}
	return kib << 10
}

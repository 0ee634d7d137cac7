package books

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// figures are what the generator knows of a topic or a branch, or of what one client sent or got.
type figures struct {
	messages, bytes, copies int64
	qos                     [3]int64
	largest                 int
	sizes                   map[int]int64 // by the upper bound of the class
	publisher               string        // of the last
}

func (f *figures) add(m *mqtt.Publish, qos mqtt.QoS, copies int) {
	size := len(m.Payload)
	f.messages++
	f.bytes += int64(size)
	f.copies += int64(copies)
	f.qos[qos]++
	f.largest = max(f.largest, size)
	if f.sizes == nil {
		f.sizes = map[int]int64{}
	}
	for _, upTo := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20, -1} {
		if size <= upTo || upTo < 0 {
			f.sizes[upTo]++
			return
		}
	}
}

// kept is a retained message as the generator remembers it.
type kept struct {
	size, qos int
	publisher string
}

// world is all that the generator did.
type world struct {
	tree     map[string]*figures // by topic and by each branch above
	topics   map[string]bool
	in, out  map[string]*figures
	retained map[string]kept
}

// hears are the subscriptions of the world's receivers: none has two that overlap.
var hears = []struct {
	client, filter, begins string
	qos                    mqtt.QoS
}{{"all", "fig/#", "fig/", 2}, {"north", "fig/north/#", "fig/north/", 1}, {"south", "fig/south/#", "fig/south/", 0}}

// figure is that of a name, made if it is not there.
func figure(of map[string]*figures, name string) *figures {
	if of[name] == nil {
		of[name] = new(figures)
	}
	return of[name]
}

func (w *world) note(publisher string, m *mqtt.Publish) {
	name, copies := string(m.Topic), 0
	for _, h := range hears {
		if strings.HasPrefix(name, h.begins) {
			copies++
			figure(w.out, h.client).add(m, min(m.QoS, h.qos), 0)
		}
	}
	figure(w.in, publisher).add(m, m.QoS, 0)
	w.topics[name] = true
	for branch, deep := name, true; deep; branch, _, deep = cut(branch) {
		figure(w.tree, branch).add(m, m.QoS, copies)
	}
	w.tree[name].publisher = publisher
	if m.Retain && len(m.Payload) == 0 {
		delete(w.retained, name)
	} else if m.Retain {
		w.retained[name] = kept{len(m.Payload), int(m.QoS), publisher}
	}
}

// publish sends n messages of chance's kinds and waits until all were answered.
func (w *world) publish(p *peer, n int, chance *rand.Rand) {
	p.t.Helper()
	p.mu.Lock()
	answered, want := p.yes, 0
	p.mu.Unlock()
	edges := []int{0, 1, 63, 64, 65, 256, 257, 1024, 1025, 4096, 4097, 16384, 16385, 65536, 65537}
	var out []byte
	for range n {
		size := chance.IntN(300)
		if chance.IntN(4) == 0 {
			size = edges[chance.IntN(len(edges))]
		}
		m := mqtt.Publish{
			QoS: mqtt.QoS(chance.IntN(3)), Retain: chance.IntN(3) == 0, Payload: []byte(strings.Repeat("x", size)),
			Topic: fmt.Appendf(nil, "fig/%s/m%d/%s", []string{"north", "south", "west"}[chance.IntN(3)], chance.IntN(4), []string{"t", "state"}[chance.IntN(2)]),
		}
		if m.QoS > 0 {
			want++
			m.ID = uint16(want)
		}
		w.note(p.id, &m)
		out = m.AppendTo(out, mqtt.V5)
	}
	p.raw(out)
	p.until("answers", func() bool { return p.yes == answered+want })
	p.idle()
}

// TestFigures: sizes, QoS in and out, copies, what is retained and by whom, by topic, branch and client, are exactly what the generator counted, and what
// is retained is so after a stop and start.
func TestFigures(t *testing.T) {
	t.Parallel()
	b := start(t, "limits: {max_outgoing_messages: 100000000, max_outgoing_bytes: 1GiB}\n")
	for _, h := range hears {
		b.join(h.client + " receive-max=60000").subscribe(fmt.Sprintf("%s qos=%d", h.filter, h.qos))
	}
	w := world{tree: map[string]*figures{}, topics: map[string]bool{}, in: map[string]*figures{}, out: map[string]*figures{}, retained: map[string]kept{}}
	chance := rand.New(rand.NewPCG(rand.Uint64(), 7))
	publishers := []*peer{b.join("p0"), b.join("p1"), b.join("p2")}
	for range 12 {
		w.publish(publishers[chance.IntN(len(publishers))], 1+chance.IntN(250), chance)
	}
	for branch := range w.tree {
		w.branch(b, branch)
	}
	for topic := range w.topics {
		w.topic(b, topic)
	}
	for id := range maps.Keys(w.in) {
		w.client(b, id)
	}
	for id := range maps.Keys(w.out) {
		w.client(b, id)
	}
	w.keeps(b)
	b.Stop()
	b.begin()
	w.keeps(b)
	b.Stop()
}

// same waits until what the API says is what the generator counted.
func same[T any](b *broker, what, path string, want T, equal func(a, b T) bool, told func() T) {
	b.t.Helper()
	var got T
	if !reached(func() bool { got = told(); return equal(got, want) }) {
		b.t.Errorf("%s: %s says\n%+v, the generator counted\n%+v", what, path, got, want)
	}
}

// branch compares the rows right below a branch.
func (w *world) branch(b *broker, branch string) {
	b.t.Helper()
	type row struct {
		Messages, Bytes, Copies int64
		QoS                     [3]int64
		MaxSize                 int `json:"max_size"`
		Topics                  int
		Retained                bool
	}
	want := map[string]row{}
	for name, f := range w.tree {
		if parent, _, deep := cut(name); deep && parent == branch {
			r := row{Messages: f.messages, Bytes: f.bytes, Copies: f.copies, QoS: f.qos, MaxSize: f.largest}
			for topic := range w.topics {
				if topic == name || strings.HasPrefix(topic, name+"/") {
					r.Topics++
				}
			}
			_, r.Retained = w.retained[name]
			want[name] = r
		}
	}
	path := "/topics/tree?limit=1000&branch=" + url.QueryEscape(branch)
	same(b, "below "+branch, path, want, maps.Equal, func() map[string]row {
		var list struct {
			Items []struct {
				Topic string
				row
			}
		}
		b.does(http.MethodGet, path, nil, &list)
		got := map[string]row{}
		for _, x := range list.Items {
			got[x.Topic] = x.row
		}
		return got
	})
}

// topic compares what is known of one topic alone.
func (w *world) topic(b *broker, name string) {
	b.t.Helper()
	type detail struct {
		QoS   [3]int64
		Sizes []struct {
			UpTo     int `json:"up_to"`
			Messages int64
		}
		Last struct{ Publisher string }
	}
	f := w.tree[name]
	var d detail
	same(b, name, "/topics/detail", figures{qos: f.qos, sizes: f.sizes, publisher: f.publisher}, func(a, b figures) bool {
		return a.qos == b.qos && maps.Equal(a.sizes, b.sizes) && a.publisher == b.publisher
	}, func() figures {
		d = detail{}
		b.does(http.MethodGet, "/topics/detail?topic="+url.QueryEscape(name), nil, &d)
		got := figures{qos: d.QoS, publisher: d.Last.Publisher, sizes: map[int]int64{}}
		for _, s := range d.Sizes {
			got.sizes[s.UpTo] = s.Messages
		}
		return got
	})
}

// client compares both pages about a client.
func (w *world) client(b *broker, id string) {
	b.t.Helper()
	type flow struct {
		Messages, Bytes int64
		QoS             [3]int64
	}
	of := func(f *figures) flow {
		if f == nil {
			return flow{}
		}
		return flow{f.messages, f.bytes, f.qos}
	}
	want := [2]flow{of(w.in[id]), of(w.out[id])}
	equal := func(a, b [2]flow) bool { return a == b }
	same(b, id, "/books/clients", want, equal, func() [2]flow {
		var x struct{ In, Out flow }
		b.does(http.MethodGet, "/books/clients/"+id, nil, &x)
		return [2]flow{x.In, x.Out}
	})
	same(b, id, "/clients", want, equal, func() [2]flow {
		var x struct {
			In, Out flow
			QoS     struct{ In, Out [3]int64 }
		}
		b.does(http.MethodGet, "/clients/"+id, nil, &x)
		x.In.QoS, x.Out.QoS = x.QoS.In, x.QoS.Out
		return [2]flow{x.In, x.Out}
	})
}

// keeps compares what is retained: altogether, by branch, by topic and by who published it.
func (w *world) keeps(b *broker) {
	b.t.Helper()
	compare := func(query string, is func(name string, k kept) bool) {
		b.t.Helper()
		want, weight := map[string]kept{}, 0
		for name, k := range w.retained {
			if is(name, k) {
				want[name] = k
				weight += len(name) + k.size + 128 // as limits.max_retained_bytes has it
			}
		}
		same(b, "retained", query, want, maps.Equal, func() map[string]kept {
			var list struct {
				Matched int
				Items   []struct {
					Topic, Publisher string
					Size, QoS        int
				}
			}
			b.does(http.MethodGet, "/retained?limit=1000&payload_bytes=0&"+query, nil, &list)
			got := map[string]kept{}
			for _, x := range list.Items {
				got[x.Topic] = kept{x.Size, x.QoS, x.Publisher}
			}
			if list.Matched != len(got) {
				b.t.Errorf("%s: %d match, %d are listed", query, list.Matched, len(got))
			}
			return got
		})
		if query == "filter=%23" {
			type amount struct{ Messages, Bytes int }
			same(b, "retained", "/stats", amount{len(want), weight}, func(a, b amount) bool { return a == b }, func() amount {
				var stats struct{ Retained amount }
				b.does(http.MethodGet, "/stats", nil, &stats)
				return stats.Retained
			})
		}
	}
	compare("filter=%23", func(string, kept) bool { return true })
	for branch := range w.tree {
		compare("filter="+url.QueryEscape(branch+"/#"), func(name string, _ kept) bool { return name == branch || strings.HasPrefix(name, branch+"/") })
	}
	for _, id := range slices.Sorted(maps.Keys(w.in)) {
		compare("publisher="+id, func(_ string, k kept) bool { return k.publisher == id })
	}
}

// TestFiguresRate: the rates of a steady publisher, of its topic and branch and of its receiver are within a tenth of what the generator's own clock says it
// sent in the same five seconds. On a busy machine it may take some fives until the generator was not held up at a border.
func TestFiguresRate(t *testing.T) {
	t.Parallel()
	b := start(t, "")
	b.join("receiver").subscribe("steady/# qos=0")
	p := b.join("steady")
	var mu sync.Mutex
	var sent []int64 // ms
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				p.send(`PUBLISH topic=steady/a/b "x"`)
				mu.Lock()
				sent = append(sent, time.Now().UnixMilli())
				mu.Unlock()
			}
		}
	}()
	defer func() { close(stop); <-done; b.Stop() }()
	const five = 5000
	first := time.Now().UnixMilli()/five*five + 2*five // the first border with a whole five seconds before it
	for border := first; ; border += five {
		<-time.After(time.Until(time.UnixMilli(border + 50)))
		mu.Lock()
		now, minute := 0.0, 0.0
		for _, at := range sent {
			if at < border {
				minute += math.Exp(-float64(border-at)/60_000) / 60
				if at >= border-five {
					now += 1.0 / 5
				}
			}
		}
		mu.Unlock()
		wrong := b.rates(now, minute)
		if len(wrong) == 0 {
			return
		}
		if border == first+11*five {
			t.Fatalf("the generator sent %.1f a second, over a minute %.1f: %v", now, minute, wrong)
		}
	}
}

// rates are those of TestFiguresRate that are not within a tenth.
func (b *broker) rates(now, minute float64) (wrong []string) {
	type rates struct{ Rate, Rate1 float64 }
	var tree, detail struct {
		Items []rates
		rates
	}
	var publisher, receiver struct {
		In, Out rates
	}
	b.does(http.MethodGet, "/topics/tree", nil, &tree)
	b.does(http.MethodGet, "/topics/detail?topic=steady/a/b", nil, &detail)
	b.does(http.MethodGet, "/books/clients/steady", nil, &publisher)
	b.does(http.MethodGet, "/books/clients/receiver", nil, &receiver)
	for what, r := range map[string]rates{"branch": tree.Items[0], "topic": detail.rates, "publisher": publisher.In, "receiver": receiver.Out} {
		if math.Abs(r.Rate-now) > now/10 || math.Abs(r.Rate1-minute) > minute/10 {
			wrong = append(wrong, fmt.Sprintf("%s: %+v", what, r))
		}
	}
	return wrong
}

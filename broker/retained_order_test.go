package broker_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
)

// flaky is a store some of whose batches fail, in no order, and that tells the outcome from other goroutines.
type flaky struct {
	*mem.Store
	mu    sync.Mutex
	r     *rand.Rand
	fails bool
	done  sync.WaitGroup
	kept  map[string]string // retained messages: the payload by topic
}

func (f *flaky) Commit(b *store.Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fail, later := f.fails && f.r.IntN(3) == 0, f.r.IntN(2) == 0
	done, err := b.Done, error(nil)
	if fail {
		err = errors.New("failed by the test")
	} else {
		inner := make(chan error, 1)
		f.Store.Commit(&store.Batch{Records: b.Records, Done: func(err error) { inner <- err }})
		err = <-inner
		for _, r := range b.Records {
			switch r.Op {
			case store.Retain:
				f.kept[string(r.Message.Topic)] = string(r.Message.Payload)
			case store.Unretain:
				delete(f.kept, string(r.Message.Topic))
			}
		}
	}
	if later {
		f.done.Go(func() { done(err) })
		return
	}
	done(err)
}

// TestRetainedOrder: clients on several shards that set, remove and let expire the same few retained messages leave
// the same ones to those who subscribe as to the store, also when some batches fail.
func TestRetainedOrder(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		for _, shards := range []int{1, 2, 4} {
			f := &flaky{Store: mem.New(), r: rand.New(rand.NewPCG(1, uint64(shards))), fails: fails, kept: map[string]string{}}
			s := serve(t, broker.Options{Store: f, Shards: shards})
			var all sync.WaitGroup
			for n := range 8 {
				c := s.client(fmt.Sprint("id=c", n))
				all.Go(func() {
					r := rand.New(rand.NewPCG(2, uint64(n)))
					for i := range 400 {
						line := fmt.Sprintf(`PUBLISH qos=1 id=%d retain topic=t/%d`, i+1, r.IntN(3))
						switch r.IntN(8) {
						case 0: // removed
						case 1:
							line += fmt.Sprintf(` expiry=1 "%d/%d"`, n, i)
						default:
							line += fmt.Sprintf(` "%d/%d"`, n, i)
						}
						c.send(line)
						if r.IntN(4) == 0 {
							c.next()
						}
					}
				})
			}
			all.Wait()
			s.until("all is settled", func(st broker.Stats) bool { return st.PublishReceived == 3200 })
			f.mu.Lock()
			f.fails = false
			f.mu.Unlock()
			differ := ""
			if !reached(func() bool {
				f.done.Wait()
				p := s.client("id=reader")
				p.subscribe("t/+ qos=0")
				shown := map[string]string{}
				for range 2 { // the second answer comes behind them
					p.send("PINGREQ")
					for line := p.next(); line != "PINGRESP"; line = p.next() {
						words := strings.Fields(line)
						topic := words[slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "topic=") })]
						shown[strings.TrimPrefix(topic, "topic=")] = strings.Trim(words[len(words)-1], `"`)
					}
				}
				p.conn.Close()
				f.mu.Lock()
				in := maps.Clone(f.kept)
				f.mu.Unlock()
				differ = fmt.Sprint(shown, " shown, in the store ", in)
				return fmt.Sprint(shown) == fmt.Sprint(in) && len(in) == s.stats().Retained
			}) {
				t.Errorf("%d shards, fails %t: %s", shards, fails, differ)
			}
		}
	}
}

package books

import (
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var (
	sessions = flag.Int("sessions", 2000, "of TestClients")
	keepTo   = flag.String("keep", "", "where TestClients copies the data directory at the end; empty = nowhere")
	rounds   = flag.Int("rounds", 1, "how often each client of TestClients comes back")
)

// TestClients makes durable sessions by connecting and disconnecting, and lists them in every way; it tells what the facts of all that take.
func TestClients(t *testing.T) {
	t.Parallel()
	b := start(t, "durability: process\nstorage: {}\nflapping: {answer: off}\n"+restrict("publish", "denied/#", "dev*"))
	began := time.Now()
	for range *rounds {
		b.visit(*sessions)
	}
	t.Logf("%d connects, subscribes and disconnects in %v", *rounds**sessions, time.Since(began).Round(time.Millisecond))
	var list struct {
		Items          []struct{ ID string }
		Total, Matched int
	}
	b.timed("/clients", "/sessions", &list)
	if list.Total != *sessions {
		t.Errorf("%d sessions of %d are listed", list.Total, *sessions)
	}
	for _, sort := range []string{"id", "-queued", "-queue_bytes", "address", "-seen", "-subscriptions", "-dropped", "-denied", "-in", "protocol"} {
		b.timed("sort "+sort, "/sessions?sort="+sort, &list)
	}
	for _, filter := range []string{"0999", "id:dev0009*", "queued>0", "subscriptions>=1", "connected:false", "!connected:true seen<1h 7"} {
		b.timed(filter, "/sessions?filter="+url.QueryEscape(filter), &list)
		t.Logf("%24s %d", "matched", list.Matched)
	}
	b.Stop()
	size, facts := int64(0), 0
	for _, name := range []string{"events.db", "events.db-wal"} {
		if i, err := os.Stat(filepath.Join(b.dir, "data", name)); err == nil {
			size += i.Size()
		}
	}
	b.begin()
	var stats struct{ Items []struct{ ID uint64 } }
	b.does(http.MethodGet, "/events?limit=1", nil, &stats)
	if len(stats.Items) > 0 {
		facts = int(stats.Items[0].ID & (1<<48 - 1))
	}
	t.Logf("events.db: %d bytes, newest fact %d %v", size, facts, stats.Items)
	if *keepTo != "" {
		if err := os.CopyFS(*keepTo, os.DirFS(filepath.Join(b.dir, "data"))); err != nil {
			t.Error(err)
		}
	}
	b.Stop()
}

// visit has so many devices connect, subscribe, be denied and leave.
func (b *broker) visit(n int) {
	const devices = 50 // at a time
	var done sync.WaitGroup
	for part := range devices {
		done.Go(func() {
			for i := part; i < n; i += devices {
				p := b.join(fmt.Sprintf("dev%06d expiry=86400 user=sapwood=test", i))
				p.subscribe(fmt.Sprintf("cmd/%d/# qos=1, all qos=1", i))
				p.give(1, 1, fmt.Sprintf("denied/%d", i), "")
				p.leave("")
				p.cut()
			}
		})
	}
	done.Wait()
}

// timed asks and tells how long the first and a second answer took.
func (b *broker) timed(what, path string, into any) {
	b.t.Helper()
	for _, which := range []string{"first", "again"} {
		began := time.Now()
		b.does(http.MethodGet, path, nil, into)
		b.t.Logf("%-22s %s: %v", what, which, time.Since(began).Round(time.Millisecond))
	}
}

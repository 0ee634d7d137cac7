package main

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

// look is how often a watch looks.
const look = 250 * time.Millisecond

// sample is what a watch saw at one moment.
type sample struct {
	when    time.Time
	disk    int64  // bytes that the broker's files take
	rss     int64  // bytes
	flushes uint64 // of the device, since its start
	log     int64  // bytes written to Sapwood's log; -1 = not known
	syncs   int64  // of Sapwood's log
}

// watch looks at a broker from outside while it runs.
type watch struct {
	broker  *peer.Running
	device  string
	store   string // URL where Sapwood tells about its store; "" = none
	admin   string // the password that its first start made
	samples []sample
	peak    int64 // resident memory, at most, since the broker's start
	quit    chan struct{}
	gone    sync.WaitGroup
}

// observe starts a watch, which end ends.
func observe(r *peer.Running) *watch {
	w := &watch{broker: r, quit: make(chan struct{})}
	w.device, _ = diskOf(r.Dir)
	var said struct {
		HTTP  string `json:"http"`
		Admin string `json:"admin_password"`
	}
	if json.Unmarshal([]byte(r.Said), &said) == nil && said.HTTP != "" {
		w.store, w.admin = said.HTTP+"/api/v1/store", said.Admin
	}
	w.gone.Go(func() {
		tick := time.NewTicker(look)
		defer tick.Stop()
		for {
			w.sample()
			select {
			case <-w.quit:
				return
			case <-tick.C:
			}
		}
	})
	return w
}

func (w *watch) end() {
	close(w.quit)
	w.gone.Wait()
	w.sample()
}

func (w *watch) sample() {
	s := sample{when: time.Now(), disk: diskUse(w.broker.Dir)}
	s.log, s.syncs = w.logged()
	s.flushes, _ = flushes(w.device)
	now, peak, err := resident(w.broker.PID())
	if err == nil {
		s.rss, w.peak = now, max(w.peak, peak)
	}
	w.samples = append(w.samples, s)
}

// diskUse is what the files below dir take on disk, in bytes.
func diskUse(dir string) (n int64) {
	filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n += blocks(name)
		}
		return nil // what is gone meanwhile takes nothing
	})
	return n
}

// logged asks Sapwood how much it has written to its log, and how often; -1 when it does not tell.
func (w *watch) logged() (bytes, syncs int64) {
	if w.store == "" {
		return -1, 0
	}
	ask, err := http.NewRequest(http.MethodGet, w.store, nil)
	if err != nil {
		return -1, 0
	}
	ask.SetBasicAuth("admin", w.admin)
	client := http.Client{Timeout: 4 * look} // the broker's core is busy
	answer, err := client.Do(ask)
	if err != nil {
		return -1, 0
	}
	defer answer.Body.Close()
	var store struct {
		Commits struct{ Bytes, Groups int64 }
	}
	if answer.StatusCode != http.StatusOK || json.NewDecoder(answer.Body).Decode(&store) != nil {
		return -1, 0
	}
	return store.Commits.Bytes, store.Commits.Groups
}

// between are the first samples in and behind a stretch of time; false when there are no two.
func (w *watch) between(from, to time.Time) (a, b sample, ok bool) {
	for _, s := range w.samples {
		if s.when.Before(from) {
			continue
		}
		if a.when.IsZero() {
			a = s
		}
		if b = s; !s.when.Before(to) {
			break
		}
	}
	return a, b, b.when.After(a.when)
}

// flushRate is how many flushes per second the device did in a stretch, for whomever.
func (w *watch) flushRate(from, to time.Time) (float64, bool) {
	a, b, ok := w.between(from, to.Add(-look))
	return float64(b.flushes-a.flushes) / b.when.Sub(a.when).Seconds(), ok
}

// written is how many bytes Sapwood wrote to its log per second of a stretch, and in how many syncs.
func (w *watch) written(from, to time.Time) (bytes, syncs float64, ok bool) {
	a, b, ok := w.between(from, to.Add(-look))
	if !ok || a.log < 0 || b.log < 0 {
		return 0, 0, false
	}
	d := b.when.Sub(a.when).Seconds()
	return float64(b.log-a.log) / d, float64(b.syncs-a.syncs) / d, true
}

// disk is the use of the disk over a stretch, one value a second, and its highest.
func (w *watch) disk(from, to time.Time) (perSecond []int64, most int64) {
	next := from
	for _, s := range w.samples {
		if s.when.Before(from) || s.when.After(to) {
			continue
		}
		most = max(most, s.disk)
		if !s.when.Before(next) {
			perSecond = append(perSecond, s.disk)
			next = next.Add(time.Second)
		}
	}
	return perSecond, most
}

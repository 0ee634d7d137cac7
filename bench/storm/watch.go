package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/load"
)

// watched is set, to the broker's address, for the process whose clients stay connected: the storm's own work must not delay them.
const watched = "STORM_WATCH"

// seen is what the clients that stay connected have seen.
type seen struct {
	P50    time.Duration
	P99    time.Duration
	Max    time.Duration
	Missed int            // PINGRESPs that came later than the keep-alive, and connections lost
	Lost   map[string]int // why connections were lost
}

// watch is the process of those clients.
type watch struct {
	cmd  *exec.Cmd
	quit io.Closer
	out  *json.Decoder
}

// startWatch returns when all of them are connected.
func startWatch(ctx context.Context, o options, address string) (*watch, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, fmt.Sprintf("-steady=%d", o.steady), fmt.Sprintf("-keepalive=%v", o.keepAlive))
	cmd.Env = append(os.Environ(), pinned+"=1", watched+"="+address)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &watch{cmd, in, json.NewDecoder(out)}
	var ready bool
	if err := w.out.Decode(&ready); err != nil {
		return nil, fmt.Errorf("the clients that are to stay: %w", err)
	}
	return w, nil
}

// end ends the process and returns what its clients have seen.
func (w *watch) end() (s seen, err error) {
	if err := w.quit.Close(); err != nil {
		return s, err
	}
	if err := w.out.Decode(&s); err != nil {
		return s, err
	}
	return s, w.cmd.Wait()
}

// watcher is that process from within.
type watcher struct {
	fleet
	mu    sync.Mutex
	pings load.Histogram
	lost  map[string]int
	late  int
}

// runWatch connects the clients, says so, and tells what they have seen when standard input ends.
func runWatch(ctx context.Context, o options, address string) error {
	w := &watcher{fleet: fleet{o: o, address: address, tls: &tls.Config{InsecureSkipVerify: true}}, lost: map[string]int{}}
	ctx, cancel := context.WithCancel(ctx)
	defer w.working.Wait()
	defer cancel()
	for i := range o.steady {
		w.working.Go(func() { w.stay(ctx, fmt.Sprintf("steady-%d", i)) })
	}
	if _, err := w.reach(ctx, int64(o.steady), time.Minute); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(true); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := seen{P50: w.pings.Quantile(0.5), P99: w.pings.Quantile(0.99), Max: w.pings.Max(), Missed: w.late, Lost: w.lost}
	for _, n := range w.lost {
		s.Missed += n
	}
	return out.Encode(s)
}

// stay is a client that stays connected and measures how soon its pings are answered.
func (w *watcher) stay(ctx context.Context, id string) {
	c, err := w.connect(ctx, id, nil)
	for err != nil {
		if ctx.Err() != nil {
			return
		}
		c, err = w.connect(ctx, id, nil)
	}
	ended := context.AfterFunc(ctx, func() { c.NetConn().Close() })
	defer ended()
	defer c.NetConn().Close()
	every := time.NewTicker(time.Second)
	defer every.Stop()
	var answer [2]byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		asked := time.Now()
		_, err := c.Write([]byte{0xC0, 0})
		if err == nil {
			_, err = io.ReadFull(c, answer[:])
		}
		if ctx.Err() != nil {
			return
		}
		took := time.Since(asked)
		w.mu.Lock()
		w.pings.Record(took)
		if took > w.o.keepAlive {
			w.late++
		}
		if err != nil {
			w.lost[err.Error()]++
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
	}
}

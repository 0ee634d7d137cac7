package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/broker/store/disk/file/faulty"
	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
)

// machine is a broker with its disk and its network, all in this process. It can lose its power at any moment: then no
// client sees anything of it any more, and its disk keeps what it kept.
type machine struct {
	open func(*faulty.Disk) (*disk.Store, error)
	log  *history.Log

	mu      sync.Mutex
	address string // "" = away
	wires   map[*wire]bool

	disk   *faulty.Disk // the one in use, or to be used next
	store  *disk.Store
	broker *broker.Broker // nil while none runs
	served chan error
}

// wire is a client's connection to the machine.
type wire struct {
	net.Conn
	m   *machine
	cut atomic.Bool
}

// errCut is what is read from a connection whose other end has no power.
var errCut = errors.New("the machine is down")

// Read gives nothing that arrived after the cut.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if w.cut.Load() {
		return 0, errCut
	}
	return n, err
}

func (w *wire) Close() error {
	w.m.mu.Lock()
	delete(w.m.wires, w)
	w.m.mu.Unlock()
	return w.Conn.Close()
}

// dial is a new connection.
func (m *machine) dial() (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.address == "" {
		return nil, errCut
	}
	conn, err := net.DialTimeout("tcp", m.address, time.Second)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn, m: m}
	m.wires[w] = true
	return w, nil
}

// sever ends the network: what the broker sends from here on reaches nobody.
func (m *machine) sever() {
	m.mu.Lock()
	m.address = ""
	var cut []*wire
	for w := range m.wires {
		w.cut.Store(true)
		cut = append(cut, w)
	}
	m.mu.Unlock()
	for _, w := range cut {
		_ = w.Conn.Close() // what matters is that it is cut
	}
}

// start opens the store on the disk and a broker on it.
func (m *machine) start() error {
	s, err := m.open(m.disk)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	b, err := broker.New(broker.Options{Store: s, Shards: 2})
	if err != nil {
		return errors.Join(fmt.Errorf("start the broker: %w", err), s.Close())
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, b.Close(context.Background()), s.Close())
	}
	m.store, m.broker, m.served = s, b, make(chan error, 1)
	go func() { m.served <- b.Serve(ln) }()
	m.log.Add(history.Event{Kind: history.Up})
	m.mu.Lock()
	m.address = ln.Addr().String()
	m.mu.Unlock()
	return nil
}

// closing is how long a broker whose disk is gone may take to end.
const closing = time.Minute

// stop ends the broker, then its store. What the disk says no matter to is no matter.
func (m *machine) stop(patience time.Duration) (fromBroker, fromStore error) {
	return m.stopWithin(patience, closing)
}

func (m *machine) stopWithin(patience, closing time.Duration) (fromBroker, fromStore error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		fromBroker = m.broker.Close(ctx)
		<-m.served
		fromStore = m.store.Close()
	}()
	select {
	case <-ended:
		m.broker = nil
		return fromBroker, fromStore
	case <-time.After(closing):
		return errors.New("the broker does not end"), nil
	}
}

// crash is a power cut or the end of the process, by what it makes of the disk.
func (m *machine) crash(how string, of func(*faulty.Disk) *faulty.Disk) {
	m.sever()
	m.disk = of(m.disk)
	m.log.Add(history.Event{Kind: history.Down, Topic: how})
}

// quit is an end in good order; well tells that the disk gave no reason to doubt that.
func (m *machine) quit(well bool) error {
	fromBroker, fromStore := m.stop(2 * time.Second)
	m.sever()
	m.log.Add(history.Event{Kind: history.Down, Topic: "TERM", Clean: well && fromStore == nil})
	if fromBroker != nil && !errors.Is(fromBroker, context.DeadlineExceeded) {
		return fromBroker
	}
	return nil
}

// abandon ends what is left after something went wrong.
func (m *machine) abandon() {
	m.sever()
	m.disk.Kill()
	if m.broker != nil {
		_, _ = m.stopWithin(0, 5*time.Second) // it may never end
	}
}

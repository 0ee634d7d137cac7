package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sapwood-mqtt/sapwood/mqtt"
	"github.com/sapwood-mqtt/sapwood/test/chaos/history"
)

// watcher looks at retained messages, each time with a new session.
type watcher struct {
	l     *Load
	id    string
	rng   *rand.Rand
	conns int
}

// run looks now and then, and soon after the broker has come back.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		if w.l.calm.Load() || w.look(ctx, false) != nil {
			wait(ctx, 5*ms)
			continue
		}
		wait(ctx, time.Duration(20+w.rng.IntN(150))*ms)
	}
}

// look asks for all retained messages once.
func (w *watcher) look(ctx context.Context, settled bool) error {
	conn, err := w.l.o.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	w.conns++
	connect := mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(w.id)}
	if _, err := handshake(conn, &connect); err != nil {
		return err
	}
	packets := make(chan *mqtt.Packet, 64)
	done := make(chan struct{})
	defer func() {
		close(done)
		conn.Close()
		for range packets {
		}
	}()
	go read(conn, mqtt.V5, packets, done)

	for i := range retainedTopics {
		w.l.o.Log.Add(history.Event{Kind: history.Reading, Client: w.id, Conn: w.conns, Topic: retainedTopic(i)})
	}
	subscribe := mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: []byte("r/#")}}}
	if err := write(conn, subscribe.AppendTo(nil, mqtt.V5)); err != nil {
		return err
	}
	found, err := w.collect(packets, func() error { return write(conn, mqtt.AppendPing(nil, mqtt.PINGREQ)) })
	if err != nil {
		return err
	}
	for i := range retainedTopics {
		e := found[retainedTopic(i)]
		e.Kind, e.Client, e.Conn, e.Topic, e.Settled = history.Read, w.id, w.conns, retainedTopic(i), settled
		w.l.o.Log.Add(e)
	}
	return nil
}

// collect gathers what is retained: what comes until the broker has answered SUBSCRIBE and then two PINGREQs.
func (w *watcher) collect(packets <-chan *mqtt.Packet, ping func() error) (map[string]history.Event, error) {
	found := map[string]history.Event{}
	late := time.NewTimer(handshakeTime)
	defer late.Stop()
	for pongs := 0; pongs < 2; {
		select {
		case <-late.C:
			return nil, errors.New("the broker does not answer")
		case p, open := <-packets:
			switch {
			case !open:
				return nil, errors.New("the connection ended")
			case p.Type == mqtt.SUBACK && p.Suback.Reasons[0].Failed():
				return nil, fmt.Errorf("subscribe: %w", p.Suback.Reasons[0])
			case p.Type == mqtt.PINGRESP:
				pongs++
				fallthrough
			case p.Type == mqtt.SUBACK:
				if err := ping(); err != nil {
					return nil, err
				}
			case p.Type == mqtt.PUBLISH && p.Publish.Retain:
				m, fault := history.ParsePayload(string(p.Publish.Topic), p.Publish.Payload)
				if len(p.Publish.Payload) == 0 {
					fault = "an empty message is retained"
				}
				found[string(p.Publish.Topic)] = history.Event{Message: m, Fault: fault}
			}
		}
	}
	return found, nil
}

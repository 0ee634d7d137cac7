package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/session"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// TestInspect: what the broker tells of its clients, connected or away, durable or not.
func TestInspect(t *testing.T) {
	each(t, func(t *testing.T, shards int) {
		s := serve(t, broker.Options{Shards: shards})
		view, ctx := s.View(), t.Context()
		kept := s.client("id=kept expiry=100 keepalive=7 receive-max=2")
		kept.subscribe("t/# qos=2")
		kept.subscribe("$share/g/x qos=1")
		brief := s.client(`id=brief receive-max=1 will=w "bye"`)
		brief.subscribe("t/# qos=1")
		for i := range 5 {
			if _, err := s.Control().Publish(ctx, mqtt.Message{Topic: []byte(fmt.Sprintf("t/%d", i)), QoS: mqtt.QoS(1 + i%2), Payload: []byte("12345")}); err != nil {
				t.Fatal(err)
			}
		}
		kept.expect("PUBLISH qos=1 topic=t/0", "PUBLISH qos=2 topic=t/1")
		brief.expect("PUBLISH qos=1 topic=t/0")
		kept.send("PUBREC id=2")
		kept.expect("PUBREL id=2")
		kept.send("PUBLISH qos=2 id=77 topic=none")
		kept.expect("PUBREC id=77")

		queued := func(id string) int {
			x, _ := view.Inspect(ctx, id)
			return x.Queued
		}
		if queued("brief") != 4 || queued("kept") != 3 {
			t.Fatal(queued("brief"), queued("kept"))
		}
		rows, err := broker.Rows(ctx, view, nil, func(r *broker.Row) broker.Row { return *r })
		slices.SortFunc(rows, func(a, b broker.Row) int { return len(b.ID) - len(a.ID) })
		if err != nil || len(rows) != 2 {
			t.Fatalf("%+v %v", rows, err)
		}
		some, err := view.Some(ctx, []string{"kept", "nobody", "brief", "kept"})
		if err != nil || len(some) != 4 || some[0].ID != "kept" || some[0].Queued != 3 || some[1].ID != "" || some[2].ID != "brief" || some[2].Queued != 4 || some[3].ID != "kept" {
			t.Errorf("%+v %v", some, err)
		}
		if r := rows[0]; r.ID != "brief" || r.Durable || r.Inflight != 1 || r.Queued != 4 || r.QueueBytes != 5*(128+5+3) || time.Since(r.Since) > time.Minute {
			t.Errorf("%+v", r)
		}
		if r := rows[1]; r.ID != "kept" || !r.Durable || !r.Connected || r.Inflight != 2 || r.Queued != 3 || r.KeepAlive != 7*time.Second || r.Expiry != 100*time.Second || r.Subscriptions != 2 {
			t.Errorf("%+v", r)
		}
		x, err := view.Inspect(ctx, "brief")
		if err != nil || x.Will == nil || string(x.Will.Msg.Topic) != "w" || len(x.Subs) != 1 || x.Negotiated.ReceiveMaximum != 1 {
			t.Errorf("%+v %v", x, err)
		}
		if i := slices.IndexFunc(x.Limits, func(u broker.Use) bool { return u.Name == "max_inflight" }); i < 0 || x.Limits[i].Used != 1 || x.Limits[i].Limit != 1 {
			t.Errorf("%+v", x.Limits)
		}

		list, now, err := view.Flights(ctx, "kept")
		if err != nil || len(list) != 3 {
			t.Fatalf("%+v %v", list, err)
		}
		for i, want := range []session.Flight{
			{ID: 77, QoS: 2, State: "awaits PUBREL"}, {Out: true, ID: 1, QoS: 1, State: "awaits PUBACK", Seq: 1, Topic: "t/0", Known: true, Payload: 5}, {Out: true, ID: 2, QoS: 2, State: "awaits PUBCOMP", Seq: 2},
		} {
			got := list[i]
			if age := now.UnixMilli() - got.At; age < 0 || age > 60_000 {
				t.Errorf("an age of %d ms", age)
			}
			if got.At, got.Size = 0, 0; got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
		queue := func(id string, want ...uint64) {
			t.Helper()
			var got []uint64
			for after := uint64(0); ; {
				list, more, err := view.Queue(ctx, id, after, 2)
				if err != nil {
					t.Fatal(err)
				}
				for _, w := range list {
					got, after = append(got, w.Position), w.Position
					if string(w.Message.Topic) != fmt.Sprintf("t/%d", w.Position-1) {
						t.Errorf("%s at %d", w.Message.Topic, w.Position)
					}
				}
				if !more {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", id, got, want)
			}
		}
		queue("kept", 3, 4, 5)
		queue("brief", 2, 3, 4, 5)
		kept.leave(s, 1)
		queue("kept", 1, 3, 4, 5) // 2 is released: the client has it
		if list, _, err := view.Flights(ctx, "kept"); err != nil || len(list) != 1 {
			t.Errorf("away: %+v %v", list, err)
		}
		n := 0
		if err := view.Subscriptions(ctx, func(some []broker.Subscriber) { n += len(some) }); err != nil || n != 3 {
			t.Errorf("%d subscriptions, %v", n, err)
		}
		if _, err := view.Inspect(ctx, "nobody"); !errors.Is(err, broker.ErrNoClient) {
			t.Error(err)
		}
	})
}

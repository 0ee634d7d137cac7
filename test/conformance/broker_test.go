package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/store/mem"
)

// served is a broker on a port of its own.
type served struct {
	*broker.Broker
	t    testing.TB
	addr string
}

// serve runs a broker until the test ends. Store and, where nil, Limits and Delivery are filled in.
func serve(t testing.TB, o broker.Options) *served {
	t.Helper()
	if o.Store == nil {
		o.Store = mem.New()
	}
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- b.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Close(ctx); err != nil && !errors.Is(err, broker.ErrClosed) {
			t.Errorf("close the broker: %v", err)
		}
		if err := <-end; !errors.Is(err, broker.ErrClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return &served{Broker: b, t: t, addr: ln.Addr().String()}
}

// stats returns the broker's figures.
func (s *served) stats() broker.Stats {
	s.t.Helper()
	st, ok := s.Stats()
	if !ok {
		s.t.Fatal("the broker is closed")
	}
	return st
}

// until waits until the broker's figures are as they should be.
func (s *served) until(what string, ok func(broker.Stats) bool) {
	s.t.Helper()
	eventually(s.t, what, func() bool { return ok(s.stats()) })
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
	}
}

// set changes a limit or a delivery option by its name in the configuration.
func set(o *broker.Options, setting string) error {
	name, value, _ := strings.Cut(setting, "=")
	if name == "shards" {
		n, err := strconv.Atoi(value)
		o.Shards = n
		return err
	}
	if o.Limits == nil {
		limits, delivery := broker.DefaultLimits(), broker.DefaultDelivery()
		o.Limits, o.Delivery = &limits, &delivery
	}
	for _, s := range []any{o.Limits, o.Delivery} {
		v := reflect.ValueOf(s).Elem()
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("yaml") == name {
				return setField(v.Field(i), value)
			}
		}
	}
	return fmt.Errorf("no setting is called %s", name)
}

func setField(f reflect.Value, value string) error {
	switch f.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(value)
		f.SetInt(int64(d))
		return err
	case bool:
		b, err := strconv.ParseBool(value)
		f.SetBool(b)
		return err
	}
	if f.Kind() == reflect.String {
		f.SetString(value)
		return nil
	}
	n, err := strconv.ParseInt(value, 0, 64)
	f.SetInt(n)
	return err
}

// with returns options with some settings.
func with(t testing.TB, settings ...string) broker.Options {
	t.Helper()
	var o broker.Options
	for _, s := range settings {
		if err := set(&o, s); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

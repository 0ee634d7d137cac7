package main

import (
	"github.com/sapwood-mqtt/sapwood/broker/store"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// forgetful is a store that keeps nothing, for flows of which nothing has to be kept: it costs next to nothing itself.
type forgetful struct{}

func (forgetful) Past() store.Past { return store.Past{} }

func (forgetful) Load(func(*store.Recovered) error, func(*mqtt.Message) error) error { return nil }

func (forgetful) Commit(b *store.Batch) {
	if b.Done != nil {
		b.Done(nil)
	}
}

func (forgetful) Read(_ store.SessionID, _, to uint64, dst []store.Queued, _ int) ([]store.Queued, uint64, error) {
	return dst, to + 1, nil
}

func (forgetful) Health() error      { return nil }
func (forgetful) Stats() store.Stats { return store.Stats{} }
func (forgetful) Close() error       { return nil }

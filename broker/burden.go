package broker

import (
	"sync/atomic"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/flapping"
	"github.com/sapwood-mqtt/sapwood/broker/overload"
)

// loadEvery is how often it is looked whether the broker is overloaded.
const loadEvery = 250 * time.Millisecond

// spareDescriptors are what else than connections is open: listeners, epoll sets, files of the store and so on.
const spareDescriptors = 64

// burden is how overloaded the broker is.
type burden struct {
	config atomic.Pointer[overload.Config] // nil = nobody looks
	state  atomic.Pointer[overload.State]  // nil = not yet known
	level  atomic.Int32                    // of state
	closed atomic.Uint64                   // connections, without a word
	banned atomic.Uint64                   // connections closed because of their address
}

// pulse is what a shard shows of itself.
type pulse struct {
	seen    atomic.Int64 // when its loop last came round, ms
	sockets atomic.Int64
}

// Overload is how overloaded the broker is.
func (b *Broker) Overload() overload.State {
	if st := b.burden.state.Load(); st != nil {
		return *st
	}
	return overload.State{}
}

// SetOverload replaces the watermarks while the broker runs. Without Options.Overload nobody looks, and that stays so.
func (b *Broker) SetOverload(c overload.Config) error {
	if err := c.Verify(); err != nil {
		return err
	}
	b.burden.config.Store(&c)
	return nil
}

// SetFlapping replaces what is flapping while the broker runs. Without Options.Flapping nobody looks, and that stays so.
func (b *Broker) SetFlapping(c flapping.Config) error {
	if err := c.Verify(); err != nil {
		return err
	}
	if b.entrance.flapping != nil {
		b.entrance.flapping.Set(c)
	}
	return nil
}

// beat shows now and then that the loop comes round.
func (p *pulse) beat(sh *shard) {
	p.seen.Store(sh.now)
	p.sockets.Store(int64(sh.loop.Conns()))
	if sh.b.burden.level.Load() < int32(overload.QoS0) {
		sh.paces.shares.Forget()
	}
}

// watchLoad looks after the watermarks until Close.
func (b *Broker) watchLoad() {
	memory := b.opts.Memory
	if memory == nil {
		memory = overload.NewSampler().Memory
	}
	watch := overload.NewWatch(*b.burden.config.Load())
	descriptors := overload.Descriptors()
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.stopping:
			return
		case now := <-tick.C:
			c := b.burden.config.Load()
			watch.Set(*c)
			s := b.sample(now)
			s.DescriptorsLimit = descriptors
			if s.Memory, s.MemoryLimit = memory(); c.MemoryLimit > 0 {
				s.MemoryLimit = c.MemoryLimit
			}
			b.burdened(watch.Judge(now, &s))
		}
	}
}

// sample is what the shards show.
func (b *Broker) sample(now time.Time) overload.Sample {
	s := overload.Sample{Descriptors: spareDescriptors}
	for _, sh := range b.shards {
		s.Descriptors += sh.pulse.sockets.Load()
		if seen := sh.pulse.seen.Load(); seen != 0 {
			s.Lag = max(s.Lag, time.Duration(b.clock(now)-seen)*time.Millisecond-loadEvery)
		}
	}
	return s
}

// burdened takes a state.
func (b *Broker) burdened(st overload.State, changed bool) {
	b.burden.state.Store(&st)
	b.burden.level.Store(int32(st.Level))
	if !changed {
		return
	}
	if st.Level == overload.Normal {
		b.log.Info("the broker is no longer overloaded")
	} else {
		b.log.Warn("the broker is overloaded", "level", int(st.Level), "shed", st.Level.String(), "why", st.Why)
	}
	b.tell(OverloadChanged{st})
}

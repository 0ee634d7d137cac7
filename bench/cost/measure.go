package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sapwood-mqtt/sapwood/bench/load"
	"github.com/sapwood-mqtt/sapwood/bench/peer"
)

// measured is one broker with one shape.
type measured struct {
	broker *peer.Running
	rig    *rig
	took   []float64 // CPU per copy in each round, ns
}

func measureAll(ctx context.Context, o options) error {
	peers, err := o.peers(func(string) []string { return nil })
	if err != nil {
		return err
	}
	fmt.Print("| shape |")
	for i, p := range peers {
		fmt.Printf(" %s: min | median |", p.Name)
		if i > 0 {
			fmt.Printf(" against %s |", peers[0].Name)
		}
	}
	fmt.Println()
	for _, s := range shapes() {
		if o.only.MatchString(s.name) {
			if err := measure(ctx, o, peers, s); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

// measure runs one shape, the brokers in turn; who is first changes with the round.
func measure(ctx context.Context, o options, peers []peer.Broker, s shape) error {
	var all []*measured
	defer func() {
		for _, m := range all {
			m.rig.close()
			m.broker.Stop()
		}
	}()
	for _, p := range peers {
		r, err := p.Start(ctx, "")
		if err != nil {
			return err
		}
		g, err := s.rig(r.Address)
		if err != nil {
			r.Stop()
			return err
		}
		all = append(all, &measured{broker: r, rig: g})
	}
	for i := range o.rounds + 1 { // the first is for warming up
		for k := range all {
			m := all[(i+k)%len(all)]
			if err := m.round(max(o.messages, s.topics*s.subscribers), i > 0); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fmt.Printf("| %s |", s.name)
	for i, m := range all {
		fmt.Printf(" %.0f | %.0f |", slices.Min(m.took), median(m.took))
		if i > 0 {
			least, middle := slices.Min(m.took)/slices.Min(all[0].took)-1, m.against(all[0])
			fmt.Printf(" %+.1f %% / %+.1f %% |", 100*least, 100*middle)
		}
	}
	fmt.Println()
	return nil
}

func (m *measured) round(messages int, counts bool) error {
	before, err := load.ReadUsage(m.broker.PID())
	if err != nil {
		return err
	}
	n := 0
	for n < messages {
		if err := m.rig.round(); err != nil {
			return err
		}
		n += m.rig.copies()
	}
	after, err := load.ReadUsage(m.broker.PID())
	if counts {
		m.took = append(m.took, float64((after.CPU-before.CPU)/time.Nanosecond)/float64(n))
	}
	return err
}

// against is the median of how much more m took than o in the same round.
func (m *measured) against(o *measured) float64 {
	more := make([]float64, len(m.took))
	for i := range more {
		more[i] = m.took[i]/o.took[i] - 1
	}
	return median(more)
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

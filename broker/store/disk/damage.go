package disk

import (
	"log/slog"
	"slices"
	"sync"
)

// maxDamage is how many damages are remembered.
const maxDamage = 100

// same tells whether d and o are about one place.
func (d Damage) same(o Damage) bool { return d.File == o.File && d.Offset == o.Offset }

// damages are what was found wrong.
type damages struct {
	mu    sync.Mutex
	list  []Damage
	total int
}

// add remembers a damage and says it in the log, each place once.
func (d *damages) add(log *slog.Logger, found Damage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.ContainsFunc(d.list, found.same) {
		return
	}
	d.total++
	if len(d.list) == maxDamage {
		d.list = d.list[1:]
	}
	d.list = append(d.list, found)
	log.Error("the store is damaged", "what", found.What, "file", found.File, "offset", found.Offset,
		"bytes", found.Bytes, "quarantine", found.Aside)
}

func (d *damages) all() ([]Damage, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.list), d.total
}

package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/console/api"
	"github.com/sapwood-mqtt/sapwood/fleet/fact"
	"github.com/sapwood-mqtt/sapwood/fleet/snapshot"
	"github.com/sapwood-mqtt/sapwood/mqtt"
)

// shelf is where what is deleted of the retained messages is kept; nil where nothing is on disk.
func shelf(a *App) *snapshot.Shelf {
	if a.disk == nil {
		return nil
	}
	return snapshot.Open(filepath.Join(a.cfg.Data, "snapshots"), snapshot.Defaults())
}

// apiRetained are the broker's retained messages as the API shows and changes them.
type apiRetained struct {
	view    *broker.View
	control *broker.Control
	shelf   *snapshot.Shelf
	tell    func(fact.Fact)
}

// Scan implements api.Retained.
func (r apiRetained) Scan(ctx context.Context, filter string, each func(*mqtt.Message) bool) error {
	return r.view.Retained(ctx, filter, each)
}

// Get implements api.Retained.
func (r apiRetained) Get(name string) *mqtt.Message { return r.view.RetainedMessage(name) }

// Delete implements api.Retained.
func (r apiRetained) Delete(ctx context.Context, list []*mqtt.Message) (int, error) {
	n, err := r.control.DeleteRetained(ctx, list, nil)
	if n > 0 {
		f := fact.Fact{Kind: fact.RetainedDeleted, Count: uint64(n), Text: fmt.Sprintf("%d retained messages were deleted by the API.", n)}
		if len(list) == 1 {
			f.Topic, f.Text = string(list[0].Topic), "The retained message was deleted by the API."
		}
		r.tell(f)
	}
	return n, err
}

// Snapshots implements api.Retained.
func (r apiRetained) Snapshots() api.Snapshots {
	if r.shelf == nil {
		return nil
	}
	return r
}

// Keep implements api.Snapshots.
func (r apiRetained) Keep(by, filter string, list []*mqtt.Message) (api.Snapshot, error) {
	a, err := r.shelf.Keep(snapshot.About{At: time.Now(), By: by, Filter: filter}, list)
	return api.Snapshot(a), err
}

// List implements api.Snapshots.
func (r apiRetained) List() ([]api.Snapshot, error) {
	all, err := r.shelf.List()
	list := make([]api.Snapshot, len(all))
	for i, a := range all {
		list[i] = api.Snapshot(a)
	}
	return list, err
}

// Restore implements api.Snapshots.
func (r apiRetained) Restore(ctx context.Context, id string) (api.Restoration, bool, error) {
	_, list, err := r.shelf.Get(id)
	if errors.Is(err, snapshot.ErrUnknown) {
		return api.Restoration{}, false, nil
	}
	if err != nil {
		return api.Restoration{}, false, err
	}
	done, err := r.control.RestoreRetained(ctx, list, nil)
	return api.Restoration(done), true, err
}

package main

import (
	"context"
	"io"
	"net/http"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/reach"
)

// remote is the store of a running broker, by its API.
type remote struct{ *reach.Broker }

// Status implements storeTool.
func (r remote) Status(ctx context.Context) (s disk.Status, err error) {
	return s, r.Call(ctx, http.MethodGet, "/store", nil, &s)
}

// Check implements storeTool.
func (r remote) Check(ctx context.Context, progress func(done, total int64)) (disk.Report, error) {
	return reach.Task[disk.Report](ctx, r.Broker, "/store/check", nil, "", progress, nil)
}

// Compact implements storeTool.
func (r remote) Compact(ctx context.Context, progress func(done, total int64)) (disk.Compacted, error) {
	return reach.Task[disk.Compacted](ctx, r.Broker, "/store/compact", nil, "", progress, nil)
}

// Backup implements storeTool.
func (r remote) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) error {
	return r.Copy(ctx, &counted{w: w, show: progress}, "/backup")
}

// Export implements storeTool.
func (r remote) Export(ctx context.Context, w io.Writer) error {
	return r.Copy(ctx, w, "/store/export")
}

package app

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/app/watch"
)

// idle is how often it is looked whether files are to be looked at, while they are not.
const idle = time.Second

// watch looks at all files until ctx ends. What is wrong with a file is told once for each of its contents.
func (r *reloader) watch(ctx context.Context) {
	files := watch.Poller{Since: r.loaded}
	for {
		every := r.config().Watch
		if every > 0 {
			r.look(ctx, &files)
		} else {
			every, files = idle, watch.Poller{Since: r.loaded}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

// look has everything read again that stands in a file with new contents.
func (r *reloader) look(ctx context.Context, files *watch.Poller) {
	r.now.Lock()
	ours := r.running.Files()
	r.now.Unlock()
	if r.source.File != "" {
		ours = append(ours, r.source.File)
	}
	all := slices.Clone(ours)
	for _, w := range r.watching() {
		all = append(all, w.Files()...)
	}
	changed := files.Changed(all)
	if slices.ContainsFunc(changed, func(f string) bool { return slices.Contains(ours, f) }) {
		// reload has told what is wrong.
		_, _ = r.reload(ctx, "changed file "+strings.Join(changed, ", "))
		return
	}
	for _, w := range r.watching() {
		if !slices.ContainsFunc(w.Files(), func(f string) bool { return slices.Contains(changed, f) }) {
			continue
		}
		if err := w.Reload(); err != nil {
			r.log.Error("files stay as they were read before", "error", err)
			continue
		}
		r.log.Info("files read again", "files", strings.Join(w.Files(), ", "))
	}
}

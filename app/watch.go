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
func (a *App) watch(ctx context.Context) {
	files := watch.Poller{Since: a.reload.loaded}
	for {
		every := a.config().Watch
		if every > 0 {
			a.look(ctx, &files)
		} else {
			every, files = idle, watch.Poller{Since: a.reload.loaded}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

// look has everything read again that stands in a file with new contents.
func (a *App) look(ctx context.Context, files *watch.Poller) {
	r := a.reload
	r.now.Lock()
	ours := r.running.Files()
	r.now.Unlock()
	if r.source.File != "" {
		ours = append(ours, r.source.File)
	}
	all := slices.Clone(ours)
	for _, w := range a.watched {
		all = append(all, w.Files()...)
	}
	changed := files.Changed(all)
	if slices.ContainsFunc(changed, func(f string) bool { return slices.Contains(ours, f) }) {
		// Reload has told what is wrong.
		_, _ = a.Reload(ctx, "changed file "+strings.Join(changed, ", "))
		return
	}
	for _, w := range a.watched {
		if !slices.ContainsFunc(w.Files(), func(f string) bool { return slices.Contains(changed, f) }) {
			continue
		}
		if err := w.Reload(); err != nil {
			a.log.Error("files stay as they were read before", "error", err)
			continue
		}
		a.log.Info("files read again", "files", strings.Join(w.Files(), ", "))
	}
}

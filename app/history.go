package app

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sapwood-mqtt/sapwood/app/settings"
)

// historyFile is where the data directory keeps since when each setting has its value.
const historyFile = "config-history.json"

// maxHistory bounds what is read of it, in bytes.
const maxHistory = 16 << 20

// stamp says since when a setting has its value, and who set it. The value is what may be shown of it.
type stamp struct {
	Value string    `json:"value"`
	Since time.Time `json:"since"`
	By    string    `json:"by"`
}

// history knows the stamp of every setting. Its methods may be called from any goroutine.
type history struct {
	path string // "" = kept in memory only
	log  *slog.Logger

	mu    sync.Mutex
	byKey map[string]stamp
}

// openHistory takes over what an earlier process kept in dir about values that are the same. Whether a secret is, cannot be
// told from what is kept: it counts from this start.
func openHistory(dir string, set *settings.Set, began time.Time, log *slog.Logger) *history {
	h := &history{log: log, byKey: map[string]stamp{}}
	if dir != "" {
		h.path = filepath.Join(dir, historyFile)
		h.read()
	}
	h.update(set, nil, stamp{Since: began, By: "start"}, true)
	return h
}

// read takes what is kept; a file that is no good is as good as none.
func (h *history) read() {
	info, err := os.Stat(h.path)
	var data []byte
	if err == nil && info.Size() <= maxHistory {
		data, err = os.ReadFile(h.path)
	}
	if err == nil {
		err = json.Unmarshal(data, &h.byKey)
	}
	if err != nil {
		h.byKey = map[string]stamp{}
		if !errors.Is(err, fs.ErrNotExist) {
			h.log.Warn("since when settings hold is not known", "error", err)
		}
	}
}

// note takes the changes of a reload that hold now.
func (h *history) note(set *settings.Set, done Reload) {
	changed := map[string]bool{}
	for _, c := range done.Changes {
		changed[c.Key] = !c.Restart
	}
	h.update(set, changed, stamp{Since: done.When, By: done.By}, false)
}

// update stamps the settings that changed, or have another value than before, and forgets those that are gone. At a start
// everything holds; later, what needs a restart does not.
func (h *history) update(set *settings.Set, changed map[string]bool, now stamp, start bool) {
	all, err := set.Explain("")
	if err != nil {
		return // a set without settings
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	next := make(map[string]stamp, len(all))
	for _, s := range all {
		was, known := h.byKey[s.Path]
		switch {
		case known && s.Restart && !start,
			known && !changed[s.Path] && was.Value == s.Value && !(start && s.Secret && s.Value != ""):
			next[s.Path] = was
		default:
			next[s.Path] = stamp{s.Value, now.Since, now.By}
		}
	}
	h.byKey = next
	h.write()
}

func (h *history) write() {
	if h.path == "" {
		return
	}
	data, err := json.MarshalIndent(h.byKey, "", " ")
	if err == nil {
		err = os.WriteFile(h.path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(h.path+".new", h.path)
	}
	if err != nil { // it is for the eye only
		h.log.Warn("since when settings hold is not kept", "error", err)
	}
}

// of is the stamp of one setting.
func (h *history) of(key string) stamp {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byKey[key]
}

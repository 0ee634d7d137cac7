package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
)

// TestRestoredRow: of a session that was not here since the start nothing is told that only its connection could say.
func TestRestoredRow(t *testing.T) {
	f := func(restored bool) {
		t.Helper()
		c := Client{ID: "a", Who: &auth.Principal{Identity: &auth.Identity{}, Restored: restored}}
		if !restored {
			c.KeepAlive = time.Minute
		}
		row := clientRow(&c)
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{`"tls":`, `"keep_alive_seconds":`, `"clean_start":`} {
			if strings.Contains(string(text), field) == restored {
				t.Errorf("restored %v: %s", restored, text)
			}
		}
	}
	f(true)
	f(false)
}

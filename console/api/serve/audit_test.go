package serve

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sapwood-mqtt/sapwood/console/api/access"
)

// What can be done many times a second does not push out the rest: one entry a minute says how many there were.
func TestAuditSeldom(t *testing.T) {
	who, err := access.Open(access.Options{Password: "right"})
	if err != nil {
		t.Fatal(err)
	}
	a := NewGuard(Options{Access: who, Surface: func() *Surface { return &Surface{Router: NewRouter()} }, Logger: slog.New(slog.DiscardHandler)}).audit
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i := range 100 {
		a.write(t.Context(), &access.Entry{At: at.Add(time.Duration(i) * time.Second), Operation: "publish", By: "anna", Outcome: access.Done}, "", "")
		a.write(t.Context(), &access.Entry{At: at.Add(time.Duration(i) * time.Second), Operation: "login", Outcome: access.Refused}, "", "")
	}
	got, _, err := who.Entries(t.Context(), 0, 100, func(*access.Entry) bool { return true })
	if err != nil || len(got) != 4 || got[0].More != 59 || got[1].More != 59 || got[2].More != 0 {
		t.Errorf("%+v", got)
	}
	for i := range 5000 {
		a.write(t.Context(), &access.Entry{At: at, Operation: "publish", By: fmt.Sprint(i)}, "", "")
	}
	if len(a.often) > 1024 {
		t.Errorf("%d are remembered", len(a.often))
	}
}

func TestRedacted(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "  ": "", "x": `{"left_out":"1 bytes or more"}`, `"x"`: `"x"`,
		`{"password":"x","a":[{"client_secret":"y","n":1}],"password_hash":"z","has_password":true,"Token":"t"}`: `{"Token":"***","a":[{"client_secret":"***","n":1}],"has_password":true,"password":"***","password_hash":"***"}`,
		`{"payload":"12345","topic":"a"}`:                                               `{"payload":"5 bytes","topic":"a"}`,
		`{"items":[{"payload":{"size":3,"encoding":"text","text":"abc"},"topic":"a"}]}`: `{"items":[{"payload":{"encoding":"text","size":3},"topic":"a"}]}`,
		`"` + strings.Repeat("x", maxSeen) + `"`:                                        fmt.Sprintf(`{"left_out":"%d bytes or more"}`, maxSeen+2),
	} {
		if got := string(redacted([]byte(in))); got != want {
			t.Errorf("%.100s: got %s, want %s", in, got, want)
		}
	}
}

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
	"github.com/sapwood-mqtt/sapwood/console/api/access"
	"github.com/sapwood-mqtt/sapwood/console/api/rights"
)

// Operators and keys are made, used, changed and revoked by commands, and the audit log tells so without a secret.
func TestAccessCommands(t *testing.T) {
	office(t, rights.Policy{})
	words := strings.Fields
	password := strings.TrimSpace(says(t, "", words("operators add anna --role operator --generate --note x")))
	says(t, "a good password\n", words("operators add vera --password-stdin"), "operator vera: created")
	refuses(t, exitFailed, "sapwood operators set", "operators", "add", "anna", "--generate")
	refuses(t, exitFailed, "--password-stdin or --generate", "operators", "add", "bert")
	refuses(t, exitUsage, "--role", "operators", "add", "bert", "--role", "king", "--generate")
	refuses(t, exitFailed, "nothing to change", "operators", "set", "anna")
	refuses(t, exitFailed, "last admin", "operators", "set", "admin", "--disabled")
	refuses(t, exitFailed, "is not there", "operators", "set", "bert", "--disabled")
	says(t, "", words("operators list"), "NAME", "anna", "operator", "first password", "vera", "viewer", "admin")
	says(t, "", []string{"users", "list", "--api-user", "vera", "--api-password", "a good password"})
	refuses(t, exitFailed, "users:admin", "users", "add", "x", "--generate", "--api-user", "anna", "--api-password", password)
	says(t, "", words("operators set vera --role admin"), "operator vera: changed")
	says(t, "", words("operators set vera --disabled"), "changed")
	refuses(t, exitFailed, "wrong", "users", "list", "--api-user", "vera", "--api-password", "a good password")
	says(t, "", words("operators set vera --no-disabled"))
	says(t, "another good one\n", words("operators password vera --password-stdin"), "another password")

	key := strings.TrimSpace(says(t, "", words("keys add ci --scope users:read --expires 90d --note pipeline"), "swk_"))
	refuses(t, exitFailed, "resources are", "keys", "add", "bad", "--scope", "everything:read")
	refuses(t, exitFailed, "say what it may do", "keys", "add", "bad")
	refuses(t, exitFailed, "is no time", "keys", "add", "bad", "--scope", "read", "--expires", "soon")
	says(t, "", []string{"users", "list", "--api-key", key})
	refuses(t, exitFailed, "users:admin", "groups", "add", "g", "--api-key", key)
	refuses(t, exitFailed, "no key may do it", "keys", "list", "--api-key", key)
	if out := says(t, "", words("keys list"), "ci", "users:read", "until ", key[:14]+"…", "admin"); strings.Contains(out, key) {
		t.Errorf("the key is shown again:\n%s", out)
	}
	refuses(t, exitFailed, "nothing to change", "keys", "set", "ci")
	says(t, "", words("keys set ci --scope read --expires never"), "key ci: changed")
	says(t, "", words("keys list --json"), `"read"`, `"note":"pipeline"`)
	says(t, "", words("keys revoke ci --json"), `{"key":"ci","revoked":true}`)
	refuses(t, exitFailed, "wrong", "users", "list", "--api-key", key)
	says(t, "", words("operators delete vera"), "operator vera deleted")
	refuses(t, exitFailed, "always there", "operators", "delete", "admin")

	says(t, "", words("audit"), "WHO", "operator-create", "/operators/vera", "key ci", "refused (403)", "admin")
	all := says(t, "", words("audit --json --limit 1000"), `"asked":{"generate":true,"name":"anna","note":"x","role":"operator"}`, `"password":"***"`, `"before":{`)
	for _, secret := range []string{password, key, "a good password", "another good one", "office-password"} {
		if strings.Contains(all, secret) {
			t.Errorf("%s is in the audit log", secret)
		}
	}
	var last access.Entry
	one := says(t, "", words("audit --json --limit 1 --by admin --target vera --outcome done --since 1h --operation operator-delete"))
	if err := json.Unmarshal([]byte(one), &last); err != nil || last.By != "admin" || last.Target != "/operators/vera" || !strings.Contains(string(last.Before), `"name":"vera"`) {
		t.Errorf("%v %s", err, one)
	}
	if out := says(t, "", words("audit --until 1h")); strings.Count(out, "\n") != 1 {
		t.Error(out)
	}
}

// A cell that a spreadsheet would take for a formula is text (F190).
func TestCells(t *testing.T) {
	for in, want := range map[string]string{
		"press-1": "press-1", "": "", `=cmd|' /C calc'!A0`: `'=cmd|' /C calc'!A0`, "+1": "'+1", "-1": "'-1", "@x": "'@x", "a=b": "a=b",
	} {
		if got := screen.Cell(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

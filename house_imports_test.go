package house

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// floors are the folders at the root, lowest first: each imports only what stands before it.
var floors = []string{"mqtt", "broker", "fleet", "console", "app", "cmd"}

// tools are folders beside the house. They may use the two lowest floors, each other, and only cmd
// and they themselves use them.
var tools = []string{"bench", "test"}

// contracts are the folders that hold an interface and its suite. What is below one implements it.
var contracts = []string{"broker/store", "broker/auth", "broker/transport", "broker/loop", "broker/store/disk/file", "fleet/notify", "fleet/fact"}

// parts are what implementations of a contract share: they, and only they, import them.
var parts = []string{"broker/store/positions", "broker/auth/grant", "broker/auth/upstream"}

// vocabulary are folders below a contract that belong to it: whoever may import the contract may import them.
var vocabulary = []string{"broker/auth/accounts", "broker/auth/phc", "broker/transport/proxy", "broker/transport/websocket"}

// standalone are the floors that build from the standard library and golang.org/x/sys alone.
var standalone = []string{"mqtt", "broker"}

// edges are the contracts of standalone floors whose implementations talk to something that has a library: each may use its own.
var edges = []string{"broker/auth", "broker/transport"}

// pure packages have no socket, file, clock of their own, lock or log.
var pure = map[string][]string{
	"mqtt":                       {"net", "os", "sync", "log", "syscall"},
	"broker/session":             {"net", "os", "sync", "log", "syscall"},
	"broker/store/positions":     {"net", "os", "sync", "log", "syscall", "time"},
	"broker/store/disk/record":   {"net", "os", "sync", "log", "syscall", "time"},
	"broker/store/disk/index":    {"net", "os", "sync", "log", "syscall", "time"}, // the engine's mutex guards it
	"broker/transport/proxy":     {"os", "sync", "log", "syscall", "time"},
	"broker/transport/websocket": {"os", "sync", "log", "syscall", "time"}, // net/http parses, and calls nobody
	"mqtt/topic":                 {"net", "os", "log", "syscall"},          // an index that all loops read: its locks each guard one struct
}

// siblings that may import each other, from the later to the earlier. All other folders below one
// floor do not know of each other.
var siblings = map[string][]string{
	"fleet/lint":    {"fleet/device", "fleet/observe", "fleet/ledger", "fleet/contract"},
	"fleet/alert":   {"fleet/device", "fleet/observe", "fleet/ledger", "fleet/contract", "fleet/lint"},
	"fleet/remedy":  {"fleet/device", "fleet/observe", "fleet/ledger", "fleet/contract", "fleet/lint", "fleet/alert"},
	"fleet/notify":  {"fleet/device", "fleet/observe", "fleet/ledger", "fleet/contract", "fleet/lint", "fleet/alert"},
	"fleet/fact":    {"fleet/post"}, // its webhook sends
	"fleet/canary":  {"fleet/fact"},
	"fleet/observe": {"fleet/fact"}, // says what the broker tells
	"fleet/ledger":  {"fleet/fact"},
	"fleet/why":     {"fleet/fact"},
	"fleet/vitals":  {"fleet/fact", "fleet/history", "fleet/load"},
	"fleet/sqlite":  {"fleet/fact", "fleet/device", "fleet/observe", "fleet/ledger", "fleet/contract", "fleet/alert"}, // implements their Stores
}

// imports is the import law of DESIGN section 2. Tests may import what they need.
func imports(t *tree) (bad []string) {
	for _, d := range t.dirs {
		for _, f := range d.production() {
			for _, spec := range f.Imports {
				target, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					continue
				}
				if why := forbidden(d.path, target); why != "" {
					bad = append(bad, fmt.Sprintf("%s: imports %s: %s", t.at(spec.Pos()), target, why))
				}
			}
		}
	}
	return bad
}

// forbidden says why the package in directory from may not import target, "" when it may.
func forbidden(from, target string) string {
	to, ours := strings.CutPrefix(target, module+"/")
	if !ours {
		return outside(from, target)
	}
	fromRoot, toRoot := folder(from, 1), folder(to, 1)
	fromFloor, toFloor := slices.Index(floors, fromRoot), slices.Index(floors, toRoot)
	fromTool, toTool := slices.Contains(tools, fromRoot), slices.Contains(tools, toRoot)
	switch {
	case fromFloor < 0 && !fromTool:
		return fromRoot + " is not a floor of the house: " + strings.Join(floors, " -> ")
	case toFloor < 0 && !toTool:
		return toRoot + " is not a floor of the house: " + strings.Join(floors, " -> ")
	case toTool && fromRoot != "cmd" && !fromTool:
		return "what measures or tests the product is not part of it; only cmd uses it"
	case fromTool && toFloor > slices.Index(floors, "broker"):
		return "a tool stands beside the house and uses only mqtt and broker"
	case !fromTool && !toTool && toFloor > fromFloor:
		return "a floor stands only on what is before it: " + strings.Join(floors, " -> ")
	}
	return below(from, to)
}

// outside judges an import that is not of this module.
func outside(from, target string) string {
	for _, p := range pure[from] {
		if target == p || strings.HasPrefix(target, p+"/") {
			return from + " is pure: what it needs of the world is handed in, so that it can be tested by text and fuzzed"
		}
	}
	edge := slices.Contains(edges, folder(from, 2)) && folder(from, 2) != from
	if strings.Contains(folder(target, 1), ".") && !strings.HasPrefix(target, "golang.org/x/sys/") && slices.Contains(standalone, folder(from, 1)) && !edge {
		return "mqtt and broker build from the standard library and golang.org/x/sys alone"
	}
	return ""
}

// below judges an import within the house by the folders below a floor.
func below(from, to string) string {
	contract := folder(to, 2)
	switch {
	case strings.HasSuffix(path.Base(to), "test") && (slices.Contains(contracts, path.Dir(to)) || slices.Contains(vocabulary, path.Dir(to))):
		return "a suite is for tests"
	case slices.Contains(vocabulary, to):
		return ""
	case slices.Contains(parts, to) && strings.HasPrefix(from, contract+"/"):
		return ""
	case slices.Contains(contracts, contract) && to != contract && folder(from, 3) != folder(to, 3) && folder(from, 1) != "app" && folder(from, 1) != "cmd":
		return "only app knows implementations; take the interface of " + contract
	case folder(from, 1) != folder(to, 1) || from == to || folder(from, 1) == "mqtt" || slices.Contains(tools, folder(from, 1)):
		return ""
	case strings.HasPrefix(from, to+"/") && !slices.Contains(contracts, to):
		return "a folder's own package stands on top of its subfolders, not below them"
	case folder(from, 2) != folder(to, 2) && strings.Contains(from, "/") && strings.Contains(to, "/") && !slices.Contains(siblings[folder(from, 2)], folder(to, 2)):
		return "siblings do not know of each other: what they share belongs in the package above, which joins them"
	}
	return ""
}

// folder is the first n elements of a path.
func folder(p string, n int) string {
	parts := strings.SplitN(p, "/", n+1)
	return strings.Join(parts[:min(n, len(parts))], "/")
}

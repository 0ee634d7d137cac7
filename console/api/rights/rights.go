// Package rights is the part of the API that is about who may do what: users, groups and rules of clients, bans, decisions; operators
// and keys of the API itself, and what they did. It uses the stores that it is handed, and knows no database and no broker.
package rights

import (
	"context"
	"log/slog"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/access"
)

// Options are what this part of the API stands on.
type Options struct {
	Access   *access.Access
	Version  string   // of the process
	Accounts Accounts // nil = nothing of them is stored
	Policy   Policy
	Logger   *slog.Logger
	// Begin makes room for a long task, of which each kind runs once at a time; the context ends with the API, and by the
	// function, which has to be called.
	Begin func(ctx context.Context, task string) (context.Context, func(), error)
	// Write puts an entry into the audit log.
	Write func(ctx context.Context, e *access.Entry)
}

// Register adds the operations.
func Register(h huma.API, o Options) {
	registerAccounts(h, &o)
	registerPolicy(h, o.Policy)
	registerAccess(h, &o)
}

// answer is a body of JSON.
type answer[T any] struct{ Body T }

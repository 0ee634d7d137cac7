package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"

	"github.com/sapwood-mqtt/sapwood/broker"
	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
)

// rules are what clients may do: those of the configuration, of an ACL file and of the database, in one engine. Whoever changes
// one, live and stored clients follow.
type rules struct {
	log     *slog.Logger
	policy  *acl.Engine
	control *broker.Control // nil until there is a broker

	mu   sync.Mutex
	file *acl.File // nil = none
}

func newRules(log *slog.Logger) *rules { return &rules{log: log, policy: acl.New()} }

// follow has clients follow every change from now on.
func (r *rules) follow(control *broker.Control) {
	r.control = control
	r.policy.OnChange(func() {
		ctx, cancel := context.WithTimeout(context.Background(), prompt)
		defer cancel()
		if _, err := control.Reauthorize(ctx); err != nil && !errors.Is(err, broker.ErrClosed) {
			r.log.Error("live clients may not follow the rules yet", "error", err)
		}
	})
}

// set puts the rules of a configuration in force. Those that are stored hold beside them.
func (r *rules) set(cfg *Config) error {
	was := r.reads()
	file := was
	if want := cfg.Authorization.ACLFile; want == "" {
		file = nil
	} else if file == nil || file.Files()[0] != want {
		var err error
		if file, err = acl.OpenFile(r.policy, want); err != nil {
			return &SettingError{Key: "authorization.acl_file", Value: want, Why: err.Error(), Err: err}
		}
	}
	if err := r.policy.Set("configuration", cfg.Authorization.Compile()); err != nil {
		return fmt.Errorf("authorization.rules: %w", err)
	}
	if was != nil && was != file {
		if err := r.policy.Set(was.Source(), nil); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.file = file
	r.mu.Unlock()
	return nil
}

// apply changes the rules.
func (r *rules) apply(ctx context.Context, old, changed *Config) (undo, commit func(), err error) {
	if reflect.DeepEqual(old.Authorization, changed.Authorization) {
		return nil, nil, nil
	}
	undo = func() {
		if err := r.set(old); err != nil {
			r.log.Error("the rules could not be put back", "error", err)
		}
	}
	if err := r.set(changed); err != nil {
		undo()
		return nil, nil, err
	}
	commit = func() {
		if err := r.control.DisconnectDenied(ctx, changed.Authorization.DeniedPublish == "disconnect"); err != nil {
			r.log.Error("what answers a denied message stays as it was", "error", err)
		}
	}
	return undo, commit, nil
}

// reads is the ACL file, nil = none.
func (r *rules) reads() *acl.File {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.file
}

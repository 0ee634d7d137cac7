package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/sapwood-mqtt/sapwood/broker/auth/acl"
)

// openPolicy reads the rules of the configuration.
func (a *App) openPolicy() error {
	a.policy = acl.New()
	return a.setPolicy(&a.cfg)
}

// setPolicy puts the rules of a configuration in force. Those that are stored hold beside them.
func (a *App) setPolicy(cfg *Config) error {
	file := a.aclFile
	if want := cfg.Authorization.ACLFile; want == "" {
		file = nil
	} else if file == nil || file.Files()[0] != want {
		var err error
		if file, err = acl.OpenFile(a.policy, want); err != nil {
			return &SettingError{Key: "authorization.acl_file", Value: want, Why: err.Error(), Err: err}
		}
	}
	if err := a.policy.Set("configuration", cfg.Authorization.Compile()); err != nil {
		return fmt.Errorf("authorization.rules: %w", err)
	}
	if was := a.aclFile; was != nil && was != file {
		if err := a.policy.Set(was.Source(), nil); err != nil {
			return err
		}
	}
	a.mu.Lock()
	a.aclFile = file
	a.mu.Unlock()
	return nil
}

// applyAuthorization changes the rules, for those who are connected too.
func (a *App) applyAuthorization(ctx context.Context, old, changed *Config) (undo, commit func(), err error) {
	undo = func() {
		if err := a.setPolicy(old); err != nil {
			a.log.Error("the rules could not be put back", "error", err)
		}
	}
	if err := a.setPolicy(changed); err != nil {
		undo()
		return nil, nil, err
	}
	commit = func() {
		control := a.broker.Control()
		err := control.DisconnectDenied(ctx, changed.Authorization.DeniedPublish == "disconnect")
		if _, again := control.Reauthorize(ctx); again != nil || err != nil {
			a.log.Error("live clients may not follow the rules yet", "error", errors.Join(err, again))
		}
	}
	return undo, commit, nil
}

// watchedRules is the ACL file, with live clients following it.
type watchedRules struct {
	*acl.File
	app *App
}

// Reload reads the file again.
func (w watchedRules) Reload() error {
	if err := w.File.Reload(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), prompt)
	defer cancel()
	_, err := w.app.broker.Control().Reauthorize(ctx)
	return err
}

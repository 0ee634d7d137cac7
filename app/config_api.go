package app

import (
	"context"
	"errors"

	"github.com/sapwood-mqtt/sapwood/app/settings"
	"github.com/sapwood-mqtt/sapwood/console/api"
)

// configAPI shows the configuration and has it read again.
type configAPI struct{ *reloader }

// Settings implements api.Configuration.
func (c configAPI) Settings(key string) ([]api.Setting, error) {
	r := c.reloader
	if errors.Is(r.phase.now(), errStarting) {
		return nil, errStarting
	}
	r.now.Lock()
	running := r.running
	r.now.Unlock()
	found, err := running.Explain(key)
	if err != nil {
		return nil, err
	}
	all := make([]api.Setting, len(found))
	for i, s := range found {
		pending := ""
		if s.Restart { // what was started holds
			if was, err := r.started.Explain(s.Path); err == nil && len(was) == 1 {
				if was[0].Value != s.Value {
					pending = s.Value
				}
				s = was[0]
			}
		}
		stamp := r.history.of(s.Path)
		all[i] = api.Setting{
			Key: s.Path, Value: s.Value, Default: s.Default, From: s.From.String(), Since: stamp.Since, By: stamp.By, Pending: pending,
			Env: s.Env, Type: s.Type, Unit: s.Unit, OneOf: s.OneOf, Doc: s.Doc, Exceeded: s.Exceeded, Secret: s.Secret, Restart: s.Restart,
		}
	}
	return all, nil
}

// Check implements api.Configuration.
func (c configAPI) Check(file []byte) (api.ConfigCheck, error) {
	r := c.reloader
	var loaded *Loaded
	var err error
	if len(file) == 0 {
		loaded, err = r.source.Load()
	} else {
		loaded, err = r.source.parse(file)
	}
	if err != nil {
		problems, err := problemsOf(err)
		return api.ConfigCheck{Problems: problems}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return api.ConfigCheck{OK: true, Changes: apiChanges(r.changes(loaded.Set)), Warnings: loaded.Config.Warnings()}, nil
}

// Reload implements api.Configuration.
func (c configAPI) Reload(ctx context.Context, by string) (api.ConfigReload, error) {
	done, err := c.reload(ctx, by)
	result := api.ConfigReload{OK: err == nil, When: done.When, By: by, Changes: apiChanges(done.Changes), Files: done.Refused}
	if errors.Is(err, errStopping) || errors.Is(err, errStarting) {
		return result, err
	}
	if err != nil {
		result.Changes = nil
		if result.Problems, err = problemsOf(err); err != nil {
			result.Problems = []api.ConfigProblem{{Text: err.Error()}}
		}
	}
	return result, nil
}

// problemsOf are what is wrong with a configuration, or the error that it could not be read.
func problemsOf(err error) ([]api.ConfigProblem, error) {
	var problems settings.Problems
	if !errors.As(err, &problems) {
		return nil, err
	}
	all := make([]api.ConfigProblem, len(problems))
	for i, p := range problems {
		all[i] = api.ConfigProblem{Text: p.Text(), Key: p.Key, Line: p.From.Line, Col: p.From.Col}
	}
	return all, nil
}

func apiChanges(changes []settings.Change) []api.ConfigChange {
	all := make([]api.ConfigChange, len(changes))
	for i, c := range changes {
		all[i] = api.ConfigChange{Key: c.Key, Kind: c.Kind, Old: c.Old, New: c.New, From: c.From.String(), Secret: c.Secret, Restart: c.Restart}
	}
	return all
}

// Compare tells what would change between the configuration of a source and the same with another file.
func Compare(from Source, file string) (api.ConfigCheck, error) {
	before, err := from.Load()
	if err != nil {
		return api.ConfigCheck{}, err
	}
	from.File = file
	after, err := from.Load()
	if err != nil {
		problems, err := problemsOf(err)
		return api.ConfigCheck{Problems: problems}, err
	}
	return api.ConfigCheck{OK: true, Changes: apiChanges(settings.Diff(before.Set, after.Set)), Warnings: after.Config.Warnings()}, nil
}

package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sapwood-mqtt/sapwood/console/api/serve"
)

// Configuration is the process's configuration as the API shows and changes it. Secrets are redacted in all that it gives.
type Configuration interface {
	// Settings are those at or under a key, all of them for "".
	Settings(key string) ([]Setting, error)
	// Check tells what would happen if file were the configuration file, or, where it is nil, if the file that the process
	// has were read again.
	Check(file []byte) (ConfigCheck, error)
	// Reload reads everything again and applies what has changed, or nothing. by is for the records.
	Reload(ctx context.Context, by string) (ConfigReload, error)
}

// Setting is one setting of the running process.
type Setting struct {
	Key      string    `json:"key"`
	Value    string    `json:"value" doc:"What holds now; *** for a secret."`
	Default  string    `json:"default"`
	From     string    `json:"from" doc:"Where the value comes from: file and line, variable, flag or default."`
	Since    time.Time `json:"since" doc:"When the process, or one before it on the same data directory, began to use the value."`
	By       string    `json:"by" doc:"Who set it: a start, SIGHUP, a user of the API, or a changed file."`
	Pending  string    `json:"pending,omitempty" doc:"What holds after a restart, where that is something else."`
	Env      string    `json:"env" doc:"The variable that overrides it."`
	Type     string    `json:"type"`
	Unit     string    `json:"unit,omitempty"`
	OneOf    []string  `json:"one_of,omitempty"`
	Doc      string    `json:"doc"`
	Exceeded string    `json:"exceeded,omitempty" doc:"What happens at the limit."`
	Secret   bool      `json:"secret,omitempty"`
	Restart  bool      `json:"restart,omitempty" doc:"A change needs a restart."`
}

// ConfigChange is one setting that differs.
type ConfigChange struct {
	Key     string `json:"key"`
	Kind    string `json:"kind" enum:"added,removed,changed"`
	Old     string `json:"old,omitempty"`
	New     string `json:"new,omitempty"`
	From    string `json:"from" doc:"Where the new value comes from."`
	Secret  bool   `json:"secret,omitempty" doc:"Neither value is shown."`
	Restart bool   `json:"restart,omitempty" doc:"It takes a restart; the others are applied by a reload."`
}

// ConfigCheck is what taking a file would do.
type ConfigCheck struct {
	OK       bool            `json:"ok"`
	Problems []ConfigProblem `json:"problems,omitempty"`
	Changes  []ConfigChange  `json:"changes,omitempty"`
	Warnings []string        `json:"warnings,omitempty" doc:"What would be open that should not be."`
}

// ConfigProblem is one thing that is wrong with a file.
type ConfigProblem struct {
	Text string `json:"text" doc:"With the place, the line and what would put it right."`
	Key  string `json:"key,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"column,omitempty"`
}

// ConfigReload is what a reload did.
type ConfigReload struct {
	OK       bool            `json:"ok" doc:"False: nothing was changed."`
	When     time.Time       `json:"when"`
	By       string          `json:"by"`
	Problems []ConfigProblem `json:"problems,omitempty" doc:"Why nothing was changed."`
	Changes  []ConfigChange  `json:"changes,omitempty" doc:"What is applied, or waits for a restart."`
	Files    []string        `json:"files,omitempty" doc:"Files besides, such as certificates, whose new contents were refused, and why; the old ones go on."`
}

// marked is a body with an ETag that follows from it.
type marked[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

func mark[T any](body T) (*marked[T], error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, huma.Error500InternalServerError(err.Error())
	}
	sum := sha256.Sum256(text)
	return &marked[T]{strconv.Quote(hex.EncodeToString(sum[:8])), body}, nil
}

// registerConfig adds what is about the configuration.
func registerConfig(h huma.API, c Configuration) {
	op := func(id, method, path, summary string) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: method, Path: serve.Prefix + path, Tags: []string{"configuration"}, Summary: summary,
			Errors: append(serve.Refusals(), http.StatusNotFound),
		}
	}
	explain := func(key string) (*answer[[]Setting], error) {
		if c == nil {
			return nil, huma.Error404NotFound("this process was not started from a configuration")
		}
		found, err := c.Settings(key)
		if err != nil {
			return nil, huma.Error404NotFound(err.Error())
		}
		return &answer[[]Setting]{found}, nil
	}
	huma.Register(h, op("config", http.MethodGet, "/config", "Every setting: its value, its default, where it comes from, since when and by whom"),
		func(context.Context, *struct{}) (*answer[[]Setting], error) { return explain("") })
	huma.Register(h, op("config-key", http.MethodGet, "/config/{key}", "The settings at or under a key"),
		func(_ context.Context, in *struct {
			Key string `path:"key" example:"limits.max_packet_size"`
		},
		) (*answer[[]Setting], error) {
			return explain(in.Key)
		})

	judge := func(file []byte) (*marked[ConfigCheck], error) {
		if c == nil {
			return nil, huma.Error404NotFound("this process was not started from a configuration")
		}
		result, err := c.Check(file)
		if err != nil {
			return nil, huma.Error503ServiceUnavailable(err.Error())
		}
		return mark(result)
	}
	huma.Register(h, op("config-pending", http.MethodGet, "/config/check", "What a reload would change now"),
		func(context.Context, *struct{}) (*marked[ConfigCheck], error) { return judge(nil) })
	check := op("config-check", http.MethodPost, "/config/check", "What would change if this were the configuration file; nothing is applied")
	check.MaxBodyBytes = 2 << 20
	huma.Register(h, check, func(_ context.Context, in *struct {
		RawBody []byte `contentType:"application/yaml"`
	},
	) (*marked[ConfigCheck], error) {
		return judge(in.RawBody)
	})

	reload := op("config-reload", http.MethodPost, "/config/reload", "Read the configuration again and apply it without a restart, or change nothing if something is wrong with it")
	reload.Errors = append(reload.Errors, http.StatusPreconditionFailed)
	huma.Register(h, reload, func(ctx context.Context, in *struct {
		IfMatch string `header:"If-Match" doc:"The ETag of GET /config/check: what is applied has to be what was shown there."`
	},
	) (*answer[ConfigReload], error) {
		if c == nil {
			return nil, huma.Error404NotFound("this process was not started from a configuration")
		}
		if in.IfMatch != "" && in.IfMatch != "*" {
			now, err := judge(nil)
			if err != nil {
				return nil, err
			}
			if now.ETag != in.IfMatch {
				return nil, huma.Error412PreconditionFailed("the files have changed since they were looked at; look again")
			}
		}
		result, err := c.Reload(ctx, serve.CallerOf(ctx))
		if err != nil {
			return nil, huma.Error503ServiceUnavailable(err.Error())
		}
		return &answer[ConfigReload]{result}, nil
	})
}

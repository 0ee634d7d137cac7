package acme

import (
	"context"
	"errors"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger gives the library a logger of its kind that writes to ours.
func logger(log *slog.Logger) *zap.Logger { return zap.New(core{log}) }

// core is a zapcore.Core.
type core struct{ log *slog.Logger }

// level is what a message of the library is worth here: its course of work interests nobody but who debugs it, and what comes of
// it tell says.
func level(l zapcore.Level) slog.Level {
	if l >= zapcore.WarnLevel {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// Enabled implements zapcore.Core. Its debug messages, with whole requests, are never written.
func (c core) Enabled(l zapcore.Level) bool {
	return l >= zapcore.InfoLevel && c.log.Enabled(context.Background(), level(l))
}

// With implements zapcore.Core.
func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.log.With(attributes(fields)...)}
}

// Check implements zapcore.Core.
func (c core) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core. That Close ends what was under way is no news.
func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && errors.Is(err, context.Canceled) {
			return nil
		}
	}
	c.log.Log(context.Background(), level(e.Level), "ACME: "+e.Message, attributes(fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (core) Sync() error { return nil }

func attributes(fields []zapcore.Field) []any {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	var all []any
	for _, f := range fields {
		if v, ok := m.Fields[f.Key]; ok {
			all = append(all, f.Key, v)
		}
	}
	return all
}

// tell logs what a person wants to know.
func tell(log *slog.Logger) func(context.Context, string, map[string]any) error {
	return func(_ context.Context, event string, data map[string]any) error {
		switch event {
		case "cert_obtained":
			log.Info("certificate obtained by ACME", "name", data["identifier"], "renewal", data["renewal"])
		case "cert_failed":
			log.Error("no certificate by ACME; trying again", "name", data["identifier"], "error", data["error"])
		}
		return nil
	}
}

package vaultpki

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZap returns a zap logger, which certmagic wants, that writes to log.
//
// certmagic tells at Info what its locks do and at Error what this package
// tells by itself; so its levels are taken one step down: nothing is lost, and
// the operator's log has one line per certificate.
func newZap(ctx context.Context, log *slog.Logger) *zap.Logger {
	return zap.New(slogCore{ctx: context.WithoutCancel(ctx), log: log}, zap.WithFatalHook(zapcore.WriteThenPanic))
}

// slogCore is a zapcore.Core on top of slog. It is immutable.
type slogCore struct {
	ctx context.Context // for slog's handlers; zap passes none along
	log *slog.Logger
}

// levelOf translates a level of zap, one step down.
func levelOf(level zapcore.Level) slog.Level {
	switch {
	case level >= zapcore.ErrorLevel:
		return slog.LevelWarn
	case level == zapcore.WarnLevel:
		return slog.LevelInfo
	case level == zapcore.InfoLevel:
		return slog.LevelDebug
	default:
		return slog.LevelDebug - 4
	}
}

// strangersNoise is what certmagic says, as an error, of every handshake that
// looks like an ACME server's and is none.
const strangersNoise = "tls-alpn challenge"

// Enabled implements [zapcore.LevelEnabler].
func (c slogCore) Enabled(level zapcore.Level) bool {
	return c.log.Enabled(c.ctx, levelOf(level))
}

// With implements [zapcore.Core].
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{ctx: c.ctx, log: slog.New(c.log.Handler().WithAttrs(attrsOf(fields)))}
}

// Check implements [zapcore.Core].
func (c slogCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Message == strangersNoise {
		entry.Level = zapcore.DebugLevel
	}
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements [zapcore.Core].
func (c slogCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	record := slog.NewRecord(entry.Time, levelOf(entry.Level), "certmagic: "+entry.Message, 0)
	record.AddAttrs(attrsOf(fields)...)
	return c.log.Handler().Handle(c.ctx, record)
}

// Sync implements [zapcore.Core]; slog has nothing to flush.
func (c slogCore) Sync() error { return nil }

// attrsOf translates fields, in the order of their names.
func attrsOf(fields []zapcore.Field) []slog.Attr {
	values := zapcore.NewMapObjectEncoder()
	for _, field := range fields {
		field.AddTo(values)
	}
	attrs := make([]slog.Attr, 0, len(values.Fields))
	for _, key := range slices.Sorted(maps.Keys(values.Fields)) {
		attrs = append(attrs, slog.Any(key, values.Fields[key]))
	}
	return attrs
}

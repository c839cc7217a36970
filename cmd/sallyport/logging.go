package main

import (
	"io"
	"log/slog"
)

// newLogger writes one JSON object per line, with durations as Go writes them
// ("5m0s"). The access log is another stream.
func newLogger(w io.Writer, service string) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: readableDuration})).With("service", service)
}

// readableDuration writes a duration as text; slog's own form is a number of
// nanoseconds that nobody recognises as one.
func readableDuration(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// logConfig says that a configuration was accepted, and each thing in it that
// deserves a look.
func logConfig(log *slog.Logger, source string, warnings []string) {
	for _, warning := range warnings {
		log.Warn("configuration warning", "warning", warning)
	}
	log.Info("configuration loaded", "source", source)
}

package main

import (
	"io"
	"log/slog"
)

// newLogger writes one JSON object per line. The access log is another stream.
func newLogger(w io.Writer, service string) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, nil)).With("service", service)
}

// logConfig says that a configuration was accepted, and each thing in it that
// deserves a look.
func logConfig(log *slog.Logger, source string, warnings []string) {
	for _, warning := range warnings {
		log.Warn("configuration warning", "warning", warning)
	}
	log.Info("configuration loaded", "source", source)
}

package main

import (
	"io"
	"log/slog"
)

// newLogger writes one JSON object per line. The access log is another stream.
func newLogger(w io.Writer, service string) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, nil)).With("service", service)
}

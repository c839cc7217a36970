package main

import (
	"log/slog"
	"time"
)

// stopwatch measures the steps of a start. It is used by one goroutine.
type stopwatch struct {
	began, last time.Time
	laps        []slog.Attr
}

func newStopwatch() *stopwatch {
	now := time.Now()
	return &stopwatch{began: now, last: now}
}

// lap ends the step of that name, and begins the next.
func (s *stopwatch) lap(step string) {
	now := time.Now()
	s.laps = append(s.laps, slog.String(step, now.Sub(s.last).Round(100*time.Microsecond).String()))
	s.last = now
}

// LogValue implements [slog.LogValuer]: each step and the whole.
func (s *stopwatch) LogValue() slog.Value {
	return slog.GroupValue(append(s.laps, slog.String("all", s.last.Sub(s.began).Round(100*time.Microsecond).String()))...)
}

package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// hangup is SIGHUP, which asks a daemon to look for new versions of everything at
// once: an operator who has just changed something need not wait. It is caught from
// the beginning of a start, which it must not end.
type hangup struct{ signals chan os.Signal }

// catchHangup catches it until release.
func catchHangup() *hangup {
	h := &hangup{make(chan os.Signal, 1)}
	signal.Notify(h.signals, syscall.SIGHUP)
	return h
}

func (h *hangup) release() { signal.Stop(h.signals) }

// sleeper is what has a look around when it is woken.
type sleeper interface{ wake() }

// obey wakes everybody at each signal, until ctx ends. A signal that came before
// counts.
func (h *hangup) obey(ctx context.Context, log *slog.Logger, all ...sleeper) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.signals:
			log.Info("looking for new versions", "signal", "SIGHUP")
			for _, s := range all {
				s.wake()
			}
		}
	}
}

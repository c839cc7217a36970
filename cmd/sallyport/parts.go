package main

import (
	"context"
	"fmt"
	"time"
)

// partState is a part as it is now.
type partState struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Says string `json:"says"`
}

// partStates asks every part.
func (l *life) partStates() []partState {
	var states []partState
	for _, p := range l.parts {
		ok, says := p.State()
		states = append(states, partState{p.Name, ok, says})
	}
	return states
}

// partLines are the states as lines.
func (l *life) partLines() []string {
	var lines []string
	for _, s := range l.partStates() {
		lines = append(lines, s.Name+": "+s.Says)
	}
	return lines
}

// besideApp are the parts of a process that runs an application, which they end with.
func (l *life) besideApp() []part {
	return []part{
		{"guard", func() (bool, string) {
			if !l.guarding.Load() {
				return false, "waits for the app"
			}
			return true, "answers at " + l.listen.work
		}},
		{"certificate", func() (bool, string) {
			return true, "valid until " + l.certificateEnd().UTC().Format(time.RFC3339) // unready tells of its end
		}},
		{"app", l.app.state},
	}
}

// certificateEnd is when the first certificate ends.
func (l *life) certificateEnd() time.Time {
	var first time.Time
	for _, held := range l.certificates {
		for _, status := range held.Status() {
			if first.IsZero() || status.NotAfter.Before(first) {
				first = status.NotAfter
			}
		}
	}
	return first
}

// guardEndedError is a guard that can let nobody in any more.
type guardEndedError struct{ end time.Time }

// Error says since when.
func (e *guardEndedError) Error() string {
	return fmt.Sprintf("the certificate has ended at %s and was not renewed: the gateway cannot reach the app", e.end.UTC().Format(time.RFC3339))
}

// guardEnds returns with an error when a certificate has ended. A process that guards
// nothing but its application is of no use then, and another one may get a new certificate.
func (l *life) guardEnds(ctx context.Context) error {
	for {
		end := l.certificateEnd()
		timer := time.NewTimer(time.Until(end))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if !l.certificateEnd().After(end) {
			return &guardEndedError{end}
		}
	}
}

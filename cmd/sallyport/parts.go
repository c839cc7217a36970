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

// keepApp has this process live with an application, and with what is rendered for it, or for
// another one. Either may be nil.
func (l *life) keepApp(application *app, rendered *appSecrets) {
	l.app, l.rendered, l.more = application, rendered, rendered.artefacts
	if application != nil {
		l.parts = []part{{"guard", l.guardState}, {"certificate", l.certificateState}, {"app", application.state}}
	}
	if rendered != nil {
		l.parts = append(l.parts, part{"secrets", rendered.part})
	}
}

func (l *life) guardState() (ok bool, says string) {
	if !l.guarding.Load() {
		return false, "waits for the app"
	}
	return true, "answers at " + l.listen.work
}

func (l *life) certificateState() (ok bool, says string) {
	return true, "valid until " + l.certificateEnd().UTC().Format(time.RFC3339) // unready tells of its end
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

package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/vaultpki"
)

// recordedEvents brings into the access log what the process tells of itself that decisions
// hang on: how it came to Vault, which configuration, keys and certificates it uses, that
// it was stopped. It listens to the process's own log, where all of this stands, whichever
// package says it; eventsOfLog says which lines are events. What is said before there is an
// access log is kept until there is one. Safe for concurrent use.
type recordedEvents struct {
	logins chan accesslog.Event // to be completed by run

	mu      sync.Mutex // guards the rest
	access  *accesslog.Log
	waiting []accesslog.Event // until there is an access log
	loggedIn,
	serving bool
}

// mostWaiting bounds what waits; a start says less.
const mostWaiting = 1000

// newRecordedLogger is newLogger for a process that has an access log.
func newRecordedLogger(w io.Writer, service string) *slog.Logger {
	to := &recordedEvents{logins: make(chan accesslog.Event, 8)}
	return slog.New(&recordedHandler{Handler: newLogger(w, service).Handler(), to: to})
}

// eventsOf returns where the lines of a logger go besides; nil for nowhere.
func eventsOf(log *slog.Logger) *recordedEvents {
	if h, ok := log.Handler().(*recordedHandler); ok {
		return h.to
	}
	return nil
}

// recordedHandler is the handler of a log that is listened to.
type recordedHandler struct {
	slog.Handler
	to   *recordedEvents
	with []slog.Attr
}

// Handle implements slog.Handler.
func (h *recordedHandler) Handle(ctx context.Context, line slog.Record) error {
	err := h.Handler.Handle(ctx, line)
	if event, ok := eventMaker(line, h.with); ok {
		h.to.tell(event, line.Time)
	}
	return err //nolint:wrapcheck // it is the handler's own
}

// WithAttrs implements slog.Handler.
func (h *recordedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := append(append([]slog.Attr{}, h.with...), attrs...)
	return &recordedHandler{Handler: h.Handler.WithAttrs(attrs), to: h.to, with: with}
}

// WithGroup implements slog.Handler.
func (h *recordedHandler) WithGroup(name string) slog.Handler {
	return &recordedHandler{Handler: h.Handler.WithGroup(name), to: h.to, with: h.with}
}

// tell writes an event, or keeps it until it can be.
func (r *recordedEvents) tell(event func() accesslog.Event, at time.Time) {
	v := event()
	v.Time = at
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case v.Action == accesslog.ActionConfig && v.Reason == reasonLoaded && r.serving:
		return // another line says that it is in use
	case v.Action == accesslog.ActionStart:
		r.serving = true
	case v.Action == accesslog.ActionLogin:
		v.Reason = reasonAtStart
		if r.loggedIn {
			v.Reason = reasonAgain
		}
		r.loggedIn = true
	}
	if r.access == nil {
		if len(r.waiting) < mostWaiting {
			r.waiting = append(r.waiting, v)
		}
		return
	}
	if v.Action == accesslog.ActionLogin {
		select {
		case r.logins <- v: // Vault is asked for the accessor, which takes its time
			return
		default:
		}
	}
	r.write(&v)
}

// write writes a line. That it cannot be written is told of, and acted on, where requests
// are.
func (r *recordedEvents) write(v *accesslog.Event) { _ = r.access.WriteEvent(v) }

// accessorOf returns the accessor of the token as an audit log has it; empty if that is
// not known.
type accessorOf func(ctx context.Context) string

// unknownAccessor is for a process that may not ask.
func unknownAccessor(context.Context) string { return "" }

// accessorBound is how long Vault may take to say.
const accessorBound = 5 * time.Second

// accessorBy asks Vault, if there is an audit device to ask about. Without an answer the
// accessor is left out.
func accessorBy(client *vaultpki.Client, v config.Vault) accessorOf {
	if !v.HashesAccessor() {
		return unknownAccessor
	}
	return func(ctx context.Context) string {
		ctx, cancel := context.WithTimeout(ctx, accessorBound)
		defer cancel()
		hash, _ := client.AccessorHash(ctx, v.AuditDevice) // that Vault denies it the client tells of
		return hash
	}
}

// waits reports whether something is kept that no access log has got yet.
func (r *recordedEvents) waits() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting) > 0
}

// attach has everything written into an access log from now on, and what has waited.
func (r *recordedEvents) attach(ctx context.Context, access *accesslog.Log, accessor accessorOf) {
	if r == nil {
		return
	}
	hash := accessor(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.access = access
	for i := range r.waiting {
		if v := &r.waiting[i]; v.Action == accesslog.ActionLogin {
			v.Vault.Accessor = hash
		}
		r.write(&r.waiting[i])
	}
	r.waiting = nil
}

// run completes and writes the lines of later logins until ctx ends, then returns nil.
func (r *recordedEvents) run(ctx context.Context, accessor accessorOf) error {
	if accessor == nil {
		accessor = unknownAccessor
	}
	for {
		select {
		case <-ctx.Done():
			r.finish()
			return nil
		case v := <-r.logins:
			v.Vault.Accessor = accessor(ctx)
			r.mu.Lock()
			r.write(&v)
			r.mu.Unlock()
		}
	}
}

// finish writes the lines of logins that nobody will complete any more, and has those that
// come written as they are. It must not be called beside run.
func (r *recordedEvents) finish() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	logins := r.logins
	r.logins = nil
	for r.access != nil {
		select {
		case v := <-logins:
			r.write(&v)
		default:
			return
		}
	}
}

package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Bounds of what an action may cost.
const (
	maxCommandOutput = 64 << 10 // bytes that are kept
	maxToldOutput    = 2 << 10  // bytes that are told, after secrets were taken out of what was kept
	// lateOutput is how long is waited for the output of what a command has left behind.
	lateOutput = time.Second
)

// shown is how logs and the state call an action: a query may have what lets us in.
func (a *Action) shown() string {
	name := a.name()
	if a.Verb == HTTP {
		name, _, _ = strings.Cut(name, "?")
	}
	return name
}

// name tells actions apart; equal names are one action.
func (a *Action) name() string {
	switch a.Verb {
	case Signal:
		return fmt.Sprintf("signal %s", a.Signal)
	case HTTP:
		return "http " + a.URL
	case Command:
		return "command " + strings.Join(a.Command, " ")
	case None, Restart:
	}
	return string(a.Verb)
}

// actor does actions. It is used by one goroutine at a time.
type actor struct {
	app  App
	exec func(ctx context.Context, argv []string, output *os.File) error
	http *http.Client
}

// newActor asks nobody for proxies and follows nobody: what it calls is on this machine.
func newActor(cfg Config) *actor {
	transport := &http.Transport{
		DialContext:       (&net.Dialer{Timeout: defaultTimeout}).DialContext,
		DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
	}
	return &actor{app: cfg.App, exec: cfg.Exec, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// outcome is how an action ended.
type outcome struct {
	output string // of a command; may hold secrets
	err    error
}

// do does an action once.
func (a *actor) do(ctx context.Context, action Action, env []string, stdin []byte) outcome {
	switch action.Verb {
	case Signal:
		return outcome{err: a.app.Signal(action.Signal)}
	case Restart:
		return outcome{err: a.app.Restart(ctx, env, stdin)}
	case HTTP:
		return outcome{err: a.post(ctx, action)}
	case Command:
		return a.run(ctx, action)
	case None:
	}
	return outcome{}
}

// post asks the application to read again what it was given.
func (a *actor) post(ctx context.Context, action Action) error {
	ctx, cancel := context.WithTimeout(ctx, action.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, action.URL, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err // the other words are its address
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxCommandOutput))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("it answers %d, expected 2xx", resp.StatusCode)
	}
	return nil
}

// run runs a command and keeps the beginning of what it writes.
func (a *actor) run(ctx context.Context, action Action) outcome {
	ctx, cancel := context.WithTimeout(ctx, action.Timeout)
	defer cancel()
	ours, its, err := os.Pipe()
	if err != nil {
		return outcome{err: fmt.Errorf("making a pipe: %w", err)}
	}
	defer ours.Close()
	output := make(chan string, 1)
	go func() { output <- keep(ours) }()
	err = a.exec(ctx, action.Command, its)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("it did not end within %s: %w", action.Timeout, err)
	}
	// What it has left behind may still hold the other end.
	err = errors.Join(err, its.Close(), ours.SetReadDeadline(time.Now().Add(lateOutput)))
	return outcome{output: <-output, err: err}
}

// keep reads everything and returns the beginning; whole lines, if that is not all: nobody
// could tell half a secret, and take it out.
func keep(from io.Reader) string {
	kept, _ := io.ReadAll(io.LimitReader(from, maxCommandOutput)) // up to its end, or the deadline
	if more, _ := io.Copy(io.Discard, from); more > 0 {
		kept = kept[:bytes.LastIndexByte(kept, '\n')+1]
	}
	return strings.TrimSpace(string(kept))
}

package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

// Bounds of what an action may cost.
const (
	maxCommandOutput = 64 << 10 // bytes that are kept
	maxToldOutput    = 2 << 10  // bytes that are told, after secrets were taken out of what was kept
	killedAfter      = 2 * time.Second
)

// name tells actions apart, and is how logs call them; equal names are one action.
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
	http *http.Client
}

// newActor asks nobody for proxies and follows nobody: what it calls is on this machine.
func newActor(app App) *actor {
	transport := &http.Transport{
		DialContext:       (&net.Dialer{Timeout: defaultTimeout}).DialContext,
		DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
	}
	return &actor{app: app, http: &http.Client{
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
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxCommandOutput))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("it answers %d, expected 2xx", resp.StatusCode)
	}
	return nil
}

// run runs a command with an empty environment but for where programs are.
func (a *actor) run(ctx context.Context, action Action) outcome {
	ctx, cancel := context.WithTimeout(ctx, action.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, action.Command[0], action.Command[1:]...) //nolint:gosec // the operator's own command
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Dir = "/"
	output := &bounded{}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = killedAfter
	killTogether(cmd)
	err := cmd.Run()
	if err != nil && ctx.Err() != nil {
		err = errors.Join(fmt.Errorf("it did not end within %s", action.Timeout), err)
	}
	return outcome{output: strings.TrimSpace(output.String()), err: err}
}

// bounded keeps the beginning of what is written to it. It is used by one goroutine, as
// the command's two outputs are one.
type bounded struct{ bytes.Buffer }

// Write implements [io.Writer] and takes everything.
func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), maxCommandOutput-b.Len())])
	return len(p), nil
}

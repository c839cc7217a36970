package supervise

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/sidecar/loopback"
)

// Check asks an application whether it answers, by one of HTTP, TCP and Command.
type Check struct {
	// HTTP is a URL that must answer with a status below 400. Redirects are not followed.
	HTTP string
	// TCP is an address that must accept a connection, HOST:PORT or unix:PATH.
	TCP string
	// Command is a program that must end with exit code 0. It has the application's
	// environment.
	Command []string
	// Every is how often; while the application has not passed since its start, it is
	// asked more often. Default 10s.
	Every time.Duration
	// Timeout is how long an answer may take. Default 2s.
	Timeout time.Duration
	// Failures is how many must fail in a row for the application not to answer. Default 3.
	Failures int
	// Start is how long it may take until it passes for the first time. Default 1m.
	Start time.Duration
}

// An application that has just been started is asked again after eager, and twice as long
// each time, up to seldom.
const (
	eager  = 10 * time.Millisecond
	seldom = 250 * time.Millisecond
)

// complete fills in the defaults.
func (k Check) complete() (Check, error) {
	kinds := 0
	for _, is := range []bool{k.HTTP != "", k.TCP != "", len(k.Command) > 0} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return k, errors.New("a check needs one of HTTP, TCP and Command")
	}
	if u, err := url.Parse(k.HTTP); k.HTTP != "" && (err != nil || u.Scheme != "http" || u.Host == "") {
		return k, errors.New("the check's URL is none with http://")
	}
	defaulted := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	defaulted(&k.Every, 10*time.Second)
	defaulted(&k.Timeout, 2*time.Second)
	defaulted(&k.Start, time.Minute)
	if k.Failures == 0 {
		k.Failures = 3
	}
	return k, nil
}

// check asks until ctx ends, and tells unhealthy when the application is to be ended. It
// runs while Run's goroutine waits for it.
func (c *Child) check(ctx context.Context, unhealthy chan<- error) {
	k := c.cfg.Check
	probe := c.prober()
	began, failures, soon := time.Now(), 0, eager
	for {
		err := probe(ctx)
		if ctx.Err() != nil {
			return
		}
		state := c.State().Check
		if err == nil {
			failures = 0
			c.passes(state)
		} else {
			failures++
			c.note(func(s *State) { s.Cause = err.Error() })
			late := state == Starting && time.Since(began) >= k.Start
			if late || state == Passing && failures >= k.Failures {
				c.fails(err, unhealthy)
			}
		}
		wait := k.Every
		if c.State().Check == Starting {
			wait, soon = min(wait, soon), min(2*soon, seldom)
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// pause waits, and reports whether ctx has not ended meanwhile.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// passes notes that the application answers.
func (c *Child) passes(before CheckState) {
	if before == Passing {
		return
	}
	c.note(func(s *State) { s.Check, s.Cause = Passing, "" })
	c.cfg.Log.Info("app passes its check", "pid", c.State().PID, "was", string(before))
	c.answers()
}

// fails notes that it does not.
func (c *Child) fails(err error, unhealthy chan<- error) {
	c.note(func(s *State) { s.Check = Failing })
	c.cfg.Log.Warn("app does not pass its check", "pid", c.State().PID, "restarts", c.cfg.Restart != Never, "error", err)
	if c.cfg.Restart == Never || c.isRetired() { // the last requests may still be answered
		return
	}
	select {
	case unhealthy <- fmt.Errorf("it does not pass its check: %w", err):
	default:
	}
}

// prober returns what asks once.
func (c *Child) prober() func(context.Context) error {
	k := c.cfg.Check
	ask := func(ctx context.Context) error {
		return Exec(ctx, c.cfg.Reaper, Program{Argv: k.Command, Env: merged(c.cfg.Base, c.env), Dir: c.cfg.Dir})
	}
	switch {
	case k.HTTP != "":
		client := &http.Client{
			Transport:     &http.Transport{DialContext: loopback.Dialer{}.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		ask = func(ctx context.Context) error { return askHTTP(ctx, client, k.HTTP) }
	case k.TCP != "":
		ask = func(ctx context.Context) error { return askTCP(ctx, k.TCP) }
	}
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, k.Timeout)
		defer cancel()
		return ask(ctx)
	}
}

func askHTTP(ctx context.Context, client *http.Client, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err
		}
		return fmt.Errorf("asking for %s: %w", withoutQuery(address), err)
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s answers with status %d, expected less than 400", withoutQuery(address), res.StatusCode)
	}
	return nil
}

// withoutQuery is a URL as it may be shown to anybody: a query may have what lets the check in.
func withoutQuery(address string) string {
	shown, _, _ := strings.Cut(address, "?")
	return shown
}

func askTCP(ctx context.Context, address string) error {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	conn, err := loopback.Dialer{}.DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// errKilled is a program that was ended because its time was over.
var errKilled = errors.New("it has not ended in time")

// withTimeout is a context that belongs to no caller: what it bounds is the end of
// something, which no stop may cut short.
func withTimeout(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d) //nolint:forbidigo // see above
}

// null is where nothing comes from and everything may go.
func null() (*os.File, error) { return os.OpenFile(os.DevNull, os.O_RDWR, 0) }

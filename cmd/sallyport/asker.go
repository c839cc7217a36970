package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// adminAnswer bounds what is read of an admin listener's answer.
const adminAnswer = 4 << 20

// asker asks the admin listener of a process on this machine.
type asker struct {
	address string
	timeout time.Duration
}

// add declares the flags.
func (a *asker) add(flags *pflag.FlagSet, std stdio, timeout time.Duration) {
	flags.StringVar(&a.address, "admin-url", env(std, "http://127.0.0.1:9090", "SALLYPORT_ADMIN_URL"), "`URL` of the admin listener (SALLYPORT_ADMIN_URL); a sidecar's port is 9091")
	flags.DurationVar(&a.timeout, "timeout", timeout, "how long to wait for an answer")
}

// get asks for path and returns the answer, with any status but 200 as an error.
func (a *asker) get(ctx context.Context, path string) ([]byte, error) {
	return a.do(ctx, http.MethodGet, path)
}

// do makes one request to path, which may have a query, and returns the answer, with
// any status but 200 as an error.
func (a *asker) do(ctx context.Context, method, path string) ([]byte, error) {
	status, body, err := a.ask(ctx, method, path)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("asking %s: it answers %d:\n%s", a.address, status, strings.TrimSpace(string(body)))
	}
	return body, err
}

// ask makes one request to path, and returns whatever is answered.
func (a *asker) ask(ctx context.Context, method, path string) (status int, body []byte, err error) {
	u, err := url.Parse(a.address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/") != "" {
		return 0, nil, usageError{fmt.Errorf("flag --admin-url is %q, expected a URL such as http://127.0.0.1:9090", a.address)}
	}
	if a.timeout <= 0 {
		return 0, nil, usageError{fmt.Errorf("flag --timeout is %s, expected more than 0", a.timeout)}
	}
	status, body, err = askOnce(ctx, method, u.Scheme+"://"+u.Host+path, a.timeout)
	if err != nil {
		return 0, nil, &hinted{fmt.Errorf("asking %s: %w", a.address, withoutURL(err)), "check that the process runs here and that --admin-url names its admin listener: a sidecar's is http://127.0.0.1:9091 unless it says otherwise"}
	}
	return status, body, nil
}

// askOnce makes one request and reads the answer. It goes past any proxy of the
// environment's: this machine is asked.
func askOnce(ctx context.Context, method, address string, timeout time.Duration) (status int, body []byte, err error) {
	client := http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, adminAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer: %w", err)
	}
	return res.StatusCode, body, nil
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthCommand is for the HEALTHCHECK of an image that holds this binary and
// nothing else: no shell, no curl.
func healthCommand(std stdio) *cobra.Command {
	var address string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a gateway or sidecar on this machine whether it is ready (for HEALTHCHECK)",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usageError{fmt.Errorf("flag --timeout is %s, expected more than 0", timeout)}
			}
			answer, err := askHealth(cmd.Context(), address, timeout)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(std.Out, answer)
			return err
		},
	}
	cmd.Flags().StringVar(&address, "url", env(std, "http://127.0.0.1:9090/readyz", "SALLYPORT_HEALTH_URL"), "`URL` of the admin listener's /readyz (SALLYPORT_HEALTH_URL); a sidecar's port is 9091")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for an answer")
	return cmd
}

// askHealth returns what is answered at address, with any status but 200 as an
// error.
func askHealth(ctx context.Context, address string, timeout time.Duration) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", usageError{fmt.Errorf("flag --url is %q, expected a URL such as http://127.0.0.1:9090/readyz", address)}
	}
	status, body, err := askOnce(ctx, http.MethodGet, u.String(), timeout)
	if err != nil {
		return "", &hinted{fmt.Errorf("asking for health: %w", err), "check that it runs here and that --url names its admin listener: a sidecar's is http://127.0.0.1:9091/readyz unless it says otherwise"}
	}
	answer := strings.TrimSpace(string(body))
	if status != http.StatusOK {
		return "", fmt.Errorf("asking for health: %s answers %d: %s", u, status, answer)
	}
	return answer, nil
}

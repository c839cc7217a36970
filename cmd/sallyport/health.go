package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthAnswer bounds what is read of an answer.
const healthAnswer = 8 << 10

func healthCommand(std stdio) *cobra.Command {
	var url string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a gateway or sidecar on this machine whether it is ready (for HEALTHCHECK)",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := http.Client{Timeout: timeout, Transport: &http.Transport{}}
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, url, nil)
			if err != nil {
				return usageError{err}
			}
			res, err := client.Do(req)
			if err != nil {
				return fmt.Errorf("asking for health: %w", err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(io.LimitReader(res.Body, healthAnswer))
			if err != nil {
				return fmt.Errorf("asking for health: %w", err)
			}
			answer := strings.TrimSpace(string(body))
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("%s answers %d: %s", url, res.StatusCode, answer)
			}
			_, err = fmt.Fprintln(std.Out, answer)
			return err
		},
	}
	cmd.Flags().StringVar(&url, "url", env(std, "http://127.0.0.1:9090/readyz", "SALLYPORT_HEALTH_URL"), "`URL` of the admin listener's /readyz (SALLYPORT_HEALTH_URL); a sidecar's port is 9091")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for an answer")
	return cmd
}

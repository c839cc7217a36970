package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/vaultpki"
)

// renewPath is where the admin listener takes renewals.
const renewPath = "/certificates/renew"

// Bounds of a renewal on demand.
const (
	renewTimeout = 30 * time.Second
	renewAnswer  = 64 << 10 // what is read of an answer
)

// renewable is what the admin listener needs of [vaultpki.Certificates].
type renewable interface {
	Status() []vaultpki.CertificateStatus
	Renew(ctx context.Context, name string) error
}

// renewEndpoint renews the certificate of the name that is asked for, or all.
//
// Whoever reaches the admin listener may ask. A page that a browser shows must
// not: other origins are refused, and so is every request that a browser sends,
// since one whose DNS answers change may call itself the same origin.
func renewEndpoint(log *slog.Logger, certificates ...*vaultpki.Certificates) proxy.Endpoint {
	var all []renewable
	for _, c := range certificates {
		all = append(all, c)
	}
	return proxy.Endpoint{
		Pattern: "POST " + renewPath,
		Handler: http.NewCrossOriginProtection().Handler(refuseBrowsers(renewHandler(log, all))),
	}
}

// refuseBrowsers refuses what carries a header that browsers set and pages cannot
// leave out.
func refuseBrowsers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			http.Error(w, "browsers have no business here", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func renewHandler(log *slog.Logger, all []renewable) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("name")
		renewals, known := renewalsOf(all, name)
		if len(renewals) == 0 {
			http.Error(w, fmt.Sprintf("no certificate for %q, expected one of %q", name, known), http.StatusNotFound)
			return
		}
		log.Info("renewal of certificates asked for", "name", cmp.Or(name, "all"), "remote", r.RemoteAddr)
		ctx, cancel := context.WithTimeout(r.Context(), renewTimeout)
		defer cancel()
		var group sync.WaitGroup
		for _, renewal := range renewals {
			group.Go(func() { renewal.run(ctx) })
		}
		group.Wait()
		answerRenewals(w, renewals)
	})
}

// renewal is that of one certificate.
type renewal struct {
	of            renewable
	before, after vaultpki.CertificateStatus
	err           error
}

// renewalsOf returns those of a name, or all if it is empty, and every name.
func renewalsOf(all []renewable, name string) (renewals []*renewal, known []string) {
	for _, of := range all {
		for _, status := range of.Status() {
			known = append(known, status.Name)
			if name == "" || status.Name == name {
				renewals = append(renewals, &renewal{of: of, before: status})
			}
		}
	}
	return renewals, known
}

func (r *renewal) run(ctx context.Context) {
	r.err = r.of.Renew(ctx, r.before.Name)
	r.after = r.before
	for _, status := range r.of.Status() {
		if status.Name == r.before.Name {
			r.after = status
		}
	}
}

// String tells what came of it.
func (r *renewal) String() string {
	shown := func(s vaultpki.CertificateStatus) string {
		return fmt.Sprintf("%s, until %s", s.Serial, s.NotAfter.UTC().Format(time.RFC3339))
	}
	if r.err != nil {
		return fmt.Sprintf("%s: not renewed, serial %s, stays in use: %v", r.before.Name, shown(r.after), r.err)
	}
	return fmt.Sprintf("%s: renewed, serial %s, in place of serial %s", r.before.Name, shown(r.after), shown(r.before))
}

// status is the HTTP status for it alone.
func (r *renewal) status() int {
	switch {
	case r.err == nil:
		return http.StatusOK
	case errors.Is(r.err, vaultpki.ErrTooSoon):
		return http.StatusTooManyRequests
	case errors.Is(r.err, vaultpki.ErrUnknownName): // dropped since it was found
		return http.StatusNotFound
	case vaultpki.ReasonOf(r.err) == vaultpki.ReasonUnreachable:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

// answerRenewals writes a line for each; the status is the gravest of them.
func answerRenewals(w http.ResponseWriter, renewals []*renewal) {
	status := http.StatusOK
	var text strings.Builder
	for _, renewal := range renewals {
		status = max(status, renewal.status())
		fmt.Fprintln(&text, renewal)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text.String()) // who asked may have gone away
}

// certificatesCommand looks after the certificates of a running process.
func certificatesCommand(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certificates",
		Short: "Renew certificates of a gateway or sidecar on this machine",
	}
	cmd.AddCommand(renewCommand(std))
	demandAction(cmd)
	return cmd
}

func renewCommand(std stdio) *cobra.Command {
	var address string
	var all bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "renew NAME",
		Short: "Renew the certificate of a name now",
		Long: `Renew the certificate of a name now, whatever its maintenance window says.

The running process makes a new key and has Vault sign it; connections that are
open go on. If that does not succeed, the old certificate stays in use until it is
renewed when due. Each name can be renewed this way once in ten seconds.`,
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) == 1) || len(args) > 1 {
				return usageError{fmt.Errorf("%d names, expected one, or --all", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout <= 0 {
				return usageError{fmt.Errorf("flag --timeout is %s, expected more than 0", timeout)}
			}
			answer, err := askRenewal(cmd.Context(), address, strings.Join(args, ""), timeout)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(std.Out, answer)
			return err
		},
	}
	cmd.Flags().StringVar(&address, "admin-url", env(std, "http://127.0.0.1:9090", "SALLYPORT_ADMIN_URL"), "`URL` of the admin listener (SALLYPORT_ADMIN_URL); a sidecar's port is 9091")
	cmd.Flags().BoolVar(&all, "all", false, "renew every certificate of the process")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*renewTimeout, "how long to wait for an answer")
	return cmd
}

// askRenewal has the process behind the admin listener at address renew the
// certificate of name, or all if it is empty, and returns its answer.
func askRenewal(ctx context.Context, address, name string, timeout time.Duration) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https"}, u.Scheme) || strings.Trim(u.Path, "/") != "" {
		return "", usageError{fmt.Errorf("flag --admin-url is %q, expected a URL such as http://127.0.0.1:9090", address)}
	}
	u.Path = renewPath
	if name != "" {
		u.RawQuery = url.Values{"name": {name}}.Encode()
	}
	// A transport of its own, without a proxy: this machine is asked.
	client := http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), nil)
	if err != nil {
		return "", fmt.Errorf("asking for a renewal: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return "", &hinted{fmt.Errorf("asking for a renewal: %w", err), "check that it runs here and that --admin-url names its admin listener"}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, renewAnswer))
	if err != nil {
		return "", fmt.Errorf("asking for a renewal: reading the answer of %s: %w", u, err)
	}
	answer := strings.TrimSpace(string(body))
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking for a renewal: %s answers %d:\n%s", u, res.StatusCode, answer)
	}
	return answer, nil
}

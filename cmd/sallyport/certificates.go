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
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/vaultpki"
)

// renewPath is where the admin listener takes renewals.
const renewPath = "/certificates/renew"

// renewTimeout bounds a renewal on demand.
const renewTimeout = 30 * time.Second

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
func renewEndpoint(log *slog.Logger, certificates []heldCertificates) http.Handler {
	var all []renewable
	for _, c := range certificates {
		all = append(all, c)
	}
	return http.NewCrossOriginProtection().Handler(refuseBrowsers(renewHandler(log, all)))
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
		line := fmt.Sprintf("%s: not renewed, serial %s, stays in use: %v", r.before.Name, shown(r.after), r.err)
		var vault *vaultpki.Error
		if errors.As(r.err, &vault) && vault.Hint != "" {
			line += "; " + vault.Hint
		}
		return line
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
	var ask asker
	var all bool
	cmd := &cobra.Command{
		Use:   "renew NAME",
		Short: "Renew the certificate of a name now",
		Long: `Renew the certificate of a name now, whatever its maintenance window says.

The running process makes a new key and has Vault sign it; connections that are
open go on. If that does not succeed, the old certificate stays in use until it is
renewed when due. Each name can be renewed this way once in ten seconds, and one
whose certificate comes from an ACME server once in an hour.`,
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) == 1) || len(args) > 1 {
				return usageError{fmt.Errorf("%d names, expected one, or --all", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			path := renewPath
			if !all {
				path += "?" + url.Values{"name": args}.Encode()
			}
			answer, err := ask.do(cmd.Context(), http.MethodPost, path)
			if err != nil {
				return err
			}
			_, err = std.Out.Write(answer)
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "renew every certificate of the process")
	ask.add(cmd.Flags(), std, 2*renewTimeout)
	return cmd
}

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/vaultpki"
)

// life is what a gateway and a sidecar have in common once they have what they
// need: an identity that is kept fresh, a listener for the work, one for the
// operators, and a stop in two phases.
type life struct {
	log          *slog.Logger
	client       *vaultpki.Client
	certificates []*vaultpki.Certificates
	access       *accesslog.Log
	metrics      *prometheus.Registry

	listen, admin string
	tls           *tls.Config
	handler       http.Handler
	drain         time.Duration
	strangers     slog.Level // of a failed handshake

	stopping atomic.Bool
}

// adminDrain is how long the last probe may take.
const adminDrain = time.Second

// run serves until ctx ends. The identity is kept fresh until the last request
// has been answered, and the admin listener says "stopping" meanwhile.
func (l *life) run(ctx context.Context) error {
	work, admin, err := l.open(ctx)
	if err != nil {
		closeIdentity(l.certificates...)
		return err
	}
	l.metrics.MustRegister(&identityMetrics{life: l})
	// Renewals and probes outlive ctx by the drain: a certificate may end, and
	// somebody will ask for readiness, while the last requests are answered.
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, background := errgroup.WithContext(background)
	// Both listen since open, so it is true; and it precedes any line of theirs.
	l.log.Info("serving", "https", work.Addr().String(), "admin", admin.Addr().String())
	l.keepFresh(background, group)
	group.Go(func() error {
		return proxy.Serve(background, proxy.ServerConfig{
			Listener: admin, Handler: proxy.Admin(l.unready, l.metrics), Drain: adminDrain, Log: l.log, Strangers: slog.LevelDebug,
		})
	})
	group.Go(func() error {
		defer end() // when the work is over, everything else may stop
		serving, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(background, stop)() // a broken admin listener ends the work too
		defer context.AfterFunc(serving, func() {
			l.stopping.Store(true)
			l.log.Info("stopping", "drain", l.drain.String())
		})()
		return proxy.Serve(serving, proxy.ServerConfig{Listener: work, TLS: l.tls, Handler: l.handler, Drain: l.drain, Log: l.log, Strangers: l.strangers})
	})
	err = group.Wait()
	l.log.Info("stopped", "clean", err == nil)
	return err
}

// open listens on both addresses, or on neither.
func (l *life) open(ctx context.Context) (work, admin net.Listener, err error) {
	var listen net.ListenConfig
	if work, err = listen.Listen(ctx, "tcp", l.listen); err != nil {
		return nil, nil, &hinted{fmt.Errorf("listening for requests: %w", err), hintAddress}
	}
	if admin, err = listen.Listen(ctx, "tcp", l.admin); err != nil {
		return nil, nil, &hinted{errors.Join(fmt.Errorf("listening for probes and metrics: %w", err), work.Close()), hintAddress}
	}
	return work, admin, nil
}

// hintAddress is what to do about an address that cannot be listened on.
const hintAddress = "end the process that has the address, or choose another one in the configuration"

// checkFree finds an address that cannot be listened on before the introduction
// is used up. Nothing is accepted, and the addresses are let go at once: only
// run listens in earnest.
func checkFree(ctx context.Context, listen, admin string) error {
	work, probes, err := (&life{listen: listen, admin: admin}).open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(work.Close(), probes.Close())
}

// keepFresh runs the keepers of the token and the certificates. When one of
// the latter gives up, the process goes on with what it holds: it is the end of a
// certificate, not of a renewal, that people notice, and /readyz names it. The
// former gives up if the token was revoked and that is to end the process.
func (l *life) keepFresh(ctx context.Context, group *errgroup.Group) {
	keep := func(what string, run func(context.Context) error) {
		group.Go(func() error {
			if err := run(ctx); err != nil {
				l.log.Error("serving with what is held", "lost", what, "error", err, "first_hard_stop", l.hardStop())
			}
			return nil
		})
	}
	group.Go(func() error { return l.client.Run(ctx) }) // ends by itself only if it is to stop the process
	for _, c := range l.certificates {
		keep("certificates", c.Run)
	}
}

// unready says why this process should get no traffic.
func (l *life) unready() []string {
	var reasons []string
	if l.stopping.Load() {
		reasons = append(reasons, "stopping")
	}
	if err := l.access.Err(); err != nil {
		reasons = append(reasons, "access log: "+err.Error())
	}
	for _, c := range l.certificates {
		for _, status := range c.Status() {
			if !time.Now().Before(status.NotAfter) {
				reasons = append(reasons, fmt.Sprintf("certificate %s expired at %s", status.Name, status.NotAfter.UTC().Format(time.RFC3339)))
			}
		}
	}
	return reasons
}

// hardStop is the first moment at which something held ends.
func (l *life) hardStop() string {
	var first vaultpki.CertificateStatus
	for _, c := range l.certificates {
		for _, status := range c.Status() {
			if first.NotAfter.IsZero() || status.NotAfter.Before(first.NotAfter) {
				first = status
			}
		}
	}
	return first.NotAfter.UTC().Format(time.RFC3339) + ": certificate " + first.Name
}

// closeIdentity ends what was made before serving began, on a failed start.
func closeIdentity(certificates ...*vaultpki.Certificates) {
	for _, c := range certificates {
		if c != nil {
			c.Close()
		}
	}
}

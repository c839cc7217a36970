package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/vaultpki"
)

// gatewayCommand is the process that browsers meet.
func gatewayCommand(std stdio) *cobra.Command {
	var identity identityFlags
	var from string
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Run the front door",
		Long: `Run the front door.

The process starts knowing nothing: it reads the wrapping token, proves itself to
Vault, reads its keys, the identity provider's metadata and its configuration,
has its certificates signed, and only then listens. Every step logs one line on
standard error; the access log goes to standard output unless the configuration
names a file. docs/exit-codes.md lists the ways in which a start can fail.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := identity.require(cmd, "config", "vault-addr"); err != nil {
				return err
			}
			tuneCollector(headroom, std.Env)
			log := newRecordedLogger(std.Err, "gateway")
			err := runGateway(cmd.Context(), source(from), &identity, std.Out, log)
			return identity.closing(cmd.Context(), log, err)
		},
	}
	identity.add(cmd.Flags(), std, "sallyport-gateway")
	cmd.Flags().StringVar(&from, "config", env(std, "", "SALLYPORT_CONFIG"), "`FILE` with the configuration, or vault:MOUNT/PATH (SALLYPORT_CONFIG)")
	return cmd
}

// runGateway is the life of a gateway, from nothing to nothing. What this host
// can say no to is tried before Vault is asked: a start that fails then costs no
// introduction.
func runGateway(ctx context.Context, from source, identity *identityFlags, out io.Writer, log *slog.Logger) error {
	outlastReaders()
	var recorded gatewayLog
	defer func() { recorded.end(ctx, log) }()
	inherited, err := inheritSockets(socketHTTPS, socketHTTP3, socketAdmin, socketForwardAuth)
	if err != nil {
		return err
	}
	defer inherited.Close()
	clock, hup := newStopwatch(), catchHangup()
	defer hup.release()
	parse := func(name string, text []byte) (*config.Gateway, error) {
		cfg, err := loadGateway(name, text)
		if err != nil {
			return nil, err
		}
		logConfig(log, name, cfg.Warnings())
		if err := (sockets{inherited, cfg.Listen.ReusePort}).checkFree(ctx, gatewayAddresses(cfg)); err != nil {
			return nil, err
		}
		return cfg, recorded.open(ctx, cfg, out, log)
	}
	start, client, err := loadConfig(ctx, from, parse, func() (*vaultpki.Client, error) { return identity.timedLogin(ctx, log, clock) })
	if err != nil {
		recorded.take(ctx, log, unknownAccessor) // an introduction that went wrong stands there, too
		return err
	}
	accessor := accessorBy(client, start.cfg.Vault)
	recorded.take(ctx, log, accessor)
	if err := apart(from, start); err != nil {
		return err
	}
	clock.lap("rest_of_configuration") // of one in Vault
	if err := recorded.signed.by(client, start.cfg, recorded.access); err != nil {
		return err
	}
	recorded.view.signedBy(recorded.signed.vault.Keys)
	g := newLiveGateway(client, recorded.access, log)
	g.view = recorded.view
	if g.tracer, err = newTracer("gateway", recorded.access.Head().Instance, start.cfg.Tracing, &identity.shown, log); err != nil {
		return err
	}
	identity.traced.Use(g.tracer)
	l, err := equipGateway(ctx, start.cfg, g, clock)
	if err != nil {
		return err
	}
	identity.shown.Store(g.backend)
	recorded.attend(l, g)
	l.sockets, l.calls, l.accessor = sockets{inherited, start.cfg.Listen.ReusePort}, identity.calls, accessor
	l.followed, l.startup, l.hangup, l.probe = g.follow(from, start), clock, hup, newTokenProbe(client, g.refresh)
	return l.run(ctx)
}

// apart refuses a configuration in the very secret that holds keys: each is followed,
// and known to logs and metrics, by its place.
func apart(from source, start loaded[config.Gateway]) error {
	v := start.cfg.Vault
	keys := append([]string{v.SAMLPath, v.SessionPath, v.AssertionPath, v.AuditPath}, start.cfg.CredentialPaths()...)
	if start.kv.Mount != v.KVMount || !slices.Contains(keys, start.kv.Path) {
		return nil
	}
	return usageError{&hinted{
		fmt.Errorf("configuration %q is in a secret that holds keys, expected a place of its own", string(from)),
		"move the field " + configField + " to a secret such as " + v.KVMount + "/sallyport/gateway",
	}}
}

// equipGateway fetches everything that a gateway needs and builds it; nothing
// listens yet. On an error, what it had begun is ended.
func equipGateway(ctx context.Context, cfg *config.Gateway, g *liveGateway, clock *stopwatch) (l *life, err error) {
	parts, d, err := g.read(ctx, cfg)
	if err != nil {
		return nil, err
	}
	clock.lap("secrets")
	// From here on there is something to end: certificates renew themselves as
	// soon as they are there.
	defer func() {
		if err != nil {
			closeIdentity(g.edge, g.backend)
		}
	}()
	issue, err := edgeIssuing(ctx, cfg, g.client)
	if err != nil {
		return nil, err
	}
	issue.Log = g.log
	if g.edge, err = vaultpki.NewCertificates(ctx, issue); err != nil {
		return nil, &certificateError{fmt.Errorf("getting certificates for browsers: %w", err)}
	}
	issue = clientCertificate(cfg, g.client)
	issue.Log, issue.OnChange = g.log, func(change vaultpki.Change) { g.identityChanged(ctx, change) }
	if g.backend, err = vaultpki.NewCertificates(ctx, issue); err != nil {
		return nil, &certificateError{fmt.Errorf("getting the client certificate for backends: %w", err)}
	}
	g.certificates = newKeyCertificates(g, cfg.Vault)
	if err := g.certificates.certify(ctx, d.keys, true); err != nil {
		return nil, &certificateError{err}
	}
	clock.lap("certificates")
	if err := g.open(parts, d); err != nil {
		return nil, err
	}
	return g.life(cfg), nil
}

// life is that of a gateway which has all that it needs.
func (g *liveGateway) life(cfg *config.Gateway) *life {
	received := receptionOf(cfg)
	received.limit = connectionLimits(cfg.Limits, g.metrics)
	registry := newRegistry("gateway")
	registry.MustRegister(g.metrics, proxy.NewUpstreamMetrics(g.live.Upstreams), proxy.NewSessionMetrics(g.memory.Revocations().Counts))
	return &life{
		service: "gateway", log: g.log, tracer: g.tracer, client: g.client, access: g.access, metrics: registry, more: g.artefacts, traces: g.traces, tools: g.live,
		certificates: []heldCertificates{{g.edge, "browsers reach that host"}, {g.backend, "every tool is reached"}},
		listen:       gatewayAddresses(cfg), tls: g.edge.EdgeTLS(), handler: g.live,
		announce: cfg.Stop.Announce.Duration, drain: cfg.Stop.Drain.Duration,
		strangers: slog.LevelDebug, reception: received, asked: g.live.ForwardAuth(), askTLS: g.askTLS(),
		beside:   g.view.beside(),
		overload: func() (bool, bool) { return g.live.Gateway().Overload() }, http2Error: g.metrics.HTTP2Error,
	}
}

// gatewayAddresses are where a gateway listens all its life.
func gatewayAddresses(cfg *config.Gateway) addresses {
	at := addresses{work: cfg.Listen.HTTPS, admin: cfg.Listen.Admin}
	if cfg.Listen.HTTP3 {
		at.http3 = cfg.Listen.HTTPS
	}
	if cfg.Listen.AsksForwardAuth() {
		at.forwardAuth = cfg.Listen.ForwardAuth
	}
	return at
}

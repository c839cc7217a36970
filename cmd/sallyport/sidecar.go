package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/handover"
	"github.com/sallyport/sallyport/vaultpki"
)

// sidecarCommand is the process beside a tool. Its role has no default: every
// sidecar has its own, so that none can take another's certificate.
func sidecarCommand(std stdio) *cobra.Command {
	var identity identityFlags
	var from string
	cmd := &cobra.Command{
		Use:   "sidecar [flags] [-- APP ARGS...]",
		Short: "Guard one unmodified backend: mutual TLS in, loopback out",
		Long: `Guard one unmodified backend.

The sidecar proves itself to Vault as the gateway does, has its own certificate
signed, lets in only the gateway, and hands requests on to the application on
loopback with the identity headers that the gateway set, and no others.

With -- and a command it runs the application, too: it renders what that needs of
Vault, starts it when everything is there, hands signals on to it, and ends it after
the last request was answered.`,
		Example: `  sallyport introduce --role sallyport-sidecar-notes --file notes.token
  sallyport sidecar --config sidecar.yaml --role sallyport-sidecar-notes --role-id ID \
    --wrapping-token-file notes.token -- gunicorn --bind 127.0.0.1:8000 notes:app`,
		Args: appArgs,
		RunE: func(cmd *cobra.Command, command []string) error {
			if err := identity.require(cmd, "config", "vault-addr"); err != nil {
				return err
			}
			tuneCollector(sidecarHeadroom, std.Env)
			log := newRecordedLogger(std.Err, "sidecar")
			err := runSidecar(cmd.Context(), sidecarStart{source(from), &identity, command, newStopwatch()}, std, log)
			return identity.closing(cmd.Context(), log, err)
		},
	}
	identity.add(cmd.Flags(), std, "")
	cmd.Flags().StringVar(&from, "config", env(std, "", "SALLYPORT_CONFIG"), "`FILE` with the configuration, or vault:MOUNT/PATH (SALLYPORT_CONFIG)")
	return cmd
}

// appArgs takes arguments behind -- alone, and one at least.
func appArgs(cmd *cobra.Command, args []string) error {
	switch at := cmd.ArgsLenAtDash(); {
	case at < 0 && len(args) > 0, at > 0:
		return usageError{fmt.Errorf("unexpected argument %q, expected none before --, and the application's command behind it", args[0])}
	case at < 0:
		return nil
	case len(args) == 0 || args[0] == "":
		return usageError{errors.New("nothing stands behind --, expected the application's command")}
	}
	return nil
}

// sidecarStart is what a command line says.
type sidecarStart struct {
	from     source
	identity *identityFlags
	command  []string // of the application; empty for none
	clock    *stopwatch
}

// runSidecar is the life of a sidecar, in the order of runGateway.
func runSidecar(ctx context.Context, how sidecarStart, std stdio, log *slog.Logger) error {
	outlastReaders()
	from, identity := how.from, how.identity
	inherited, err := inheritSockets(socketHTTPS, socketAdmin)
	if err != nil {
		return err
	}
	defer inherited.Close()
	parse := func(name string, text []byte) (*config.Sidecar, error) {
		return how.parse(ctx, name, text, inherited, log)
	}
	clock, hup := how.clock, catchHangup()
	defer hup.release()
	start, client, err := loadConfig(ctx, from, parse, func() (*vaultpki.Client, error) { return identity.timedLogin(ctx, log, clock) })
	if err != nil && !eventsOf(log).waits() { // else there is something to record of a start that fails
		return err
	}
	out := &lines{to: std.Out}
	access := openAccessLog(out, accesslog.Config{Service: "sallyport-sidecar", Log: log})
	defer func() {
		eventsOf(log).finish()
		endAccessLog(ctx, access, log)
	}()
	eventsOf(log).attach(ctx, access, unknownAccessor)
	if err != nil {
		return err
	}
	clock.lap("rest_of_configuration") // of one in Vault
	cfg := start.cfg
	tracer, err := newTracer("sidecar", access.Head().Instance, sidecarTracing(cfg), &identity.shown, log)
	if err != nil {
		return err
	}
	identity.traced.Use(tracer)
	issue := sidecarCertificate(cfg, client)
	issue.Log = log
	certificates, err := vaultpki.NewCertificates(ctx, issue)
	if err != nil {
		return &certificateError{fmt.Errorf("getting the sidecar's certificate: %w", err)}
	}
	clock.lap("certificates")
	identity.shown.Store(certificates)
	s := &liveSidecar{certificates: certificates, access: access, tracer: tracer, log: log}
	rendered, application, err := s.standUp(ctx, cfg, client, how, appSurroundings{std: std, lines: out})
	defer rendered.close(context.WithoutCancel(ctx))
	if err != nil {
		closeIdentity(certificates)
		return errors.Join(err, application.close())
	}
	defer application.release(log)
	clock.lap("confinement")
	l := s.life(start, client, how)
	l.hangup, l.sockets.inherited = hup, inherited
	l.keepApp(application, rendered)
	return l.run(ctx)
}

// parse reads a configuration, and finds what this host would refuse of it before
// anything is used up.
func (how sidecarStart) parse(ctx context.Context, name string, text []byte, inherited *handover.Sockets, log *slog.Logger) (*config.Sidecar, error) {
	cfg, err := config.LoadSidecar(name, text)
	if err != nil {
		return nil, err
	}
	logConfig(log, name, cfg.Warnings())
	if err := checkConfinement(cfg); err != nil {
		return nil, err
	}
	if err := (sockets{inherited, cfg.ReusePort}).checkFree(ctx, addresses{work: cfg.Listen, admin: cfg.Admin}); err != nil {
		return cfg, err
	}
	return cfg, checkBeforeLogin(cfg, how.command)
}

// life is the life of s, with a configuration that was loaded at the start.
func (s *liveSidecar) life(start loaded[config.Sidecar], client *vaultpki.Client, how sidecarStart) *life {
	cfg, identity := start.cfg, how.identity
	l := &life{
		service: "sidecar", tracer: s.tracer, startup: how.clock, probe: newTokenProbe(client, s.refresh), log: s.log, client: client, access: s.access,
		metrics: newRegistry("sidecar"), calls: identity.calls, certificates: []heldCertificates{{s.certificates, "the gateway reaches the tool"}},
		sockets: sockets{beside: cfg.ReusePort}, listen: addresses{work: cfg.Listen, admin: cfg.Admin}, tls: s.tls(), handler: s,
		announce: cfg.Stop.Announce.Duration, drain: cfg.Stop.Drain.Duration,
		strangers: slog.LevelWarn, // nobody but the gateway has business here
		beside:    []func(context.Context){giveBackWhileIdle},
		followed: []followed{watchConfig(watcher{client, s.refresh, s.log}, how.from, start, func(_ context.Context, text []byte) error {
			return s.useText(string(how.from), text)
		}, nil)},
	}
	s.attach(l)
	return l
}

// standUp has in place what stands before the guard and beside it, in this order: the guard
// itself, the application's secrets, the helper that will start it; then this process is
// confined. What is there of it when it fails is the caller's to end, too.
func (s *liveSidecar) standUp(ctx context.Context, cfg *config.Sidecar, client *vaultpki.Client, how sidecarStart, around appSurroundings) (*appSecrets, *app, error) {
	if err := s.use(cfg); err != nil {
		return nil, nil, err
	}
	supervises := len(how.command) > 0
	rendered, err := newAppSecrets(ctx, cfg, client, supervises, s.log)
	if err != nil {
		return rendered, nil, err
	}
	if around.rendered = rendered; rendered != nil {
		how.clock.lap("secrets")
	}
	application, err := newApp(ctx, how.command, cfg, around, s.log)
	if err != nil {
		return rendered, application, err
	}
	return rendered, application, s.confine(how.from, how.identity, supervises)
}

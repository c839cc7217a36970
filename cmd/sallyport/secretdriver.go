package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/introduce/swarm"
)

// secretDriverCommand is the process that introduces the tasks of a Swarm.
func secretDriverCommand(io stdio) *cobra.Command {
	var identity identityFlags
	var from string
	cmd := &cobra.Command{
		Use:   "secret-driver",
		Short: "Introduce each task of a Docker Swarm, as a secret-provider plugin",
		Long: `Introduce each task of a Docker Swarm.

The container engine asks this process for the value of a secret each time that a
task starts: so every task has a wrapping token of its own, also after a restart
and on another node. Labels say what a secret holds; the allow-list of the
configuration says which service may have it, and nobody else gets anything.
docs/swarm.md shows how to install it as a managed plugin, on every manager.

Its own Vault token needs the policy that introduce policy --renew prints. It logs in
as the gateway does: with an heir it starts again without an introduction, and with
--auth-method token-file it lives from what a Vault Agent writes.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := identity.require(cmd, "config", "vault-addr"); err != nil {
				return err
			}
			log := newLogger(io.Err, "secret-driver")
			err := runSecretDriver(cmd.Context(), source(from), &identity, log)
			return identity.closing(cmd.Context(), log, err)
		},
	}
	identity.add(cmd.Flags(), io, "sallyport-secret-driver")
	cmd.Flags().StringVar(&from, "config", env(io, "", "SALLYPORT_CONFIG"), "`FILE` with the configuration (SALLYPORT_CONFIG)")
	return cmd
}

// runSecretDriver is the life of a secret driver. As everywhere, what this host
// can say no to comes before the introduction is used.
func runSecretDriver(ctx context.Context, from source, identity *identityFlags, log *slog.Logger) error {
	hup := catchHangup()
	defer hup.release()
	text, err := from.readFile()
	if err != nil {
		return err
	}
	cfg, err := config.LoadSecretDriver(string(from), text)
	if err != nil {
		return err
	}
	logConfig(log, string(from), cfg.Warnings())
	l := &driverLife{log: log, from: from, text: text, cfg: cfg, hangup: hup, metrics: newDriverMetrics()}
	if err := l.open(ctx); err != nil {
		return err
	}
	defer l.close()
	if l.client, err = identity.login(ctx, log); err != nil {
		return err
	}
	l.metrics.registry.MustRegister(identity.calls)
	mount := identity.authMount
	if !identity.byAppRole() {
		mount = "" // it is the mount of the login, and not of the roles to introduce
	}
	return l.run(ctx, mount)
}

// driverLife is what a secret driver lives with.
type driverLife struct {
	log     *slog.Logger
	from    source
	text    []byte // of the configuration that is in use at the start
	cfg     *config.SecretDriver
	metrics *driverMetrics
	hangup  *hangup

	work, admin net.Listener
	client      *vaultpki.Client

	stopping atomic.Bool
}

// open listens on both addresses, or on neither. Nothing is accepted before run.
func (l *driverLife) open(ctx context.Context) (err error) {
	if l.work, err = swarm.Listen(ctx, l.cfg.Socket); err != nil {
		return &hinted{err, "run one driver per engine, as a user who may write to that folder, or choose another place in socket"}
	}
	if l.admin, err = (&net.ListenConfig{}).Listen(ctx, "tcp", l.cfg.Admin); err != nil {
		return &hinted{errors.Join(fmt.Errorf("listening for probes and metrics: %w", err), l.work.Close()), hintAddress}
	}
	return nil
}

// close ends what open began; after run it finds everything closed.
func (l *driverLife) close() {
	_ = l.work.Close()
	_ = l.admin.Close()
}

// run serves until ctx ends, and then stops in two phases: requests in flight are
// answered, and the token is kept alive until they are.
func (l *driverLife) run(ctx context.Context, authMount string) error {
	roles, secrets := grants(l.cfg, authMount)
	driver, err := swarm.NewDriver(swarm.DriverConfig{Vault: l.client, Roles: roles, KV: secrets, Observe: l.metrics.observe, Log: l.log})
	if err != nil {
		return err
	}
	followed := l.follow(driver, authMount)
	l.metrics.attach(l, driver, followed)
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, background := errgroup.WithContext(background)
	l.log.Info("serving", "socket", l.cfg.Socket, "admin", l.admin.Addr().String(), "roles", len(roles), "secrets", len(secrets))
	group.Go(func() error { return l.client.Run(background) }) // ends by itself only if it is to stop the process
	probes := proxy.Admin(proxy.AdminConfig{
		Readiness: func() (reasons, remarks []string) { return l.unready(), remarksOf(followed) }, Metrics: l.metrics.registry,
	})
	group.Go(func() error { return followed.run(background) })
	probe := newTokenProbe(l.client, func() time.Duration { return probeEvery })
	group.Go(func() error { return probe.run(background) })
	group.Go(func() error { return l.hangup.obey(background, l.log, followed, probe) })
	group.Go(func() error {
		return proxy.Serve(background, proxy.ServerConfig{Listener: l.admin, Handler: probes, Drain: adminDrain, Log: l.log, Strangers: slog.LevelDebug})
	})
	group.Go(func() error {
		defer end()
		serving, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(background, stop)() // a broken admin listener ends the work too
		defer context.AfterFunc(serving, func() {
			l.stopping.Store(true)
			l.log.Info("stopping", "drain", l.cfg.Stop.Drain.String())
		})()
		return proxy.Serve(serving, proxy.ServerConfig{Listener: l.work, Handler: driver.Handler(), Drain: l.cfg.Stop.Drain.Duration, Log: l.log, Strangers: slog.LevelWarn})
	})
	err = group.Wait()
	l.log.Info("stopped", "clean", err == nil)
	return err
}

// rereadEvery is how often the configuration is looked at: it is a small file.
const rereadEvery = 5 * time.Second

// probeEvery is how often the driver asks whether its token is good: between two
// tasks there may be days.
const probeEvery = time.Minute

// follow puts a changed allow-list in use while the driver serves: a restart would
// need another introduction.
func (l *driverLife) follow(driver *swarm.Driver, authMount string) followed {
	w := watcher{nil, func() time.Duration { return rereadEvery }, l.log}
	return watchFile(l.from, l.text, w, func(_ context.Context, text []byte) error {
		cfg, err := config.LoadSecretDriver(string(l.from), text)
		if err != nil {
			return err
		}
		if cfg.Socket != l.cfg.Socket || cfg.Admin != l.cfg.Admin || cfg.Stop != l.cfg.Stop {
			return errors.New("socket, admin and stop are of the start: start again to change them")
		}
		logConfig(l.log, string(l.from), cfg.Warnings())
		return driver.Allow(grants(cfg, authMount))
	})
}

// remarksOf says what is wrong with what is followed.
func remarksOf(f followed) []string {
	var remarks []string
	for _, state := range f.states() {
		if state.Cause != "" {
			remarks = append(remarks, state.Name+": "+state.Cause)
		}
	}
	return remarks
}

// unready says why no task can be introduced.
func (l *driverLife) unready() []string {
	var reasons []string
	if l.stopping.Load() {
		reasons = append(reasons, "stopping")
	}
	if status := l.client.Status(); status.Lost {
		reasons = append(reasons, "the vault token is lost: "+status.LostCause)
	}
	return reasons
}

// grants translates the allow-list. The configuration has judged the texts.
func grants(cfg *config.SecretDriver, authMount string) (roles []swarm.RoleGrant, secrets []swarm.KVGrant) {
	for _, r := range cfg.Roles {
		grant := swarm.RoleGrant{
			Services: services(r.Services, r.Stacks, r.Labels),
			Minting:  vaultpki.Minting{AuthMount: authMount, Role: r.Role, WrapTTL: r.WrapTTL.Duration},
		}
		for _, network := range r.Networks {
			grant.CIDRs = append(grant.CIDRs, netip.MustParsePrefix(network))
		}
		roles = append(roles, grant)
	}
	for _, s := range cfg.Secrets {
		secrets = append(secrets, swarm.KVGrant{
			Services: services(s.Services, s.Stacks, s.Labels),
			Mount:    s.Mount, Path: s.Path, Fields: s.Fields, Wrapped: s.Wrapped, WrapTTL: s.WrapTTL.Duration,
		})
	}
	return roles, secrets
}

func services(names, stacks, pairs []string) swarm.Services {
	labels := map[string]string{}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		labels[name] = value
	}
	return swarm.Services{Names: names, Stacks: stacks, Labels: labels}
}

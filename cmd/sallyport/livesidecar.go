package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/assertion"
	"github.com/sallyport/sallyport/proxy/handover"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/sidecar"
	"github.com/sallyport/sallyport/proxy/sidecar/confine"
	"github.com/sallyport/sallyport/proxy/tracing"
	"github.com/sallyport/sallyport/vaultpki"
)

// liveSidecar is a sidecar whose application and whose gateways can change
// without a restart. It is safe for concurrent use.
type liveSidecar struct {
	certificates *vaultpki.Certificates
	access       *accesslog.Log
	tracer       *tracing.Tracer // nil traces nothing
	log          *slog.Logger
	// fits says whether a configuration needs nothing from which this process has confined
	// itself; nil if it has not.
	fits func(*config.Sidecar) error
	// unwell says why the sidecar itself does not work; nil until it serves.
	unwell  func() error
	living  sidecar.Living // what is under way, whatever the configuration
	current atomic.Pointer[sidecarState]
}

// sidecarState is what is in use. It is immutable.
type sidecarState struct {
	cfg   *config.Sidecar
	guard *sidecar.Sidecar // nil in mode tcp
	tcp   *sidecar.TCP     // nil in mode http
	tls   *tls.Config
}

// use puts a configuration in use, or says why it cannot. Whoever would not be let in any
// more is cut.
func (s *liveSidecar) use(cfg *config.Sidecar) error {
	if err := checkAppBind(cfg); err != nil {
		return err
	}
	state := &sidecarState{cfg: cfg, tls: s.certificates.GuardTLS(cfg.Gateways)}
	if err := s.build(state); err != nil {
		return err
	}
	s.current.Store(state)
	s.judge()
	return nil
}

// confine takes from this process what the configuration in use has no use for. supervises
// says that it has an application of its own.
func (s *liveSidecar) confine(from source, identity *identityFlags, supervises bool) error {
	cfg := s.current.Load().cfg
	if cfg.Confine.UnsafeOff {
		return nil
	}
	keeps := func(cfg *config.Sidecar) (confine.Config, error) { return confinement(cfg, from, identity) }
	held, err := keeps(cfg)
	if err != nil {
		return err
	}
	held.Signals = supervises
	if err := confineGuard(held, s.log); err != nil {
		return err
	}
	s.fits = func(cfg *config.Sidecar) error {
		needs, err := keeps(cfg)
		if err != nil {
			return err
		}
		if lacking := held.Covers(needs); len(lacking) > 0 {
			return fmt.Errorf("it needs %s, from which this process has confined itself: a restart takes it", strings.Join(lacking, " and "))
		}
		return nil
	}
	return nil
}

// build makes the guard of a state.
func (s *liveSidecar) build(state *sidecarState) (err error) {
	cfg := state.cfg
	if cfg.TCP() {
		state.tcp, err = sidecar.NewTCP(sidecar.TCPConfig{
			App: cfg.App.URL(), PeerName: s.admit, Living: &s.living, Access: s.access, Log: s.log,
			ConnectTimeout: cfg.TCPLimits.ConnectTimeout.Duration, IdleTimeout: cfg.TCPLimits.IdleTimeout.Duration, Connections: cfg.TCPLimits.Connections,
		})
		return err
	}
	guard := sidecar.Config{
		App: cfg.App.URL(), H2C: cfg.H2C(), PeerName: s.admit, HealthPath: cfg.Health(), Health: s.health,
		Access: s.access, Tracer: s.tracer, Log: s.log, NoUsers: !cfg.RecordUsers,
	}
	if cfg.Headers.On() {
		told := toldBy(cfg.Headers.Identity())
		if guard.Headers, err = header.NewTemplate(header.Format{Profiles: told.Profiles, Values: told.Values, AllGroups: true}); err != nil {
			return err
		}
	}
	if cfg.Assertion.On() {
		if guard.Assertions, err = s.verifier(cfg.Assertion); err != nil {
			return err
		}
	}
	state.guard, err = sidecar.New(guard)
	return err
}

// admit returns the name of a peer that is let in by the configuration in use. The handshake
// has asked already, but of a connection that may be older; and a request may have come by a
// configuration that was replaced since: who is off the list is either refused here, or noted
// as living before judge looks.
func (s *liveSidecar) admit(cs tls.ConnectionState) (string, error) {
	return s.certificates.Admit(cs, s.current.Load().cfg.Gateways)
}

// health says why the sidecar does not work, to whoever asks it for its health_path.
func (s *liveSidecar) health() error {
	if s.unwell == nil {
		return nil
	}
	return s.unwell()
}

// verifier believes the assertions of a gateway by the authority of our own certificate.
func (s *liveSidecar) verifier(cfg config.SidecarAssertion) (*assertion.Verifier, error) {
	var audiences []string
	for _, route := range cfg.Routes {
		audiences = append(audiences, assertion.Audience(route))
	}
	return assertion.NewVerifier(assertion.VerifierConfig{
		Issuer: cfg.Issuer, Audiences: audiences,
		Chain: func(chain []*x509.Certificate) error {
			return s.certificates.CheckAssertionKey(chain, string(cfg.Name))
		},
	})
}

// checkAppBind refuses an application that can be reached past the sidecar, unless that
// is meant.
func checkAppBind(cfg *config.Sidecar) error {
	if cfg.UnsafeAppNotLoopback {
		return nil
	}
	return sidecar.CheckBind(cfg.App.URL())
}

// judgeEvery is how often it is looked whether those who were let in still would be:
// certificates end, and authorities are trusted no more, without anybody saying so.
const judgeEvery = 10 * time.Second

// judge cuts what is under way for peers that are let in no longer.
func (s *liveSidecar) judge() {
	gateways := s.current.Load().cfg.Gateways
	keep := func(cs tls.ConnectionState) error { return s.certificates.Keep(cs, gateways) }
	if cut := s.living.Judge(keep); cut > 0 {
		s.log.Info("peers are let in no longer: what they had under way was cut", "cut", cut)
	}
}

// attach has l serve s, and end if the application can be reached past it.
func (s *liveSidecar) attach(l *life) {
	l.beside = append(l.beside, func(ctx context.Context) {
		ticks := time.NewTicker(judgeEvery)
		defer ticks.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticks.C:
				s.judge()
			}
		}
	})
	l.guards = append(l.guards, s.watchBind)
	l.opened, l.closed = s.living.Opened, s.living.Closed
	s.unwell = func() error {
		reasons := l.broken()
		if l.stopping.Load() {
			reasons = append(reasons, "stopping")
		}
		if len(reasons) > 0 {
			return errors.New(strings.Join(reasons, ", "))
		}
		return nil
	}
	if s.current.Load().cfg.TCP() {
		l.connections = func(ctx context.Context, open *handover.Listener) error {
			return sidecar.TCPServer{
				Listener: open, Quiet: open.Quiet, TLS: l.tls, Guard: func() *sidecar.TCP { return s.current.Load().tcp },
				Announce: l.announce, Drain: l.drain, Log: l.log,
			}.Serve(ctx)
		}
	}
}

// watchBind returns an error if the application can be reached past the sidecar.
func (s *liveSidecar) watchBind(ctx context.Context) error {
	err := sidecar.WatchBind(ctx, func() *url.URL {
		if cfg := s.current.Load().cfg; !cfg.UnsafeAppNotLoopback {
			return cfg.App.URL()
		}
		return nil
	}, func(err error) {
		s.log.Warn("whether the application can be reached past the sidecar cannot be told", "cause", err.Error())
	})
	if err != nil {
		s.log.Error("the application can be reached past the sidecar, which ends for that", "cause", err.Error())
	}
	return err
}

// useText puts the text of a configuration in use.
func (s *liveSidecar) useText(name string, text []byte) error {
	cfg, err := config.LoadSidecar(name, text)
	if err != nil {
		return err
	}
	before := s.current.Load().cfg
	if err := fixed([]setting{
		{"name", string(before.Name), string(cfg.Name)},
		{"mode", before.Mode, cfg.Mode},
		{"listen", before.Listen, cfg.Listen},
		{"admin", before.Admin, cfg.Admin},
		{"pki", fmt.Sprint(before.PKI), fmt.Sprint(cfg.PKI)},
		{"reuse_port", strconv.FormatBool(before.ReusePort), strconv.FormatBool(cfg.ReusePort)},
		{"secrets", editionOf(before.Secrets), editionOf(cfg.Secrets)},
		{"tracing", fmt.Sprint(before.Tracing), fmt.Sprint(cfg.Tracing)},
		{"confine", fmt.Sprint(before.Confine), fmt.Sprint(cfg.Confine)},
		{"stop.announce", before.Stop.Announce.String(), cfg.Stop.Announce.String()},
		{"child", fmt.Sprint(before.Child), fmt.Sprint(cfg.Child)},
		{"stop.drain", before.Stop.Drain.String(), cfg.Stop.Drain.String()},
	}); err != nil {
		return err
	}
	if s.fits != nil {
		if err := s.fits(cfg); err != nil {
			return err
		}
	}
	if err := s.use(cfg); err != nil {
		return err
	}
	logConfig(s.log, name, cfg.Warnings())
	return nil
}

// tls is the configuration of the listener: for each handshake the one in use.
func (s *liveSidecar) tls() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			state := s.current.Load()
			now, err := state.tls.GetConfigForClient(hello) // crypto/tls asks once, and not what it is answered
			if err == nil && state.tcp != nil {
				now.NextProtos = []string{sidecar.ALPN} // it was made for this handshake
			}
			return now, err
		},
	}
}

// refresh is how often to look for a new configuration.
func (s *liveSidecar) refresh() time.Duration { return s.current.Load().cfg.Refresh.Duration }

// ServeHTTP implements http.Handler.
func (s *liveSidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.current.Load().guard.ServeHTTP(w, r)
}

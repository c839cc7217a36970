package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
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
	fits    func(*config.Sidecar) error
	current atomic.Pointer[sidecarState]
}

// sidecarState is what is in use. It is immutable.
type sidecarState struct {
	cfg   *config.Sidecar
	guard *sidecar.Sidecar
	tls   *tls.Config
}

// use puts a configuration in use, or says why it cannot.
func (s *liveSidecar) use(cfg *config.Sidecar) error {
	guard, err := sidecar.New(sidecar.Config{
		App: cfg.App.URL(), H2C: cfg.H2C(), Access: s.access, Tracer: s.tracer, Log: s.log, NoUsers: !cfg.RecordUsers,
		// The handshake has asked already, but of a connection that may be older.
		PeerName: func(cs tls.ConnectionState) (string, error) { return s.certificates.Admit(cs, cfg.Gateways) },
	})
	if err != nil {
		return err
	}
	s.current.Store(&sidecarState{cfg: cfg, guard: guard, tls: s.certificates.GuardTLS(cfg.Gateways)})
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

// useText puts the text of a configuration in use.
func (s *liveSidecar) useText(name string, text []byte) error {
	cfg, err := config.LoadSidecar(name, text)
	if err != nil {
		return err
	}
	before := s.current.Load().cfg
	if err := fixed([]setting{
		{"name", string(before.Name), string(cfg.Name)},
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
			now := s.current.Load().tls
			if now.GetConfigForClient != nil { // crypto/tls asks once, and not what it is answered
				return now.GetConfigForClient(hello)
			}
			return now, nil
		},
	}
}

// refresh is how often to look for a new configuration.
func (s *liveSidecar) refresh() time.Duration { return s.current.Load().cfg.Refresh.Duration }

// ServeHTTP implements http.Handler.
func (s *liveSidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.current.Load().guard.ServeHTTP(w, r)
}

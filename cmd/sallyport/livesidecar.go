package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/sidecar"
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
	current      atomic.Pointer[sidecarState]
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
		{"stop.announce", before.Stop.Announce.String(), cfg.Stop.Announce.String()},
		{"stop.drain", before.Stop.Drain.String(), cfg.Stop.Drain.String()},
	}); err != nil {
		return err
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

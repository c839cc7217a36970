package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/otlp"
	"github.com/sallyport/sallyport/proxy/tracing"
	"github.com/sallyport/sallyport/vaultpki"
)

// newTracer returns what has requests traced, nil if nothing is. Spans are of the same
// instance as the access log. A collector that is away is no fault.
func newTracer(service, instance string, t config.Tracing, shown *laterCertificates, log *slog.Logger) (*tracing.Tracer, error) {
	if !t.On() {
		return nil, nil //nolint:nilnil // a nil Tracer is one that traces nothing
	}
	cfg := tracing.Config{Source: telemetrySource(service, instance), Sample: t.Sample.Ratio(), Log: log}
	if at := t.Collector(); at.On() {
		var err error
		if cfg.Collector, err = dialCollector("tracing", at, shown); err != nil {
			return nil, err
		}
	}
	return tracing.New(cfg), nil
}

// telemetrySource is a process, as a collector sees it.
func telemetrySource(service, instance string) tracing.Source {
	host, _ := os.Hostname() // a host without a name has none
	return tracing.Source{Service: "sallyport-" + service, Version: buildVersion(), Instance: instance, Host: host}
}

// laterCertificates are certificates that are not there yet when it is said who may ask
// for one.
type laterCertificates = atomic.Pointer[vaultpki.Certificates]

// errNoCertificate is a connection that comes too early.
var errNoCertificate = errors.New("our client certificate is not there yet")

// dialCollector returns the way to the collector that the configuration names at key, who
// is shown one of those certificates if it wants to see one. It connects to nothing yet.
func dialCollector(key string, at config.Collector, shown *laterCertificates) (*otlp.Client, error) {
	origin := at.Origin()
	secured := &tls.Config{MinVersion: tls.VersionTLS12}
	if !at.SystemRoots() {
		var err error
		if secured.RootCAs, err = readAuthorities(key+".ca_file", at.CAFile); err != nil {
			return nil, err
		}
	}
	if at.ClientCertificate {
		secured.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			certificates := shown.Load()
			if certificates == nil {
				return nil, errNoCertificate
			}
			return certificates.DialTLS(origin.Host).GetClientCertificate(info)
		}
	}
	return otlp.New(otlp.Config{
		Endpoint: origin.URL(), Protocol: otlp.Protocol(at.Protocol), Agent: "sallyport/" + buildVersion(), TLS: secured,
	})
}

// sidecarTracing is what a sidecar traces: what its gateway does, and its own calls.
func sidecarTracing(cfg *config.Sidecar) config.Tracing {
	at := cfg.Tracing
	return config.Tracing{Endpoint: at.Endpoint, Protocol: at.Protocol, CAFile: at.CAFile, ClientCertificate: at.ClientCertificate, UnsafeHTTP: at.UnsafeHTTP}
}

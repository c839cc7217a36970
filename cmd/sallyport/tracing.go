package main

import (
	"crypto/tls"
	"log/slog"
	"os"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/otlp"
	"github.com/sallyport/sallyport/proxy/tracing"
)

// newTracer returns what has requests traced, nil if nothing is. Spans are of the same
// instance as the access log. A collector that is away is no fault.
func newTracer(service, instance string, t config.Tracing, log *slog.Logger) (*tracing.Tracer, error) {
	if !t.On() {
		return nil, nil //nolint:nilnil // a nil Tracer is one that traces nothing
	}
	cfg := tracing.Config{Source: telemetrySource(service, instance), Sample: t.Sample.Ratio(), Log: log}
	if at := t.Collector(); at.On() {
		var err error
		if cfg.Collector, err = dialCollector("tracing", at); err != nil {
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

// dialCollector returns the way to the collector that the configuration names at key. It
// connects to nothing yet.
func dialCollector(key string, at config.Collector) (*otlp.Client, error) {
	cfg := otlp.Config{
		Endpoint: at.Origin().URL(), Protocol: otlp.Protocol(at.Protocol), Agent: "sallyport/" + buildVersion(),
		TLS: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if !at.SystemRoots() {
		var err error
		if cfg.TLS.RootCAs, err = readAuthorities(key+".ca_file", at.CAFile); err != nil {
			return nil, err
		}
	}
	return otlp.New(cfg)
}

// sidecarTracing is what a sidecar traces: what its gateway does, and its own calls.
func sidecarTracing(cfg *config.Sidecar) config.Tracing {
	at := cfg.Tracing
	return config.Tracing{Endpoint: at.Endpoint, Protocol: at.Protocol, CAFile: at.CAFile, UnsafeHTTP: at.UnsafeHTTP}
}
